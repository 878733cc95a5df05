"""The candle writer goes on whatever its storage says."""

import asyncio

import pytest

from domain.candle import Bars
from domain.errors import ConfigError, Rejected, Unavailable
from engine import writer
from engine.threads import Tier
from engine.writer import CandleWriter


class Storage:
    waiting = True

    def __init__(self, errors):
        self.errors = errors

    def drain(self):
        if self.errors:
            raise self.errors.pop()
        self.waiting = False
        return 5


@pytest.mark.parametrize("error", [Unavailable("away"), ConfigError("refused us"), Rejected("no")])
async def test_spilled_bars_come_home_after_any_refusal(monkeypatch, error):
    monkeypatch.setattr(writer, "DRAIN_S", 0.001)
    storage, tier = Storage([error, error]), Tier("candles", 5)
    held = CandleWriter(storage, tier, lambda _: Bars.empty(), pending_max=10, summary_s=1e9)
    draining = asyncio.create_task(held.drain())
    async with asyncio.timeout(10):
        while storage.waiting and not draining.done():
            await asyncio.sleep(0)
    assert not storage.waiting
    draining.cancel()
    tier.close()
