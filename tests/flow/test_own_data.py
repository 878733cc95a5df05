"""What the default bot has stored can be studied with the default commands, and nothing that is deleted is lost."""

from __future__ import annotations

import asyncio
import gzip
import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from app.parity import _had
from app.stored import StoredData, Watched
from bootstrap.history import History
from commands.backtest import request_of
from dashboard.models import NewBacktest
from domain.candle import Bars, Series, resample
from domain.coverage import Span
from domain.errors import BadData, ConfigError, Rejected
from domain.source import Source
from formats import candles
from processes.works import WorkProcesses
from settings import Settings, load
from tests.commands import DAY, Commands, candle_files

STEP = 180_000


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    held = Commands(folder / "data", "", "http://127.0.0.1:9")
    held.environment["DATA_SOURCE"] = "synthetic"
    paths = candle_files(folder, days=6, symbols=2)
    with History(Settings(data_dir=folder / "data")) as history:
        for path in map(Path, paths):
            name, bars = path.name.partition("_")[0], candles.read(path)
            for frame, step in (("3m", STEP), ("15m", 5 * STEP)):
                history.candles.save(Source.SYNTHETIC, Series(f"{name}/USDT:USDT", frame), resample(bars, step, STEP))
    return held


def test_the_default_bots_own_bars_are_traded_without_a_word(commands):
    """Found by the README's own bot: "name symbols", and with a name the bars of an exchange that it never saw."""
    body = commands.json("backtest", "run")
    assert body["request"]["source"] == "synthetic"
    assert len(body["request"]["symbols"]) == 2
    assert {row["strategy"] for row in commands.json("ml", "bootstrap")} >= {"scalp"}
    assert commands.run("backtest", "check")[0] == 0
    told = commands.json("ml", "evaluate", code=1)
    assert {one["strategy"] for one in told["strategies"]} >= {"scalp"}


async def test_the_page_begins_a_backtest_follows_it_and_shows_what_was_kept(commands, monkeypatch):
    for name, value in commands.environment.items():
        monkeypatch.setenv(name, value)
    settings = load(None, commands.environment, trading=False)
    stored, told = StoredData(settings, Watched()), list[dict[str, Any]]()
    asked = NewBacktest(strategies=["scalp"], wallet="5000").model_dump()
    for wrong, said in (
        ({"symbols": ["NOBODY"]}, "symbols: 'NOBODY'"), ({"strategies": ["none"]}, "strategy none"),
        ({"since": "yesterday"}, "'yesterday' is not a date"), ({"since": "2024", "until": "2023"}, "reversed"),
        ({"wallet": "much"}, "paper.wallet: 'much'"), ({"source": "nobody"}, "source: 'nobody'"),
    ):  # fmt: skip
        with pytest.raises(Rejected, match=re.escape(said)):
            await stored.backtest_asked({**asked, **wrong})
    ended = asyncio.Event()

    def hear(work: dict[str, Any]) -> None:
        told.append(work)
        if work["ended_at"]:
            ended.set()

    works = WorkProcesses(settings.data_dir, hear)
    works.begin("backtest", await stored.backtest_asked(asked))
    running = asyncio.create_task(works.run())
    await asyncio.wait_for(ended.wait(), 120)
    running.cancel()
    assert works.all()[0]["state"] == "done", works.all()[0]["said"]
    assert {"reading", "signals", "trading"} <= {one["step"] for one in told}
    assert all("of 100" not in one["said"] for one in told)

    newest = (await stored.backtests())[0]
    one = await stored.backtest(newest["id"])
    trades = await stored.backtest_trades(newest["id"], "", 0, 500)
    assert (one["settings"]["paper"]["wallet"], one["request"]["strategies"]) == ("5000", ["scalp"])
    assert one["trades"] == trades["total"] == newest["figures"]["total"]["trades"] > 0
    assert Decimal(one["equity"][-1][1]) - 5000 == Decimal(newest["figures"]["profit"])
    symbol = trades["trades"][0]["symbol"]
    drawn = await stored.backtest_chart(newest["id"], symbol, "", 10**13, 5_000)
    assert drawn["timeframe"] == trades["trades"][0]["timeframe"]
    assert {bar["time"] % drawn["step_ms"] for bar in drawn["bars"]} == {0}
    assert len(drawn["marks"]) == sum(one["symbol"] == symbol for one in trades["trades"])
    other = commands.json("backtest", "run", "--strategy", "scalp")
    apart = await stored.backtests_compared([newest["id"], other["id"]])
    assert apart == {"settings.paper.wallet": ["5000", str(other["settings"]["paper"]["wallet"])]}
    assert b"<h2>Trades</h2>" in await stored.backtest_file(newest["id"], "report.html")
    with pytest.raises(BadData, match="none of that name"):
        await stored.backtest("../../etc")
    stored.close()


def test_a_bot_on_an_exchange_is_told_what_to_name(tmp_path):
    settings = Settings(data_dir=tmp_path, source="bybit")
    with pytest.raises(ConfigError, match=r"name symbols with --symbols .*, or give -s bybit"):
        request_of(settings, None, None, None, Span(0, 1))


@pytest.mark.parametrize(("source", "meant"), [
    ("synthetic", Source.SYNTHETIC), ("mock", Source.MOCK), ("test", Source.TEST), ("alpaca", Source.ALPACA),
    ("polygon", Source.POLYGON), ("bybit", Source.BINANCE), ("binance", Source.BINANCE), ("bybit_demo", Source.BINANCE),
])  # fmt: skip
def test_data_source_says_whose_bars_are_meant(tmp_path, source, meant):
    settings = load(None, {"DATA_SOURCE": source, "REVENANT__DATA_DIR": str(tmp_path)}, trading=False)
    request = request_of(settings, None, ["BTC/USDT:USDT"], None, Span(0, 1))
    assert request.source is meant


