"""Lists that are late: what a request sees is what there was some time ago, each list with a delay of its own.

Bybit's order, position, execution and profit lists and its topics come from different services; a change is in one of
them before it is in another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from domain.account import ClosedPnl, Execution, VenueOrder, VenuePosition
from sandbox.clock import wire_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from domain.account import Event

Kind = TypeVar("Kind")
OPEN, HISTORY, EXECUTIONS = "/v5/order/realtime", "/v5/order/history", "/v5/execution/list"
CLOSED, POSITIONS = "/v5/position/closed-pnl", "/v5/position/list"
LISTS = (OPEN, HISTORY, EXECUTIONS, CLOSED, POSITIONS)
WORKING = ("New", "PartiallyFilled", "Untriggered")
LONGEST_MS = 120_000
"""The longest delay; what is older is forgotten."""


class Delays:
    """Remembers what changed lately; ``by_list`` maps paths to milliseconds of delay, and may change at any time."""

    def __init__(self, now: Callable[[], int] = wire_ms) -> None:
        self.by_list: Mapping[str, int] = {}
        self._now = now
        self._orders: dict[str, list[tuple[int, VenueOrder]]] = {}
        self._positions: dict[tuple[str, int], list[tuple[int, VenuePosition]]] = {}
        self._last: dict[tuple[str, int], VenuePosition] = {}
        self._working: dict[str, VenueOrder] = {}
        self._born: dict[str, int] = {}

    def note(self, events: Iterable[Event]) -> None:
        """Take what has just changed."""
        now, delayed = self._now(), bool(self.by_list)
        for event in events:
            if isinstance(event, VenuePosition):
                leg = event.symbol, event.index
                if delayed:
                    before = self._last.get(leg, VenuePosition(symbol=event.symbol, index=event.index))
                    self._positions.setdefault(leg, [(0, before)]).append((now, event))
                self._last[leg] = event
            elif isinstance(event, VenueOrder):
                known = self._working.pop(event.id, None)
                if delayed:
                    self._orders.setdefault(event.id, [(0, known)] if known else []).append((now, event))
                if event.status in WORKING:
                    self._working[event.id] = event
            elif delayed:
                self._born[event.id if isinstance(event, Execution) else _name(event)] = now
        # nothing is known of what changes while no list is late, so that nothing older may be shown afterwards
        self._forget(now - LONGEST_MS if delayed else now + 1)

    def executions(self, rows: Sequence[Execution]) -> list[Execution]:
        """Return the executions that the list shows by now."""
        return [row for row in rows if self._shown(EXECUTIONS, row.id)]

    def closed(self, rows: Sequence[tuple[int, ClosedPnl]]) -> list[tuple[int, ClosedPnl]]:
        """Return the closed profits that the list shows by now."""
        return [row for row in rows if self._shown(CLOSED, _name(row[1]))]

    def order(self, path: str, held: VenueOrder | None) -> VenueOrder | None:
        """Return an order as a list shows it by now, None when it does not yet."""
        limit = self._limit(path)
        versions = self._orders.get(held.id, []) if held is not None else []
        if limit is None or not versions:
            return held
        return next((order for at, order in reversed(versions) if at <= limit), None)

    def open_orders(self, rows: Sequence[VenueOrder], symbol: str) -> list[VenueOrder]:
        """Return a page of open orders as the list shows them by now: with what has ended, without what is new."""
        if self._limit(OPEN) is None:
            return list(rows)
        known = {row.id: row for row in rows}
        known |= {name: kept[-1][1] for name, kept in self._orders.items() if symbol in {"", kept[-1][1].symbol}}
        shown = [order for row in known.values() if (order := self.order(OPEN, row)) and order.status in WORKING]
        return sorted(shown, key=lambda one: -one.sequence)

    def ended_orders(self, rows: Sequence[VenueOrder]) -> list[VenueOrder]:
        """Return the ended orders that the history shows by now."""
        return [
            row for row in rows
            if (shown := self.order(HISTORY, row)) is not None and shown.status not in WORKING
        ]  # fmt: skip

    def positions(self, rows: Iterable[VenuePosition]) -> list[VenuePosition]:
        """Return positions as the list shows them by now."""
        limit = self._limit(POSITIONS)
        if limit is None:
            return list(rows)
        return [
            next((one for at, one in reversed(self._positions.get((row.symbol, row.index), [])) if at <= limit), row)
            for row in rows
        ]  # fmt: skip

    def _limit(self, path: str) -> int | None:
        delay = self.by_list.get(path, 0)
        return self._now() - delay if delay else None

    def _shown(self, path: str, name: str) -> bool:
        limit = self._limit(path)
        return limit is None or self._born.get(name, 0) <= limit

    def _forget(self, before: int) -> None:
        if self._born:
            self._born = {name: at for name, at in self._born.items() if at >= before}
        if self._orders:
            self._orders = {name: kept for name, old in self._orders.items() if (kept := _newer(old, before))}
        if self._positions:
            self._positions = {name: left for name, was in self._positions.items() if (left := _newer(was, before))}


def _newer(versions: list[tuple[int, Kind]], before: int) -> list[tuple[int, Kind]]:
    """Return the versions since a time and the one that was there then; none when nothing has changed since."""
    first = next((number for number, (at, _) in enumerate(versions) if at >= before), None)
    return [] if first is None else versions[max(0, first - 1) :]


def _name(closed: ClosedPnl) -> str:
    return f"{closed.order_id}|{closed.time}|{closed.qty}"
