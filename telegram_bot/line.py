"""The line to Telegram's API: answers of bounded size, and nothing in them that the library would trip over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from telegram.error import NetworkError, TelegramError
from telegram.request import HTTPXRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ANSWER_BYTES_MAX = 4 << 20
"""A hundred updates, the most that Telegram sends at once, are a tenth of it."""

WAIT_S_MAX = 60.0
"""Longer nobody is made to wait, whatever is asked for: what has to be said would be forgotten meanwhile."""


class Line(HTTPXRequest):
    """Sends requests. An answer that is too large, packed, or not of the form that Telegram's have is no answer."""

    def __init__(self, **limits: Any) -> None:
        # packed, a small answer could hold any size
        kept = {"headers": {"Accept-Encoding": "identity"}, "event_hooks": {"response": [_bound]}}
        super().__init__(**limits, httpx_kwargs=kept)

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """Return what an answer says. Raises TelegramError when it is none."""
        try:
            body = msgspec.json.decode(payload.decode(errors="replace"))
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise TelegramError("Invalid server response") from error
        if not isinstance(body, dict):
            raise TelegramError("Invalid server response")
        asked = body.get("parameters")
        return {
            "result": None, **body, "parameters": _sane(asked) if isinstance(asked, dict) else {},
            "description": str(body.get("description") or "")[:500],
        }  # fmt: skip


class _Bounded(httpx.AsyncByteStream):
    """What comes of an answer, up to a size."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > ANSWER_BYTES_MAX:
                raise NetworkError(f"telegram: an answer of more than {ANSWER_BYTES_MAX} bytes")
            yield chunk

    async def aclose(self) -> None:
        """End the answer."""
        await self._stream.aclose()


async def _bound(answer: httpx.Response) -> None:
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise NetworkError("telegram: an answer that is packed though nobody asked for that")
    if isinstance(answer.stream, httpx.AsyncByteStream):
        answer.stream = _Bounded(answer.stream)


def _sane(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what Telegram asks for, as far as it is something that can be done."""
    wait, moved = asked.get("retry_after"), asked.get("migrate_to_chat_id")
    kept: dict[str, Any] = {}
    if isinstance(wait, int | float) and not isinstance(wait, bool):
        kept["retry_after"] = int(min(WAIT_S_MAX, max(1.0, wait)))
    if isinstance(moved, int) and not isinstance(moved, bool):
        kept["migrate_to_chat_id"] = moved
    return kept