@pytest.mark.parametrize("written", ["alpaca", "ALPACA", " alpaca ", "alpaca     # Real Alpaca data", "Alpaca# x"])
def test_data_source_is_taken_as_its_documents_write_it(written):
    assert load(None, {"DATA_SOURCE": written}, trading=False).source is Source.ALPACA


@pytest.mark.parametrize("source", ["mock", "test", "alpaca", "polygon", "coingecko"])
def test_who_only_looks_needs_no_settings_of_a_bot(tmp_path, source):
    looking = Commands(tmp_path / "data", "", "http://127.0.0.1:9")
    looking.environment["DATA_SOURCE"] = source
    for asked in (
        "sources list",
        "data status",
        "stats",
        "trades list",
        "db-stats",
        "show-config",
        "ml info",
        "migrate",
    ):
        assert looking.run(*asked.split())[0] == 0, asked
    assert looking.run("status")[0] == 1


@pytest.mark.parametrize("job", ["collect", "update", "fill-gaps", "validate", "consolidate", "quality"])
def test_a_job_that_does_nothing_says_so_with_its_code(tmp_path, job):
    idle = Commands(tmp_path / "data", "", "http://127.0.0.1:9")
    told = idle.json("data", "run", job, code=3)
    assert told["status"] == "SKIPPED"
    assert "DATA_SOURCE=" in told["said"] or "data download" in told["said"]


def test_what_is_pruned_lies_in_a_file_that_brings_it_back(tmp_path):
    commands = Commands(tmp_path / "data", "", "http://127.0.0.1:9")
    commands.environment["REVENANT__HISTORY__KEEP_DAYS"] = "{3m: 30}"
    now = int(time.time() * 1000) // DAY * DAY
    times = [*range(now - 60 * DAY, now - 59 * DAY, STEP), now - DAY]
    rows = [(at, 10.0, 11.0, 9.0, 10.0, 1.0, 10.0) for at in times]
    with History(Settings(data_dir=tmp_path / "data")) as history:
        for source in (Source.BINANCE, Source.TEST):
            history.candles.save(source, Series("BTC/USDT:USDT", "3m"), Bars.of(rows))
    told = commands.json("data", "prune")
    assert {(row["deleted"], row["backup"]) for row in told} == {(0, "")}
    assert not (tmp_path / "data" / "backups").exists()
    done = commands.json("data", "prune", "--yes")
    assert {row["deleted"] for row in done} == {row["old"] for row in told}
    files = {row["source"]: row["backup"] for row in done}
    assert files.keys() == {"binance", "test"}
    with gzip.open(files["binance"], "rt") as file:
        assert len(file.readlines()) == 1 + done[0]["old"]
    back = commands.json("data", "import", files["binance"], "-s", "binance", "-p", "BTC", "-t", "3m")
    assert back[0]["added"] == done[0]["old"]


def test_a_file_of_many_deleted_series_is_brought_back_whole(tmp_path):
    """Found by the file of ``sources clean``: with two series in it nothing could read it again."""
    commands = Commands(tmp_path / "data", "", "http://127.0.0.1:9")
    series = [Series("BTC/USDT", "1h"), Series("ETH/USDT", "1h"), Series("BTC/USDT", "4h")]
    with History(Settings(data_dir=tmp_path / "data")) as history:
        for number, one in enumerate(series):
            step = 3_600_000 if one.timeframe == "1h" else 14_400_000
            rows = [(step * i, 10.5 + number, 11.25 + number, 9.0, 10.125 + number, 1.5, 15.0) for i in range(500, 520)]
            history.candles.save(Source.BINANCE, one, Bars.of(rows))
        before = {one: history.candles.load(Source.BINANCE, one).rows() for one in series}
    file = commands.json("sources", "clean", "-s", "binance", "--yes")["backup"]
    assert commands.json("data", "import", file, "-s", "binance", "-p", "eth")[0]["symbol"] == "ETH/USDT"
    assert [row["added"] for row in commands.json("data", "import", file, "-s", "binance")] == [20, 20, 0]
    with History(Settings(data_dir=tmp_path / "data")) as history:
        assert {one: history.candles.load(Source.BINANCE, one).rows() for one in series} == before
    (refused,) = commands.json("data", "import", file, "-s", "binance", "-p", "SOL", code=1)
    assert "holds BTC/USDT 1h, BTC/USDT 4h, ETH/USDT 1h, and nothing else" in refused["error"]


@pytest.mark.parametrize(("stored", "had"), [
    (("3m", "15m"), ("3m", "15m")), (("15m",), ("15m",)), (("1h", "15m"), ("15m",)), ((), ()),
])  # fmt: skip
def test_parity_asks_for_the_timeframes_that_the_bot_had(tmp_path, stored, had):
    """Found on a market whose finest bars are 15m: parity asked for 3m, which that bot never saw."""
    settings = Settings(data_dir=tmp_path)
    with History(settings) as history:
        for frame in stored:
            rows = [(3_600_000 * i, 10.0, 11.0, 9.0, 10.0, 1.0, 10.0) for i in range(3)]
            history.candles.save(Source.SYNTHETIC, Series("BTC/USDT:USDT", frame), Bars.of(rows))
    found, finest = _had(settings)
    assert found == had
    assert finest <= 900_000
