"""The commands about history, as a person gives them, against exchanges on loopback."""

from __future__ import annotations

import gc
import json
import re
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from domain.candle import Bars, Series
from domain.coverage import Span
from domain.source import Source
from tests.bot import until
from tests.commands import Commands
from tests.venues import served, walk

ROOT, DATA = Path(__file__).parents[2], Path(__file__).parents[3] / "shared" / "data"
STEP, START = 900_000, 1_704_067_200_000
BTC = Series("BTC/USDT:USDT", "15m")
SINCE_UNTIL = ("--since", "2023-12-01", "--until", "2024-04-01")
BARS = walk(8_736, START, STEP)


@pytest.fixture
def venues():
    with served() as held:
        yield held


@pytest.fixture
def commands(tmp_path, database_url, venues):
    return Commands(tmp_path / "data", database_url, venues.address)


def lacking(bars: Bars, start: int, end: int) -> Bars:
    keep = (np.arange(len(bars)) < start) | (np.arange(len(bars)) >= end)
    return Bars(*(column[keep] for column in bars.columns()))


def test_from_nothing_to_a_complete_series_and_its_proof(commands, venues):
    venues.put("binance", BTC.symbol, "15m", lacking(BARS, 3_000, 3_005), listed=START)
    venues.put("okx", BTC.symbol, "15m", BARS)
    got = commands.json("data", "download", "--source", "binance", "-p", BTC.symbol, "-t", "15m", *SINCE_UNTIL)
    assert (got["successful"], got["total_records"], got["sources_used"]) == (1, 8_731, {"binance": 8_731})
    assert got["series"][0]["absent"] == 5

    judged = commands.json("data", "quality", "--source", "binance")[0]
    assert (judged["expected"], judged["actual"], judged["absent"], judged["missing"]) == (8_736, 8_731, 5, 0)
    assert judged["completeness"] == 100.0

    filled = commands.json("data", "fill-gaps", "--source", "binance")
    assert filled["sources_used"] == {"okx": 5}
    assert commands.store().times(Source.OKX, BTC).tolist() == BARS.open_time[3_000:3_005].tolist()

    before = len(venues.asked)
    commands.json("data", "fill-gaps", "--source", "binance")
    commands.json("data", "download", "--source", "binance", "-p", BTC.symbol, "-t", "15m", *SINCE_UNTIL)
    assert len(venues.asked) == before


def test_a_download_that_is_killed_goes_on_where_it_was(commands, venues):
    venues.put("binance", BTC.symbol, "15m", BARS, listed=START)
    arguments = ("data", "download", "--source", "binance", "-p", BTC.symbol, "-t", "15m", *SINCE_UNTIL)
    asked = 0

    def slowly(venue, _request):
        nonlocal asked
        asked += 1
        if asked == 5:
            process.send_signal(signal.SIGKILL)

    venues.spoil = slowly
    process = commands.start(*arguments)
    assert process.wait(60) == -signal.SIGKILL
    process.communicate()
    held = len(commands.store().times(Source.BINANCE, BTC))
    assert 0 < held < 8_736
    venues.spoil = lambda _venue, _request: None
    got = commands.json(*arguments)
    assert got["total_records"] == 8_736 - held
    assert len(commands.store().times(Source.BINANCE, BTC)) == 8_736


def test_some_that_fail_are_told_and_the_others_are_done(commands, venues):
    venues.put("bybit", BTC.symbol, "15m", BARS, listed=START)
    got = commands.json(
        "data", "download", "-s", "bybit", "-p", f"{BTC.symbol},XYZ/USDT:USDT", "-t", "15m", *SINCE_UNTIL, code=3
    )
    assert (got["successful"], got["failed"], got["total_symbols"]) == (1, 1, 2)
    said = {row["symbol"]: row["said"] for row in got["series"]}
    assert "XYZ/USDT:USDT" in said["XYZ/USDT:USDT"]


def test_a_source_that_is_down_is_told_by_name_and_logged(commands, venues):
    commands.environment["REVENANT__HISTORY__ADDRESSES"] = '{"okx": "http://127.0.0.1:9"}'
    got = commands.json("data", "download", "-s", "okx", "-p", BTC.symbol, "-t", "15m", *SINCE_UNTIL, code=1)
    assert "okx" in got["series"][0]["said"]
    log = commands.json("data", "status")["log"]
    assert log[0]["status"] == "FAILED"
    assert (log[0]["source"], log[0]["symbol"]) == ("okx", BTC.symbol)


