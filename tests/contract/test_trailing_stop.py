"""A trailing stop follows the price at its distance, bar by bar, and ends with its position."""

from __future__ import annotations

from domain.candle import Bars
from sandbox.tape import ReplayTape
from tests.practice import START, practice, until

BTC = "BTC/USDT:USDT"
NAMED = {"category": "linear", "symbol": "BTCUSDT", "positionIdx": 0, "tpslMode": "Full"}
RISE, FALL = range(1_000, 1_400, 2), range(1_400, 600, -2)


def market() -> ReplayTape:
    """Closes that stand still for 300 minutes, then rise by 2 a minute, then fall by 2."""
    closes = [1_000] * 300 + list(RISE) + list(FALL)
    rows = [(START + i * 60_000, float(c), c + 0.0, c + 0.0, float(c), 10.0, 10_000.0) for i, c in enumerate(closes)]
    return ReplayTape({BTC: Bars.of(rows)}, 60_000)


async def steps(exchange, count: int) -> None:
    for _ in range(count):
        before = exchange.exchange.processed_until
        await exchange.control("ack")
        await until(lambda before=before: exchange.exchange.processed_until > before, "the market to move")


async def stops(exchange) -> list[tuple[str, float]]:
    rows = (
        await exchange.get("/v5/order/realtime", category="linear", symbol="BTCUSDT", orderFilter="StopOrder")
    ).result["list"]
    return [(row["stopOrderType"], float(row["triggerPrice"])) for row in rows]


async def test_it_follows_upwards_and_sells_on_the_way_down(tmp_path):
    async with practice(tmp_path, tape=market(), step=True) as exchange:
        held = exchange.exchange.account.position(BTC)
        while exchange.exchange.account.last_price(BTC) < 1_006:
            await steps(exchange, 1)
        await exchange.post("/v5/order/create", **NAMED, side="Buy", orderType="Market", qty="0.1")
        await steps(exchange, 1)
        assert held.qty
        assert (await exchange.post("/v5/position/trading-stop", **NAMED, trailingStop="60")).code == 0
        assert (await exchange.post("/v5/position/trading-stop", **NAMED, trailingStop="60")).code == 34040
        assert (await exchange.get("/v5/position/list", category="linear", symbol="BTCUSDT")).result["list"][0][
            "trailingStop"
        ] == "60"
        best = 0.0
        while held.qty:
            best = max(best, float(exchange.exchange.account.last_price(BTC)))
            ((kind, level),) = await stops(exchange)
            assert (kind, level) == ("TrailingStop", best - 60)
            await steps(exchange, 1)
        assert best == 1_400
        fill = exchange.exchange.store.executions("", 0, 2**62, before=2**62, limit=1)[0]
        assert (fill.stop_type, fill.create_type) == ("TrailingStop", "CreateByTrailingStop")
        await steps(exchange, 1)
        assert await stops(exchange) == []
        assert (await exchange.get("/v5/position/list", category="linear", symbol="BTCUSDT")).result["list"][0][
            "trailingStop"
        ] == "0"


async def test_it_waits_for_its_price_and_can_be_taken_off(tmp_path):
    async with practice(tmp_path, tape=market(), step=True) as exchange:
        while exchange.exchange.account.last_price(BTC) < 1_006:
            await steps(exchange, 1)
        await exchange.post("/v5/order/create", **NAMED, side="Buy", orderType="Market", qty="0.1")
        await steps(exchange, 1)
        active = exchange.exchange.account.last_price(BTC) + 50
        waiting = {**NAMED, "trailingStop": "60"}
        assert (await exchange.post("/v5/position/trading-stop", **waiting, activePrice="900")).code == 10001
        assert (await exchange.post("/v5/position/trading-stop", **waiting, activePrice=str(active))).code == 0
        while exchange.exchange.account.last_price(BTC) < active:
            assert await stops(exchange) == []
            await steps(exchange, 1)
        assert [kind for kind, _ in await stops(exchange)] == ["TrailingStop"]
        assert (await exchange.post("/v5/position/trading-stop", **NAMED, trailingStop="0")).code == 0
        assert await stops(exchange) == []
