"""PostgreSQL dies, hangs and comes back: candles and trades lose nothing, nobody waits for ever."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D

import numpy as np
import pytest

from domain.candle import Bars
from domain.errors import Unavailable
from domain.ids import Identity
from domain.records import Level
from domain.source import Source
from domain.trade import Trade
from persistence.candles import PostgresCandleStorage
from persistence.database import Database
from persistence.healing_candles import HealingCandleStorage
from persistence.journal import Journal
from persistence.ledger import LayeredLedger
from persistence.trades import TradeTrackerPostgres
from tests.bot import Bot, holes, until

BTC = "BTC/USDT:USDT"
WHO = Identity("synthetic", "synthetic", "1")


def bars(start: int, count: int = 10) -> Bars:
    return Bars.of((180_000 * (start + i), 10.0, 11.0, 9.0, 10.0, 1.0, 1.0) for i in range(count))


def healing(url, tmp_path) -> HealingCandleStorage:
    main, spill = Database(url), Database(f"sqlite:///{tmp_path / 'spill.sqlite'}")
    return HealingCandleStorage(
        PostgresCandleStorage(main, Source.SYNTHETIC), PostgresCandleStorage(spill, Source.SYNTHETIC)
    )


def test_candles_go_to_the_spill_and_drain_back(own_postgres, tmp_path):
    storage = healing(own_postgres.dsn("postgres"), tmp_path)
    storage.save_candles_3m(BTC, bars(0))
    own_postgres.kill9()
    storage.save_candles_3m(BTC, bars(10))
    storage.save_candles_3m(BTC, bars(15))
    assert storage.degraded
    assert storage.get_stats()["waiting"] == 15
    assert len(storage.load_candles(BTC, 99, timeframe="3m")) == 15

    own_postgres.start()
    assert storage.drain() == 15
    assert not storage.degraded
    assert storage.get_stats() | {"db_size_mb": 0} == {
        "symbols": 1, "total_candles": 25, "db_size_mb": 0, "database_type": "PostgreSQL", "waiting": 0,
    }  # fmt: skip
    np.testing.assert_array_equal(storage.load_candles(BTC, 99, timeframe="3m").open_time, bars(0, 25).open_time)


def test_a_save_that_succeeds_again_does_not_hide_what_waits_in_the_spill(own_postgres, tmp_path):
    """Back before anybody drained: the next save goes home, and the spill is still known to hold bars."""
    storage = healing(own_postgres.dsn("postgres"), tmp_path)
    storage.drain()
    assert not storage.waiting
    own_postgres.kill9()
    storage.save_candles_3m(BTC, bars(0))
    own_postgres.start()
    storage.save_candles_3m(BTC, bars(10))
    assert not storage.degraded
    assert storage.waiting
    assert storage.drain() == 10
    assert not storage.waiting


def test_what_an_earlier_life_left_in_the_spill_is_brought_home(own_postgres, tmp_path):
    own_postgres.kill9()
    healing(own_postgres.dsn("postgres"), tmp_path).save_candles_3m(BTC, bars(0))
    own_postgres.start()
    again = healing(own_postgres.dsn("postgres"), tmp_path)
    assert again.waiting
    assert again.drain() == 10


def test_started_without_a_database_the_storage_heals_and_migrates_later(own_postgres, tmp_path):
    own_postgres.kill9()
    storage = healing(own_postgres.dsn("postgres"), tmp_path)
    storage.save_candles_3m(BTC, bars(0))
    own_postgres.start()
    assert storage.drain() == 10
    assert storage.get_stats()["database_type"] == "PostgreSQL"


def test_a_hung_database_gives_up_within_its_deadline(own_postgres):
    """Libpq's own limits do not help here; ours does."""
    database = Database(own_postgres.dsn("postgres"))
    database.check()
    own_postgres.freeze()
    began = time.monotonic()
    with pytest.raises(Unavailable), database.transaction(1.0) as connection:
        connection.exec_driver_sql("SELECT 1")
    waited = time.monotonic() - began
    own_postgres.thaw()
    with database.transaction() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    # a bound against hanging for ever, not a measurement of speed
    assert waited < 20
    database.close()


def test_trades_during_an_outage_are_journaled_and_settle_afterwards(own_postgres, tmp_path):
    database, journal = Database(own_postgres.dsn("postgres")), Journal(tmp_path / "journal", WHO)
    end = datetime(2026, 3, 1, tzinfo=UTC)
    tracker = TradeTrackerPostgres(database, LayeredLedger(journal), WHO, lambda: end)
    tracker.start()

    def trade(number: int) -> Trade:
        return Trade(
            BTC, "long", D(1), D(2), D(1), end - timedelta(hours=1), end, D(1), D(1), "timeout", trade_id=f"t{number}"
        )

    assert tracker.add_trade(trade(1)) is Level.JOURNALED
    assert tracker.settle(20) == 0
    own_postgres.kill9()
    assert tracker.add_trade(trade(2)) is Level.JOURNALED
    assert tracker.get_statistics().total_trades == 2
    own_postgres.start()
    assert tracker.add_trade(trade(3)) is Level.JOURNALED
    assert tracker.settle(20) == 0
    assert own_postgres.sql("SELECT count(*), count(DISTINCT trade_id) FROM trades") == [(3, 3)]
    journal.close()
    database.close()


