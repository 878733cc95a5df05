"""Positions over REST: listed, their leverage, mode, stops and targets."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from domain.account import VenueOrder, VenuePosition
from domain.errors import Rejected
from domain.order import OrderKind, OrderSide
from domain.trade import ZERO
from sandbox import shapes
from sandbox.codes import BAD_REQUEST, SAME_STOPS, code_of
from sandbox.order_params import check_modes
from sandbox.parameters import Parameters
from sandbox.practice_account import HAS_POSITION
from sandbox.routes import CONTRACTS, DERIVATIVES, LINEAR, Result, Route, Routes, no_symbol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from domain.account import Event
    from sandbox.exchange import Exchange
    from sandbox.trailing import TrailingStops

PARTIAL_MAX = 20
"""Stops and targets for parts of one position. Source: docs, error 110061."""


class PositionRest:
    """The endpoints that list and change positions."""

    def __init__(self, exchange: Exchange, publish: Callable[[Sequence[Event]], None], trailing: TrailingStops) -> None:
        self._exchange, self._publish, self._trailing = exchange, publish, trailing

    def routes(self) -> Routes:
        """Return the endpoints."""
        return {
            ("GET", "/v5/position/list"): Route(self._positions, CONTRACTS),
            ("POST", "/v5/position/set-leverage"): Route(self._set_leverage, DERIVATIVES, "", no_symbol),
            ("POST", "/v5/position/trading-stop"): Route(self._trading_stop, CONTRACTS, "", no_symbol),
            ("POST", "/v5/position/switch-mode"): Route(self._switch_mode, DERIVATIVES, "", no_symbol),
            ("POST", "/v5/position/add-margin"): Route(self._add_margin, DERIVATIVES, "", no_symbol),
            ("POST", "/v5/position/set-tpsl-mode"): Route(self._set_tpsl_mode, DERIVATIVES, "", no_symbol),
            ("POST", "/v5/position/confirm-pending-mmr"): Route(self._confirm_mmr, DERIVATIVES, "", no_symbol),
        }

    def _positions(self, params: Parameters) -> Result:
        account, delays = self._exchange.account, self._exchange.delays
        if "symbol" in params:
            held = delays.positions(account.legs(self._symbol(params)))
        elif "settleCoin" in params:
            suffix, known = ":" + params.text("settleCoin"), [*account.state.positions.values(), *account.state.legs]
            held = [one for one in delays.positions(known) if one.qty and one.symbol.endswith(suffix)]
        else:
            raise Rejected("params error: symbol or settleCoin is required", BAD_REQUEST)
        ordered = sorted(held, key=lambda one: (one.symbol, one.index))
        offset, limit = max(0, params.integer("cursor", 0)), params.limit(20, 200)
        rows = [self._row(one) for one in ordered[offset : offset + limit]]
        more = str(offset + limit) if offset + limit < len(ordered) else ""
        return {"category": LINEAR, "list": rows, "nextPageCursor": more}

    def _row(self, held: VenuePosition) -> Result:
        venue_id, trailing = self._exchange.venue_id(held.symbol), self._trailing.distance(held.symbol)
        return shapes.position(held, venue_id, self._exchange.account, "avgPrice", trailing)

    def _set_leverage(self, params: Parameters) -> Result:
        buy, sell = params.decimal("buyLeverage"), params.decimal("sellLeverage")
        if buy is None or sell is None:
            raise Rejected("params error: buyLeverage and sellLeverage are required", BAD_REQUEST)
        if buy != sell:
            raise Rejected("buy leverage not equal to sell leverage", BAD_REQUEST)
        account = self._exchange.account
        self._publish(self._exchange.keep(account.set_leverage(self._symbol(params), buy, self._exchange.now())))
        return {}

    def _trading_stop(self, params: Parameters) -> Result:
        symbol, mode, index = self._symbol(params), check_modes(params), params.integer("positionIdx", 0)
        self._exchange.account.leg(symbol, index)
        stop, target = params.decimal("stopLoss"), params.decimal("takeProfit")
        trailing, active = params.decimal("trailingStop"), params.decimal("activePrice")
        if index and (mode == "Partial" or trailing):
            raise Rejected("params error: the practice exchange knows Full stops only in hedge mode", BAD_REQUEST)
        if (mode or self._exchange.store.get(f"tpsl:{symbol}")) == "Partial" and (stop or target):
            self._add_partial(params, symbol, stop, target)
        elif stop is not None or target is not None or trailing is None:
            self._set_full(symbol, index, stop, target, also=trailing is not None)
        if trailing is not None:
            self._publish(self._trailing.set(symbol, trailing, active or None))
        return {}

    def _set_full(self, symbol: str, index: int, stop: Decimal | None, target: Decimal | None, *, also: bool) -> None:
        """Set stop and target; that they are set already is no refusal when there is ``also`` something to do."""
        account, now = self._exchange.account, self._exchange.now()
        account.leg(symbol, index)
        try:
            if index:
                events = account.set_leg_stops(symbol, index, now, stop=stop, target=target)
            else:
                events = account.set_stops(symbol, now, stop=stop, target=target)
        except Rejected as error:
            if code_of(error) == SAME_STOPS and also:
                return
            raise
        self._publish(self._exchange.keep(events))

    def _add_partial(self, params: Parameters, symbol: str, stop: Decimal | None, target: Decimal | None) -> None:
        """Place a stop and a target for a part of the position."""
        account = self._exchange.account
        held, last = account.position(symbol), account.last_price(symbol)
        if not held.qty:
            raise Rejected("can not set tp/sl/ts for zero position", BAD_REQUEST)
        waiting = [one for one in account.state.orders.values() if one.symbol == symbol]
        if sum(one.stop_type.startswith("Partial") for one in waiting) >= PARTIAL_MAX:
            raise Rejected("Not allowed to have more than 20 TP/SLs under Partial tpSlMode", 110061)
        sizes = params.decimal("tpSize"), params.decimal("slSize")
        if target and stop and sizes[0] != sizes[1]:
            raise Rejected("params error: tpSize and slSize must be equal", BAD_REQUEST)
        side = OrderSide.SELL if held.qty > 0 else OrderSide.BUY
        wanted = (
            ("PartialTakeProfit", target, sizes[0], OrderKind.TOUCH, -1),
            ("PartialStopLoss", stop, sizes[1], OrderKind.STOP, 1),
        )
        orders = list[VenueOrder]()
        for stop_type, level, size, kind, beyond in wanted:
            if not level:
                continue
            if not size or size > abs(held.qty):
                raise Rejected(f"params error: the size of {stop_type} is invalid", BAD_REQUEST)
            if last is not None and side.sign * beyond * (level - last) <= 0:
                raise Rejected(f"{stop_type}:{level} set for position should be beyond base_price:{last}", BAD_REQUEST)
            orders.append(
                VenueOrder(
                    id="", link_id="", symbol=symbol, side=side, kind=kind, qty=size, trigger=level, reduce_only=True,
                    stop_type=stop_type, create_type=f"CreateBy{stop_type}",
                )
            )  # fmt: skip
        for order in orders:
            self._publish(self._exchange.place(order))

    def _switch_mode(self, params: Parameters) -> Result:
        """Take one-way mode; where that is the mode already it is no error by coin, and 110025 by symbol."""
        account, mode = self._exchange.account, params.integer("mode", -1)
        if mode not in {0, 3}:
            raise Rejected("params error: mode invalid", BAD_REQUEST)
        if "symbol" in params:
            self._symbol(params)
        elif "coin" not in params:
            raise Rejected("params error: symbol or coin is required", BAD_REQUEST)
        symbols = [self._symbol(params)] if "symbol" in params else {leg.symbol for leg in account.state.legs}
        hedged = {leg.symbol for leg in account.state.legs if leg.symbol in symbols}
        if mode == 3 and not hedged:
            raise Rejected("Hedge mode is not supported for this symbol.", 110029)
        if "symbol" in params and (mode == 3) == bool(hedged):
            raise Rejected("Position mode is not modified", 110025)
        for symbol in sorted(hedged if mode == 0 else ()):
            if any(leg.qty for leg in account.legs(symbol)):
                raise Rejected("You have an existing position, so the position mode cannot be switched.", HAS_POSITION)
            self._publish(self._exchange.keep(account.set_legs(symbol, ZERO, ZERO, self._exchange.now())))
        return {}

    def _add_margin(self, params: Parameters) -> Result:
        """Add margin to an isolated position, or take some back. Source: docs, position/manual-add-margin."""
        symbol, amount = self._symbol(params), params.signed("margin")
        account, now = self._exchange.account, self._exchange.now()
        if amount is None or amount != round(amount, 4):
            raise Rejected("params error: margin invalid", BAD_REQUEST)
        account.leg(symbol, params.integer("positionIdx", 0))
        self._publish(self._exchange.keep(account.add_margin(symbol, amount, now)))
        return self._row(account.position(symbol))

    def _set_tpsl_mode(self, params: Parameters) -> Result:
        symbol, mode = self._symbol(params), params.choice("tpSlMode", ("Full", "Partial"))
        if not mode:
            raise Rejected("params error: tpSlMode is required", BAD_REQUEST)
        self._exchange.store.put(f"tpsl:{symbol}", mode)
        return {"tpSlMode": mode}

    def _confirm_mmr(self, params: Parameters) -> Result:
        self._symbol(params)
        text = "You cannot lift Reduce-Only restrictions, as no Reduce-Only restrictions are applied to your position"
        raise Rejected(text, 110082)

    def _symbol(self, params: Parameters) -> str:
        return self._exchange.instrument_symbol(params.required("symbol"))
