"""Orders, positions and executions on Bybit, in our own terms."""

from __future__ import annotations

import asyncio
import contextlib
import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import structlog
from ccxt.base.errors import BaseError

from broker.client import ALREADY_THERE, page_of
from broker.key import ends
from domain.errors import OutcomeUnknown, Rejected, Unavailable
from domain.ids import parse_order_id
from domain.instrument import Instrument, unified_symbol
from domain.order import (
    Balance,
    Cause,
    ClosedPart,
    OpenOrder,
    OrderKind,
    OrderReport,
    OrderRequest,
    OrderSide,
    OrderState,
    PositionReport,
    StreamStatus,
)
from domain.records import Fill, Unread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from broker.client import BybitClient
    from domain.candle import Bars
    from domain.ports import Told

log = structlog.get_logger(__name__)

WINDOW_MS = 7 * 86_400_000
RECONNECT_S = (0.5, 15.0)
COIN, SETTLED = "USDT", ":USDT"
TRADES = {"Trade", "AdlTrade", "BustTrade", "Settle", "Delivery"}
CAUSES = {
    "StopLoss": Cause.STOP_LOSS, "PartialStopLoss": Cause.STOP_LOSS, "TrailingStop": Cause.TRAILING_STOP,
    "TakeProfit": Cause.TAKE_PROFIT, "PartialTakeProfit": Cause.TAKE_PROFIT,
}  # fmt: skip
LEG_CAUSES = {"e": Cause.ENTRY, "p": Cause.PARTIAL}
STATES = {
    "New": OrderState.WORKING, "PartiallyFilled": OrderState.WORKING, "Untriggered": OrderState.WORKING,
    "Triggered": OrderState.WORKING, "Created": OrderState.WORKING, "Filled": OrderState.FILLED,
    "Cancelled": OrderState.CANCELLED, "PartiallyFilledCanceled": OrderState.CANCELLED,
    "Deactivated": OrderState.CANCELLED, "Rejected": OrderState.REJECTED,
}  # fmt: skip
ZERO = Decimal(0)


