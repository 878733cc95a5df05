"""What takes risk away is not waited for as long as other requests: it is sent again instead."""

import asyncio

import pytest

from broker.bybit.errors import CANCEL, CREATE, TRADING_STOP
from broker.bybit.rest import LEAVING_TIMEOUT_S, BybitClient, Endpoint
from domain.errors import OutcomeUnknown
from tests.torture.virtual import run_virtually

LEAVING = [(CREATE, {"reduceOnly": True}), (TRADING_STOP, {}), (CANCEL, {})]


class Hanging(BybitClient):
    async def _send(self, method, path, params):
        await asyncio.sleep(60)
        return {}


async def asked(loop, path, params):
    client = Hanging(Endpoint("http://127.0.0.1:1", "ws://127.0.0.1:1", loopback=True))
    try:
        await client.post(path, params)
    except OutcomeUnknown:
        return loop.time()
    finally:
        await client.close()
    return None


@pytest.mark.parametrize(("path", "params"), LEAVING)
def test_an_answer_that_does_not_come_leaves_the_outcome_unknown_soon(path, params):
    assert run_virtually(lambda loop: asked(loop, path, params)) == LEAVING_TIMEOUT_S


def test_an_entry_is_waited_for_as_before():
    assert run_virtually(lambda loop: asked(loop, CREATE, {"reduceOnly": False})) is None
