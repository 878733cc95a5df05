"""Looking an order up: every page about it counts, and pages without an end are no answer."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from broker.bybit import BybitBroker
from broker.bybit.broker import ORDER_PAGES_MAX
from domain.errors import Unavailable
from domain.order import OrderState
from tests.contract.test_broker import BTC, entry
from tests.practice import practice

PARTS = 100


async def test_an_order_of_which_only_executions_are_listed_yet_is_counted_whole(tmp_path):
    """Seen: of an order in a hundred executions the first page of fifty was taken for all of it."""
    async with practice(tmp_path, speed=0.001) as exchange:
        client = exchange.client()
        broker = BybitBroker(client)
        await broker.instruments()
        await exchange.faults(
            slices={"parts": PARTS}, delay_lists={"/v5/order/realtime": 100_000, "/v5/order/history": 100_000}
        )
        request = entry(exchange.exchange.account.last_price(BTC), qty=D("0.1"))
        await broker.place(request)
        found = await broker.order(BTC, request.order_id)
        await client.close()
    assert (found.state, found.filled_qty) == (OrderState.FILLED, request.qty)


class Paged:
    """Lists of which each has so many pages, with the order on the last one."""

    def __init__(self, pages):
        self.pages_there, self.asked = pages, []

    async def pages(self, path, query):
        for number in range(self.pages_there):
            self.asked.append(path)
            yield (
                [{"orderLinkId": "other"}]
                if number < self.pages_there - 1
                else [
                    {
                        "orderLinkId": query["orderLinkId"],
                        "orderStatus": "Cancelled",
                        "cumExecQty": "2",
                        "rejectReason": "",
                    }
                ]
            )


@pytest.mark.parametrize("pages", [1, 2, ORDER_PAGES_MAX])
async def test_it_is_found_on_whatever_page_it_stands(pages):
    client = Paged(pages)
    found = await BybitBroker(client).order(BTC, "mine")
    assert (found.state, found.filled_qty, len(client.asked)) == (OrderState.CANCELLED, D(2), pages)


async def test_more_pages_than_can_be_about_one_order_are_no_answer():
    with pytest.raises(Unavailable):
        await BybitBroker(Paged(ORDER_PAGES_MAX + 1)).order(BTC, "mine")
