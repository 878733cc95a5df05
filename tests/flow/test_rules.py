"""Trading rules kept with the data, and what commands tell of funding that is missing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal as D
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from bootstrap.history import History
from domain.assumed_rules import assumed
from domain.candle import Bars, Series
from domain.source import Source
from persistence.rules import RulesArchive
from settings import load
from tests.commands import Commands
from tests.venues import served, walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.venues import Venues

HOUR, DAY = 3_600_000, 86_400_000
START = 1_735_689_600_000
COIN, SPOT = "COIN/USDT:USDT", "COIN/USDT"
CONFIG = """
source: synthetic
strategies:
  mean_reversion: {enabled: true, parameters: {timeframe: 1h, width_max: 0.3}}
"""


@pytest.fixture(scope="module")
def venues() -> Iterator[Venues]:
    with served() as held:
        for power, venue in ((-6, "binance"), (0, "bybit")):
            bars = walk(24 * 60, START, HOUR, price=10.0**power)
            for symbol in (COIN, SPOT):
                held.put(venue, symbol, "1h", bars, listed=START)
        yield held


@pytest.fixture
def commands(tmp_path: Path, venues: Venues) -> Commands:
    made = Commands(tmp_path / "data", f"sqlite:///{tmp_path / 'main.sqlite'}", venues.address)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return made


def stored(commands: Commands, scale: float = 1.0, symbol: str = SPOT) -> None:
    times, *prices, volume, turnover = walk(24 * 60, START, HOUR).columns()
    bars = Bars(times, *(column * scale for column in prices), volume / scale, turnover)
    commands.store().save(Source.BINANCE, Series(symbol, "1h"), bars)


def test_rules_are_fetched_for_what_is_stored_and_used_with_their_date(commands, tmp_path, venues):
    """Known of them is when they were fetched; before that they count too, and the report says so."""
    stored(commands)
    for source in ("bybit", "binance"):
        rows = commands.json("data", "rules", "-s", source, "-p", COIN)
        assert [(row["symbol"], row["said"]) for row in rows] == [(COIN, "kept")]
        assert commands.json("data", "rules", "-s", source, "-p", COIN)[0]["said"] == "as before"
        assert D(rows[0]["tick"]) > 0
    archive = RulesArchive(tmp_path / "data", Source.BINANCE)
    config = str(tmp_path / "config.yaml")
    body = commands.json("backtest", "run", "-c", config, "-s", "binance", "-p", SPOT, "--strategy", "mr")
    assert "follow the price" in body["notes"][0]
    own = assumed(SPOT, 1.0)
    archive.add({SPOT: own}, START + 100 * DAY)
    body = commands.json("backtest", "run", "-c", config, "-s", "binance", "-p", SPOT, "--strategy", "mr")
    assert "2025-04-11, for earlier times too" in body["notes"][0]
    archive.add({SPOT: own.finer(assumed(SPOT, 0.01))}, START + 101 * DAY)
    assert len(archive.load()[SPOT]) == 2
    assert RulesArchive(tmp_path / "data", Source.OKX).load() == {}


def test_sources_without_rules_say_so(commands):
    code, _, err = commands.run("data", "rules", "-s", "coingecko", "-p", SPOT)
    assert code == 2
    assert "reports no trading rules" in err


@pytest.mark.parametrize("scale", [1e-9, 1e-5, 1e7])
def test_an_evaluation_ends_in_words_on_any_price(commands, tmp_path, scale):
    stored(commands, scale)
    code, out, err = commands.run(
        "ml", "evaluate", "-c", str(tmp_path / "config.yaml"), "-s", "binance", "-p", SPOT, "--strategy", "mr"
    )
    assert (code, err.count("\n") <= 3) in {(0, True), (1, True)}
    assert "Traceback" not in out + err


def test_payments_that_are_missing_are_told(commands, tmp_path):
    """Every other payment of a contract that pays every four hours: no gap is longer than eight."""
    stored(commands, symbol=COIN)
    times = pd.date_range("2025-01-01", periods=24 * 60 // 8, freq="8h", tz="UTC")
    rates = np.where(np.arange(len(times)) % 2, 0.00005, 0.00013)
    file = tmp_path / "COIN_USDT_USDT-1h-funding_rate.feather"
    zero = np.zeros(len(times))
    pd.DataFrame({"date": times, "open": rates, "high": zero, "low": zero, "close": zero, "volume": zero}).to_feather(
        file
    )
    commands.json("data", "import", str(file), "-s", "binance", "--what", "funding")
    (found,) = commands.json("data", "quality", "-s", "binance", "-p", COIN, code=3)
    assert found["funding"]["missing"] >= len(times) - 1
    assert {interval for *_, interval in found["funding"]["missing_ranges"]} == {4 * HOUR}
    _, told, _ = commands.run("data", "quality", "-s", "binance", "-p", COIN)
    assert "payments are missing (due every 4 h)" in told
    config = str(tmp_path / "config.yaml")
    body = commands.json("backtest", "run", "-c", config, "-s", "binance", "-p", COIN, "--strategy", "mr")
    assert any("payments are missing (due every 4 h)" in note for note in body["notes"])
    _, _, err = commands.run(
        "data", "export", "-s", "binance", "-p", COIN, "--trading-mode", "futures", "--out", str(tmp_path / "out")
    )
    assert "mark prices" in err or "payments are missing" in err


def test_payments_that_only_the_sources_word_shows_to_be_missing_are_told(commands, tmp_path):
    """One payment in eight hours at no base rate looks whole; the source said that it pays every four, from a day on."""
    stored(commands, symbol=COIN)
    times = START + np.arange(0, 24 * 60, 8) * HOUR
    with History(load(tmp_path / "config.yaml", commands.environment, trading=False)) as history:
        history.funding.save(Source.BINANCE, COIN, list(zip(times.tolist(), [0.00013, -0.00021] * 90, strict=True)))
    assert commands.json("data", "quality", "-s", "binance", "-p", COIN)[0]["funding"]["missing"] == 0
    (tmp_path / "data").mkdir(exist_ok=True)
    rules = replace(assumed(COIN, 1.0), funding_interval_ms=4 * HOUR, assumed=False)
    RulesArchive(tmp_path / "data", Source.BINANCE).add({COIN: rules}, START + 40 * DAY)
    (found,) = commands.json("data", "quality", "-s", "binance", "-p", COIN, code=3)
    # of twenty days one payment in two is missing
    assert found["funding"]["missing"] == 60
    config, said = str(tmp_path / "config.yaml"), "60 of 240 payments are missing (due every 4 h)"
    assert found["funding"]["said"] == said
    body = commands.json("backtest", "run", "-c", config, "-s", "binance", "-p", COIN, "--strategy", "mr")
    assert any(said in note for note in body["notes"])
    asked = ("data", "export", "-s", "binance", "-p", COIN, "--trading-mode", "futures", "--out", str(tmp_path / "out"))
    files = commands.json(*asked, "--allow-gaps", code=3)["files"]
    (funding,) = (one for one in files if "funding_rate" in one["file"])
    assert (funding["missing"], funding["warnings"]) == (60, [f"funding of {COIN}: {said}"])
