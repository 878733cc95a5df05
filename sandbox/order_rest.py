"""Orders over REST, and over the trade socket: created, amended and cancelled, one by one or in batches."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from domain import margin
from domain.account import Event, VenueOrder
from domain.errors import Rejected
from domain.ids import name_uuid
from domain.order import OrderKind, OrderSide
from domain.trade import ZERO
from sandbox.codes import BAD_REQUEST, NOT_FOUND, code_of, words_of
from sandbox.filters import OrderFilter
from sandbox.limits import too_fast
from sandbox.order_params import TRIGGERS, check_modes, in_force, missing
from sandbox.parameters import Parameters
from sandbox.routes import ALL, BATCH_MAX, CONTRACTS, LINEAR, Reply, Result, Route, Routes, no_order, no_symbol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandbox.exchange import Exchange

    Grant = Callable[[str, int], int]

ACTIVE_MAX, CONDITIONAL_MAX = 500, 10
"""Orders of one symbol that may wait. Source: docs, order/create-order."""
STOPS = ("StopLoss", "TakeProfit")
LINK_ID = re.compile(r"[0-9A-Za-z_-]{1,36}")


class OrderRest:
    """The endpoints that change orders; ``grant`` says how many orders of a batch are within a path's limit."""

    def __init__(self, exchange: Exchange, publish: Callable[[Sequence[Event]], None], grant: Grant) -> None:
        self._exchange, self._publish, self._grant = exchange, publish, grant

    def routes(self) -> Routes:
        """Return the endpoints."""
        return {
            ("POST", "/v5/order/create"): Route(self._create, ALL, "", no_symbol),
            ("POST", "/v5/order/amend"): Route(self._amend, ALL, "", no_order),
            ("POST", "/v5/order/cancel"): Route(self._cancel, ALL, "", no_order),
            ("POST", "/v5/order/create-batch"): Route(self._create_batch, ALL, "", no_symbol),
            ("POST", "/v5/order/amend-batch"): Route(self._amend_batch, ALL, "", no_order),
            ("POST", "/v5/order/cancel-batch"): Route(self._cancel_batch, ALL, "", no_order),
            ("POST", "/v5/order/cancel-all"): Route(self._cancel_all, ALL, "", lambda _: {"list": [], "success": "1"}),
            ("POST", "/v5/order/pre-check"): Route(self._pre_check, CONTRACTS, "", no_symbol),
        }

    def _create(self, params: Parameters) -> Result:
        order = self._order(params)
        self._check_number(order)
        self._publish(self._exchange.place(order))
        return {"orderId": order.id, "orderLinkId": order.link_id}

    def _order(self, params: Parameters) -> VenueOrder:
        """Return the order that a request describes; nothing of it has been checked against the account."""
        symbol = self._symbol(params)
        side = OrderSide(params.choice("side", [one.value for one in OrderSide]) or missing("side"))
        limit = (params.choice("orderType", ("Market", "Limit")) or missing("orderType")) == "Limit"
        trigger, price = params.decimal("triggerPrice") or None, params.decimal("price") or None
        if limit and price is None:
            raise Rejected("params error: price is required for a Limit order", BAD_REQUEST)
        kind = self._trigger_kind(params, symbol, side, trigger) if trigger else None
        check_modes(params)
        link_id = params.text("orderLinkId")
        if link_id and not LINK_ID.fullmatch(link_id):
            raise Rejected("params error: OrderLinkId invalid", BAD_REQUEST)
        return VenueOrder(
            id="", link_id=link_id, symbol=symbol, side=side, qty=params.decimal("qty") or ZERO,
            kind=kind or (OrderKind.LIMIT if limit else OrderKind.MARKET), price=price if limit else None,
            trigger=trigger, reduce_only=params.flag("reduceOnly"), stop=params.decimal("stopLoss") or ZERO,
            target=params.decimal("takeProfit") or ZERO, time_in_force=in_force(params, limit=limit),
            close_on_trigger=params.flag("closeOnTrigger"), index=params.integer("positionIdx", 0),
        )  # fmt: skip

    def _check_number(self, order: VenueOrder) -> None:
        waiting = [one for one in self._exchange.account.state.orders.values() if one.symbol == order.symbol]
        conditional = [one for one in waiting if one.trigger is not None and not one.stop_type]
        if order.trigger is not None and len(conditional) >= CONDITIONAL_MAX:
            raise Rejected("The number of stop orders exceeds the maximum allowable limit", 110009)
        if order.trigger is None and sum(one.trigger is None for one in waiting) >= ACTIVE_MAX:
            raise Rejected("Not allowed to have more than 500 active orders.", 110020)

    def _trigger_kind(self, params: Parameters, symbol: str, side: OrderSide, trigger: Decimal) -> OrderKind:
        rises = params.integer("triggerDirection", 0)
        params.choice("triggerBy", TRIGGERS, "LastPrice")
        if rises not in {1, 2}:
            raise Rejected("TriggerDirection invalid", BAD_REQUEST)
        last = self._exchange.account.last_price(symbol)
        if last is not None and rises == 1 and trigger <= last:
            raise Rejected(f"expect Rising, but trigger_price[{trigger}] <= current[{last}]??laste", 110092)
        if last is not None and rises == 2 and trigger >= last:
            raise Rejected(f"expect Falling, but trigger_price[{trigger}] >= current[{last}]??last", 110093)
        return OrderKind.STOP if (rises == 1) == (side is OrderSide.BUY) else OrderKind.TOUCH

    def _amend(self, params: Parameters) -> Result:
        held = self._open(params)
        qty, price = params.decimal("qty"), params.decimal("price")
        trigger, stop, target = (params.decimal(name) for name in ("triggerPrice", "stopLoss", "takeProfit"))
        if trigger and held.stop_type in STOPS and trigger != held.trigger:
            return self._move_stop(held, trigger)
        events = self._exchange.account.amend(
            held.id, self._exchange.now(), qty=qty, price=price, trigger=trigger, stop=stop, target=target,
            at_once=not self._exchange.terms.step,
        )  # fmt: skip
        self._publish(self._exchange.keep(events))
        return {"orderId": held.id, "orderLinkId": held.link_id}

    def _move_stop(self, held: VenueOrder, trigger: Decimal) -> Result:
        """Move a position's stop or target by its order."""
        stop, target = (trigger, None) if held.stop_type == "StopLoss" else (None, trigger)
        rules = self._exchange.tape.instruments[held.symbol]
        if rules.price(trigger) != trigger:
            raise Rejected(f"price invalid: {trigger} is no multiple of tick {rules.tick}", BAD_REQUEST)
        events = self._exchange.account.set_stops(held.symbol, self._exchange.now(), stop=stop, target=target)
        self._publish(self._exchange.keep(events))
        return {"orderId": held.id, "orderLinkId": held.link_id}

    def _cancel(self, params: Parameters) -> Result:
        held = self._open(params)
        self._end(held)
        return {"orderId": held.id, "orderLinkId": held.link_id}

    def _end(self, order: VenueOrder) -> None:
        """Cancel an order; that of a position's stop or target takes it off the position."""
        account, now, events = self._exchange.account, self._exchange.now(), list[Event]()
        held = account.position(order.symbol)
        level = {"StopLoss": held.stop, "TakeProfit": held.target}.get(order.stop_type)
        if order.rest is not None or not level:
            events += account.cancel(order.id, now)
        if level:
            stop, target = (ZERO, None) if order.stop_type == "StopLoss" else (None, ZERO)
            events += account.set_stops(order.symbol, now, stop=stop, target=target)
        self._publish(self._exchange.keep(events))

    def _open(self, params: Parameters) -> VenueOrder:
        """Return the open order that a request names; ``orderId`` counts before ``orderLinkId``."""
        symbol, order_id, link_id = self._symbol(params), params.text("orderId"), params.text("orderLinkId")
        if not order_id and not link_id:
            raise Rejected("params error: orderId or orderLinkId is required", BAD_REQUEST)
        state = self._exchange.account.state
        held = state.orders.get(order_id or state.link_ids.get(link_id, ""))
        if held is None or held.symbol != symbol:
            raise Rejected("order not exists or too late to cancel", NOT_FOUND)
        return held

    def _create_batch(self, params: Parameters) -> Reply:
        return self._batch(params, "/v5/order/create-batch", self._create, {"createAt": str(self._exchange.now())})

    def _amend_batch(self, params: Parameters) -> Reply:
        return self._batch(params, "/v5/order/amend-batch", self._amend, {})

    def _cancel_batch(self, params: Parameters) -> Reply:
        return self._batch(params, "/v5/order/cancel-batch", self._cancel, {})

    def _batch(
        self, params: Parameters, path: str, act: Callable[[Parameters], Result], extra: dict[str, str]
    ) -> Reply:
        """Do to each order what ``act`` does; those beyond the limit of the path are refused one by one."""
        rows = params.rows("request", BATCH_MAX)
        granted = self._grant(path, len(rows))
        results, codes = list[Result](), list[Result]()
        for number, row in enumerate(rows):
            done: Result = {"orderId": "", "orderLinkId": row.peek("orderLinkId"), **dict.fromkeys(extra, "")}
            code, message = 0, "OK"
            try:
                if number >= granted:
                    raise too_fast()
                done = act(row) | extra
            except Rejected as error:
                code, message = code_of(error), words_of(error)
            results.append({"category": LINEAR, "symbol": row.peek("symbol"), **done})
            codes.append({"code": code, "msg": message})
        return Reply({"list": results}, {"list": codes})

    def _cancel_all(self, params: Parameters) -> Result:
        state = self._exchange.account.state
        if not any(name in params for name in ("symbol", "baseCoin", "settleCoin")):
            raise Rejected("params error: symbol, baseCoin or settleCoin is required", BAD_REQUEST)
        kept = OrderFilter.of(params, self._exchange)
        done = list[Result]()
        for order in [one for one in state.orders.values() if kept.keeps(one)][:500]:
            # one cancelled order can take another with it
            if order.id in state.orders:
                self._end(order)
                done.append({"orderId": order.id, "orderLinkId": order.link_id})
        return {"list": done, "success": "1"}

    def _pre_check(self, params: Parameters) -> Result:
        """Return what an order would do to the margin rates, in hundredths of a percent; it is not placed."""
        order, account = self._order(params), self._exchange.account
        leverage = account.leg(order.symbol, order.index).leverage
        price = order.price or account.last_price(order.symbol) or ZERO
        equity = account.equity() or Decimal(1)
        rules = self._exchange.tape.instruments[order.symbol]
        value = ZERO if order.reduce_only else order.qty * price
        initial, maintained = account.margin(), account.all_maintenance()
        added = value / leverage
        if added > equity - initial:
            raise Rejected("ab not enough for new order", 110007)
        return {
            "orderId": name_uuid(f"pre-check:{order.link_id}:{self._exchange.update_id}"), "orderLinkId": order.link_id,
            "preImrE4": int(initial / equity * 10_000), "preMmrE4": int(maintained / equity * 10_000),
            "postImrE4": int((initial + added) / equity * 10_000),
            "postMmrE4": int((maintained + margin.maintenance(rules, value)) / equity * 10_000),
        }  # fmt: skip

    def _symbol(self, params: Parameters) -> str:
        return self._exchange.instrument_symbol(params.required("symbol"))