def test_update_fetches_what_closed_since(commands, venues):
    now = int(time.time() * 1000) // STEP * STEP
    recent = walk(300, now - 300 * STEP, STEP)
    venues.put("bybit", BTC.symbol, "15m", recent, listed=int(recent.open_time[0]))
    commands.store().save(Source.BYBIT, BTC, recent[:100])
    got = commands.json("data", "update", "-s", "bybit")
    assert got["total_records"] in {199, 200}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("data", "download", "-p", "BTC/USDT", "-t", "7m"), 1, "timeframe '7m' is not known"),
        (("data", "download", "-p", "BTC/USDT", "--since", "2024-02-01", "--until", "2024-01-01"), 2, "reversed"),
        (("data", "download", "-p", "BTC/USDT", "--since", "2199-01-01"), 2, "future"),
        (("data", "download", "-p", "BTC/USDT", "--since", "soon"), 2, "'soon' is not a date"),
        (("data", "download", "-s", "yahoo"), 2, "yahoo"),
        (("data", "download", "-s", "synthetic", "-p", "BTC/USDT"), 2, "no history to fetch"),
        (("data", "download"), 2, "name symbols"),
        (("data", "quality"), 1, "nothing stored"),
        (("data", "import", "nothing.csv"), 1, "nothing.csv"),
        (("sources", "clean", "--source", "okx"), 1, "holds nothing"),
        (("sources", "migrate", "--source", "synthetic", "--target", "bybit"), 1, "made up"),
    ],
)  # fmt: skip
def test_a_wrong_command_says_what_is_wrong(tmp_path, arguments, code, says):
    commands = Commands(tmp_path / "data", "", "http://127.0.0.1:9")
    found, out, err = commands.run(*arguments)
    assert found == code
    assert says in out + err
    assert "Traceback" not in err


def test_files_are_imported_impossible_rows_set_aside(commands, tmp_path):
    frame = BARS[:100].to_frame().reset_index().rename(columns={"timestamp": "date"})
    frame.loc[3, "high"] = frame.loc[3, "low"] * 0.9
    frame.to_csv(tmp_path / "BTC_USDT-15m.csv", index=False)
    got = commands.json("data", "import", str(tmp_path / "BTC_USDT-15m.csv"), code=3)
    assert (got[0]["symbol"], got[0]["timeframe"], got[0]["added"], got[0]["refused"]) == ("BTC/USDT", "15m", 99, 1)
    row = commands.json("data", "quarantine")[0]
    assert (row["source"], row["reason"]) == ("test", "high and low do not enclose open and close")
    picture = tmp_path / "coverage.svg"
    assert commands.run("data", "quality", "--plot", str(picture))[0] == 0
    assert "BTC/USDT 15m" in picture.read_text()
    assert "99.000%" in picture.read_text()


def test_a_table_is_emptied_on_demand_only_and_comes_back_from_its_backup(commands, tmp_path):
    commands.store().save(Source.OKX, BTC, BARS[:200])
    assert commands.json("sources", "clean", "--source", "okx")["done"] is False
    got = commands.json("sources", "clean", "--source", "okx", "--yes")
    assert (got["backed_up"], got["deleted"]) == (200, 200)
    assert commands.json("sources", "list")[6]["rows"] == 0
    back = commands.json("data", "import", got["backup"], "-s", "okx", "-p", BTC.symbol, "-t", "15m")
    assert back[0]["added"] == 200


@pytest.mark.skipif(not DATA.exists(), reason="the real candles are not beside the project")
def test_the_holes_of_real_files_are_those_that_their_manifest_names(commands):
    files = {
        "candles_long/binance_spot_BTC_USDT-1h_2017_2024.feather": (58_419, 128, 28),
        "candles_long/binance_spot_BNB_USDT-15m_2020_2025.feather": (175_201, 94, 10),
        "candles_long/binance_spot_SOL_USDT-1h_2020_2025.feather": (43_803, 20, 10),
        "candles_gaps/bybit_BTC_USDT-15m_pagination_gaps.feather": (14_385, 14, 14),
        "candles_gaps/bybit_BNBUSDT_1m_200_of_1001_2024H2.parquet": (32_800, 130_563, 163),
        "candles_1m/bybit_BTCUSDT_1m_v1_42_gaps.csv.gz": (43_158, 42, 42),
    }
    commands.json("data", "import", *(str(DATA / name) for name in files))
    judged = {(row["symbol"], row["timeframe"]): row for row in commands.json("data", "quality", code=3)}
    found = sorted((row["actual"], row["missing"], len(row["missing_ranges"])) for row in judged.values())
    assert found == sorted(files.values())


