"""Orders: intent before wire, and the truth about outcomes nobody answered."""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal as D

import pytest

from broker.bybit import BybitBroker
from domain.exits import ExitPlan
from domain.order import OrderKind, OrderRequest, OrderSide, OrderState, Side
from domain.records import Intent, Level, Opening, OrderEnded, Receipt
from engine.commands import PlaceOrder
from engine.orders import LANES, Orders
from tests.practice import practice, until

BTC = "BTC/USDT:USDT"


class Desk:
    """Orders on a practice exchange, with a ledger that can fail."""

    def __init__(self, exchange):
        self.exchange = exchange
        self.client = exchange.client()
        self.broker = BybitBroker(self.client)
        self.written, self.reported, self.used, self.nudges = [], [], [], 0
        self.level = Level.JOURNALED
        self.orders = Orders(self.broker, self._append, self._report, self._nudge, used=self.used.append)

    async def __aenter__(self):
        await self.broker.instruments()
        self.tasks = [asyncio.create_task(self.orders.run(lane)) for lane in range(LANES)]
        self.tasks.append(asyncio.create_task(self.orders.run_lookups()))
        return self

    async def __aexit__(self, *_):
        for task in self.tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.client.close()

    async def _append(self, record):
        self.written.append((record, len(self.exchange.exchange.account.state.link_ids)))
        return Receipt(self.level)

    async def _report(self, what):
        self.reported.append(what)

    def _nudge(self):
        self.nudges += 1

    async def enter(self, number=0, *, reduce_only=False):
        price = self.exchange.exchange.account.last_price(BTC)
        stop, target = (price * D("0.98")).quantize(D("0.1")), (price * D("1.02")).quantize(D("0.1"))
        name = f"L1-{'A' * 24}-{'x' if reduce_only else 'e'}{number}"
        side = OrderSide.SELL if reduce_only else OrderSide.BUY
        request = OrderRequest(
            name,
            BTC,
            side,
            OrderKind.MARKET,
            D("0.01"),
            None,
            None if reduce_only else stop,
            None if reduce_only else target,
            reduce_only,
        )
        opening = None if reduce_only else Opening("s", "3m", 0, Side.LONG, price, stop, target, ExitPlan(), D(5))
        intent = Intent(
            time=1,
            order_id=name,
            symbol=BTC,
            side=side,
            kind=OrderKind.MARKET,
            qty=D("0.01"),
            reduce_only=reduce_only,
            opening=opening,
        )
        await self.orders.put(PlaceOrder(intent, request))
        await asyncio.wait_for(self.orders.settled(), 60)

    def held(self):
        return self.exchange.exchange.account.position(BTC).qty


@pytest.fixture
async def desk(tmp_path):
    async with practice(tmp_path, speed=0.001) as exchange, Desk(exchange) as held:
        yield held


async def test_the_intent_is_written_before_any_byte_leaves(desk):
    await desk.enter()
    record, orders_on_the_exchange = desk.written[0]
    assert isinstance(record, Intent)
    assert orders_on_the_exchange == 0
    assert desk.held() == D("0.01")
    assert desk.exchange.exchange.account.position(BTC).leverage == 5


async def test_an_entry_is_made_at_its_own_leverage_whatever_was_set_since_the_last_one(desk):
    await desk.enter(0)
    await desk.enter(0, reduce_only=True)
    await desk.exchange.post(
        "/v5/position/set-leverage", category="linear", symbol="BTCUSDT", buyLeverage="50", sellLeverage="50"
    )
    assert desk.exchange.exchange.account.position(BTC).leverage == 50
    await desk.enter(1)
    assert desk.held() == D("0.01")
    assert desk.exchange.exchange.account.position(BTC).leverage == 5


async def test_without_a_durable_place_no_entry_leaves_but_every_exit_does(desk):
    await desk.enter(0)
    desk.level = Level.MEMORY
    await desk.enter(1)
    assert desk.held() == D("0.01")
    assert desk.reported[-1].state is OrderState.REJECTED
    await desk.enter(0, reduce_only=True)
    assert desk.held() == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"lose_answer": {"path": "/v5/order/create"}},
        {"answer": {"path": "/v5/order/create", "code": 10016}},
        {"answer": {"path": "/v5/order/create", "status": 500}},
    ],
    ids=["lost answer", "10016", "500"],
)
async def test_an_unknown_outcome_is_looked_up_and_never_repeated(desk, fault):
    await desk.exchange.faults(**fault)
    await desk.enter()
    landed = "lose_answer" in fault
    assert desk.held() == (D("0.01") if landed else 0)
    assert desk.orders.unknown == 1
    if landed:
        assert desk.nudges == 1
        assert desk.reported == []
    else:
        (ended,) = desk.reported
        assert (type(ended), ended.state) == (OrderEnded, OrderState.NOT_FOUND)


async def test_turned_away_unseen_it_is_sent_again_with_the_same_id(desk):
    await desk.exchange.faults(answer={"path": "/v5/order/create", "code": 10006, "times": 2})
    await desk.enter()
    assert desk.held() == D("0.01")
    assert desk.reported == []


async def test_a_refusal_is_reported_with_its_reason(desk):
    await desk.exchange.faults(answer={"path": "/v5/order/create", "code": 110007})
    await desk.enter()
    (ended,) = desk.reported
    assert ended.state is OrderState.REJECTED
    assert "110007" in ended.reason


async def test_a_lookup_that_gets_no_answers_concludes_nothing(desk):
    await desk.exchange.faults(lose_answer={"path": "/v5/order/create"})
    for path in ("/v5/order/realtime", "/v5/order/history"):
        await desk.exchange.faults(answer={"path": path, "status": 500, "times": 8})
    await desk.enter()
    await until(lambda: desk.nudges == 1, "the order to be found in the end")
    assert desk.reported == []


async def test_an_id_that_the_exchange_has_before_it_is_sent_here_is_told(desk):
    """Two instances without a common database on the same signal: their entries have the same id."""
    await desk.enter(0)
    assert desk.used == []
    await desk.enter(0)
    assert [intent.order_id[-2:] for intent in desk.used] == ["e0"]
    assert desk.held() == D("0.01")
    # an answer that was lost is looked up; an exit may be sent again: neither is anybody else's doing
    await desk.exchange.faults(lose_answer={"path": "/v5/order/create"})
    await desk.enter(1)
    await desk.exchange.faults(lose_answer={"path": "/v5/order/create"})
    await desk.enter(0, reduce_only=True)
    assert [intent.order_id[-2:] for intent in desk.used] == ["e0"]
