"""History keeps its promises on PostgreSQL and SQLite: exact reads, books that stay true, lawful copies."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
import sqlalchemy as sa

from domain.candle import Bars, Series
from domain.coverage import Span, cover
from domain.errors import BadData, Rejected
from domain.sifting import Refused
from domain.source import Source
from formats import candles
from history.deposit import deposit
from persistence import candle_reader, sources
from persistence.database import Database
from persistence.history import CandleHistory, SyncNote
from tests.venues import walk

STEP, START = 900_000, 1_704_067_200_000
BTC = Series("BTC/USDT:USDT", "15m")
BARS = walk(500, START, STEP)
BINANCE, TEST, OKX, SYNTHETIC = Source.BINANCE, Source.TEST, Source.OKX, Source.SYNTHETIC
WHOLE = Span(0, 2**53)


@pytest.fixture
def database(database_url):
    held = Database(database_url)
    yield held
    held.close()


@pytest.fixture
def store(database):
    return CandleHistory(database)


def same(one: Bars, other: Bars) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.columns(), other.columns(), strict=True))


def test_saving_says_what_was_new_and_what_changed(store):
    assert store.save(BINANCE, BTC, BARS) == (500, 500, 0)
    assert store.save(BINANCE, BTC, BARS) == (500, 0, 0)
    other = BARS.copy()
    other.close[7] += 0.01
    other.high[7] += 0.01
    assert store.save(BINANCE, BTC, other) == (500, 0, 1)
    assert same(store.load(BINANCE, BTC), other)
    entry = store.entry(BINANCE, BTC)
    assert (entry.rows, entry.earliest, entry.latest) == (500, START, START + 499 * STEP)


def test_a_span_is_read_exactly(store, monkeypatch):
    monkeypatch.setattr(candle_reader, "PAGE_ROWS", 7)
    store.save(BINANCE, BTC, BARS)
    span = Span(START + 3 * STEP, START + 45 * STEP)
    assert same(store.load(BINANCE, BTC, span), BARS[3:45])
    assert store.times(BINANCE, BTC, span).tolist() == BARS.open_time[3:45].tolist()
    assert len(store.load(OKX, BTC)) == 0
    assert len(store.times(BINANCE, Series("X/USDT", "15m"))) == 0


def test_more_rows_than_one_transaction_takes_are_all_stored(store, monkeypatch):
    monkeypatch.setattr("persistence.history.SAVE_ROWS", 120)
    assert store.save(BINANCE, BTC, BARS) == (500, 500, 0)
    assert len(store.load(BINANCE, BTC)) == 500


def test_confirmed_absences_are_merged_and_can_be_forgotten(store):
    spans = [Span(START, START + STEP), Span(START + STEP, START + 3 * STEP), Span(START + 9 * STEP, START + 10 * STEP)]
    for span in spans:
        store.confirm_absent(BINANCE, BTC, [span])
    assert store.absent(BINANCE, BTC) == [Span(START, START + 3 * STEP), spans[2]]
    assert store.absent(OKX, BTC) == []
    assert store.forget_absent(BINANCE, BTC) == 2
    assert store.absent(BINANCE, BTC) == []


def test_refused_rows_are_kept_once_with_their_reason(store):
    rows = [Refused((START + 1, 1.0, 1.0, 1.0, 1.0, float("nan"), 1.0), "opens off the grid of its timeframe")]
    store.quarantine(BINANCE, BTC, rows)
    store.quarantine(BINANCE, BTC, rows)
    held = store.quarantined(BINANCE)
    assert len(held) == 1
    assert (held[0]["open_time"], held[0]["reason"]) == (START + 1, rows[0].reason)
    assert json.loads(held[0]["body"])[0] == START + 1


def test_a_deposit_accounts_for_every_row(store):
    rows = BARS.copy()
    rows.low[3] = rows.high[3] * 2
    got = deposit(store, BINANCE, BTC, rows, START + 499 * STEP)
    assert (got.processed, got.added, got.refused, got.unfinished) == (500, 498, 1, 1)
    assert len(store.quarantined()) == 1
    assert len(store.load(BINANCE, BTC)) == 498


def test_verdicts_and_the_sync_log_are_kept(store, database):
    store.save(BINANCE, BTC, BARS[:100])
    window = Span(START, START + 200 * STEP)
    store.judge(BINANCE, BTC, cover(BARS.open_time[:100], window, "15m"), {"spike": 2})
    store.log(SyncNote("backfill", BINANCE, BTC, window, "PARTIAL", 100, 100, 0, 0, "cut", datetime.now(UTC)))
    assert store.logged()[0]["error_message"] == "cut"
    with database.transaction() as connection:
        row = connection.execute(sa.text("SELECT * FROM data_quality")).mappings().one()
        ranges = connection.execute(sa.text("SELECT * FROM historical_data_range")).mappings().one()
    assert (row["total_expected_records"], row["total_actual_records"], row["missing_records"]) == (200, 100, 100)
    assert json.loads(row["gaps"]) == [[START + 100 * STEP, START + 200 * STEP]]
    assert bool(row["has_anomalies"])
    assert ranges["total_records"] == 100
    assert not ranges["is_complete"]


def test_the_merged_view_takes_the_best_source_and_says_which(store, database):
    store.save(BINANCE, BTC, BARS[:10])
    store.save(OKX, BTC, BARS[5:15])
    store.save(SYNTHETIC, BTC, BARS[:20])
    with database.transaction() as connection:
        rows = connection.execute(sa.text("SELECT open_time, source FROM ohlcv_best ORDER BY open_time")).all()
    assert [row[0] for row in rows] == BARS.open_time[:15].tolist()
    assert [row[1] for row in rows] == ["binance"] * 10 + ["okx"] * 5
    bars, places = candle_reader.read_best(database, [BINANCE, OKX], BTC, WHOLE)
    assert same(bars, BARS[:15])
    assert places.tolist() == [0] * 10 + [1] * 5


def test_the_views_for_people_tell_vwap_where_there_is_one(store, database):
    store.save(BINANCE, BTC, BARS[:1])
    with database.transaction() as connection:
        row = connection.execute(sa.text("SELECT * FROM candles_binance")).mappings().one()
    assert row["vwap"] == pytest.approx(BARS.turnover[0] / BARS.volume[0])
    assert (row["symbol"], row["timeframe"]) == BTC


# -- copies between sources


@pytest.mark.parametrize(
    ("source", "target", "may"),
    [
        (BINANCE, TEST, True), (TEST, BINANCE, True), (SYNTHETIC, TEST, True), (SYNTHETIC, Source.MOCK, True),
        (SYNTHETIC, BINANCE, False), (Source.BYBIT_TESTNET, Source.BYBIT, False), (BINANCE, OKX, False),
        (BINANCE, SYNTHETIC, False), (BINANCE, BINANCE, False),
    ],
)  # fmt: skip
def test_what_may_be_copied_where(source, target, may):
    assert (sources.lawful(source, target) == "") is may


def test_a_copy_is_made_once_and_only_its_origin_takes_it_back(store, database):
    store.save(BINANCE, BTC, BARS[:100])
    store.save(SYNTHETIC, BTC, BARS[100:200])
    assert sources.copy(database, store, BINANCE, TEST)[0][1:] == (100, 0, 0)
    assert sources.copy(database, store, BINANCE, TEST)[0][1:] == (0, 100, 0)
    sources.copy(database, store, SYNTHETIC, TEST)
    sources.empty(database, BINANCE, store.entries(BINANCE))
    assert store.entry(BINANCE, BTC).rows == 0
    assert sources.copy(database, store, TEST, BINANCE)[0].copied == 100
    assert same(store.load(BINANCE, BTC), BARS[:100])
    assert sources.copy(database, store, TEST, OKX)[0].copied == 0
    with pytest.raises(Rejected, match="made up"):
        sources.copy(database, store, SYNTHETIC, BINANCE)


def test_a_row_that_was_told_anew_in_test_has_lost_its_origin(store, database):
    store.save(BINANCE, BTC, BARS[:10])
    sources.copy(database, store, BINANCE, TEST)
    other = BARS[:1].copy()
    other.volume[0] += 1
    store.save(TEST, BTC, other)
    assert sources.copy(database, store, TEST, BINANCE)[0][1:] == (0, 9, 0)
    with database.transaction() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM ohlcv_test WHERE origin IS NULL")) == 1


def test_rows_that_differ_are_counted_and_stay(store, database):
    store.save(BINANCE, BTC, BARS[:10])
    other = BARS[:10].copy()
    other.volume[3] += 1
    store.save(TEST, BTC, other)
    assert sources.copy(database, store, BINANCE, TEST)[0][1:] == (0, 10, 1)
    assert same(store.load(TEST, BTC), other)


def test_a_table_is_emptied_only_into_a_file_that_can_be_read_back(store, database, tmp_path):
    store.save(BINANCE, BTC, BARS)
    path = tmp_path / "backup.csv.gz"
    assert sources.back_up(store, BINANCE, store.entries(BINANCE), path) == 500
    with pytest.raises(BadData, match="there already"):
        sources.back_up(store, BINANCE, store.entries(BINANCE), path)
    assert sources.empty(database, BINANCE, store.entries(BINANCE)) == 500
    assert len(store.load(BINANCE, BTC)) == 0
    assert same(candles.read(path), BARS)


def test_the_overview_knows_every_source(store, database):
    store.save(BINANCE, BTC, BARS)
    rows = {row["source"]: row for row in sources.overview(database)}
    # on PostgreSQL a sum is a decimal, which JSON tells as text
    assert {type(row[name]) for row in rows.values() for name in ("rows", "symbols", "series")} == {int}
    assert set(rows) == {source.value for source in Source}
    assert all(row["exists"] for row in rows.values())
    assert (rows["binance"]["rows"], rows["binance"]["symbols"]) == (500, 1)


def test_bars_go_straight_into_an_empty_span_and_are_merged_where_some_are(store):
    held = walk(900, START, STEP)
    assert store.save(BINANCE, BTC, held[300:600]) == (300, 300, 0)
    assert store.save(BINANCE, BTC, held[:300]) == (300, 300, 0)
    assert store.save(BINANCE, BTC, held[500:]) == (400, 300, 0)
    assert same(store.load(BINANCE, BTC), held)
    entry = store.entry(BINANCE, BTC)
    assert (entry.rows, entry.earliest, entry.latest) == (900, START, START + 899 * STEP)
    assert entry.last_synced is not None