@pytest.mark.skipif(not DATA.exists(), reason="the real candles are not beside the project")
def test_real_holes_are_filled_by_the_second_source_that_has_them(commands, venues):
    """A real download that lacks two pages of 500 hours, and the series that has them."""
    from formats import candles

    truth = candles.read(DATA / "candles_binance_spot/BTC_USDT-1h.feather")
    name = str(DATA / "candles_gaps/binance_BTC_USDT-1h_two_500_row_holes.feather")
    commands.json("data", "import", name, "-s", "binance", "-p", "BTC/USDT", "-t", "1h")
    venues.put("binance", "BTC/USDT", "1h", truth)
    judged = commands.json("data", "quality", "-s", "binance", code=3)[0]
    assert [rng[2] for rng in judged["missing_ranges"]] == [500, 500]
    assert commands.json("data", "fill-gaps", "-s", "binance", "--only")["total_records"] == 1_000
    held = commands.store().load(Source.BINANCE, Series("BTC/USDT", "1h"))
    inside = (truth.open_time >= held.open_time[0]) & (truth.open_time <= held.open_time[-1])
    assert np.array_equal(held.close, truth.close[inside])


def test_symbols_may_be_written_in_any_way_and_what_matches_nothing_is_named(commands, venues):
    venues.put("binance", BTC.symbol, "15m", BARS, listed=START)
    arguments = ("-s", "binance", "-t", "15m", *SINCE_UNTIL)
    assert commands.json("data", "download", "-p", "btc", *arguments)["total_records"] == len(BARS)
    assert commands.json("data", "download", "-p", "BTCUSDT", *arguments)["total_records"] == 0
    code, _, err = commands.run("data", "download", "-p", "BTC,NOSUCH", *arguments)
    assert (code, "--symbols: 'NOSUCH' matches no symbol" in err) == (2, True), err
    copied = commands.json("sources", "migrate", "--source", "binance", "--target", "test", "-p", "btc")
    assert copied["copied"] == len(BARS)
    assert commands.json("sources", "compare", "--source", "binance", "--target", "test", "-p", "BTC*")[0]["common"]
    for command in (("clean", "-s", "test"), ("migrate", "--source", "binance", "--target", "test"),
                    ("compare", "--source", "binance", "--target", "test")):  # fmt: skip
        code, _, err = commands.run("sources", *command, "-p", "BTCC")
        assert (code, "holds nothing of 'BTCC'; did you mean BTC/USDT:USDT?" in err) == (1, True), err
    # what is deleted is never guessed
    commands.store().save(Source.TEST, Series("BTC/USDT", "15m"), BARS[:10])
    code, _, err = commands.run("sources", "clean", "-s", "test", "-p", "BTC", "--yes")
    assert (code, "'BTC' is any of BTC/USDT, BTC/USDT:USDT: write one of them" in err) == (1, True), err
    assert commands.json("sources", "clean", "-s", "test", "-p", "BTC/USDT", "--yes")["deleted"] == 10
    assert commands.store().entry(Source.TEST, BTC).rows == len(BARS)


def test_a_pin_that_matches_nothing_keeps_everything(commands):
    series = Series("BTC/USDT", "1m")
    commands.store().save(Source.BINANCE, series, walk(3_000, START, 60_000))
    commands.environment["REVENANT__HISTORY__PINNED"] = '[{"symbol": "BTCC", "since": "2024-01-02"}]'
    code, _, err = commands.run("data", "prune", "--yes")
    assert (code, "history.pinned: 'BTCC' matches no symbol that is stored" in err) == (2, True), err
    assert commands.json("data", "run", "retention", code=1)["status"] == "FAILED"
    assert len(commands.store().times(Source.BINANCE, series)) == 3_000


