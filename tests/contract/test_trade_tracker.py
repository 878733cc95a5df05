"""The trade tracker keeps each trade once, exactly, on PostgreSQL and SQLite, with the journal before both."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from domain.errors import BadData, Unavailable
from domain.ids import Identity
from domain.records import Close, Level, finished
from domain.trade import Leg, Trade, with_funding
from persistence import trade_table
from persistence.database import Database
from persistence.files import AtomicFile
from persistence.journal import Journal
from persistence.keyvalue import Redis
from persistence.ledger import LayeredLedger
from persistence.trade_table import TradeTable
from persistence.trades import TradeTrackerPostgres
from tests.bot import until

WHO = Identity("synthetic", "synthetic", "1")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def trade(number: int, pnl: str = "1.5", symbol: str = "BTC/USDT:USDT", days_ago: float = 0.5) -> Trade:
    end = NOW - timedelta(days=days_ago)
    leg = Leg(
        exec_id=f"x{number}",
        time=end,
        qty=D("0.1"),
        price=D("65000.123456789"),
        fee=D("0.0000001"),
        cause="entry",
        closing=False,
    )
    return Trade(
        symbol, "long", D("65000.123456789"), D(65100), D("0.1"), end - timedelta(hours=1), end, D(pnl), D("0.2"),
        "take_profit", D(5), "scalp", trade_id=f"t{number}", timeframe="3m", fees=D("0.1"), legs=(leg,), score=0.7,
    )  # fmt: skip


@pytest.fixture
def world(database_url, tmp_path):
    database, journal = Database(database_url), Journal(tmp_path / "journal", WHO)
    ledger = LayeredLedger(journal)
    yield database, ledger, TradeTrackerPostgres(database, ledger, WHO, lambda: NOW)
    journal.close()
    database.close()


def count(database, table) -> int:
    with database.transaction() as connection:
        return connection.scalar(sa.text(f"SELECT count(*) FROM {table}"))


def test_a_trade_is_settled_once_and_comes_back_exactly(world):
    database, journal, tracker = world
    assert tracker.add_trade(trade(1)) is Level.JOURNALED
    assert tracker.add_trade(trade(1)) is Level.JOURNALED
    assert tracker.settle() == 0
    assert tracker.add_trade(trade(1)) is Level.SETTLED
    assert (count(database, "trades"), count(database, "trade_fills")) == (1, 1)
    assert [type(record) for record in journal.replay()] == [Close]

    again = TradeTrackerPostgres(database, journal, WHO, lambda: NOW)
    assert again.load() == 1
    (held,) = again.trades()
    expected = replace(trade(1), source="synthetic", mode="synthetic", account="1", legs=())
    assert held == expected


def test_what_is_only_in_the_journal_is_settled_at_the_next_start(world):
    database, journal, tracker = world
    journal.append(Close(time=1, trade=replace(trade(7), source="synthetic", mode="synthetic", account="1")))
    tracker.restore(finished(journal.replay()))
    assert tracker.unsettled == 1
    assert tracker.settle() == 0
    assert count(database, "trades") == 1


def test_the_statistics_cache_follows(world):
    database, _, tracker = world
    for number, (pnl, days) in enumerate([("10", 0.1), ("-4", 5), ("6", 20), ("-2", 100)]):
        tracker.add_trade(trade(number, pnl, days_ago=days))
    tracker.settle()
    with database.transaction() as connection:
        rows = connection.execute(sa.text("SELECT period, total_trades, total_pnl FROM trade_stats_cache")).all()
    assert {(row[0], row[1], D(str(row[2]))) for row in rows} == {
        ("all_time", 4, D(10)), ("last_7d", 2, D(6)), ("last_30d", 3, D(12)),
    }  # fmt: skip


def test_statistics_are_those_of_the_period(world):
    _, _, tracker = world
    for number, (pnl, symbol, days) in enumerate([("10", "A", 0.1), ("-4", "A", 0.2), ("6", "B", 3), ("-2", "C", 40)]):
        tracker.add_trade(trade(number, pnl, symbol, days))
    stats = tracker.get_statistics(7)
    assert (stats.total_trades, stats.wins, stats.losses, stats.total_pnl) == (3, 2, 1, D(12))
    assert stats.profit_factor == 4.0
    assert stats.win_rate == pytest.approx(66.667, abs=0.01)
    assert (stats.best_trade.pnl_usd, stats.worst_trade.pnl_usd) == (D(10), D(-4))
    assert (stats.trading_days, stats.daily_avg) == (2, D(6))
    assert [symbol for symbol, _ in stats.top_symbols] == ["A", "B"]
    assert tracker.get_statistics().total_trades == 4
    with pytest.raises(BadData):
        tracker.get_statistics(0)


def test_the_message_says_what_there_is(world):
    _, _, tracker = world
    tracker.load()
    assert tracker.format_stats_message() == "📊 *No trades recorded yet*"
    tracker.add_trade(trade(1, "10"))
    text = tracker.format_stats_message(7)
    assert "Last 7 days" in text
    assert "Profit Factor: ∞ (no losses)" in text
    assert "Total PnL: $10.00" in text
    assert "1 trades are not in the database yet" in text
    tracker.settle()
    assert "⚠️" not in tracker.format_stats_message(7)


def test_profit_is_long_or_short_in_any_spelling_and_nothing_else(world):
    _, _, tracker = world
    assert tracker.calculate_pnl("A", "LONG", D(100), D(110), D(2), D(5)) == (D(20), D(50))
    assert tracker.calculate_pnl("A", "short", D(100), D(110), D(2), D(5)) == (D(-20), D(-50))
    with pytest.raises(BadData, match="neither long nor short"):
        tracker.calculate_pnl("A", "buy", D(100), D(110), D(2), D(5))


def test_a_strangers_trade_is_refused(world):
    _, _, tracker = world
    with pytest.raises(BadData, match="belongs to"):
        tracker.add_trade(replace(trade(1), mode="live"))


def test_naive_times_are_refused():
    with pytest.raises(BadData, match="no time zone"):
        replace(trade(1), exit_time=datetime(2026, 1, 1))


def test_a_hand_made_trade_gets_a_deterministic_id(world):
    database, _, tracker = world
    bare = replace(trade(1), trade_id="", legs=())
    tracker.add_trade(bare)
    tracker.add_trade(bare)
    tracker.settle()
    assert count(database, "trades") == 1


def test_a_trade_that_the_database_refuses_is_parked_and_holds_nothing_else_back(world):
    database, _, tracker = world
    poison = replace(trade(1), legs=(replace(trade(1).legs[0], cause=None),))
    tracker._ledger = None
    assert tracker.add_trade(poison) is Level.MEMORY
    assert tracker.add_trade(trade(2)) is Level.SETTLED
    assert list(tracker.parked) == ["t1"]
    assert tracker.tiers()["database"]["parked"] == 1
    assert count(database, "trades") == 1
    assert tracker.get_statistics().total_trades == 2


@pytest.mark.parametrize("another_comes", [False, True])
def test_trades_that_the_database_has_lost_are_put_back(world, another_comes, monkeypatch):
    """Found by emptying the database under a running bot: what had settled by then was never looked for again."""
    database, ledger, _ = world
    tracker = TradeTrackerPostgres(database, ledger, WHO, lambda: NOW, journaled=lambda: finished(ledger.replay()))
    for number in range(5):
        tracker.add_trade(trade(number))
    assert tracker.settle() == 0
    with database.transaction() as connection:
        for table in ("trade_fills", "trades"):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE trade_id <> 't3'")
    if another_comes:
        monkeypatch.setattr(trade_table, "LOOK_S", 0.0)
        tracker.add_trade(trade(9))
    tracker.settle()
    assert count(database, "trades") == count(database, "trade_fills") == 5 + another_comes
    loaded = TradeTable(database, WHO).load()
    assert [replace(one, legs=()) for one in tracker.trades()] == loaded


def test_without_a_journal_a_trade_counts_once_the_database_has_it(world):
    database, _, _ = world
    bare = TradeTrackerPostgres(database, None, WHO, lambda: NOW)
    assert bare.add_trade(trade(1)) is Level.SETTLED
    assert count(database, "trades") == 1


def test_a_second_telling_that_contradicts_the_first_is_kept_apart(world):
    database, ledger, tracker = world
    tracker.add_trade(trade(1, "1.5"))
    tracker.settle()
    assert tracker.add_trade(trade(1, "99")) is Level.JOURNALED
    tracker.settle()
    assert tracker.get_statistics().total_pnl == D("1.5")
    assert tracker.table.counts() == {"trades": 1, "conflicts": 1}
    with database.transaction() as connection:
        (body,) = connection.execute(sa.text("SELECT body FROM trade_conflicts")).scalars()
    assert '"99"' in body
    # found in the journal after a restart it is still the same contradiction
    again = TradeTrackerPostgres(database, ledger, WHO, lambda: NOW)
    again.load()
    again.restore(finished(ledger.replay()))
    again.settle()
    assert again.get_statistics().total_pnl == D("1.5")
    assert again.table.counts() == {"trades": 1, "conflicts": 1}


def test_two_tellings_of_a_trade_that_wait_together_are_both_kept(world):
    database, _ledger, tracker = world
    tracker.add_trade(trade(1, "1.5"))
    tracker.add_trade(trade(1, "99"))
    assert tracker.unsettled == 2
    assert tracker.settle() == 0
    assert tracker.table.counts() == {"trades": 1, "conflicts": 1}
    stranger = TradeTable(database, Identity("synthetic", "synthetic", "2"))
    assert stranger.counts() == {"trades": 0, "conflicts": 0}


def amended(old: Trade, number: int, fee: str) -> Trade:
    paid = Leg(
        exec_id=f"f{number}", time=old.exit_time, qty=D(1), price=D(1), fee=D(fee), cause="funding", closing=False
    )
    return with_funding(old, old.legs, paid)


def versions(database) -> list[tuple[str, int, str]]:
    with database.transaction() as connection:
        rows = connection.execute(sa.text("SELECT trade_id, version, body FROM trade_versions ORDER BY 1, 2")).all()
    return [(row[0], row[1], json.loads(row[2])["pnl_usd"]) for row in rows]


@pytest.mark.parametrize("together", [False, True])
def test_an_amended_trade_takes_the_place_of_its_first_version_which_is_kept(world, together):
    database, ledger, tracker = world
    first = trade(1)
    second = amended(first, 1, "0.5")
    third = amended(second, 2, "0.25")
    for one in (first, second, third):
        assert tracker.add_trade(one) is Level.JOURNALED
        if not together:
            tracker.settle()
    assert tracker.settle() == 0
    assert tracker.add_trade(second) is Level.SETTLED
    (held,) = tracker.table.load()
    assert (held.version, held.pnl_usd, held.funding) == (2, D("0.75"), D("0.75"))
    assert [leg.exec_id for leg in tracker.legs("t1")] == ["f1", "f2", "x1"]
    assert versions(database) == [("t1", 0, "1.5"), ("t1", 1, "1.0")]
    assert tracker.table.counts() == {"trades": 1, "conflicts": 0}
    assert tracker.get_statistics().total_pnl == D("0.75")
    assert [type(one) for one in ledger.replay()] == [Close, Close, Close]


@pytest.mark.parametrize("arrived", [0, 1, 2])
def test_an_amended_trade_is_whole_after_a_restart_however_much_had_arrived(world, arrived):
    database, ledger, tracker = world
    first = replace(trade(1), source="synthetic", mode="synthetic", account="1")
    told = [first, amended(first, 1, "0.5")]
    for one in told[:arrived]:
        tracker.add_trade(one)
        tracker.settle()
    for one in told[arrived:]:
        ledger.append(Close(time=1, trade=one))
    again = TradeTrackerPostgres(database, ledger, WHO, lambda: NOW)
    again.load(finished(ledger.replay()))
    again.restore(finished(ledger.replay()))
    assert [one.version for one in again.trades()] == [1]
    assert again.settle() == 0
    assert [one.version for one in again.table.load()] == [1]
    assert [leg.exec_id for leg in again.legs("t1")] == ["f1", "x1"]
    assert versions(database) == [("t1", 0, "1.5")]
    assert again.table.counts() == {"trades": 1, "conflicts": 0}


def test_two_amendments_that_contradict_each_other_are_kept_apart(world):
    database, _ledger, tracker = world
    tracker.add_trade(trade(1))
    tracker.add_trade(amended(trade(1), 1, "0.5"))
    tracker.add_trade(amended(trade(1), 2, "0.75"))
    tracker.settle()
    assert tracker.table.counts() == {"trades": 1, "conflicts": 1}
    assert versions(database) == [("t1", 0, "1.5")]
    (held,) = tracker.table.load()
    assert held.pnl_usd == D("1.0")


def test_amended_trades_that_the_database_has_lost_are_put_back_whole(world):
    database, ledger, tracker = world
    first = replace(trade(1), source="synthetic", mode="synthetic", account="1")
    tracker.add_trade(first)
    tracker.add_trade(amended(first, 1, "0.5"))
    tracker.settle()
    with database.transaction() as connection:
        for name in ("trade_fills", "trade_versions", "trades"):
            connection.execute(sa.text(f"DELETE FROM {name}"))
    held = TradeTable(
        database, WHO, settled=tracker.trades, journaled=lambda: finished(ledger.replay())
    )  # fmt: skip
    held.rest()
    assert [one.version for one in held.load()] == [1]
    assert [leg.exec_id for leg in held.legs("t1")] == ["f1", "x1"]
    assert versions(database) == [("t1", 0, "1.5")]


def test_trades_come_back_in_the_order_of_their_ends(world):
    _database, _ledger, tracker = world
    for number, days_ago in enumerate((1, 3, 2)):
        tracker.add_trade(trade(number, days_ago=days_ago))
    tracker.settle()
    assert [held.trade_id for held in tracker.table.load()] == ["t1", "t2", "t0"]


def test_the_last_trades_before_a_stop_reach_the_copies(database_url, own_redis, tmp_path):
    database, journal = Database(database_url), Journal(tmp_path / "journal", WHO)
    redis, snapshot = Redis(own_redis.url), AtomicFile(tmp_path / "trade_history.json")
    tracker = TradeTrackerPostgres(
        database, LayeredLedger(journal), WHO, lambda: NOW, redis=redis, snapshot=snapshot
    )  # fmt: skip
    tracker.start()
    for number in range(3):
        tracker.add_trade(trade(number))
        tracker.settling.flush(5)
    tracker.close(5)
    until(
        lambda: {row["trade_id"] for row in json.loads(snapshot.read() or b"[]")} == {"t0", "t1", "t2"}, "the snapshot"
    )
    until(lambda: {held.trade_id for held in tracker.mirror.load()} == {"t0", "t1", "t2"}, "the copy in Redis")
    assert {held.trade_id for held in tracker.table.load()} == {"t0", "t1", "t2"}


def test_the_copies_hold_the_newest_trades_and_heal(database_url, own_redis, tmp_path):
    database, journal = Database(database_url), Journal(tmp_path / "journal", WHO)
    redis, snapshot = Redis(own_redis.url), AtomicFile(tmp_path / "trade_history.json")
    tracker = TradeTrackerPostgres(
        database, LayeredLedger(journal), WHO, lambda: NOW, redis=redis, snapshot=snapshot
    )  # fmt: skip
    for number in range(3):
        tracker.add_trade(trade(number))
    for one in tracker._outboxes:
        one.flush(5)
    assert [row["trade_id"] for row in json.loads(snapshot.read())] == ["t0", "t1", "t2"]
    assert {held.trade_id for held in tracker.mirror.load()} == {"t0", "t1", "t2"}
    redis.client.flushall()
    tracker.mirror.rest()
    assert {held.trade_id for held in tracker.mirror.load()} == {"t0", "t1", "t2"}
    redis.client.hset(tracker.mirror._hash, "t9", b"{broken")
    assert len(tracker.mirror.load()) == 3
    journal.close()


def test_redis_keeps_no_more_than_it_should(postgres_url, own_redis, monkeypatch):
    monkeypatch.setattr("persistence.mirror.MIRROR_MAX", 5)
    redis, database = Redis(own_redis.url), Database(postgres_url)
    tracker = TradeTrackerPostgres(database, None, WHO, lambda: NOW, redis=redis)
    tracker.mirror.write([trade(number, days_ago=number) for number in range(9)])
    assert {held.trade_id for held in tracker.mirror.load()} == {"t0", "t1", "t2", "t3", "t4"}


def test_with_the_database_away_the_start_takes_what_redis_has(own_postgres, own_redis, tmp_path):
    redis, database = Redis(own_redis.url), Database(own_postgres.dsn("postgres"))
    tracker = TradeTrackerPostgres(database, None, WHO, lambda: NOW, redis=redis)
    tracker.add_trade(trade(1))
    tracker.mirror.rest()
    own_postgres.kill9()
    again = TradeTrackerPostgres(database, None, WHO, lambda: NOW, redis=redis)
    with pytest.raises(Unavailable):
        again.load()
    assert [held.trade_id for held in again.trades()] == ["t1"]
    assert "older trades are missing" in again.format_stats_message()
