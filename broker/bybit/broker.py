"""Orders, positions and executions on Bybit, in our own terms."""

from __future__ import annotations

import asyncio
import dataclasses
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import structlog

from broker.bybit.api_key import ends
from broker.bybit.errors import CANCEL, CREATE, SET_LEVERAGE, TRADING_STOP
from broker.bybit.instruments import instrument, quote, risk_tiers
from broker.bybit.messages import (
    COIN,
    ISOLATED,
    MARGIN_MODES,
    STATES,
    UNREADABLE,
    ZERO,
    Rows,
    balance,
    closed_part,
    number,
    page_of,
    reading,
    report,
    shown,
    together,
    wallet_shape,
)
from broker.bybit.stream import PrivateStream
from domain.durations import WEEK_MS
from domain.errors import BadData, Objection, Rejected, Unavailable
from domain.ids import parse_order_id
from domain.order import (
    Balance,
    ClosedPart,
    OpenOrder,
    OrderKind,
    OrderReport,
    OrderRequest,
    OrderState,
    PositionReport,
    StreamStatus,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from broker.bybit.rest import BybitClient
    from domain.candle import Bars
    from domain.instrument import Instrument, RiskTier
    from domain.ports import Told
    from domain.records import Fill

log = structlog.get_logger(__name__)

WINDOW_MS = WEEK_MS
AT_ONCE = 8
ORDER_PAGES_MAX = 50
"""Pages that the lists may have about one order: 2,500 executions."""

TIERS_S = 6 * 3600.0
"""Margin tiers change seldom, and with notice."""


class BybitBroker(Rows):
    """Trades USDT perpetuals in one-way mode; implements the Broker port.

    Positions in hedge mode are seen leg by leg, and can be protected and closed by their ``index``.
    """

    def __init__(self, client: BybitClient) -> None:
        super().__init__()
        self._client = client
        self._tiers: dict[str, tuple[RiskTier, ...]] = {}
        self._learned = 0.0
        self._margin_mode = ""
        self._shape: tuple[bool, bool] | None = None
        self._stream: PrivateStream | None = None

    async def instruments(self) -> dict[str, Instrument]:
        """Return the rules of every USDT perpetual, with its turnover of the last 24 hours and what is quoted."""
        tickers = page_of("tickers", await self._client.get("v5/market/tickers", {"category": "linear"}))
        with reading("tickers"):
            turnover = {row["symbol"]: number(row, "turnover24h") for row in tickers}
            quotes = {row["symbol"]: quote(row) for row in tickers}
        by_symbol: dict[str, Instrument] = {}
        async for page in self._client.pages("v5/market/instruments-info", {"category": "linear", "limit": 1000}):
            for row in page:
                try:
                    name = row.get("symbol", "")
                    rules = instrument(row, turnover.get(name, ZERO), self._tiers.get(name, ()), quotes.get(name))
                except (*UNREADABLE, BadData) as error:
                    self.malformed += 1
                    log.warning("trading rules cannot be read: symbol left out",
                                symbol=shown(name, 40), row=shown(row, 80), reason=repr(error))  # fmt: skip
                    continue
                if rules is not None:
                    by_symbol[rules.symbol] = rules
        self._by_symbol = by_symbol
        self._by_venue_id = {contract.venue_id: contract for contract in by_symbol.values()}
        if self._tiers and asyncio.get_running_loop().time() - self._learned > TIERS_S:
            await self.learn_tiers([contract.symbol for contract in by_symbol.values() if contract.tiers])
        return by_symbol

    async def learn_tiers(self, symbols: Sequence[str]) -> dict[str, Instrument]:
        """Fetch the margin tiers of some symbols and keep them; return the rules of those whose tiers are known now.

        Without them an instrument assumes Bybit's lowest tier, so a request that fails costs nothing but precision.
        """
        gate, fresh = asyncio.Semaphore(AT_ONCE), {}
        self._learned = asyncio.get_running_loop().time()

        async def fetch(symbol: str) -> None:
            query = {"category": "linear", "symbol": self._venue_id(symbol)}
            try:
                async with gate:
                    rows = page_of("risk limits", await self._client.get("v5/market/risk-limit", query))
                with reading("risk limits"):
                    self._tiers |= risk_tiers(rows)
            except (Unavailable, Rejected) as error:
                log.warning("margin tiers unknown: the lowest one is assumed", symbol=symbol, reason=str(error))

        async with asyncio.TaskGroup() as group:
            for symbol in symbols:
                group.create_task(fetch(symbol))
        for symbol in symbols:
            rules, tiers = self._by_symbol.get(symbol), self._tiers.get(self._venue_id(symbol))
            if rules is not None and tiers:
                fresh[symbol] = dataclasses.replace(rules, tiers=tiers)
        self._by_symbol |= fresh
        self._by_venue_id |= {contract.venue_id: contract for contract in fresh.values()}
        return fresh

    async def balance(self) -> Balance:
        """Return the account's USDT."""
        result = await self._client.get("v5/account/wallet-balance", {"accountType": "UNIFIED"})
        with reading("wallet balance"):
            account = result["list"][0]
            shape = wallet_shape(account)
            balance(account, "")
        if shape != self._shape:
            # not known yet; or the wallet has another form, so that somebody may have changed how margin is shared
            self._margin_mode, self._shape = await self._asked_margin_mode(), shape
        return balance(account, self._margin_mode)

    async def _asked_margin_mode(self) -> str:
        try:
            info = await self._client.get("v5/account/info", {})
        except Rejected as error:
            log.warning("the account's margin mode is not told", reason=str(error))
            return ""
        with reading("account"):
            return str(info.get("marginMode") or "")

    async def positions(self) -> list[PositionReport]:
        """Return all open USDT positions, every page of them; each leg of a hedge-mode position by itself."""
        reports: list[PositionReport] = []
        query = {"category": "linear", "settleCoin": COIN, "limit": 200}
        async for page in self._client.pages("v5/position/list", query):
            with reading("positions"):
                reports += [position for row in page if (position := self._position(row)).qty]
        isolated = self._margin_mode == ISOLATED
        return [dataclasses.replace(position, isolated=isolated) for position in reports]

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Set the leverage of a symbol; setting it to what it is already is no error."""
        text = format(leverage, "f")
        params = {"category": "linear", "symbol": self._venue_id(symbol), "buyLeverage": text, "sellLeverage": text}
        await self._raise(SET_LEVERAGE, params)

    async def place(self, request: OrderRequest) -> None:
        """Send an order; that its id is a duplicate means that an earlier attempt may have arrived.

        A quantity of 0 that only reduces and closes on trigger is the position, up to the largest order.
        """
        params: dict[str, Any] = {
            "category": "linear", "symbol": self._venue_id(request.symbol), "side": request.side.value,
            "orderType": "Limit" if request.kind is OrderKind.LIMIT else "Market", "qty": format(request.qty, "f"),
            "orderLinkId": request.order_id, "positionIdx": request.index, "reduceOnly": request.reduce_only,
            "timeInForce": "GTC" if request.kind is OrderKind.LIMIT else "IOC",
        }  # fmt: skip
        if request.whole:
            params |= {"qty": "0", "closeOnTrigger": True}
        if request.price is not None:
            params["price"] = format(request.price, "f")
        if request.stop is not None:
            params |= {"stopLoss": format(request.stop, "f"), "slTriggerBy": "LastPrice", "tpslMode": "Full"}
        if request.target is not None:
            params |= {"takeProfit": format(request.target, "f"), "tpTriggerBy": "LastPrice", "tpslMode": "Full"}
        await self._raise(CREATE, params)

    async def _raise(self, path: str, params: dict[str, Any]) -> None:
        """Ask for what may raise the risk; a refusal because of a limit means that other margin tiers hold by now."""
        try:
            await self._client.post(path, params)
        except Rejected as error:
            if error.objection is Objection.RISK_LIMIT:
                self._learned = float("-inf")
            raise

    async def cancel(self, symbol: str, order_id: str) -> None:
        """Cancel an order; one that is gone already is no error."""
        params = {"category": "linear", "symbol": self._venue_id(symbol), "orderLinkId": order_id}
        await self._client.post(CANCEL, params)

    async def set_stop(self, symbol: str, stop: Decimal, target: Decimal | None, *, index: int = 0) -> None:
        """Move the stop of an open position; the same stop again is no error."""
        params = {
            "category": "linear", "symbol": self._venue_id(symbol), "stopLoss": format(stop, "f"), "positionIdx": index,
            "tpslMode": "Full", "slTriggerBy": "LastPrice",
        }  # fmt: skip
        if target is not None:
            params |= {"takeProfit": format(target, "f"), "tpTriggerBy": "LastPrice"}
        await self._client.post(TRADING_STOP, params)

    async def order(self, symbol: str, order_id: str) -> OrderReport:
        """Look an order up in open orders, then history, then executions, each of them page by page."""
        query = {"category": "linear", "symbol": self._venue_id(symbol), "orderLinkId": order_id}
        for path in ("v5/order/realtime", "v5/order/history"):
            rows = await self._all_pages(path, {**query, "limit": 50})
            with reading(path):
                reports = [
                    report(row, order_id, symbol) for row in rows if row.get("orderLinkId", order_id) == order_id
                ]
            if reports:
                # a list that moved on while it was read may show an order twice: what has ended stays so
                return max(reports, key=lambda one: (one.state is not OrderState.WORKING, one.filled_qty))
        fills = await self._all_pages("v5/execution/list", {**query, "limit": 50})
        if fills:
            with reading("executions"):
                # what was executed while the pages were being turned moves rows to the next one
                filled = sum({str(row["execId"]): number(row, "execQty") for row in fills}.values(), ZERO)
            return OrderReport(order_id, symbol, OrderState.FILLED, filled)
        return OrderReport(order_id, symbol, OrderState.NOT_FOUND)

    async def _all_pages(self, path: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of all pages about one order. Raises Unavailable when there are too many to be about one."""
        rows: list[dict[str, Any]] = []
        pages = 0
        async for page in self._client.pages(path, query):
            rows += page
            pages += 1
            if pages > ORDER_PAGES_MAX:
                raise Unavailable(f"{path}: more than {ORDER_PAGES_MAX} pages about one order")
        return rows

    async def flat(self, symbol: str) -> bool:
        """Return whether the exchange lists the symbol with a size of zero; an answer without it says nothing.

        A contract that it does not list any more has been settled, unless it is among all positions.
        """
        query = {"category": "linear", "symbol": self._venue_id(symbol)}
        try:
            rows = page_of("position", await self._client.get("v5/position/list", query))
        except Rejected:
            if not await self._delisted(symbol):
                raise
            rows = []
        if not rows and await self._delisted(symbol):
            return symbol not in {position.symbol for position in await self.positions()}
        with reading("position"):
            return bool(rows) and all(str(row["size"]) != "" and not number(row, "size") for row in rows)

    async def _delisted(self, symbol: str) -> bool:
        if symbol in self._by_symbol:
            await self.instruments()
        return symbol not in self._by_symbol

    async def fills_since(self, time: int, until: int, symbol: str = "") -> list[Fill]:
        """Return every execution with a time in [time, until], oldest first, in windows of seven days."""
        fills: dict[str, Fill] = {}
        # no execType: every kind of execution is asked for, those included that nobody knows yet
        async for page in self._windows("v5/execution/list", time, until, symbol):
            fills |= {fill.exec_id: fill for fill in self._fills(page) if symbol in {"", fill.symbol}}
        # pages come newest first: turned round, executions of one moment keep their order
        turned = [*fills.values()][::-1]
        return sorted(turned, key=lambda fill: fill.time)

    async def closed_since(self, time: int, until: int, symbol: str) -> list[ClosedPart]:
        """Return what has been booked as closed, oldest first, in windows of seven days; one part for each order."""
        parts: list[ClosedPart] = []
        seen: set[str] = set()
        async for page in self._windows("v5/position/closed-pnl", time, until, symbol):
            # what was booked while the pages were being turned moves rows to the next one
            with reading("closed profits"):
                fresh = [row for row in page if str(row) not in seen]
                seen |= {str(row) for row in page}
                parts += [closed_part(row, symbol) for row in fresh if row["symbol"] == self._venue_id(symbol)]
        turned = together(parts)[::-1]
        return sorted(turned, key=lambda part: part.time)

    async def _windows(self, path: str, time: int, until: int, symbol: str) -> AsyncIterator[list[dict[str, Any]]]:
        query: dict[str, Any] = {"category": "linear", "limit": 100}
        # what is not listed any more may not be asked for by name
        if symbol in self._by_symbol:
            query["symbol"] = self._venue_id(symbol)
        for start in range(time, until + 1, WINDOW_MS):
            # both ends are inclusive: a window that shared its end with the next would report that moment twice
            window = {"startTime": start, "endTime": start + WINDOW_MS - 1}
            try:
                async for page in self._client.pages(path, query | window):
                    yield page
            except Rejected:
                if "symbol" not in query or not await self._delisted(symbol):
                    raise
                del query["symbol"]
                async for page in self._client.pages(path, query | window):
                    yield page

    async def open_orders(self) -> list[OpenOrder]:
        """Return every working order that carries an id of ours."""
        orders: list[OpenOrder] = []
        query = {"category": "linear", "settleCoin": COIN, "openOnly": 0, "limit": 50}
        async for page in self._client.pages("v5/order/realtime", query):
            with reading("open orders"):
                ours = [row for row in page if parse_order_id(str(row.get("orderLinkId", "")))]
                orders += [
                    self._open_order(row) for row in ours
                    if STATES.get(row["orderStatus"], OrderState.WORKING) is OrderState.WORKING
                ]  # fmt: skip
        return orders

    @property
    def private_stream(self) -> StreamStatus:
        """How the private stream is doing."""
        return self._stream.status if self._stream is not None else StreamStatus()

    def obstacles(self) -> list[str]:
        """Return what keeps the account from being traded at this moment."""
        stream = self._stream.obstacle() if self._stream is not None else ""
        return [
            *self._client.access.obstacles(),
            *(obstacle for obstacle in (stream, self._unknown_margin()) if obstacle),
        ]

    def barred(self) -> str:
        """Return why no entry may be sent."""
        return self._client.access.barred() or self._unknown_margin()

    def _unknown_margin(self) -> str:
        if self._margin_mode in {"", *MARGIN_MODES}:
            return ""
        return f"margin mode is {self._margin_mode}: set cross (REGULAR) or ISOLATED margin"

    def stream(self) -> AsyncGenerator[Sequence[Told], None]:
        """Report executions, orders of ours and positions as they change; an empty list after each (re)connection."""
        endpoint = self._client.endpoint
        hosts = endpoint.private or (endpoint.stream,)
        self._stream = PrivateStream(hosts, endpoint.key, endpoint.secret, self.told, clock_ms=self._client.clock_ms)
        return self._stream.events()

    def on_bars(self, symbol: str, bars: Bars) -> None:
        """Do nothing: a real exchange matches by itself."""

    def on_price(self, symbol: str, price: float, time: int) -> None:
        """Do nothing: a real exchange has prices of its own."""

    async def account_facts(self) -> dict[str, Any]:
        """Return what arming checks need: uid, permissions, read-only flag, margin mode, and when the key ends."""
        key = await self._client.get("v5/user/query-api", {})
        info = await self._client.get("v5/account/info", {})
        with reading("account"):
            return {
                "uid": str(key.get("userID") or key.get("id") or ""), "permissions": _rights(key),
                "read_only": bool(int(key.get("readOnly") or 0)), "margin_mode": str(info.get("marginMode", "")),
                "expires": ends(key),
            }  # fmt: skip

    async def position_modes(self, symbols: Sequence[str]) -> dict[str, tuple[int, Decimal]]:
        """Return (positionIdx, leverage) as the exchange has them for each symbol; an index above 0 is hedge mode."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def ask(symbol: str) -> tuple[int, Decimal]:
            query = {"category": "linear", "symbol": self._venue_id(symbol)}
            async with gate:
                rows = page_of("position modes", await self._client.get("v5/position/list", query))
            with reading("position modes"):
                return max(int(row["positionIdx"]) for row in rows), number(rows[0], "leverage")

        asked = await asyncio.gather(*(ask(symbol) for symbol in symbols))
        return dict(zip(symbols, asked, strict=True))

    def leverage_limit(self, symbol: str) -> Decimal | None:
        """Return the highest leverage that a symbol allows, None when its rules are not known."""
        rules = self._by_symbol.get(symbol)
        return rules.max_leverage if rules is not None else None


def _rights(key: dict[str, Any]) -> dict[str, list[str]]:
    """Return what a key may do, by product; raise a TypeError when that cannot be read."""
    permissions = key.get("permissions") or {}
    if not isinstance(permissions, dict) or not all(isinstance(rights, list) for rights in permissions.values()):
        raise TypeError("permissions are no lists by product")
    return {str(product): [str(right) for right in rights] for product, rights in permissions.items()}
