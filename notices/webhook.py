"""Posts notices to an address, in the form that its service takes."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal

import aiohttp

from domain.errors import Rejected, Unavailable
from notices.outlet import Wait

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from notices.announcement import Announcement

Style = Literal["json", "form", "discord", "slack"]
ANSWER_S = 10.0
ANSWER_BYTES = 500
TEXT_MAX = 1_900
"""Characters of one message: Discord takes 2,000."""

SUPPRESS_NOTIFICATIONS = 1 << 12
"""Discord's flag of a message without a sound; source: Discord developer documentation, message flags."""

OK, TOO_MANY, SERVER_ERROR = range(200, 300), 429, 500
NAME = re.compile(r"\{(\w+)\}")


class Webhook:
    """Sends notices to one address.

    ``json`` and ``form`` post one notice at a time: the ``template`` with its ``{names}`` filled in, or without one
    everything by name. ``discord`` and ``slack`` post what waits as one message.
    """

    def __init__(
        self, url: str, style: Style, template: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._url, self._style, self._template, self._headers = url, style, template or {}, dict(headers or {})

    async def send(self, waiting: Sequence[Announcement]) -> int:
        """Post one message; see Sender."""
        body, count = self.message(waiting)
        form, document = (body, None) if self._style == "form" else (None, body)
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_S), auto_decompress=False) as session,
                session.post(
                    self._url, headers=self._headers, allow_redirects=False, data=form, json=document
                ) as answer,
            ):
                if answer.status not in OK:
                    _refuse(answer, (await answer.content.read(ANSWER_BYTES)).decode(errors="replace"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # an error of the client repeats the address, which is a secret
            raise Unavailable(f"no answer ({type(error).__name__})") from None
        return count

    def message(self, waiting: Sequence[Announcement]) -> tuple[dict[str, Any], int]:
        """Return what is posted of the notices that wait, oldest first, and how many of them it tells."""
        if self._style in {"json", "form"}:
            return self._filled(waiting[0].named()), 1
        told, silent = [waiting[0].marked(self._style)[:TEXT_MAX]], waiting[0].silent
        for one in waiting[1:]:
            text = one.marked(self._style)
            if sum(map(len, told)) + 2 * len(told) + len(text) > TEXT_MAX:
                break
            told.append(text)
            silent = silent and one.silent
        text = "\n\n".join(told)
        if self._style == "slack":
            return {"text": text}, len(told)
        quiet = {"flags": SUPPRESS_NOTIFICATIONS} if silent else {}
        # whatever a symbol or a reason looks like, nobody is paged by it
        return {"content": text, "allowed_mentions": {"parse": []}, **quiet}, len(told)

    def _filled(self, values: Mapping[str, str]) -> dict[str, Any]:
        if not self._template:
            return dict(values)
        return {key: fill(value, values) for key, value in self._template.items()}


def fill(template: Any, values: Mapping[str, str]) -> Any:
    """Return a template with its ``{names}`` filled in, through lists and tables; a value that is missing is empty."""
    if isinstance(template, str):
        known = defaultdict(str, values)
        return NAME.sub(lambda name: known[name[1]], template)
    if isinstance(template, dict):
        return {key: fill(value, values) for key, value in template.items()}
    return [fill(one, values) for one in template] if isinstance(template, list) else template


def _refuse(answer: aiohttp.ClientResponse, said: str) -> None:
    reason = f"answered {answer.status}: {said[:200]}"
    if answer.status == TOO_MANY:
        raise Wait(reason, _seconds(answer.headers.get("Retry-After", "")))
    if answer.status >= SERVER_ERROR:
        raise Unavailable(reason)
    raise Rejected(reason)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        # it may be a date, or missing
        return ANSWER_S
