"""Two instances on one account: the newest takes over at once, and whatever the older one still sends is harmless."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal as D
from pathlib import Path
from typing import Any

from broker.bybit import BybitBroker
from broker.bybit.rest import RAISING_WINDOW_MS
from domain.errors import OutcomeUnknown, Rejected, Unavailable
from domain.ids import Identity, order_id, signal_digest
from domain.order import OrderKind, OrderRequest, OrderSide
from engine.fence import Fence
from engine.threads import Tier
from persistence.database import Database
from persistence.lease import Lease
from tests import servers
from tests.practice import Practice, practice

WHO = Identity("synthetic", "live", "1000001")
BTC = "BTC/USDT:USDT"
BEYOND_MS = RAISING_WINDOW_MS + 500
WITHIN_MS = 500


class Instance:
    """One instance of the bot, as far as sending goes: its right, and its own connection to the exchange."""

    def __init__(self, place: Practice, url: str, name: str, tier: Tier) -> None:
        self.name, self.database = name, Database(url)
        self.client = place.client()
        self.fence = Fence(Lease(self.database, WHO, name), tier)
        self.client.guard = self.fence.check
        self.broker = BybitBroker(self.client)

    async def close(self) -> None:
        await self.client.close()
        self.database.close()


def entry(number: int, rules: Any) -> OrderRequest:
    """Return the entry that both would send on the same bar."""
    digest = signal_digest(WHO, "churn", BTC, "3m", number * 180_000)
    return OrderRequest(
        order_id(digest, "e", 0, paper=False), BTC, OrderSide.BUY if number % 2 else OrderSide.SELL, OrderKind.MARKET,
        rules.min_qty * 10,
    )  # fmt: skip


async def sent(instance: Instance, request: OrderRequest) -> str:
    """Send it, and say in a word what became of it."""
    try:
        await instance.broker.place(request)
    except OutcomeUnknown:
        return "there already"
    except Unavailable:
        return "out of its window"
    except Rejected as error:
        return "superseded" if "taken over" in str(error) else f"rejected: {error}"
    return "accepted"


async def _handovers(place: Practice, url: str, count: int) -> dict[str, Any]:
    tier = Tier("lease", 2)
    older = Instance(place, url, "instance 0", tier)
    rules = (await older.broker.instruments())[BTC]
    await older.fence.take()
    said: dict[str, int] = {}
    wrong: list[str] = []
    for number in range(1, count + 1):
        newer = Instance(place, url, f"instance {number}", tier)
        await newer.broker.instruments()
        kind = ("paused beyond", "paused within", "awake")[number % 3]
        request = entry(number, rules)

        async def pause(
            *, leaving: bool, who: Instance = older, other: Instance = newer, how: str = kind, what: Any = request
        ) -> None:
            # the older one has asked, was told that all is well, and is held up before its bytes leave
            await who.fence.check(leaving=leaving)
            await other.fence.take()
            assert await sent(other, what) == "accepted"
            await place.faults(clock_shift_ms=BEYOND_MS if how == "paused beyond" else WITHIN_MS)

        if kind == "awake":
            await newer.fence.take()
            first = await sent(newer, request)
            outcome = await sent(older, request)
            expected = "superseded"
            wrong += [] if first == "accepted" else [f"{number}: the newer one was {first}"]
        else:
            older.client.guard = pause
            outcome = await sent(older, request)
            # out of its window it is refused, signed anew, and meets the right that has gone
            expected = "superseded" if kind == "paused beyond" else "there already"
            await place.faults(clock_shift_ms=0)
        said[f"{kind}: {outcome}"] = said.get(f"{kind}: {outcome}", 0) + 1
        wrong += [] if outcome == expected else [f"{number} {kind}: {outcome}, not {expected}"]
        older.client.guard = older.fence.check
        again = await sent(older, entry(number + 1_000_000, rules))
        wrong += [] if again == "superseded" else [f"{number}: a later order of the older one was {again}"]
        await older.close()
        older = newer
    # by order, not by execution: one order may fill in many
    orders = {
        row["orderId"]: row["orderLinkId"]
        async for page in older.client.pages("v5/execution/list", {"category": "linear", "limit": 100})
        for row in page if row["orderLinkId"]
    }  # fmt: skip
    ids = list(orders.values())
    await older.close()
    tier.close()
    return {
        "handovers": count,
        "outcomes": said,
        "wrong": wrong[:5],
        "doubled": len(ids) - len(set(ids)),
        "epoch": older.fence.epoch,
    }


async def _run(folder: Path, url: str, count: int) -> dict[str, Any]:
    async with practice(folder, wallet=D(1_000_000_000)) as place:
        return await _handovers(place, url, count)


def run(folder: Path, count: int) -> dict[str, Any]:
    """Hand over so many times; return the figures."""
    began = time.monotonic()
    postgres = servers.Postgres()
    try:
        postgres.start()
        figures = asyncio.run(_run(folder, postgres.dsn("postgres"), count))
    finally:
        postgres.close()
    clean = not figures["wrong"] and not figures["doubled"] and figures["epoch"] == count + 1
    return {**figures, "clean": clean, "seconds": round(time.monotonic() - began, 1)}