def test_old_bars_go_when_that_is_asked_for_and_pinned_ones_stay(commands):
    old = walk(3_000, START, 60_000)
    series = Series("BTC/USDT", "1m")
    commands.store().save(Source.BINANCE, series, old)
    commands.environment["REVENANT__HISTORY__PINNED"] = '[{"symbol": "BTC/USDT", "since": "2024-01-02"}]'
    assert commands.json("data", "prune")[0]["old"] == 1_440
    assert len(commands.store().times(Source.BINANCE, series)) == 3_000
    assert commands.json("data", "prune", "--yes")[0]["deleted"] == 1_440
    entry = commands.store().entry(Source.BINANCE, series)
    assert (entry.rows, entry.earliest) == (1_560, START + 86_400_000)
    assert commands.json("data", "prune") == []


def test_a_regular_job_keeps_what_is_stored_complete_and_is_seen(commands, venues):
    now = int(time.time() * 1000) // STEP * STEP
    recent = walk(500, now - 500 * STEP, STEP)
    venues.put("binance", BTC.symbol, "15m", recent, listed=int(recent.open_time[0]))
    commands.store().save(Source.BINANCE, BTC, lacking(recent[:450], 100, 140))
    commands.environment |= {"DATA_SOURCE": "bybit"}
    assert commands.json("data", "run", "collect")["status"] == "COMPLETED"
    assert commands.json("data", "run", "update")["status"] == "COMPLETED"
    assert len(commands.store().times(Source.BINANCE, BTC)) in {459, 460}
    assert commands.json("data", "run", "fill-gaps")["status"] == "COMPLETED"
    assert len(commands.store().times(Source.BINANCE, BTC)) in {499, 500}
    judged = commands.json("data", "run", "quality")
    assert (judged["status"], judged["alerts"]) == ("COMPLETED", [])
    rows = {row["job"]: row for row in commands.json("data", "jobs")}
    assert [rows[name]["status"] for name in ("collect", "update", "fill-gaps", "validate")] == ["COMPLETED"] * 3 + [""]
    assert all(row["next_run"] for row in rows.values())


def test_a_poor_series_raises_an_alert_and_the_practice_exchange_asks_nobody(commands, venues):
    now = int(time.time() * 1000) // STEP * STEP
    commands.store().save(Source.BINANCE, BTC, lacking(walk(500, now - 500 * STEP, STEP), 100, 140))
    (alert,) = commands.json("data", "run", "quality")["alerts"]
    assert alert == "binance BTC/USDT:USDT 15m: 92.00 % complete over 30 days"
    assert commands.json("data", "run", "collect", code=3)["status"] == "SKIPPED"
    assert venues.asked == []
    assert commands.run("data", "run", "dance")[0] == 2


