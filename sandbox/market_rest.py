"""Market data over REST."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from domain.errors import Rejected
from sandbox import margin_shapes
from sandbox import market_shapes as shapes
from sandbox.clock import wire_ms
from sandbox.codes import BAD_REQUEST
from sandbox.exchange import FUNDING_RATE
from sandbox.parameters import FAR, Parameters
from sandbox.periods import INTERVALS, NAMES, closes, opens
from sandbox.routes import ALL, DERIVATIVES, LINEAR, Result, Route, Routes, no_symbol
from sandbox.shapes import text

if TYPE_CHECKING:
    from domain.candle import Bar
    from sandbox.exchange import Exchange

RECORDS = {
    "5min": 300_000, "15min": 900_000, "30min": 1_800_000, "1h": 3_600_000, "4h": 14_400_000, "1d": 86_400_000,
}  # fmt: skip
"""Spacings of open interest and of the account ratio."""

RISK_SYMBOLS = 15
"""Symbols on one page of risk limits. Source: docs, market/risk-limit."""


class MarketRest:
    """The public endpoints of one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def routes(self) -> Routes:
        """Return the endpoints."""
        return {
            ("GET", "/v5/market/time"): Route(self._time),
            ("GET", "/v5/market/instruments-info"): Route(self._instruments, ALL),
            ("GET", "/v5/market/kline"): Route(self._kline, (*DERIVATIVES, "spot"), LINEAR, no_symbol),
            ("GET", "/v5/market/mark-price-kline"): Route(self._mark_kline, DERIVATIVES, LINEAR, no_symbol),
            ("GET", "/v5/market/index-price-kline"): Route(self._index_kline, DERIVATIVES, LINEAR, no_symbol),
            ("GET", "/v5/market/premium-index-price-kline"): Route(self._premium_kline, (LINEAR,), LINEAR),
            ("GET", "/v5/market/orderbook"): Route(self._orderbook, ALL, "", no_symbol),
            ("GET", "/v5/market/tickers"): Route(self._tickers, ALL),
            ("GET", "/v5/market/recent-trade"): Route(self._trades, ALL),
            ("GET", "/v5/market/open-interest"): Route(self._open_interest, DERIVATIVES, "", no_symbol),
            ("GET", "/v5/market/account-ratio"): Route(self._account_ratio, DERIVATIVES, "", no_symbol),
            ("GET", "/v5/market/risk-limit"): Route(self._risk_limit, DERIVATIVES),
            ("GET", "/v5/market/price-limit"): Route(self._price_limit, (*DERIVATIVES, "spot"), LINEAR, no_symbol),
            ("GET", "/v5/market/funding/history"): Route(self._funding_history, DERIVATIVES, "", no_symbol),
            ("GET", "/v5/system/status"): Route(lambda _: {"list": []}),
        }

    def _time(self, _: Parameters) -> Result:
        now = wire_ms()
        return {"timeSecond": str(now // 1000), "timeNano": str(now * 1_000_000)}

    def _instruments(self, params: Parameters) -> Result:
        rules = sorted(self._exchange.by_venue_id.values(), key=lambda held: held.venue_id)
        if params.text("status", "Trading") != "Trading":
            rules = []
        if "symbol" in params:
            rules = [held for held in rules if held.venue_id == params.text("symbol")]
        if "baseCoin" in params:
            rules = [held for held in rules if held.symbol.startswith(params.text("baseCoin") + "/")]
        offset, limit = max(0, params.integer("cursor", 0)), params.limit(500, 1000)
        launched = self._exchange.tape.span()[0]
        page = [shapes.instrument(held, launched) for held in rules[offset : offset + limit]]
        more = str(offset + limit) if offset + limit < len(rules) else ""
        return {"category": LINEAR, "list": page, "nextPageCursor": more}

    def _kline(self, params: Parameters, *, mark: bool = False) -> Result:
        rows = [shapes.kline_row(bar) for bar in self._bars(params, mark=mark)]
        return {"category": LINEAR, "symbol": params.text("symbol"), "list": rows}

    def _mark_kline(self, params: Parameters) -> Result:
        answer = self._kline(params, mark=True)
        return {**answer, "list": [row[:5] for row in answer["list"]]}

    def _index_kline(self, params: Parameters) -> Result:
        answer = self._kline(params)
        return {**answer, "list": [row[:5] for row in answer["list"]]}

    def _premium_kline(self, params: Parameters) -> Result:
        answer = self._kline(params)
        return {**answer, "list": [[row[0], "0", "0", "0", "0"] for row in answer["list"]]}

    def _bars(self, params: Parameters, *, mark: bool) -> list[Bar]:
        """Return the bars that were asked for, newest first; with ``mark`` those of the mark price."""
        symbol, interval = self._symbol(params), params.text("interval")
        if interval not in NAMES:
            raise Rejected("Invalid period!", BAD_REQUEST)
        limit, now = params.limit(200, 1000), self._exchange.processed_until
        start, end = max(0, params.integer("start", 0)), min(params.integer("end", FAR), now) + 1
        if interval in INTERVALS:
            step = INTERVALS[interval]
            closed, forming = self._exchange.bars(symbol, step, max(start, end - limit * step), end, mark=mark)
            return [*closed.rows(), *([forming] if forming else [])][::-1][:limit]
        found, first = list[Any](), max(start, self._exchange.tape.span()[0])
        opened = opens(interval, end - 1)
        while len(found) < limit and closes(interval, opened) > first:
            if opened >= start:
                found.append(self._exchange.partial(symbol, opened, min(closes(interval, opened), now), mark=mark))
            opened = opens(interval, opened - 1)
        return found

    def _orderbook(self, params: Parameters) -> Result:
        symbol, now = self._symbol(params), wire_ms()
        book = self._exchange.order_book(symbol, params.limit(25, 1000))
        return {
            "s": params.text("symbol"), **shapes.book_sides(book), "ts": now, "cts": now,
            "u": self._exchange.update_id, "seq": self._exchange.update_id,
        }  # fmt: skip

    def _tickers(self, params: Parameters) -> Result:
        if "symbol" in params:
            wanted = [self._symbol(params)]
        else:
            wanted = sorted(held.symbol for held in self._exchange.by_venue_id.values())
        return {"category": LINEAR, "list": [self.ticker(symbol) for symbol in wanted]}

    def ticker(self, symbol: str) -> dict[str, Any]:
        """Return a symbol's ticker."""
        return shapes.ticker(self._exchange, symbol)

    def _trades(self, params: Parameters) -> Result:
        symbol, limit, base = self._symbol(params), params.limit(500, 1000), self._exchange.tape.base_ms
        now = self._exchange.processed_until
        bars = self._exchange.tape.bars(symbol, now - limit * base, now)
        rows = [shapes.recent_trade(bar, base, params.text("symbol")) for bar in bars.rows() if bar.volume]
        return {"category": LINEAR, "list": rows[::-1]}

    def _open_interest(self, params: Parameters) -> Result:
        symbol, step = self._symbol(params), RECORDS.get(params.text("intervalTime"))
        if step is None:
            raise Rejected("params error: intervalTime invalid", BAD_REQUEST)
        amount = shapes.open_interest(self._exchange, symbol)
        times, more = self._times(params, step, params.limit(50, 200))
        rows = [
            {"openInterest": text(amount), "singleOpenInterest": text(amount / 2), "timestamp": str(time)}
            for time in times
        ]
        return {"symbol": params.text("symbol"), "category": LINEAR, "list": rows, "nextPageCursor": more}

    def _account_ratio(self, params: Parameters) -> Result:
        self._symbol(params)
        step = RECORDS.get(params.text("period"))
        if step is None:
            raise Rejected("params error: period invalid", BAD_REQUEST)
        times, more = self._times(params, step, params.limit(50, 500))
        rows = [
            {"symbol": params.text("symbol"), "buyRatio": "0.5", "sellRatio": "0.5", "timestamp": str(time)}
            for time in times
        ]
        return {"list": rows, "nextPageCursor": more}

    def _times(self, params: Parameters, step: int, limit: int) -> tuple[list[int], str]:
        """Return a page of the times on a grid of ``step`` that were asked for, newest first, and its cursor."""
        first = max(params.integer("startTime", 0), self._exchange.tape.span()[0])
        last = min(params.integer("endTime", FAR), params.integer("cursor", FAR), self._exchange.processed_until)
        last -= last % step
        times = [time for time in range(last, last - limit * step, -step) if time >= first]
        more = times and times[-1] - step >= first
        return times, str(times[-1] - step) if more else ""

    def _risk_limit(self, params: Parameters) -> Result:
        names = [params.text("symbol")] if "symbol" in params else sorted(self._exchange.by_venue_id)
        offset = max(0, params.integer("cursor", 0))
        page = [name for name in names[offset : offset + RISK_SYMBOLS] if name in self._exchange.by_venue_id]
        rows = [row for name in page for row in margin_shapes.risk_tiers(self._exchange.by_venue_id[name])]
        more = str(offset + RISK_SYMBOLS) if offset + RISK_SYMBOLS < len(names) else ""
        return {"category": LINEAR, "list": rows, "nextPageCursor": more}

    def _price_limit(self, params: Parameters) -> Result:
        symbol = self._symbol(params)
        lowest, highest = shapes.price_band(self._exchange, symbol)
        return {
            "symbol": params.text("symbol"), "buyLmt": text(highest), "sellLmt": text(lowest),
            "ts": str(wire_ms()),
        }  # fmt: skip

    def _funding_history(self, params: Parameters) -> Result:
        interval = self._exchange.tape.instruments[self._symbol(params)].funding_interval_ms
        if "startTime" in params and "endTime" not in params:
            raise Rejected("params error: startTime needs endTime", BAD_REQUEST)
        last = min(params.integer("endTime", FAR), self._exchange.processed_until) // interval * interval
        first = max(params.integer("startTime", 0), self._exchange.tape.span()[0])
        times = [last - i * interval for i in range(params.limit(200, 200)) if last - i * interval >= first]
        rate = text(Decimal(FUNDING_RATE))
        rows = [
            {"symbol": params.text("symbol"), "fundingRate": rate, "fundingRateTimestamp": str(time)} for time in times
        ]
        return {"category": LINEAR, "list": rows}

    def _symbol(self, params: Parameters) -> str:
        return self._exchange.instrument_symbol(params.required("symbol"))
