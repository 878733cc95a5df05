"""Bybit's v5 REST endpoints on the practice exchange."""

from __future__ import annotations

import hashlib
import hmac
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from domain.account import BAD_REQUEST, NOT_FOUND, VenueOrder
from domain.errors import Rejected
from domain.order import OrderKind, OrderSide
from sandbox import margin_shapes, shapes
from sandbox.clock import wire_ms
from sandbox.delays import HISTORY, OPEN, WORKING
from sandbox.exchange import FUNDING_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from domain.account import Event
    from sandbox.exchange import Exchange

    Params = Mapping[str, Any]
    Result = dict[str, Any]

FAR = 2**62
INTERVALS = {
    "1": 60_000, "3": 180_000, "5": 300_000, "15": 900_000, "30": 1_800_000, "60": 3_600_000, "120": 7_200_000,
    "240": 14_400_000, "360": 21_600_000, "720": 43_200_000, "D": 86_400_000,
}  # fmt: skip
WEEK_MS = 7 * 86_400_000


def check_signature(exchange: Exchange, headers: Mapping[str, str], payload: str, now: int) -> None:
    """Raise Rejected, with Bybit's codes, unless the request is signed with the account's key and in time.

    Source: Bybit v5, HMAC-SHA256 over timestamp + key + recv_window + (query string or body).
    """
    key, stamp = headers.get("X-BAPI-API-KEY", ""), headers.get("X-BAPI-TIMESTAMP", "")
    window = headers.get("X-BAPI-RECV-WINDOW", "5000")
    if not key:
        raise Rejected("Request parameter error: apiKey is missing", 10001)
    if key != exchange.terms.key:
        raise Rejected("API key is invalid.", 10003)
    expected = hmac.new(exchange.terms.secret.encode(), f"{stamp}{key}{window}{payload}".encode(), hashlib.sha256)
    if not hmac.compare_digest(expected.hexdigest(), headers.get("X-BAPI-SIGN", "")):
        raise Rejected("error sign! please check your signature generation algorithm.", 10004)
    if not stamp.isdecimal() or not now - int(window) <= int(stamp) < now + 1000:
        raise Rejected(
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{stamp}],server_timestamp[{now}],recv_window[{window}]",
            10002,
        )


