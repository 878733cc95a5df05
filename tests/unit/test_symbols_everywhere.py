"""However a symbol is written, every command, route and chat command means the same one; what means none is named."""

from __future__ import annotations

import click
import httpx
import pytest
import typer.core
import typer.main

from app.stored import StoredData, Watched
from bootstrap.history import History
from commands.shared import SYMBOLS
from domain.candle import Bars, Series
from domain.errors import BadData
from domain.order import Side
from domain.source import Source
from domain.symbols import filtered
from engine.operations import Operations
from settings import Settings
from tests.page_desk import Served
from tests.torture.virtual import run_virtually
from tests.unit.test_operations import Runtime
from tests.unit.test_trader import World

BTC, DOGE, SPOT = "BTC/USDT:USDT", "DOGE/USDT:USDT", "XRP/USDT"
BARS = Bars.of((900_000 * i, 10.0, 11.0, 9.0, 10.0, 1.0, 1.0) for i in range(5))
WAYS = ["DOGE", "doge", "DOGEUSDT", "doge-usdt", "DOGE/USDT", "DOGE/USDT:USDT", "DOGE%2FUSDT%3AUSDT", "dogeusdt.p"]


def commands_of(group: click.Command, before: str = "") -> list[tuple[str, click.Command]]:
    if isinstance(group, typer.core.TyperGroup):
        return [one for name, inner in group.commands.items() for one in commands_of(inner, f"{before} {name}".strip())]
    return [(before, group)]


def test_an_option_of_symbols_has_the_same_names_in_every_command():
    import manage

    options = {
        name: set(one.opts) for name, command in commands_of(typer.main.get_command(manage.app))
        for one in command.params if set(one.opts) & set(SYMBOLS)
    }  # fmt: skip
    assert len(options) > 12
    assert {name: names for name, names in options.items() if names != set(SYMBOLS)} == {}


@pytest.fixture
def stored(tmp_path):
    held = Settings(data_dir=tmp_path)
    with History(held) as history:
        for source, symbol in ((Source.SYNTHETIC, BTC), (Source.BINANCE, DOGE), (Source.BINANCE, SPOT)):
            history.candles.save(source, Series(symbol, "15m"), BARS)
    data = StoredData(held, Watched())
    yield data
    data.close()


async def got(client: httpx.AsyncClient, path: str):
    answer = await client.get(path)
    assert answer.status_code == 200, (path, answer.text)
    return answer.json()


async def test_every_route_takes_the_names_that_the_routes_give(stored):
    """Found by ``/api/historical-data/{symbol}``, which knew none of ``/api/available-symbols``."""
    async with Served(stored=stored).client() as client:
        told = await got(client, "/api/available-symbols")
        names = {*told["symbols"], *(name for held in told["stored"].values() for name in held)}
        assert names >= {BTC, DOGE, SPOT}
        for name in names:
            assert (await got(client, f"/api/historical-data/{name}?limit=3"))["symbol"] == name
        for one in await got(client, "/api/v1/coverage"):
            asked = f"symbol={one['symbol']}&timeframe={one['timeframe']}"
            assert await got(client, f"/api/v1/coverage/compare?{asked}")
            assert (await got(client, f"/api/v1/coverage/gaps?source={one['source']}&{asked}"))["bars"] == 5
        for name in (await got(client, "/api/v1/trades"))["symbols"]:
            assert (await got(client, f"/api/v1/trades?symbol={name}"))["total"] > 0
        for row in (await got(client, "/api/v1/phantoms"))["by_symbol"]:
            assert (await got(client, f"/api/v1/phantoms?symbol={row['name']}"))["by_symbol"]
            assert await got(client, f"/api/v1/phantoms/list?symbol={row['name']}")


@pytest.mark.parametrize("way", WAYS)
async def test_every_route_takes_every_way_of_writing(stored, way):
    async with Served(stored=stored).client() as client:
        assert (await got(client, f"/api/historical-data/{way}?limit=2"))["symbol"] == DOGE
        assert len((await got(client, f"/api/historical-data/{way}?source=binance"))["data"]) == 5
        assert (await got(client, f"/api/v1/coverage/gaps?source=binance&symbol={way}&timeframe=15m"))["symbol"] == DOGE
        assert await got(client, f"/api/v1/coverage/compare?symbol={way}&timeframe=15m")
        for path in ("trades?limit=1&", "phantoms?", "phantoms/list?", "chart?"):
            assert await got(client, f"/api/v1/{path}symbol={way.lower().replace('doge', 'btc')}")


async def test_what_means_nothing_is_an_error_that_names_it(stored):
    async with Served(stored=stored).client() as client:
        for path in (
            "historical-data/BTCC", "historical-data/BTC?source=okx", "v1/trades?symbol=BTCC", "v1/phantoms?symbol=BTCC",
            "v1/coverage/compare?symbol=BTCC&timeframe=15m", "v1/coverage/gaps?source=synthetic&symbol=BTCC&timeframe=15m",
        ):  # fmt: skip
            answer = await client.get(f"/api/{path}")
            assert answer.status_code == 404, (path, answer.text)
            assert "BTC" in answer.json()["detail"]
        answer = await client.get("/api/historical-data/doge?timeframe=1h")
        assert answer.json()["detail"] == f"nothing is stored of {DOGE} 1h; stored are 15m"


def test_a_filter_lets_through_what_a_pattern_matches_and_names_what_it_does_not_know():
    assert filtered("*usdt", [BTC, DOGE, SPOT]) == {BTC, DOGE, SPOT}
    assert filtered("btc*", [BTC, DOGE]) == {BTC}
    # one that was remembered from a longer list lets nothing through, and is no error
    assert filtered("SOL/USDT:USDT", [BTC]) == set()
    with pytest.raises(BadData, match=f"'BTCC' matches no symbol that is known here; did you mean {BTC}"):
        filtered("BTCC", [BTC])


@pytest.mark.parametrize(("what", "closed"), [
    ("a", True), ("AUSDT", True), ("a/usdt", True), ("A/USDT:USDT", True), ("A*", True), ("*", True), ("all", True),
    ("B", False), ("B*", False), ("", False),
])  # fmt: skip
def test_a_position_is_closed_by_any_name_of_its_symbol(what, closed):
    world = World({0: Side.LONG})
    world.entered()
    operations = Operations(Runtime(recovered=True), world.trader)
    assert bool(run_virtually(lambda _: operations.force_exit(what, "test"))) is closed
