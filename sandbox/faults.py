"""Switches that make the practice exchange misbehave, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from domain.errors import BadData
from sandbox.limits import BAN_S


class Answer(msgspec.Struct):
    """Answer the next ``times`` requests to ``path`` with an HTTP status or a retCode, without acting on them."""

    path: str
    status: int = 200
    code: int = 0
    times: int = 1


class LoseAnswer(msgspec.Struct):
    """Act on the next ``times`` requests to ``path``, then cut the connection instead of answering."""

    path: str
    times: int = 1


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """A request to the control endpoint; what is not named stays as it is.

    Attributes:
        reset: switch everything off first.
        drop: close every WebSocket now.
        refuse: refuse new WebSockets.
        silence: topics that get no frames any more.
        delay_ms: hold every frame back for so long.
        duplicate: send every frame twice.
        reorder: swap each two frames that follow one another.
        withhold_confirm: topics whose closed bars are not shown.
        answer: canned REST answers.
        lose_answer: REST answers to lose.
        clock_shift_ms: move the exchange's idea of the time.
        lose_stops: accept orders, and forget the stop and target that they carry.
        ban_s: how long an address that asked too often hears nothing but 403 (host's seconds).
        delist: exchange ids of contracts to settle at the last price now, and to know nothing of any more.
    """

    reset: bool = False
    drop: bool = False
    refuse: bool | None = None
    silence: list[str] | None = None
    delay_ms: int | None = None
    duplicate: bool | None = None
    reorder: bool | None = None
    withhold_confirm: list[str] | None = None
    answer: Answer | None = None
    lose_answer: LoseAnswer | None = None
    clock_shift_ms: int | None = None
    lose_stops: bool | None = None
    ban_s: float | None = None
    delist: list[str] = []


@dataclass(slots=True)
class Faults:
    """The switches as they stand."""

    refuse: bool = False
    silence: set[str] = field(default_factory=set)
    delay_ms: int = 0
    duplicate: bool = False
    reorder: bool = False
    withhold_confirm: set[str] = field(default_factory=set)
    answers: list[Answer] = field(default_factory=list)
    lost: list[LoseAnswer] = field(default_factory=list)
    clock_shift_ms: int = 0
    lose_stops: bool = False
    ban_s: float = BAN_S

    def apply(self, body: bytes) -> Change:
        """Change the switches as a JSON request says.

        Raises:
            BadData: when the request is malformed or names an unknown switch.
        """
        try:
            change = msgspec.json.decode(body, type=Change)
        except msgspec.MsgspecError as error:
            raise BadData(f"control request: {error}") from error
        if change.reset:
            for name, value in _defaults().items():
                setattr(self, name, value)
        for name in ("refuse", "delay_ms", "duplicate", "reorder", "clock_shift_ms", "lose_stops", "ban_s"):
            if getattr(change, name) is not None:
                setattr(self, name, getattr(change, name))
        for name in ("silence", "withhold_confirm"):
            if getattr(change, name) is not None:
                setattr(self, name, set(getattr(change, name)))
        if change.answer:
            self.answers.append(change.answer)
        if change.lose_answer:
            self.lost.append(change.lose_answer)
        return change

    def canned(self, path: str) -> Answer | None:
        """Take a canned answer for a path, if one is left."""
        found: Answer | None = _take(self.answers, path)
        return found

    def loses(self, path: str) -> bool:
        """Take the order to lose an answer to a path, if one is left."""
        return _take(self.lost, path) is not None


def _defaults() -> dict[str, Any]:
    fresh = Faults()
    return {name: getattr(fresh, name) for name in Faults.__slots__}


def _take(held: list[Any], path: str) -> Any:
    for item in held:
        if item.path == path:
            item.times -= 1
            if item.times <= 0:
                held.remove(item)
            return item
    return None
