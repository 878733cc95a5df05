"""What has become of orders: open and closed ones, executions, closed profits, the ledger."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from domain.account import Execution, VenueOrder
from domain.durations import DAY_MS
from domain.errors import Rejected
from domain.trade import ZERO
from sandbox import shapes
from sandbox.codes import BAD_REQUEST
from sandbox.delays import HISTORY, OPEN, WORKING
from sandbox.filters import OrderFilter, SymbolFilter, page
from sandbox.parameters import FAR, Parameters
from sandbox.routes import ALL, DERIVATIVES, LINEAR, Result, Route, Routes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.exchange import Exchange

RECENT = 500
"""Closed orders that are still among the open ones on demand. Source: docs, order/open-order."""


class HistoryRest:
    """The endpoints that list what has happened on one account."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def routes(self) -> Routes:
        """Return the endpoints."""
        return {
            ("GET", "/v5/order/realtime"): Route(self._realtime, ALL),
            ("GET", "/v5/order/history"): Route(self._history, ALL),
            ("GET", "/v5/execution/list"): Route(self._executions, ALL),
            ("GET", "/v5/position/closed-pnl"): Route(self._closed_pnl, DERIVATIVES),
            ("GET", "/v5/account/transaction-log"): Route(self._ledger, ALL, LINEAR),
        }

    def _realtime(self, params: Parameters) -> Result:
        """List the open orders; one that is named is shown though it has ended."""
        named = "orderId" in params or "orderLinkId" in params
        if not named and not any(name in params for name in ("symbol", "baseCoin", "settleCoin")):
            text = "Missing some parameters that must be filled in, symbol or settleCoin or baseCoin"
            raise Rejected(f"params error: {text}", BAD_REQUEST)
        closed = params.integer("openOnly", 0)
        if closed not in {0, 1}:
            raise Rejected("params error: openOnly invalid", BAD_REQUEST)
        wanted = OrderFilter.of(params, self._exchange)
        if named:
            return self._orders([one for one in self._named(params, OPEN) if wanted.symbols.keeps(one.symbol)], "")
        if not closed:
            return self._open(params, wanted)
        recent = iter(range(RECENT))
        return self._ended(params, lambda one: wanted.keeps(one) and next(recent, None) is not None, OPEN)

    def _history(self, params: Parameters) -> Result:
        """List the closed orders; those cancelled without a fill for a day only. Source: docs, order/order-list."""
        wanted, now = OrderFilter.of(params, self._exchange), self._exchange.now()
        start, end = params.window(now)
        if "orderId" in params or "orderLinkId" in params:
            ended = [one for one in self._named(params, HISTORY) if one.status not in WORKING]
            return self._orders([one for one in ended if wanted.symbols.keeps(one.symbol)], "")

        def keeps(order: VenueOrder) -> bool:
            kept = bool(order.filled) or order.status == "Filled" or order.updated > now - DAY_MS
            return kept and start <= order.created <= end and wanted.keeps(order)

        return self._ended(params, keeps, HISTORY)

    def _named(self, params: Parameters, path: str) -> list[VenueOrder]:
        """Return the order with an id as a list shows it by now, nothing when it does not yet."""
        order_id, link_id = params.text("orderId"), params.text("orderLinkId")
        stored = self._exchange.store.order(order_id=order_id, link_id="" if order_id else link_id)
        shown = self._exchange.delays.order(path, stored)
        return [shown] if shown else []

    def _open(self, params: Parameters, wanted: OrderFilter) -> Result:
        """List the working orders; a late list has what has ended since, and not what is new."""
        orders = sorted(self._exchange.account.state.orders.values(), key=lambda one: -one.sequence)
        shown = self._exchange.delays.open_orders(orders, "")

        def fetch(before: int, limit: int) -> list[VenueOrder]:
            return [one for one in shown if one.sequence < before][:limit]

        return self._paged(params, fetch, wanted.keeps)

    def _ended(self, params: Parameters, keeps: Callable[[VenueOrder], bool], path: str) -> Result:
        """List the ended orders that the list of a path shows by now."""
        exchange = self._exchange

        def fetch(before: int, limit: int) -> list[VenueOrder]:
            return exchange.store.orders("", is_open=False, before=before, limit=limit)

        return self._paged(params, fetch, lambda one: bool(exchange.delays.ended_orders([one], path)) and keeps(one))

    def _paged(
        self, params: Parameters, fetch: Callable[[int, int], list[VenueOrder]], keeps: Callable[[VenueOrder], bool]
    ) -> Result:
        cursor = params.integer("cursor", FAR)
        return self._orders(*page(fetch, lambda one: one.sequence, keeps, cursor, params.limit(20, 50)))

    def _orders(self, rows: list[VenueOrder], more: str) -> Result:
        shown = [shapes.order(order, self._venue_id(order.symbol)) for order in rows]
        return {"category": LINEAR, "list": shown, "nextPageCursor": more}

    def _executions(self, params: Parameters) -> Result:
        """List executions; with an order's id everything else is ignored. Source: docs, order/execution."""
        start, end = params.window(self._exchange.now())
        symbols, kind = SymbolFilter.of(params, self._exchange), params.text("execType")
        order_id, link_id = params.text("orderId"), params.text("orderLinkId")

        def keeps(held: Execution) -> bool:
            if not self._exchange.delays.executions([held]):
                return False
            if order_id or link_id:
                return held.order_id == order_id if order_id else held.link_id == link_id
            return symbols.keeps(held.symbol) and (not kind or held.kind == kind)

        if order_id or link_id:
            start, end = 0, FAR
        rows, more = page(
            self._fetch(start, end), lambda one: one.sequence, keeps, params.integer("cursor", FAR),
            params.limit(50, 100),
        )  # fmt: skip
        shown = [shapes.execution(held, self._venue_id(held.symbol)) for held in rows]
        return {"category": LINEAR, "list": shown, "nextPageCursor": more}

    def _fetch(self, start: int, end: int) -> Callable[[int, int], list[Execution]]:
        store = self._exchange.store
        return lambda before, limit: store.executions("", start, end, before=before, limit=limit)

    def _closed_pnl(self, params: Parameters) -> Result:
        start, end = params.window(self._exchange.now())
        symbols, store, delays = SymbolFilter.of(params, self._exchange), self._exchange.store, self._exchange.delays
        rows, more = page(
            lambda before, limit: store.closed_pnl("", start, end, before=before, limit=limit), lambda row: row[0],
            lambda row: symbols.keeps(row[1].symbol) and bool(delays.closed([row])), params.integer("cursor", FAR),
            params.limit(50, 100),
        )  # fmt: skip
        shown = [shapes.closed_pnl(part, self._venue_id(part.symbol)) for _, part in rows]
        return {"category": LINEAR, "list": shown, "nextPageCursor": more}

    def _ledger(self, params: Parameters) -> Result:
        """List what changed the wallet; the balance after each is counted back from the wallet of today."""
        params.choice("accountType", ("UNIFIED",))
        start, end = params.window(self._exchange.now(), DAY_MS)
        wanted, coin, base = params.text("type"), params.text("currency"), params.text("baseCoin")
        limit, before, last = params.limit(20, 50), params.integer("cursor", FAR), ""
        rows = list[Result]()
        for held, row in self._entries(start):
            right = (not wanted or row["type"] == wanted) and (not base or held.symbol.startswith(base + "/"))
            if held.sequence >= before or not start <= held.time <= end or not right or coin not in {"", "USDT"}:
                continue
            if len(rows) == limit:
                return {"list": rows, "nextPageCursor": last}
            rows.append(row)
            last = str(held.sequence)
        return {"list": rows, "nextPageCursor": ""}

    def _entries(self, start: int) -> Iterator[tuple[Execution, Result]]:
        """Yield every execution since a time, newest first, with its line in the ledger."""
        opened, balance, before = self._opened_at(start), self._exchange.account.state.wallet, FAR
        sizes = dict[str, Decimal]()
        for position in self._exchange.account.open_positions():
            sizes[position.symbol] = sizes.get(position.symbol, ZERO) + position.qty
        fetch = self._fetch(start, FAR)
        while chunk := fetch(before, RECENT):
            for execution in chunk:
                entry = opened.get((execution.order_id, execution.time), execution.price)
                flow = execution.closed * execution.side.sign * (entry - execution.price)
                size = sizes.get(execution.symbol, ZERO)
                yield execution, shapes.ledger_row(execution, self._venue_id(execution.symbol), flow, balance, size)
                balance -= flow - execution.fee
                if execution.kind != "Funding":
                    sizes[execution.symbol] = size - execution.side.sign * execution.qty
            before = chunk[-1].sequence

    def _opened_at(self, start: int) -> dict[tuple[str, int], Decimal]:
        """Return the entry prices of what orders closed, by order and time."""
        prices, before = dict[tuple[str, int], Decimal](), FAR
        while chunk := self._exchange.store.closed_pnl("", start, FAR, before=before, limit=RECENT):
            prices |= {(part.order_id, part.time): part.entry_price for _, part in chunk}
            before = chunk[-1][0]
        return prices

    def _venue_id(self, symbol: str) -> str:
        return self._exchange.tape.instruments[symbol].venue_id