class Rest:
    """Answers requests; ``publish`` takes the events that a request caused."""

    def __init__(self, exchange: Exchange, publish: Callable[[Sequence[Event]], None]) -> None:
        self._exchange, self._publish = exchange, publish
        self.public: dict[tuple[str, str], Callable[[Params], Result]] = {
            ("GET", "/v5/market/time"): self._time,
            ("GET", "/v5/market/instruments-info"): self._instruments,
            ("GET", "/v5/market/kline"): self._kline,
            ("GET", "/v5/market/mark-price-kline"): self._mark_kline,
            ("GET", "/v5/market/tickers"): self._tickers,
            ("GET", "/v5/market/risk-limit"): self._risk_limit,
            ("GET", "/v5/market/funding/history"): self._funding_history,
            ("GET", "/v5/system/status"): lambda _: {"list": []},
        }
        self.private: dict[tuple[str, str], Callable[[Params], Result]] = {
            ("GET", "/v5/account/info"): self._account_info,
            ("GET", "/v5/account/wallet-balance"): lambda _: {"list": [shapes.wallet(exchange.account)]},
            ("GET", "/v5/user/query-api"): self._query_api,
            ("GET", "/v5/asset/coin/query-info"): lambda _: {"rows": []},
            ("POST", "/v5/order/create"): self._create,
            ("POST", "/v5/order/amend"): self._amend,
            ("POST", "/v5/order/cancel"): self._cancel,
            ("GET", "/v5/order/realtime"): self._realtime,
            ("GET", "/v5/order/history"): self._history,
            ("GET", "/v5/execution/list"): self._executions,
            ("GET", "/v5/position/closed-pnl"): self._closed_pnl,
            ("GET", "/v5/position/list"): self._positions,
            ("POST", "/v5/position/set-leverage"): self._set_leverage,
            ("POST", "/v5/position/trading-stop"): self._trading_stop,
        }

    def _time(self, _: Params) -> Result:
        now = wire_ms()
        return {"timeSecond": str(now // 1000), "timeNano": str(now * 1_000_000)}

    def _instruments(self, params: Params) -> Result:
        if params.get("category", "linear") != "linear":
            return {"category": params["category"], "list": [], "nextPageCursor": ""}
        if params.get("status", "Trading") not in {"Trading", ""}:
            return {"category": "linear", "list": [], "nextPageCursor": ""}
        rules = sorted(self._exchange.by_venue_id.values(), key=lambda held: held.venue_id)
        if params.get("symbol"):
            rules = [held for held in rules if held.venue_id == params["symbol"]]
        offset, limit = _integer(params, "cursor", 0), _limit(params, 500, 1000)
        launched = self._exchange.tape.span()[0]
        page = [shapes.instrument(held, launched) for held in rules[offset : offset + limit]]
        more = str(offset + limit) if offset + limit < len(rules) else ""
        return {"category": "linear", "list": page, "nextPageCursor": more}

    def _kline(self, params: Params, *, mark: bool = False) -> Result:
        symbol = self._symbol(params)
        step = INTERVALS.get(str(params.get("interval")))
        if step is None:
            raise Rejected("Invalid period!", BAD_REQUEST)
        limit = _limit(params, 200, 1000)
        end = min(_integer(params, "end", FAR), self._exchange.processed_until) + 1
        start = max(_integer(params, "start", 0), end - limit * step)
        closed, forming = self._exchange.bars(symbol, step, start, end, mark=mark)
        rows = [shapes.kline_row(bar) for bar in closed.rows()]
        if forming is not None:
            rows.append(shapes.kline_row(forming))
        return {"category": "linear", "symbol": params["symbol"], "list": rows[::-1][:limit]}

    def _mark_kline(self, params: Params) -> Result:
        answer = self._kline(params, mark=True)
        return {**answer, "list": [row[:5] for row in answer["list"]]}

    def _tickers(self, params: Params) -> Result:
        wanted = [self._symbol(params)] if params.get("symbol") else sorted(self._exchange.tape.instruments)
        return {"category": "linear", "list": [self.ticker(symbol) for symbol in wanted]}

    def ticker(self, symbol: str) -> dict[str, Any]:
        """Return a symbol's ticker."""
        exchange, rules = self._exchange, self._exchange.tape.instruments[symbol]
        last = exchange.account.last_price(symbol) or rules.tick
        day = exchange.last_day(symbol)
        first = Decimal(repr(float(day.open[0]))) if len(day) else last
        interval = rules.funding_interval_ms
        half = last * exchange.terms.costs.half_spread
        return {
            "symbol": rules.venue_id, "lastPrice": shapes.text(last), "indexPrice": shapes.text(last),
            "markPrice": shapes.text(last), "prevPrice24h": shapes.text(first), "prevPrice1h": shapes.text(first),
            "price24hPcnt": f"{(last - first) / first:.6f}", "openInterest": "0", "openInterestValue": "0",
            "highPrice24h": shapes.text(day.high.max() if len(day) else last),
            "lowPrice24h": shapes.text(day.low.min() if len(day) else last),
            "turnover24h": f"{day.turnover.sum():.4f}", "volume24h": f"{day.volume.sum():.4f}",
            "fundingRate": shapes.text(FUNDING_RATE), "fundingIntervalHour": str(interval // 3_600_000),
            "nextFundingTime": str((exchange.processed_until // interval + 1) * interval),
            "tickDirection": "ZeroPlusTick",
            "bid1Price": shapes.text(rules.price_down(last - half)), "bid1Size": "100", "basis": "", "basisRate": "",
            "ask1Price": shapes.text(rules.price_up(last + half)), "ask1Size": "100", "deliveryTime": "0",
            "deliveryFeeRate": "", "predictedDeliveryPrice": "",
        } | margin_shapes.ticker(exchange, rules)  # fmt: skip

    def _risk_limit(self, params: Params) -> Result:
        wanted = [params["symbol"]] if params.get("symbol") else sorted(self._exchange.by_venue_id)
        held = self._exchange.by_venue_id
        rows = [row for name in wanted if name in held for row in margin_shapes.risk_tiers(held[name])]
        return {"category": "linear", "list": rows, "nextPageCursor": ""}

    def _funding_history(self, params: Params) -> Result:
        interval = self._exchange.tape.instruments[self._symbol(params)].funding_interval_ms
        last = min(_integer(params, "endTime", FAR), self._exchange.processed_until) // interval * interval
        first = max(_integer(params, "startTime", 0), self._exchange.tape.span()[0])
        times = [last - i * interval for i in range(_limit(params, 200, 200)) if last - i * interval >= first]
        rows = [
            {"symbol": params["symbol"], "fundingRate": shapes.text(FUNDING_RATE), "fundingRateTimestamp": str(time)}
            for time in times
        ]
        return {"category": "linear", "list": rows}

    def _account_info(self, _: Params) -> Result:
        return {
            "marginMode": self._exchange.account.state.margin_mode, "updatedTime": "0", "unifiedMarginStatus": 5,
            "dcpStatus": "OFF",
            "timeWindow": 10, "smpGroup": 0, "isMasterTrader": False, "spotHedgingStatus": "OFF",
        }  # fmt: skip

    def _query_api(self, _: Params) -> Result:
        terms = self._exchange.terms
        return {
            "id": terms.uid, "note": "practice", "apiKey": terms.key, "readOnly": 0, "secret": "",
            "permissions": {"ContractTrade": ["Order", "Position"], "Wallet": [], "Spot": []}, "ips": ["127.0.0.1"],
            "type": 1, "deadlineDay": 3650, "expiredAt": terms.key_ends, "unified": 0, "uta": 1,
            "userID": int(terms.uid), "isMaster": True, "parentUid": "0", "vipLevel": "No VIP",
        }  # fmt: skip

    def _create(self, params: Params) -> Result:
        symbol = self._symbol(params)
        side = _member(OrderSide, params, "side")
        trigger, price = _decimal(params, "triggerPrice"), _decimal(params, "price")
        limit = str(params.get("orderType")) == "Limit"
        if limit and price is None:
            raise Rejected("params error: price is required for a Limit order", BAD_REQUEST)
        kind = OrderKind.LIMIT if limit else OrderKind.MARKET
        if trigger is not None:
            rises = _integer(params, "triggerDirection", 0)
            if rises not in {1, 2}:
                raise Rejected("TriggerDirection invalid", BAD_REQUEST)
            kind = OrderKind.STOP if (rises == 1) == (side is OrderSide.BUY) else OrderKind.TOUCH
        link_id = str(params.get("orderLinkId", ""))
        if len(link_id) > 36 or (not link_id.replace("-", "").replace("_", "").isalnum() and link_id):
            raise Rejected("params error: OrderLinkId invalid", BAD_REQUEST)
        order = VenueOrder(
            id="", link_id=link_id, symbol=symbol, side=side, kind=kind, qty=_decimal(params, "qty") or Decimal(0),
            price=price if limit else None, trigger=trigger, reduce_only=_flag(params, "reduceOnly"),
            stop=_decimal(params, "stopLoss") or Decimal(0), target=_decimal(params, "takeProfit") or Decimal(0),
            time_in_force=str(params.get("timeInForce") or "GTC"), close_on_trigger=_flag(params, "closeOnTrigger"),
            index=_integer(params, "positionIdx", 0),
        )  # fmt: skip
        self._publish(self._exchange.place(order))
        return {"orderId": order.id, "orderLinkId": link_id}

    def _amend(self, params: Params) -> Result:
        held = self._find(params)
        events = self._exchange.account.amend(
            held.id, self._exchange.now(), qty=_decimal(params, "qty"), price=_decimal(params, "price"),
            trigger=_decimal(params, "triggerPrice"), at_once=not self._exchange.terms.step,
        )  # fmt: skip
        self._publish(self._exchange.keep(events))
        return {"orderId": held.id, "orderLinkId": held.link_id}

    def _cancel(self, params: Params) -> Result:
        held = self._find(params)
        self._publish(self._exchange.keep(self._exchange.account.cancel(held.id, self._exchange.now())))
        return {"orderId": held.id, "orderLinkId": held.link_id}

    def _find(self, params: Params) -> VenueOrder:
        order_id, link_id = str(params.get("orderId", "")), str(params.get("orderLinkId", ""))
        held = self._exchange.store.order(order_id=order_id, link_id=link_id)
        if held is None:
            raise Rejected("order not exists or too late to cancel", NOT_FOUND)
        return held

    def _realtime(self, params: Params) -> Result:
        return self._orders(params, is_open=True)

    def _history(self, params: Params) -> Result:
        return self._orders(params, is_open=False)

    def _orders(self, params: Params, *, is_open: bool) -> Result:
        symbol = self._symbol(params) if params.get("symbol") else ""
        if params.get("orderId") or params.get("orderLinkId"):
            found = self._exchange.store.order(
                order_id=str(params.get("orderId", "")), link_id=str(params.get("orderLinkId", ""))
            )
            found = self._exchange.delays.order(OPEN if is_open else HISTORY, found)
            rows = [found] if found and (not symbol or found.symbol == symbol) else []
            if not is_open:
                rows = [held for held in rows if held.status not in WORKING]
            more = ""
        else:
            limit = _limit(params, 20, 50)
            rows = self._exchange.store.orders(
                symbol, is_open=is_open, before=_integer(params, "cursor", FAR), limit=limit
            )
            more = str(rows[-1].sequence) if len(rows) == limit else ""
            delays = self._exchange.delays
            rows = delays.open_orders(rows, symbol) if is_open else delays.ended_orders(rows)
        shown = [shapes.order(held, self._venue_id(held.symbol)) for held in rows]
        return {"category": "linear", "list": shown, "nextPageCursor": more}

    def _executions(self, params: Params) -> Result:
        start, end = self._window(params)
        limit = _limit(params, 50, 100)
        symbol = self._symbol(params) if params.get("symbol") else ""
        rows = self._exchange.store.executions(symbol, start, end, before=_integer(params, "cursor", FAR), limit=limit)
        more = str(rows[-1].sequence) if len(rows) == limit else ""
        link = params.get("orderLinkId")
        shown = [
            shapes.execution(held, self._venue_id(held.symbol))
            for held in self._exchange.delays.executions(rows)
            if not link or held.link_id == link
        ]
        return {"category": "linear", "list": shown, "nextPageCursor": more}

    def _closed_pnl(self, params: Params) -> Result:
        start, end = self._window(params)
        limit = _limit(params, 50, 100)
        symbol = self._symbol(params) if params.get("symbol") else ""
        rows = self._exchange.store.closed_pnl(symbol, start, end, before=_integer(params, "cursor", FAR), limit=limit)
        more = str(rows[-1][0]) if len(rows) == limit else ""
        shown = [shapes.closed_pnl(held, self._venue_id(held.symbol)) for _, held in self._exchange.delays.closed(rows)]
        return {"category": "linear", "list": shown, "nextPageCursor": more}

    def _window(self, params: Params) -> tuple[int, int]:
        start, end = _integer(params, "startTime", -1), _integer(params, "endTime", -1)
        if start < 0:
            end = self._exchange.now() if end < 0 else end
            return end - WEEK_MS, end
        end = start + WEEK_MS if end < 0 else end
        if end - start > WEEK_MS:
            raise Rejected("The time range between startTime and endTime cannot exceed 7 days", BAD_REQUEST)
        return start, end

    def _positions(self, params: Params) -> Result:
        account = self._exchange.account
        if params.get("symbol"):
            held = self._exchange.delays.positions(account.legs(self._symbol(params)))
        elif params.get("settleCoin"):
            known = [*account.state.positions.values(), *account.state.legs]
            held = [one for one in self._exchange.delays.positions(known) if one.qty]
        else:
            raise Rejected("params error: symbol or settleCoin is required", BAD_REQUEST)
        ordered = sorted(held, key=lambda one: (one.symbol, one.index))
        offset, limit = _integer(params, "cursor", 0), _limit(params, 20, 200)
        page = ordered[offset : offset + limit]
        rows = [shapes.position(one, self._venue_id(one.symbol), account, "avgPrice") for one in page]
        more = str(offset + limit) if offset + limit < len(ordered) else ""
        return {"category": "linear", "list": rows, "nextPageCursor": more}

    def _set_leverage(self, params: Params) -> Result:
        leverage = _decimal(params, "buyLeverage")
        if leverage is None:
            raise Rejected("params error: buyLeverage is required", BAD_REQUEST)
        account = self._exchange.account
        self._publish(self._exchange.keep(account.set_leverage(self._symbol(params), leverage, self._exchange.now())))
        return {}

    def _trading_stop(self, params: Params) -> Result:
        events = self._exchange.account.set_leg_stops(
            self._symbol(params), _integer(params, "positionIdx", 0), self._exchange.now(),
            stop=_decimal(params, "stopLoss"), target=_decimal(params, "takeProfit"),
        )  # fmt: skip
        self._publish(self._exchange.keep(events))
        return {}

    def _symbol(self, params: Params) -> str:
        return self._exchange.instrument_symbol(str(params.get("symbol", "")))

    def _venue_id(self, symbol: str) -> str:
        return self._exchange.tape.instruments[symbol].venue_id


def _decimal(params: Params, name: str) -> Decimal | None:
    value = params.get(name)
    if value in {None, ""}:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise Rejected(f"params error: {name} {value!r} is no number", BAD_REQUEST) from None
    if not number.is_finite() or number < 0:
        raise Rejected(f"params error: {name} {value!r} is out of range", BAD_REQUEST)
    return number


def _integer(params: Params, name: str, default: int) -> int:
    value = params.get(name)
    if value in {None, ""}:
        return default
    try:
        return int(str(value))
    except ValueError:
        raise Rejected(f"params error: {name} {value!r} is no whole number", BAD_REQUEST) from None


def _limit(params: Params, default: int, most: int) -> int:
    return min(most, max(1, _integer(params, "limit", default)))


def _flag(params: Params, name: str) -> bool:
    return str(params.get(name, False)).lower() == "true"


def _member(kind: type[OrderSide], params: Params, name: str) -> OrderSide:
    try:
        return kind(str(params.get(name)))
    except ValueError:
        raise Rejected(f"params error: {name} {params.get(name)!r} is invalid", BAD_REQUEST) from None