class BybitBroker:
    """Trades USDT perpetuals in one-way mode; implements the Broker port."""

    def __init__(self, client: BybitClient) -> None:
        self._client = client
        self._by_venue_id: dict[str, Instrument] = {}
        self._by_symbol: dict[str, Instrument] = {}
        self.malformed = 0
        self._stream_status = StreamStatus()
        self._unread: list[Unread] = []
        self._jitter = random.Random()  # noqa: S311  spreads reconnects, guards nothing

    async def instruments(self) -> dict[str, Instrument]:
        """Return the rules of every USDT perpetual, with its turnover of the last 24 hours."""
        tickers = page_of("tickers", await self._client.get("v5/market/tickers", {"category": "linear"}))
        with _reading("tickers"):
            turnover = {row["symbol"]: _number(row, "turnover24h") for row in tickers}
        held: dict[str, Instrument] = {}
        async for page in self._client.pages("v5/market/instruments-info", {"category": "linear", "limit": 1000}):
            for row in page:
                try:
                    instrument = _instrument(row, turnover.get(row.get("symbol", ""), ZERO))
                except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
                    self.malformed += 1
                    log.warning("trading rules cannot be read: symbol left out", row=str(row)[:80], reason=repr(error))
                    continue
                if instrument is not None:
                    held[instrument.symbol] = instrument
        self._by_symbol = held
        self._by_venue_id = {one.venue_id: one for one in held.values()}
        return held

    async def balance(self) -> Balance:
        """Return the account's USDT."""
        result = await self._client.get("v5/account/wallet-balance", {"accountType": "UNIFIED"})
        with _reading("wallet balance"):
            account = result["list"][0]
            coin: dict[str, Any] = next((row for row in account["coin"] if row["coin"] == "USDT"), {})
            return Balance(
                _number(coin, "equity"), _number(coin, "walletBalance"), _number(account, "totalAvailableBalance")
            )

    async def positions(self) -> list[PositionReport]:
        """Return all open USDT positions, every page of them."""
        held = []
        query = {"category": "linear", "settleCoin": "USDT", "limit": 200}
        async for page in self._client.pages("v5/position/list", query):
            with _reading("positions"):
                held += [self._position(row) for row in page if _number(row, "size")]
        return held

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Set the leverage of a symbol."""
        text = format(leverage, "f")
        params = {"category": "linear", "symbol": self._venue_id(symbol), "buyLeverage": text, "sellLeverage": text}
        try:
            await self._client.post("v5/position/set-leverage", params)
        except Rejected as error:
            if error.code != 110043:  # noqa: PLR2004  "leverage not modified": it is what we want already
                raise

    async def place(self, request: OrderRequest) -> None:
        """Send an order; a duplicate id means that an earlier attempt arrived, and is no error."""
        params: dict[str, Any] = {
            "category": "linear", "symbol": self._venue_id(request.symbol), "side": request.side.value,
            "orderType": "Limit" if request.kind is OrderKind.LIMIT else "Market", "qty": format(request.qty, "f"),
            "orderLinkId": request.order_id, "positionIdx": request.index, "reduceOnly": request.reduce_only,
            "timeInForce": "GTC" if request.kind is OrderKind.LIMIT else "IOC",
        }  # fmt: skip
        if request.price is not None:
            params["price"] = format(request.price, "f")
        if request.stop is not None:
            params |= {"stopLoss": format(request.stop, "f"), "slTriggerBy": "LastPrice", "tpslMode": "Full"}
        if request.target is not None:
            params |= {"takeProfit": format(request.target, "f"), "tpTriggerBy": "LastPrice", "tpslMode": "Full"}
        try:
            await self._client.post("v5/order/create", params)
        except Rejected as error:
            if error.code in ALREADY_THERE:
                raise OutcomeUnknown(f"{request.order_id} is there already") from error
            raise

    async def cancel(self, symbol: str, order_id: str) -> None:
        """Cancel an order; one that is gone already is no error."""
        params = {"category": "linear", "symbol": self._venue_id(symbol), "orderLinkId": order_id}
        try:
            await self._client.post("v5/order/cancel", params)
        except Rejected as error:
            if error.code != 110001:  # noqa: PLR2004  "order not exists or too late to cancel"
                raise

    async def set_stop(self, symbol: str, stop: Decimal, target: Decimal | None, *, index: int = 0) -> None:
        """Move the stop of an open position; the same stop again is no error."""
        params = {
            "category": "linear", "symbol": self._venue_id(symbol), "stopLoss": format(stop, "f"), "positionIdx": index,
            "tpslMode": "Full", "slTriggerBy": "LastPrice",
        }  # fmt: skip
        if target is not None:
            params |= {"takeProfit": format(target, "f"), "tpTriggerBy": "LastPrice"}
        try:
            await self._client.post("v5/position/trading-stop", params)
        except Rejected as error:
            if error.code != 34040:  # noqa: PLR2004  "not modified"
                raise

    async def order(self, symbol: str, order_id: str) -> OrderReport:
        """Look an order up in open orders, then history, then executions."""
        query = {"category": "linear", "symbol": self._venue_id(symbol), "orderLinkId": order_id}
        for path in ("v5/order/realtime", "v5/order/history"):
            rows = page_of(path, await self._client.get(path, query))
            if rows:
                with _reading(path):
                    state = STATES.get(rows[0]["orderStatus"], OrderState.WORKING)
                    reason = str(rows[0].get("rejectReason", ""))
                    return OrderReport(order_id, symbol, state, _number(rows[0], "cumExecQty"), reason)
        fills = page_of("executions", await self._client.get("v5/execution/list", query))
        if fills:
            with _reading("executions"):
                filled = sum((_number(row, "execQty") for row in fills), ZERO)
            return OrderReport(order_id, symbol, OrderState.FILLED, filled)
        return OrderReport(order_id, symbol, OrderState.NOT_FOUND)

    async def flat(self, symbol: str) -> bool:
        """Say whether the exchange lists the symbol with a size of zero; an answer without it says nothing.

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
            return symbol not in {held.symbol for held in await self.positions()}
        with _reading("position"):
            return bool(rows) and all(str(row["size"]) != "" and not _number(row, "size") for row in rows)

    async def _delisted(self, symbol: str) -> bool:
        if symbol in self._by_symbol:
            await self.instruments()
        return symbol not in self._by_symbol

    async def fills_since(self, time: int, until: int, symbol: str = "") -> list[Fill]:
        """Return every execution with a time in [time, until], oldest first, in windows of seven days."""
        held: dict[str, Fill] = {}
        async for page in self._windows("v5/execution/list", time, until, symbol):
            held |= {fill.exec_id: fill for fill in self._fills(page) if symbol in {"", fill.symbol}}
        # pages come newest first: turned round, executions of one moment keep their order
        turned = [*held.values()][::-1]
        return sorted(turned, key=lambda fill: fill.time)

    async def closed_since(self, time: int, until: int, symbol: str) -> list[ClosedPart]:
        """Return what has been booked as closed, oldest first, in windows of seven days."""
        held: dict[str, ClosedPart] = {}
        async for page in self._windows("v5/position/closed-pnl", time, until, symbol):
            with _reading("closed profits"):
                parts = [_closed_part(row, symbol) for row in page if row["symbol"] == self._venue_id(symbol)]
            held |= {part.venue_order_id: part for part in parts}
        turned = [*held.values()][::-1]
        return sorted(turned, key=lambda part: part.time)

    async def _windows(self, path: str, time: int, until: int, symbol: str) -> AsyncIterator[list[dict[str, Any]]]:
        query: dict[str, Any] = {"category": "linear", "limit": 100}
        # what is not listed any more may not be asked for by name
        if symbol in self._by_symbol:
            query["symbol"] = self._venue_id(symbol)
        for start in range(time, until + 1, WINDOW_MS):
            window = {**query, "startTime": start, "endTime": start + WINDOW_MS}
            async for page in self._client.pages(path, window):
                yield page

    async def open_orders(self) -> list[OpenOrder]:
        """Return every working order that carries an id of ours."""
        held = []
        query = {"category": "linear", "settleCoin": COIN, "openOnly": 0, "limit": 50}
        async for page in self._client.pages("v5/order/realtime", query):
            with _reading("open orders"):
                ours = [row for row in page if parse_order_id(_text(row.get("orderLinkId", "")))]
                held += [self._open_order(row) for row in ours if STATES.get(row["orderStatus"]) is OrderState.WORKING]
        return held

    def _open_order(self, row: dict[str, Any]) -> OpenOrder:
        return OpenOrder(
            row["orderLinkId"], self._symbol(row["symbol"]), OrderSide(row["side"]), _number(row, "qty"),
            _number(row, "cumExecQty"), _number(row, "price"), row.get("reduceOnly") in {True, "true"},
            int(row["createdTime"]),
        )  # fmt: skip

    @property
    def private_stream(self) -> StreamStatus:
        """How the private stream is doing."""
        return self._stream_status

    def obstacles(self) -> list[str]:
        """Return what keeps the account from being traded at this moment."""
        return []

    def barred(self) -> str:
        """Return why no entry may be sent."""
        return ""

    def unread(self) -> list[Unread]:
        """Return, once, what could not be interpreted since this was last called."""
        kept, self._unread = self._unread, []
        return kept

    async def stream(self) -> AsyncIterator[Sequence[Told]]:
        """Yield executions as the private stream tells them, and an empty list after each (re)connection."""
        first, longest = RECONNECT_S
        pause = first
        fresh = True
        while True:
            try:
                if fresh:
                    await self._client.exchange.load_markets()
                    yield []
                    fresh = False
                trades = await self._client.exchange.watch_my_trades()
            except (BaseError, OSError) as error:
                log.warning("private stream lost", reason=type(error).__name__)
                fresh = True
                await asyncio.sleep(self._jitter.uniform(first / 2, pause))
                pause = min(longest, pause * 2)
                continue
            pause = first
            yield self._fills([trade["info"] for trade in trades])

    def on_bars(self, symbol: str, bars: Bars) -> None:
        """Do nothing: a real exchange matches by itself."""

    def on_price(self, symbol: str, price: float, time: int) -> None:
        """Do nothing: a real exchange has prices of its own."""

    async def account_facts(self) -> dict[str, Any]:
        """Return what arming checks need: uid, permissions, read-only flag, margin mode, and when the key ends."""
        key = await self._client.get("v5/user/query-api", {})
        info = await self._client.get("v5/account/info", {})
        with _reading("account"):
            return {
            "uid": str(key.get("userID") or key.get("id") or ""), "permissions": key.get("permissions") or {},
            "read_only": bool(int(key.get("readOnly") or 0)), "margin_mode": str(info.get("marginMode", "")),
            "expires": ends(key),
        }  # fmt: skip

    async def position_modes(self, symbols: Sequence[str]) -> dict[str, tuple[int, Decimal]]:
        """Return (positionIdx, leverage) as the exchange has them for each symbol."""
        modes = {}
        for symbol in symbols:
            query = {"category": "linear", "symbol": self._venue_id(symbol)}
            rows = page_of("position modes", await self._client.get("v5/position/list", query))
            with _reading("position modes"):
                modes[symbol] = (max(int(row["positionIdx"]) for row in rows), _number(rows[0], "leverage"))
        return modes

    def _fills(self, rows: Sequence[dict[str, Any]]) -> list[Fill]:
        held = []
        for row in rows:
            try:
                fill = self._fill(row)
            except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
                # one row that cannot be read must not hide the others
                self.malformed += 1
                log.error("execution cannot be read", row=str(row)[:200], reason=repr(error))
                continue
            if fill is not None:
                held.append(fill)
        return held

    def _fill(self, row: dict[str, Any]) -> Fill | None:
        symbol, kind = self._symbol(row["symbol"]), row.get("execType", "Trade")
        if not symbol.endswith(SETTLED) or (kind not in TRADES and kind != "Funding"):
            return None
        ours = parse_order_id(_text(row.get("orderLinkId", "")))
        cause = (
            LEG_CAUSES.get(ours.leg, Cause.UNKNOWN) if ours else CAUSES.get(row.get("stopOrderType", ""), Cause.UNKNOWN)
        )
        if _number(row, "execQty") <= 0 or _number(row, "execPrice") < 0:
            raise ValueError("an execution of nothing")
        if kind == "Funding":
            cause = Cause.FUNDING
        elif kind in {"AdlTrade", "BustTrade"}:
            cause = Cause.LIQUIDATION
        return Fill(
            time=int(row["execTime"]), exec_id=_text(row["execId"]), order_id=_text(row.get("orderLinkId", "")),
            venue_order_id=_text(row["orderId"]), symbol=symbol, side=OrderSide(row["side"]),
            qty=_number(row, "execQty"), price=_number(row, "execPrice"), fee=_number(row, "execFee"),
            closed_qty=_number(row, "closedSize"), cause=cause,
            maker=row.get("isMaker") in {True, "true", "True"},
        )  # fmt: skip

    def _position(self, row: dict[str, Any]) -> PositionReport:
        sign = 1 if row["side"] == "Buy" else -1
        return PositionReport(
            self._symbol(row["symbol"]), sign * _number(row, "size"), _number(row, "avgPrice"),
            _number(row, "stopLoss"), _number(row, "takeProfit"), _number(row, "leverage"), _number(row, "markPrice"),
            _number(row, "unrealisedPnl"),
        )  # fmt: skip

    def _symbol(self, venue_id: str) -> str:
        """Return the unified name of a contract: what was delisted, or is none of ours, has no rules but a name."""
        found = self._by_venue_id.get(venue_id)
        return found.symbol if found is not None else _symbol_of(venue_id)

    def _venue_id(self, symbol: str) -> str:
        found = self._by_symbol.get(symbol)
        return found.venue_id if found is not None else symbol.removesuffix(SETTLED).replace("/", "")


