"""In step mode the market moves on only when everything has happened that its last bars led to."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from engine.runtime import Runtime


class Orders:
    """Carries out what it was given when somebody waits for it."""

    def __init__(self, happened: list[str]) -> None:
        self.happened, self.waiting = happened, ["move the stop"]

    async def settled(self) -> None:
        self.happened += self.waiting
        self.waiting = []


async def test_what_an_answer_led_to_is_carried_out_before_the_market_moves_on():
    happened: list[str] = []
    runtime = Runtime.__new__(Runtime)
    runtime.orders, runtime._events = Orders(happened), asyncio.Queue()

    async def handle(event):
        happened.append(event)
        runtime.orders.waiting.append("exit at the market")

    async def acknowledge(_time):
        happened.append("the market moves on")

    runtime._handle, runtime._p = handle, SimpleNamespace(acknowledge=acknowledge)
    runtime._events.put_nowait("stop refused")
    await runtime._acknowledge(0)
    assert happened == ["move the stop", "stop refused", "exit at the market", "the market moves on"]
