"""What may raise the risk holds for two seconds after it was allowed; whoever stood still that long is asked anew."""

from decimal import Decimal as D

import pytest

from broker.bybit import BybitBroker
from broker.bybit.rest import RAISING_WINDOW_MS, RECV_WINDOW_MS
from domain.errors import Rejected
from domain.ids import order_id
from domain.order import OrderKind, OrderRequest, OrderSide, OrderState
from tests.practice import practice

BTC = "BTC/USDT:USDT"


class HeldUp:
    """Allows what is asked; until the first request leaves, so many milliseconds pass at the exchange."""

    def __init__(self, place, held_up_ms, *, successor=False):
        self.place, self.held_up_ms, self.successor, self.asked = place, held_up_ms, successor, []

    async def __call__(self, *, leaving):
        self.asked.append(leaving)
        if self.successor and len(self.asked) > 1:
            raise Rejected("another instance has taken over")
        await self.place.faults(clock_shift_ms=self.held_up_ms)


def request(leg, rules, *, reduce_only):
    name = order_id("A" * 24, leg, 0, paper=False)
    return OrderRequest(
        name, BTC, OrderSide.SELL if reduce_only else OrderSide.BUY, OrderKind.MARKET, rules.min_qty * 10,
        reduce_only=reduce_only,
    )  # fmt: skip


async def test_an_entry_that_was_held_up_too_long_is_signed_again_only_if_that_is_allowed(tmp_path):
    async with practice(tmp_path) as place:
        broker = BybitBroker(client := place.client())
        rules = (await broker.instruments())[BTC]
        entry = request("e", rules, reduce_only=False)
        client.guard = HeldUp(place, RAISING_WINDOW_MS + 1_000, successor=True)
        with pytest.raises(Rejected, match="another instance has taken over"):
            await broker.place(entry)
        await place.faults(clock_shift_ms=0)
        assert (await broker.order(BTC, entry.order_id)).state is OrderState.NOT_FOUND
        with pytest.raises(Rejected, match="another instance has taken over"):
            client.guard = HeldUp(place, RAISING_WINDOW_MS + 1_000, successor=True)
            await broker.set_leverage(BTC, D(3))
        await client.close()


async def test_where_nobody_has_taken_over_it_goes_out_all_the_same(tmp_path):
    async with practice(tmp_path) as place:
        broker = BybitBroker(client := place.client())
        rules = (await broker.instruments())[BTC]
        client.guard = guard = HeldUp(place, RAISING_WINDOW_MS + 1_000)
        await broker.place(request("e", rules, reduce_only=False))
        assert guard.asked == [False, False]
        await client.close()


async def test_an_exit_holds_as_long_as_the_exchange_lets_it(tmp_path):
    async with practice(tmp_path) as place:
        broker = BybitBroker(client := place.client())
        rules = (await broker.instruments())[BTC]
        await broker.place(request("e", rules, reduce_only=False))
        client.guard = guard = HeldUp(place, (RAISING_WINDOW_MS + RECV_WINDOW_MS) // 2)
        await broker.place(request("x", rules, reduce_only=True))
        assert guard.asked == [True]
        await client.close()
