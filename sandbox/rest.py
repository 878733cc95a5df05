"""Bybit's v5 REST endpoints on the practice exchange."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from domain.errors import Rejected
from sandbox.account_rest import AccountRest
from sandbox.clock import wire_ms
from sandbox.codes import BAD_REQUEST
from sandbox.dcp import Dcp
from sandbox.history_rest import HistoryRest
from sandbox.limits import Limits
from sandbox.market_rest import MarketRest
from sandbox.order_rest import OrderRest
from sandbox.position_rest import PositionRest
from sandbox.trailing import TrailingStops

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from domain.account import Event
    from sandbox.exchange import Exchange

RECV_WINDOW_MAX = 2**31
DCP_NOTE = "dcp"


def check_signature(exchange: Exchange, headers: Mapping[str, str], payload: str, now: int) -> None:
    """Raise Rejected, with Bybit's codes, unless the request is signed with the account's key and in time.

    Source: Bybit v5, HMAC-SHA256 over timestamp + key + recv_window + (query string or body).
    """
    key, stamp = headers.get("X-BAPI-API-KEY", ""), headers.get("X-BAPI-TIMESTAMP", "")
    window = headers.get("X-BAPI-RECV-WINDOW") or "5000"
    if not key:
        raise Rejected("Request parameter error: apiKey is missing", BAD_REQUEST)
    if key != exchange.terms.key:
        raise Rejected("API key is invalid.", 10003)
    expected = hmac.new(exchange.terms.secret.encode(), f"{stamp}{key}{window}{payload}".encode(), hashlib.sha256)
    if not hmac.compare_digest(expected.hexdigest().encode(), headers.get("X-BAPI-SIGN", "").encode()):
        raise Rejected("error sign! please check your signature generation algorithm.", 10004)
    check_time(stamp, window, now)


def check_time(stamp: str, window: str, now: int) -> None:
    """Raise Rejected 10002 unless server time - ``window`` <= ``stamp`` < server time + 1000 (ms)."""
    usable = all(text.isascii() and text.isdecimal() and len(text) < 16 for text in (stamp, window))
    if not usable or not now - min(int(window), RECV_WINDOW_MAX) <= int(stamp) < now + 1000:
        raise Rejected(
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{stamp[:40]}],server_timestamp[{now}],recv_window[{window[:40]}]",
            10002,
        )


class Rest:
    """All endpoints; ``publish`` takes the events that a request caused."""

    def __init__(self, exchange: Exchange, publish: Callable[[Sequence[Event]], None], limits: Limits) -> None:
        self._exchange, self._publish, self._limits = exchange, publish, limits
        store = exchange.store
        self.trailing = TrailingStops(exchange)
        self.dcp = Dcp(store.get(DCP_NOTE), lambda body: store.put(DCP_NOTE, body), self._cancel_all)
        self._market = MarketRest(exchange)
        self.public = self._market.routes()
        self.private = {
            **OrderRest(exchange, publish, self._grant).routes(), **HistoryRest(exchange).routes(),
            **PositionRest(exchange, publish, self.trailing).routes(), **AccountRest(exchange, self.dcp).routes(),
        }  # fmt: skip

    def ticker(self, symbol: str) -> dict[str, Any]:
        """Return a symbol's ticker."""
        return self._market.ticker(symbol)

    def _grant(self, path: str, wanted: int) -> int:
        """Return how many more orders of a batch its path may take; the request itself has taken one."""
        spent = self._limits.spend(path, wire_ms(), wanted - 1)
        return wanted if spent is None else spent.granted + 1

    def _cancel_all(self) -> None:
        account, now = self._exchange.account, self._exchange.now()
        for order in list(account.state.orders.values()):
            if order.id in account.state.orders and not order.stop_type:
                self._publish(self._exchange.keep(account.cancel(order.id, now)))