@pytest.mark.parametrize(("source", "days_ago", "delisted_ago", "poor"), [
    ("binance", 5, None, True), ("binance", 40, None, True), ("binance", 5, 5, False), ("binance", 0, None, False),
    # nobody keeps the series of other sources up to date: they were imported once
    ("okx", 5, None, False),
])  # fmt: skip
def test_a_series_that_has_stopped_is_not_complete_unless_its_market_has_ended(
    commands, source, days_ago, delisted_ago, poor
):
    day, now = 86_400_000, int(time.time() * 1000) // STEP * STEP
    end = now - days_ago * day
    bars = walk(45 * day // STEP, end - 45 * day, STEP)
    commands.store().save(Source(source), BTC, bars)
    if delisted_ago is not None:
        commands.store().note_life(Source(source), BTC, int(bars.open_time[0]), now - delisted_ago * day)
    alerts = commands.json("data", "run", "quality")["alerts"]
    assert len(alerts) == poor
    # asked for the last thirty days, whose series it is does not matter
    complete = not days_ago or delisted_ago is not None
    (judged,) = commands.json("data", "quality", "--days", "30", code=0 if complete else 3)
    assert judged["actual"] == pytest.approx(max(0, 30 - days_ago) * day // STEP, abs=2)
    assert (judged["completeness"] > 99) == complete
    for alert in alerts:
        stopped = f"{datetime.fromtimestamp(end / 1000, UTC):%Y-%m-%d %H:%M}"
        found = re.fullmatch(r"binance BTC/USDT:USDT 15m: (.+) % complete over 30 days; nothing since (.+)", alert)
        # of thirty days up to three hours ago: what is newer may not have been collected yet
        assert float(found[1]) == pytest.approx(max(0, 30 - days_ago) / (30 - 3 / 24) * 100, abs=0.1)
        assert found[2] == stopped


def test_what_all_sources_have_together_is_judged_too(commands, venues):
    whole = {bar.open_time for bar in BARS[:960].rows()}
    for venue, lost in (("binance", range(100, 140)), ("okx", range(120, 160))):
        gone = {START + n * STEP for n in lost}
        venues.put(venue, BTC.symbol, "15m", Bars.of([bar for bar in BARS[:960].rows() if bar.open_time not in gone]))
        commands.run("data", "download", "-s", venue, "-p", BTC.symbol, "-t", "15m", "--since", "2024-01-01", "--until",
                     "2024-01-11")  # fmt: skip
        store = commands.store()
        store.forget_absent(Source(venue), BTC)
    each = {row["source"]: row for row in commands.json("data", "quality", code=3)}
    assert {name: row["missing"] for name, row in each.items()} == {"binance": 40, "okx": 40}
    (best,) = commands.json("data", "quality", "--merged", code=3)
    hole = [START + 120 * STEP, START + 140 * STEP, 20]
    assert (best["source"], best["actual"], best["missing_ranges"]) == ("best", len(whole) - 20, [hole])
    assert best["periods"]["2024-01"] == pytest.approx(100 * 940 / 960, abs=1e-4)
    code, _, err = commands.run("data", "quality", "--merged", "-s", "okx")
    assert (code, "leave --source out" in err) == (2, True)


def test_nothing_stays_open_when_the_work_is_done(commands, venues):
    venues.put("binance", BTC.symbol, "15m", BARS)
    venues.put("binance", BTC.symbol, "1h", walk(60, START, 3_600_000))
    work = [
        ("data", "download", "-s", "binance", "-p", BTC.symbol, "-t", "15m", *SINCE_UNTIL, "--marks"),
        ("data", "fill-gaps", "-s", "binance"), ("data", "symbols", "-s", "binance", "--refresh"), ("data", "quality"),
        ("data", "run", "validate"), ("data", "status"), ("sources", "list"),
    ]  # fmt: skip

    def do() -> None:
        for command in work:
            commands.run(*command)

    def descriptors() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    do()
    settled = descriptors()
    do()
    do()
    # the server of this test lives in the same process, and lets go of a connection a moment after the client
    until(lambda: descriptors() <= settled, "what the work has opened to be closed")


def test_the_doctor_tries_the_way_of_a_candle_and_leaves_nothing(commands):
    code, out, _ = commands.run("doctor", "--data", "--json")
    # what the disk is worth may be a warning
    assert code in {0, 3}
    findings = {one["name"]: one for one in json.loads(out)}
    steps = ("data write", "data read", "data update", "data gaps", "data clean")
    assert [findings[name]["state"] for name in steps] == ["ok"] * 5
    assert commands.json("sources", "list")[2]["rows"] == 0


def test_a_notebook_reads_and_updates_what_is_stored(commands, venues, monkeypatch):
    from bootstrap.notebook import get_ohlcv, update_recent_data
    from domain.errors import BadData

    now = int(time.time() * 1000) // STEP * STEP
    recent = walk(300, now - 300 * STEP, STEP)
    venues.put("binance", BTC.symbol, "15m", recent, listed=int(recent.open_time[0]))
    commands.store().save(Source.BINANCE, BTC, recent[:100])
    commands.store().save(Source.OKX, BTC, recent[90:110])
    for name, value in commands.environment.items():
        monkeypatch.setenv(name, value)
    frame = get_ohlcv("binance", *BTC)
    assert list(frame.columns) == ["open", "high", "low", "close", "volume", "turnover"]
    assert frame.close.tolist() == recent.close[:100].tolist()
    assert get_ohlcv("binance", *BTC, limit=7).close.tolist() == recent.close[93:100].tolist()
    some = get_ohlcv("binance", *BTC, since=frame.index[10].to_pydatetime(), until=str(frame.index[20]))
    assert len(some) == 10
    best = get_ohlcv("best", *BTC)
    assert best.source.tolist() == ["binance"] * 100 + ["okx"] * 10
    assert get_ohlcv("binance", "XYZ/USDT", "15m").empty
    assert update_recent_data(*BTC)["sources_used"]["binance"] in {199, 200}
    with pytest.raises(BadData, match="data download first"):
        update_recent_data("XYZ/USDT", "15m")
    with pytest.raises(BadData, match="'yahoo' is not known"):
        get_ohlcv("yahoo", *BTC)


def test_the_ranked_symbols_are_downloaded_and_a_renamed_coin_is_asked_for_in_its_own_life(commands, venues):
    for name in ("BTC", "ETH", "ODD"):
        venues.put("bybit", f"{name}/USDT:USDT", "15m", walk(96, START, STEP), listed=START)
    venues.put("coingecko", "ETH/USDT", "1h", walk(1, START, STEP))
    rows = commands.json("data", "symbols", "-s", "bybit", "--top", "5")
    assert [(row["symbol"], row["rank"]) for row in rows] == [("ETH/USDT:USDT", 1)]
    got = commands.json(
        "data", "download", "-s", "bybit", "--core", "-t", "15m", "--since", "2024-01-01", "--until", "2024-01-02"
    )
    assert (got["total_symbols"], got["total_records"]) == (2, 192)
    every = commands.json(
        "data", "download", "-s", "bybit", "--all", "-t", "15m", "--since", "2024-01-01", "--until", "2024-01-02"
    )
    assert (every["total_symbols"], every["total_records"], every["successful"]) == (3, 96, 3)
    venues.put("archive", "MATIC/USDT", "15m", walk(96 * 40, START + 221 * 86_400_000, STEP))
    commands.environment["REVENANT__HISTORY__ARCHIVES"] = "true"
    venues.put("binance", "BTC/USDT", "15m", walk(1, START, STEP))
    _, out, err = commands.run(
        "data", "download", "-s", "binance", "-p", "MATIC/USDT", "-t", "15m", "--since", "2024-08-09", "--json"
    )
    assert "goes on as POL" in err
    series = json.loads(out)["series"][0]
    assert (series["added"], series["missing"]) == (23 * 96 + 10 * 96, 0)


def test_each_series_is_mended_within_its_own_first_and_last_bar(commands, venues):
    eth = Series("ETH/USDT:USDT", "15m")
    for name in (BTC.symbol, eth.symbol):
        venues.put("okx", name, "15m", BARS, listed=START)
    commands.store().save(Source.OKX, BTC, lacking(BARS[:2_000], 500, 600))
    commands.store().save(Source.OKX, eth, lacking(BARS[1_500:1_700], 50, 60))
    got = commands.json("data", "fill-gaps", "-s", "okx", "--only")
    assert {row["symbol"]: row["added"] for row in got["series"]} == {BTC.symbol: 100, eth.symbol: 10}


def test_stocks_are_complete_when_their_sessions_are(commands, venues):
    """A month of half hours from a source that tells nothing outside of the sessions, but for one lost bar."""
    from history.calendar import closed

    series, step = Series("AAPL", "30m"), 1_800_000
    month = Span(START, START + 31 * 86_400_000)
    bars, shut = walk(31 * 48, START, step), closed(series, month)
    kept = np.array([not any(span.start <= t < span.end for span in shut) for t in bars.open_time])
    kept[np.flatnonzero(kept)[40]] = False
    venues.put("alpaca", "AAPL", "30m", Bars(*(column[kept] for column in bars.columns())))
    commands.environment |= {"REVENANT__HISTORY__ALPACA_KEY": "key", "REVENANT__HISTORY__ALPACA_SECRET": "secret"}
    got = commands.json(
        "data", "download", "-s", "alpaca", "-p", "AAPL", "-t", "30m", "--since", "2024-01-02", "--until", "2024-02-01"
    )
    assert (got["total_records"], got["series"][0]["missing"], got["series"][0]["absent"]) == (21 * 13 - 1, 0, 1)
    assert sum(asked["timeframe"] == "30Min" for _, asked in venues.asked) <= 3
    judged = commands.json("data", "quality", "-s", "alpaca")[0]
    assert (judged["actual"], judged["missing"], judged["completeness"]) == (21 * 13 - 1, 0, 100.0)
