"""Other bots beside this one: asked by the server when a page wants to know, each on its own, for a moment only."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER_S = 3.0
"""How long a bot may take to answer; those who ask wait no longer for any number of them."""
FRESH_S = 2.0
"""How long answers serve everybody who asks."""
SIZE_MAX = 512 * 1024
REASON_MAX = 200


@dataclass(frozen=True, slots=True)
class Other:
    """A bot: what it is called, where its page is, and the secret that lets us look."""

    name: str
    url: str
    token: str


class _Status(msgspec.Struct):
    """What is shown of a bot's status."""

    mode: str
    switch: str
    ready: bool
    reasons: list[str]
    equity: str | None
    day_pnl: str | None
    open_pnl: str | None
    open: int


class Others:
    """Knows the other bots; nothing that one of them does, or leaves undone, reaches further than its own row."""

    def __init__(self, bots: Sequence[Other]) -> None:
        self._bots = tuple(bots)
        self._asking = asyncio.Lock()
        self._rows: list[dict[str, Any]] = []
        self._at = float("-inf")

    async def rows(self) -> list[dict[str, Any]]:
        """Return a row for each bot in the order of the settings; one that cannot be read says why in ``error``."""
        if not self._bots:
            return []
        async with self._asking:
            if time.monotonic() - self._at >= FRESH_S:
                timeout = aiohttp.ClientTimeout(ANSWER_S)
                async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
                    self._rows = await asyncio.gather(*(_row(session, one) for one in self._bots))
                self._at = time.monotonic()
        return self._rows


async def _row(session: aiohttp.ClientSession, bot: Other) -> dict[str, Any]:
    named = {"name": bot.name, "url": bot.url}
    try:
        found = msgspec.json.decode(await _asked(session, bot), type=_Status)
    except TimeoutError:
        return {**named, "error": f"no answer within {ANSWER_S:g} s"}
    except aiohttp.ClientSSLError:
        return {**named, "error": "its TLS certificate is not accepted"}
    except aiohttp.ClientError:
        # what an error says may repeat the request
        return {**named, "error": "cannot be reached"}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {**named, "error": "its answer is not understood: is it a bot of this version?"}
    except _NotTold as error:
        return {**named, "error": str(error)}
    told = msgspec.structs.asdict(found)
    return {**named, "error": "", **told, "reasons": [one[:REASON_MAX] for one in found.reasons[:1]]}


class _NotTold(Exception):
    """A bot answers, and not with its status."""


async def _asked(session: aiohttp.ClientSession, bot: Other) -> bytes:
    headers = {"Authorization": f"Bearer {bot.token}"} if bot.token else {}
    # whoever answers in its place and sends us elsewhere would get the secret
    async with session.get(f"{bot.url}/api/v1/status", headers=headers, allow_redirects=False) as answer:
        if answer.status in {401, 403}:
            raise _NotTold("it does not know the token: give it its viewer password")
        if answer.status != 200:  # noqa: PLR2004
            raise _NotTold(f"it answers HTTP {answer.status}")
        content = b""
        async for part in answer.content.iter_chunked(16 * 1024):
            content += part
            if len(content) > SIZE_MAX:
                raise _NotTold(f"its answer is larger than {SIZE_MAX} bytes")
        return content
