"""Every candle storage keeps the seeds' calls and the same promises, on PostgreSQL and SQLite."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from domain.candle import Bars, Series
from domain.coverage import Span
from domain.errors import BadData
from domain.retention import Pin
from domain.source import Source
from persistence import schema
from persistence.candles import PostgresCandleStorage
from persistence.database import Database
from persistence.healing_candles import HealingCandleStorage
from tests.bot import until

BTC, PEPE = "BTC/USDT:USDT", "1000PEPE/USDT:USDT"
DAY = 86_400_000


def bars(count: int, start: int = 0, step: int = 900_000, seed: int = 1) -> Bars:
    rng = np.random.default_rng(seed)
    price = rng.uniform(1e-9, 1e5, count)
    return Bars.of(
        (start + i * step, price[i], price[i] * 1.1, price[i] * 0.9, price[i], rng.random() * 1e9, rng.random())
        for i in range(count)
    )


def same(one: Bars, other: Bars) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.columns(), other.columns(), strict=True))


@pytest.fixture(params=["plain", "healing"])
def storage(request, database_url, tmp_path):
    database = Database(database_url)
    held = PostgresCandleStorage(database, Source.SYNTHETIC)
    if request.param == "healing":
        spill = Database(f"sqlite:///{tmp_path / 'spill.sqlite'}")
        held = HealingCandleStorage(held, PostgresCandleStorage(spill, Source.SYNTHETIC))
    yield held
    database.close()


def test_the_newest_bars_before_a_time_are_read(database_url):
    database, held = Database(database_url), bars(50)
    storage = PostgresCandleStorage(database, Source.SYNTHETIC)
    storage.save_candles(BTC, held)
    assert same(storage.load_candles(BTC, 10, before=20 * 900_000), held[10:20])
    assert len(storage.load_candles(BTC, 10, before=0)) == 0
    database.close()


def test_bars_come_back_exactly_as_they_were_saved(storage):
    held = bars(50)
    assert storage.save_candles(BTC, held) == 50
    assert same(storage.load_candles(BTC, 100), held)
    assert same(storage.load_candles(BTC, 10), held[-10:])


def test_tables_with_times_are_taken_too(storage):
    held = bars(20)
    storage.save_candles(BTC, held.to_frame())
    loaded = storage.load_candles(BTC, 100)
    assert same(loaded, held)
    pd.testing.assert_frame_equal(loaded.to_frame(), held.to_frame())


def test_saving_again_changes_nothing_and_a_correction_updates(storage):
    held = bars(30)
    storage.save_candles(BTC, held)
    storage.save_candles(BTC, held)
    changed = Bars.of([row._replace(close=row.open) for row in held.rows()[-3:]])
    storage.save_candles(BTC, changed)
    assert storage.get_stats()["total_candles"] == 30
    assert same(storage.load_candles(BTC, 3), changed)


def test_timeframes_and_symbols_are_kept_apart(storage):
    storage.save_candles_3m(BTC, bars(10, step=180_000, seed=2))
    storage.save_candles(PEPE, bars(4, seed=3))
    frames = {
        BTC: bars(5, seed=4),
        (PEPE, "3m"): bars(6, step=180_000, seed=5),
        Series(BTC, "1h"): bars(2, step=3_600_000),
    }
    assert storage.save_all_frames(frames) == 13
    assert [len(storage.load_candles(*key)) for key in ((BTC, 99), (PEPE, 99))] == [5, 4]
    assert len(storage.load_candles(BTC, 99, timeframe="3m")) == 10
    assert len(storage.load_candles(PEPE, 99, timeframe="3m")) == 6
    stats = storage.get_stats()
    assert (stats["symbols"], stats["total_candles"]) == (2, 27)
    assert stats["database_type"] in {"PostgreSQL", "SQLite"}
    assert stats["db_size_mb"] > 0


def test_a_bar_twice_in_one_save_is_one_row_and_the_later_wins(storage):
    row = bars(1).rows()[0]
    storage.save_candles(BTC, Bars.of([row, row._replace(volume=7.0)]))
    assert storage.load_candles(BTC, 9).volume.tolist() == [7.0]


def test_the_series_table_knows_span_and_count(storage):
    storage.save_candles(BTC, bars(10, start=900_000 * 100))
    storage.save_candles(BTC, bars(10, start=900_000 * 95))
    (row,) = storage.series()
    assert (row["earliest"], row["latest"], row["rows"]) == (900_000 * 95, 900_000 * 109, 15)


def test_cleanup_counts_from_the_newest_bar(storage):
    storage.save_candles(BTC, bars(5 * 96))
    assert storage.cleanup_old_candles(2) == 5 * 96 - 2 * 96 - 1
    assert storage.get_stats()["total_candles"] == 2 * 96 + 1
    assert storage.load_candles(BTC, 9999).open_time[0] == 5 * DAY - 900_000 - 2 * DAY
    with pytest.raises(BadData, match="at least one day"):
        storage.cleanup_old_candles(0)


def test_cleanup_leaves_history_and_pinned_ranges_alone(database_url):
    pinned = Span(3 * 900_000, 5 * 900_000)
    pins = [Pin(Source.SYNTHETIC, BTC, "15m", pinned), Pin(Source.BYBIT, "", "", Span(0, 2**53))]
    storage = PostgresCandleStorage(Database(database_url), Source.SYNTHETIC, lambda: pins)
    years = Bars.of([(DAY * n, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0) for n in range(900)])
    storage.save_all_frames({(BTC, "1d"): years, (BTC, "1h"): years, (BTC, "15m"): bars(5 * 96), (BTC, "3m"): years})
    assert storage.cleanup_old_candles(days_to_keep=2) == (5 * 96 - 2 * 96 - 1 - 2) + (900 - 3)
    kept = {(row["timeframe"]): (row["earliest"], row["rows"]) for row in storage.series()}
    assert kept == {
        "1d": (0, 900), "1h": (0, 900), "15m": (pinned.start, 2 * 96 + 1 + 2), "3m": (897 * DAY, 3),
    }  # fmt: skip
    assert storage.load_candles(BTC, 9999).open_time[:3].tolist() == [3 * 900_000, 4 * 900_000, 3 * DAY - 900_000]


def test_nothing_saved_is_nothing_loaded(storage):
    assert len(storage.load_candles("NONE/USDT:USDT", 5)) == 0
    assert storage.save_all_frames({}) == 0
    assert storage.save_candles(BTC, Bars.empty()) == 0


def test_a_window_saved_again_stores_what_differs_and_mends_what_others_have_done(storage, database_url):
    whole, other = bars(120), PostgresCandleStorage(Database(database_url), Source.SYNTHETIC)
    storage.save_candles(BTC, whole[:100])
    storage.save_candles(BTC, whole[10:110])
    assert same(storage.load_candles(BTC, 999), whole[:110])
    # a correction inside the window
    changed = Bars.of([row._replace(volume=row.volume + 1) if i == 50 else row for i, row in enumerate(whole.rows())])
    storage.save_candles(BTC, changed[20:120])
    assert same(storage.load_candles(BTC, 999), changed)
    # somebody else takes bars away, and puts another value in place of one: the next save makes both good
    other.remove({Series(BTC, "15m"): changed[60:70]})
    storage.save_candles(BTC, changed[20:120])
    assert same(storage.load_candles(BTC, 999), changed)
    other.save_candles(BTC, whole[50:51])
    assert storage.load_candles(BTC, 999).volume[50] == whole.volume[50]
    storage.save_candles(BTC, changed[20:120])
    assert same(storage.load_candles(BTC, 999), changed)
    (row,) = storage.series()
    assert (row["rows"], row["latest"]) == (120, int(changed.open_time[-1]))
    other.close()


@pytest.fixture
def two_writers(database_url):
    """Two storages of the same PostgreSQL, and its database."""
    database, others = Database(database_url), Database(database_url)
    if not database.is_postgres:
        pytest.skip("SQLite lets one write at a time")
    yield PostgresCandleStorage(database, Source.SYNTHETIC), PostgresCandleStorage(others, Source.SYNTHETIC), database
    database.close()
    others.close()


@pytest.mark.parametrize("row", [50, 100], ids=["a bar that was there", "the new bar"])
def test_what_another_writes_before_a_window_has_the_last_word_is_overwritten(two_writers, monkeypatch, row):
    storage, other, _ = two_writers
    whole, roll = bars(101), storage._roll
    storage.save_candles(BTC, whole[:100])

    def later(*arguments):
        # what lacks is known already; the other is done before anything is written of it
        monkeypatch.undo()
        other.save_candles(BTC, Bars.of([whole.row(row)._replace(volume=1.5)]))
        return roll(*arguments)

    monkeypatch.setattr(storage, "_roll", later)
    storage.save_candles(BTC, whole[1:101])
    assert same(storage.load_candles(BTC, 999), whole)
    assert [one["rows"] for one in storage.series()] == [101]


def test_what_another_writes_while_a_window_is_being_saved_is_noticed_by_the_next_save(two_writers, monkeypatch):
    storage, other, database = two_writers
    whole, roll = bars(102), storage._roll
    storage.save_candles(BTC, whole[:100])
    writing = threading.Thread(target=other.save_candles, args=(BTC, Bars.of([whole.row(50)._replace(volume=1.5)])))
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def waits() -> bool:
        with database.transaction() as connection:
            return bool(connection.scalar(sa.text(sessions)))

    def meanwhile(*arguments):
        found = roll(*arguments)
        # the marks have been read: the other has to wait until the window is stored
        writing.start()
        until(waits, "the other waits for a lock", 5)
        return found

    monkeypatch.setattr(storage, "_roll", meanwhile)
    storage.save_candles(BTC, whole[1:101])
    writing.join()
    assert storage.load_candles(BTC, 999).volume[50] == 1.5
    monkeypatch.undo()
    storage.save_candles(BTC, whole[2:102])
    assert same(storage.load_candles(BTC, 999), whole)


def test_a_few_bars_beside_whole_windows_are_stored_each_time(storage):
    whole = bars(130)
    for number in range(3):
        few = whole[2 * number : 2 * number + 2]
        storage.save_all_frames({BTC: whole[number : number + 100], PEPE: few})
        assert same(storage.load_candles(PEPE, 999), whole[: 2 * number + 2])
    assert same(storage.load_candles(BTC, 999), whole[:102])


def test_a_window_that_its_owner_writes_on_into_is_compared_with_what_was_saved(storage):
    held = bars(60).copy()
    storage.save_candles(BTC, held)
    held.close[30] += 1
    storage.save_candles(BTC, held)
    assert same(storage.load_candles(BTC, 99), held)


def test_bars_that_go_on_are_stored_and_those_that_another_has_stored_meanwhile_too(storage, database_url):
    whole, other = bars(30), PostgresCandleStorage(Database(database_url), Source.SYNTHETIC)
    for number in range(10):
        storage.save_all_frames({BTC: whole[number : number + 1], PEPE: whole[2 * number : 2 * number + 2]})
    other.save_candles(BTC, Bars.of([whole.row(12)._replace(volume=1.5)]))
    for number in range(10, 15):
        storage.save_all_frames({BTC: whole[number : number + 1], PEPE: whole[2 * number : 2 * number + 2]})
    assert same(storage.load_candles(BTC, 99), whole[:15])
    assert same(storage.load_candles(PEPE, 99), whole)
    assert {row["symbol"]: (row["rows"], row["earliest"]) for row in storage.series()} == {
        BTC: (15, int(whole.open_time[0])), PEPE: (30, int(whole.open_time[0])),
    }  # fmt: skip
    other.close()


def renumbered(database: Database) -> None:
    """Do what an older copy of the database does, put in its place: a number is another series', another's is gone."""
    names, held = schema.series, schema.candles[Source.SYNTHETIC]
    with database.transaction() as connection:
        connection.execute(sa.delete(held))
        number = connection.scalar(sa.select(names.c.id).where(names.c.symbol == BTC))
        connection.execute(sa.delete(names))
        row = {"id": number, "source": "synthetic", "symbol": "SOL/USDT:USDT", "timeframe": "15m"}
        connection.execute(sa.insert(names).values(row))


@pytest.mark.parametrize(("since", "until"), [(100, 101), (99, 101), (1, 101)])
def test_bars_never_go_under_numbers_that_are_no_longer_their_series(storage, database_url, since, until):
    """Found by emptying the database under a running bot: what it saved from then on belonged to no series."""
    whole = bars(400)
    storage.save_all_frames({BTC: whole[:100], PEPE: whole[:100]})
    other = Database(database_url)
    renumbered(other)
    more = {BTC: whole[since:until], PEPE: whole[since:until]}
    storage.save_all_frames(more)
    for symbol in (BTC, PEPE):
        assert same(storage.load_candles(symbol, 999), whole[since:until])
    assert not len(storage.load_candles("SOL/USDT:USDT", 999))
    renumbered(other)
    storage.save_all_frames({BTC: whole[until : until + 1]})
    assert same(storage.load_candles(BTC, 999), whole[until : until + 1])
    other.close()


def test_bars_filled_in_never_go_under_numbers_that_are_no_longer_their_series(database_url):
    database, whole = Database(database_url), bars(600)
    storage = PostgresCandleStorage(database, Source.SYNTHETIC)
    storage.fill(Series(BTC, "15m"), whole[:300])
    renumbered(database)
    assert storage.fill(Series(BTC, "15m"), whole[300:]).added == 300
    assert same(storage.load_candles(BTC, 999), whole[300:])
    renumbered(database)
    storage.save_candles(BTC, whole[:3])
    renumbered(database)
    storage.remove({Series(BTC, "15m"): whole[:3]})
    assert not len(storage.load_candles(BTC, 999))
    database.close()


def test_many_series_are_loaded_at_once_as_one_by_one(storage):
    frames = {Series(BTC, "3m"): bars(40, step=180_000, seed=2), Series(PEPE, "15m"): bars(7, seed=3)}
    storage.save_all_frames(frames)
    found = storage.load_frames({Series(BTC, "3m"): 25, Series(PEPE, "15m"): 25, Series("NONE", "3m"): 5})
    assert found.keys() == frames.keys()
    assert same(found[Series(BTC, "3m")], frames[Series(BTC, "3m")][-25:])
    assert same(found[Series(PEPE, "15m")], frames[Series(PEPE, "15m")])
    assert storage.load_frames({}) == {}
    assert storage.load_frames({Series("NONE", "3m"): 5}) == {}


def test_sources_never_mix(database_url):
    database = Database(database_url)
    made_up, real = (PostgresCandleStorage(database, source) for source in (Source.SYNTHETIC, Source.BYBIT))
    made_up.save_candles(BTC, bars(3))
    assert len(real.load_candles(BTC, 9)) == 0
    assert real.get_stats()["total_candles"] == 0
    with database.transaction() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM candles_synthetic")) == 3
        assert connection.scalar(sa.text("SELECT count(*) FROM candles_bybit")) == 0
    database.close()


def test_two_writers_of_one_series_end_with_one_row_per_bar(database_url):
    databases = [Database(database_url) for _ in range(2)]
    databases[0].check()
    problems = []

    def write(database):
        storage = PostgresCandleStorage(database, Source.SYNTHETIC)
        try:
            for i in range(20):
                storage.save_candles(BTC, bars(50, start=i * 900_000 * 10))
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=[database]) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert PostgresCandleStorage(databases[0], Source.SYNTHETIC).get_stats()["total_candles"] == 240
    for database in databases:
        database.close()