def _symbol_of(venue_id: str) -> str:
    """Return what a USDT perpetual of that id is called; contracts of other kinds keep their id for a name."""
    base = venue_id.removesuffix(COIN)
    return unified_symbol(base, COIN, COIN) if base and base != venue_id and base.isalnum() else venue_id


def _instrument(row: dict[str, Any], turnover: Decimal) -> Instrument | None:
    if row.get("contractType") != "LinearPerpetual" or row.get("settleCoin") != "USDT":
        return None
    lot = row["lotSizeFilter"]
    return Instrument(
        unified_symbol(row["baseCoin"], row["quoteCoin"], row["settleCoin"]), row["symbol"],
        Decimal(row["priceFilter"]["tickSize"]), Decimal(lot["qtyStep"]), Decimal(lot["minOrderQty"]),
        Decimal(lot["maxMktOrderQty"]), _number(lot, "minNotionalValue"),
        Decimal(row["leverageFilter"]["maxLeverage"]), trading=row["status"] == "Trading", turnover_24h=turnover,
        funding_interval_ms=int(row.get("fundingInterval") or 480) * 60_000,
    )  # fmt: skip


def _closed_part(row: dict[str, Any], symbol: str) -> ClosedPart:
    return ClosedPart(
        str(row["orderId"]), symbol, OrderSide(row["side"]), _number(row, "closedSize"), _number(row, "avgExitPrice"),
        _number(row, "closeFee"), int(row["updatedTime"]),
    )  # fmt: skip


def _number(row: dict[str, Any], name: str) -> Decimal:
    number = Decimal(str(row.get(name) or "0"))
    if not number.is_finite():
        raise ValueError(f"{name} is {number}")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn whatever an unreadable answer leads to into what it means: nothing may be concluded from it."""
    try:
        yield
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise Unavailable(f"{what}: unreadable answer ({error!r})") from error