def test_the_bot_trades_through_an_outage_of_its_database(own_postgres, tmp_path):
    """Killed under the running bot and started again later: no candle and no trade is missing in the end."""
    bot = Bot(tmp_path, DATABASE_URL=own_postgres.dsn("postgres").replace("postgresql://", "postgres://"))
    try:
        bot.start()
        bot.wait_ready()
        bot.wait_for("trading", lambda s: s["opened"] >= 1)
        own_postgres.kill9()
        before = bot.status()
        bot.wait_for(
            "trades to go on without it",
            lambda s: s["closed"] >= before["closed"] + 1 and s["bars"] > before["bars"] + 200,
        )
        own_postgres.start()
        bot.wait_for("everything to be saved", lambda s: s["candles_waiting"] == 0)
        until(lambda: json.loads(bot.manage("db-stats", "--json").stdout)["waiting"] == 0, "the spill to drain")
        assert bot.stop() == 0
    finally:
        bot.close()
    closed = bot.manage("db-stats", "--json")
    assert '"unsettled": 0' in closed.stdout or '"trades"' in closed.stdout
    rows = own_postgres.sql("SELECT series_id, open_time FROM ohlcv_synthetic ORDER BY 1, 2")
    times: dict[int, list[int]] = {}
    for series_id, open_time in rows:
        times.setdefault(series_id, []).append(open_time)
    steps = dict(own_postgres.sql("SELECT id, CASE timeframe WHEN '3m' THEN 180000 ELSE 900000 END FROM series"))
    assert sum(holes(held, steps[key]) for key, held in times.items()) == 0
    fills = {row["id"] for row in bot.exchange_rows("executions")}
    stored = {row[0] for row in own_postgres.sql("SELECT exec_id FROM trade_fills")}
    assert stored <= fills
    assert own_postgres.sql("SELECT count(*) FROM trades")[0][0] >= 1


def test_the_bot_trades_on_when_another_database_takes_the_place_of_its_own(own_postgres, tmp_path):
    """Dropped and made anew, empty: what the bot saves from then on is saved as before, and its trades are put back."""
    own_postgres.sql("CREATE DATABASE bot")
    bot = Bot(tmp_path, DATABASE_URL=own_postgres.dsn("bot"))
    try:
        bot.start()
        bot.wait_ready()
        before = bot.wait_for("trades in the database", lambda s: s["tiers"]["database"]["written"] >= 3)
        trades = "SELECT trade_id FROM trades"
        earlier = set(own_postgres.sql(trades, "bot"))
        own_postgres.sql("DROP DATABASE bot WITH (FORCE)")
        bot.wait_for(
            "its absence to be noticed",
            lambda s: s["tiers"]["database"]["state"] == "down" and s["bars"] > before["bars"] + 100,
        )
        own_postgres.sql("CREATE DATABASE bot")
        bot.wait_for(
            "everything to arrive",
            lambda s: (
                s["tiers"]["database"]["state"] == "ok" and s["candles_waiting"] == 0 and s["closed"] > before["closed"]
            ),
        )
        until(lambda: json.loads(bot.manage("db-stats", "--json").stdout)["waiting"] == 0, "the spill to drain")
        until(lambda: earlier <= set(own_postgres.sql(trades, "bot")), "earlier trades to be put back")
        assert {name: tier["parked"] for name, tier in bot.status()["tiers"].items() if tier["parked"]} == {}
        assert bot.stop() == 0
    finally:
        bot.close()
    audited = bot.manage("audit", "verify", "--json")
    assert audited.returncode == 0, audited.stdout
    checked = bot.manage("trades", "verify")
    assert checked.returncode == 0, checked.stdout
    lost = "SELECT count(*) FROM ohlcv_synthetic c WHERE NOT EXISTS (SELECT 1 FROM series s WHERE s.id = c.series_id)"
    assert own_postgres.sql(lost, "bot") == [(0,)]
    rows = own_postgres.sql("SELECT series_id, open_time FROM ohlcv_synthetic ORDER BY 1, 2", "bot")
    times: dict[int, list[int]] = {}
    for series_id, open_time in rows:
        times.setdefault(series_id, []).append(open_time)
    steps = dict(own_postgres.sql("SELECT id, CASE timeframe WHEN '3m' THEN 180000 ELSE 900000 END FROM series", "bot"))
    assert times
    assert sum(holes(held, steps[key]) for key, held in times.items()) == 0


def test_a_server_that_dies_in_the_middle_of_a_copy_is_unavailable_and_the_next_save_finds_it_again(
    own_postgres, monkeypatch
):
    """COPY goes to the driver itself, whose errors once passed by as they were."""
    from domain.candle import Series
    from persistence import candles as module
    from tests.venues import walk

    database = Database(own_postgres.dsn("postgres"))
    storage, bars, series = (
        module.PostgresCandleStorage(database, Source.BINANCE),
        walk(1_000, 0, 60_000),
        Series("A/B", "1m"),
    )
    storage.fill(series, bars[:300])
    real, killed = module.encoded, []

    def dies(frames):
        if not killed:
            killed.append(own_postgres.kill9())
        return real(frames)

    monkeypatch.setattr(module, "encoded", dies)
    with pytest.raises(Unavailable):
        storage.fill(series, bars[300:])
    killed.clear()
    own_postgres.start()
    monkeypatch.undo()
    with pytest.raises(Unavailable):
        monkeypatch.setattr(module, "SAVE_ATTEMPTS", 1)
        monkeypatch.setattr(module, "encoded", dies)
        storage.merge({series: bars[300:]})
    own_postgres.start()
    monkeypatch.undo()
    assert storage.fill(series, bars[300:]).processed == 700
    assert np.array_equal(storage.load_candles("A/B", 2_000, timeframe="1m").close, bars.close)
    database.close()
