"""Switches that make the practice exchange misbehave, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from domain.direction import Fate, Slicing
from domain.errors import BadData
from domain.ids import parse_order_id
from sandbox.delays import LISTS, LONGEST_MS
from sandbox.limits import BAN_S
from sandbox.market_events import Happenings

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.account import VenueOrder

TOPICS = ("order", "execution", "execution.fast", "position", "wallet")
Delay = Annotated[int, Meta(ge=0, le=LONGEST_MS)]


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


class EndOrders(msgspec.Struct, forbid_unknown_fields=True):
    """Accept the next ``times`` orders that match, fill a ``share`` of each, then end it, ``after_ms`` later.

    What is not given matches every order: ``symbol`` is the exchange's name, ``leg`` the letter in the bot's order ids
    (e, p, x), ``kind`` Market, Limit, Stop or Touch, ``stop_type`` StopLoss or TakeProfit; conditional orders meet
    their end when they are triggered.
    """

    times: Annotated[int, Meta(ge=1)] = 1
    symbol: str = ""
    leg: str = ""
    kind: str = ""
    stop_type: str = ""
    reduce_only: bool | None = None
    share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    status: Literal["Cancelled", "Rejected", "PartiallyFilledCanceled", "Deactivated"] = "Cancelled"
    reason: str = "EC_NoImmediateQtyToFill"
    after_ms: Delay = 0

    def matches(self, order: VenueOrder, venue_id: str) -> bool:
        """Return whether an order is one of those meant."""
        ours = parse_order_id(order.link_id)
        given = (
            (self.symbol, venue_id), (self.leg, ours.leg if ours else ""), (self.kind, order.kind.value),
            (self.stop_type, order.stop_type),
        )  # fmt: skip
        return all(not wanted or wanted == found for wanted, found in given) and (
            self.reduce_only is None or self.reduce_only == order.reduce_only
        )


class Slices(msgspec.Struct, forbid_unknown_fields=True):
    """Fill every order in ``parts`` executions of about the same size, ``apart_ms`` apart; 0 for one message."""

    parts: Annotated[int, Meta(ge=1, le=100)]
    apart_ms: Delay = 0


class Change(Happenings, forbid_unknown_fields=True):
    """A request to the control endpoint; what is not named stays as it is.

    What happens to contracts and positions is Happenings'; the rest makes the exchange misbehave.

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
        end_orders: accept orders, and end them afterwards.
        slices: split orders so, whatever the book has; ``null`` lets the book decide again.
        delay_lists: milliseconds by which a list (its path) or a private topic is late; replaces what was set before.
        ban_s: how long an address that asked too often hears nothing but 403 (host's seconds).
        delist: exchange ids of contracts to settle at the mark price now, and to know nothing of any more.
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
    end_orders: EndOrders | None = None
    slices: Slices | msgspec.UnsetType | None = msgspec.UNSET
    delay_lists: dict[str, Delay] | None = None
    ban_s: float | None = None
    delist: list[str] = msgspec.field(default_factory=list)


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
    ends: list[EndOrders] = field(default_factory=list)
    slices: Slices | None = None
    delays: dict[str, int] = field(default_factory=dict)
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
        unknown = sorted(set(change.delay_lists or {}) - {*LISTS, *TOPICS})
        if unknown:
            raise BadData(f"control request: delay_lists: {unknown[0]} is none of {', '.join((*LISTS, *TOPICS))}")
        if change.reset:
            for name, value in _defaults().items():
                setattr(self, name, value)
        self._set(change)
        self._queue(change)
        return change

    def _set(self, change: Change) -> None:
        for name in ("refuse", "delay_ms", "duplicate", "reorder", "clock_shift_ms", "lose_stops", "ban_s"):
            if getattr(change, name) is not None:
                setattr(self, name, getattr(change, name))
        for name in ("silence", "withhold_confirm"):
            if getattr(change, name) is not None:
                setattr(self, name, set(getattr(change, name)))
        if change.slices is not msgspec.UNSET:
            self.slices = change.slices
        if change.delay_lists is not None:
            self.delays = dict(change.delay_lists)

    def _queue(self, change: Change) -> None:
        if change.answer:
            self.answers.append(change.answer)
        if change.lose_answer:
            self.lost.append(change.lose_answer)
        if change.end_orders:
            self.ends.append(change.end_orders)

    def canned(self, path: str) -> Answer | None:
        """Take a canned answer for a path, if one is left."""
        answer: Answer | None = _take(self.answers, path)
        return answer

    def loses(self, path: str) -> bool:
        """Take the order to lose an answer to a path, if one is left."""
        return _take(self.lost, path) is not None


class FaultDirector:
    """Tells the account what the switches want; ``market_ms`` turns the host's milliseconds into the market's."""

    def __init__(
        self, faults: Faults, venue_id: Callable[[str], str], market_ms: Callable[[int], int]
    ) -> None:  # fmt: skip
        self._faults, self._venue_id, self._market_ms = faults, venue_id, market_ms

    def fate(self, order: VenueOrder) -> Fate | None:
        """Return what an order must come to, and count it."""
        for ending in self._faults.ends:
            if ending.matches(order, self._venue_id(order.symbol)):
                ending.times -= 1
                if ending.times <= 0:
                    self._faults.ends.remove(ending)
                return Fate(Decimal(repr(ending.share)), ending.status, ending.reason, self._market_ms(ending.after_ms))
        return None

    def slicing(self, order: VenueOrder) -> Slicing | None:  # noqa: ARG002  all orders alike
        """Return how orders must be split."""
        forced = self._faults.slices
        return None if forced is None else Slicing(forced.parts, self._market_ms(forced.apart_ms))


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
