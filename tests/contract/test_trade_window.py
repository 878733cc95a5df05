"""However few trades are at hand: what is told of all of them is exact, and older ones come from the database."""

from __future__ import annotations

import dataclasses
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D

import pytest
from msgspec.structs import replace

from domain import reports
from domain.equity_curve import EquityCurve
from domain.errors import Unavailable
from domain.ids import Identity
from domain.records import finished
from domain.reports import Group, Period, Result
from domain.statistics import summarise
from domain.trade import Trade
from domain.trade_page import Wanted, page_of
from persistence.database import Database
from persistence.journal import Journal
from persistence.ledger import LayeredLedger
from persistence.trades import TradeTrackerPostgres

WHO = Identity("synthetic", "synthetic", "1")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HELD, MANY = 10, 60
SORTS = ("exit_time", "entry_time", "symbol", "strategy_name", "side", "pnl_usd", "pnl_percent", "r_multiple",
         "exit_reason", "score", "fees")  # fmt: skip


def made(number: int, draw: random.Random) -> Trade:
    """Return a trade; exits come in any order, several at once, some profits are equal."""
    end = NOW - timedelta(hours=6 * (MANY - number + draw.randrange(3)))
    pnl = D(draw.randrange(-900, 1000)) / draw.choice((1, 10, 1000))
    return Trade(
        draw.choice(("BTC/USDT:USDT", "ETH/USDT:USDT", "aave/USDT:USDT")), draw.choice(("long", "short")), D(100), D(101),
        D("0.1"), end - timedelta(minutes=draw.randrange(1, 90)), end, pnl, pnl / 7, draw.choice(("stop_loss", "timeout")),
        D(2), draw.choice(("scalp", "trend_pullback")), f"t{number:04d}", *WHO, "3m", pnl, D(draw.randrange(9)) / 100,
        D("0.001"), pnl / 3, score=draw.choice((None, 0.25, 61.5)),
    )  # fmt: skip


class World:
    """A tracker that has few trades at hand, and the trades that it was told of."""

    def __init__(self, url: str, folder) -> None:
        self.database, self.journal = Database(url), Journal(folder / "journal", WHO)
        self.ledger = LayeredLedger(self.journal)
        self.tracker = self.fresh()
        self.told: dict[str, Trade] = {}

    def fresh(self) -> TradeTrackerPostgres:
        return TradeTrackerPostgres(
            self.database,
            self.ledger,
            WHO,
            lambda: NOW,
            held_max=HELD,
            journaled=lambda: finished(self.ledger.replay()),
        )

    def add(self, trade: Trade) -> None:
        self.tracker.add_trade(trade)
        self.told[trade.trade_id] = trade

    @property
    def every(self) -> list[Trade]:
        return sorted(self.told.values(), key=lambda one: (one.exit_time, one.trade_id))


@pytest.fixture
def world(database_url, tmp_path):
    held = World(database_url, tmp_path)
    held.tracker.load()
    yield held
    held.journal.close()
    held.database.close()


def filled(world: World, seed: int, count: int = MANY, *, settled: bool = True) -> random.Random:
    draw = random.Random(seed)
    for number in range(count):
        world.add(made(number, draw))
        if settled:
            world.tracker.settle()
    return draw


def rounded(found: list[Result]) -> list[Result]:
    """Means of floats end in different last digits, by the order in which they are added up."""
    return [dataclasses.replace(one, mean_r=round(one.mean_r, 9), held_s=round(one.held_s, 6)) for one in found]


def same_as_all(world: World, tracker: TradeTrackerPostgres) -> None:
    every, since = world.every, NOW - timedelta(days=9)
    assert list(tracker.every()) == every
    assert tracker.get_statistics() == summarise(every)
    assert tracker.get_statistics(9) == summarise(reports.since(every, since))
    for group in Group:
        assert rounded(tracker.sums().by_group(group)) == rounded(reports.by_group(every, group))
    for period in Period:
        assert rounded(tracker.sums().by_period(period, 8, NOW)) == rounded(reports.by_period(every, period, 8, NOW))
    assert tracker.sums().curve() == EquityCurve().follow(every)
    assert tracker.exits() == {one.trade_id: round(one.exit_time.timestamp() * 1000) for one in every}
    assert len(tracker) == len(every)
    for one in (every[0], every[-1]):
        assert tracker.named(one.trade_id) == [one]


@pytest.mark.parametrize("seed", range(3))
def test_few_are_at_hand_and_all_are_told_exactly_also_after_a_restart(world, seed):
    filled(world, seed)
    assert len(world.tracker.trades()) <= HELD + HELD // 10
    assert world.tracker.trades() == world.every[-len(world.tracker.trades()) :]
    same_as_all(world, world.tracker)

    again = world.fresh()
    assert again.load() == MANY
    assert again.trades() == world.every[-HELD:]
    same_as_all(world, again)
    # a journal that tells of all of them changes nothing, and sends nothing again
    again.restore(finished(world.ledger.replay()))
    assert again.unsettled == 0
    same_as_all(world, again)


def test_what_waits_for_the_database_is_never_let_go(world):
    filled(world, 4, settled=False)
    assert world.tracker.trades() == world.every
    same_as_all(world, world.tracker)
    world.tracker.settle()
    world.add(made(MANY, random.Random(5)))
    world.tracker.settle()
    assert len(world.tracker.trades()) <= HELD + HELD // 10
    same_as_all(world, world.tracker)


@pytest.mark.parametrize("settled", [False, True])
def test_an_old_trade_that_is_told_late_or_anew_counts_as_if_it_had_always_been_so(world, settled):
    draw = filled(world, 6)
    world.tracker.sums()
    world.add(replace(world.every[3], pnl_usd=D(777), version=1))
    world.add(replace(made(0, draw), trade_id="late"))
    if settled:
        world.tracker.settle()
        world.add(made(MANY, draw))
        world.tracker.settle()
    same_as_all(world, world.tracker)


@pytest.mark.parametrize("waiting", [False, True])
def test_pages_from_the_database_are_those_of_all_trades_in_memory(world, waiting):
    draw = filled(world, 7)
    if waiting:
        # an unsettled new one, and an unsettled higher version of an old one
        world.add(made(MANY, draw))
        world.add(replace(world.every[5], pnl_usd=D(-777), version=1))
    assert bool(world.tracker.unsettled) == waiting
    for sort in SORTS:
        for descending in (False, True):
            for filters in ({}, {"symbol": "eth"}, {"strategy": "scalp", "side": "long"}, {"exit_reason": "timeout"}):
                for since in (None, NOW - timedelta(days=10)):
                    wanted = Wanted(sort=sort, descending=descending, **filters)
                    expected = page_of(reports.since(world.every, since), wanted, 3, 20)
                    assert world.tracker.page(wanted, since, 3, 20) == expected, (wanted, since)


def test_older_trades_that_the_database_has_lost_count_no_more_and_newer_ones_are_put_back(world):
    filled(world, 8)
    world.tracker.sums()
    newest = world.tracker.trades()
    world.journal.close()
    lost = TradeTrackerPostgres(world.database, None, WHO, lambda: NOW, held_max=HELD)
    lost.load()
    with world.database.transaction() as connection:
        for table in ("trade_fills", "trades"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    lost.table.rest()
    assert lost.table.load() == lost.trades() == newest[-HELD:]
    assert lost.get_statistics() == summarise(newest[-HELD:])
    assert len(lost) == HELD


def test_while_the_database_is_away_sums_are_still_told_and_what_is_older_is_unavailable(own_postgres, tmp_path):
    world = World(own_postgres.dsn("postgres"), tmp_path)
    world.tracker.load()
    filled(world, 9, 30)
    own_postgres.kill9()
    world.add(made(30, random.Random(10)))
    assert world.tracker.get_statistics() == summarise(world.every)
    assert world.tracker.sums().curve() == EquityCurve().follow(world.every)
    with pytest.raises(Unavailable):
        list(world.tracker.every())
    assert world.tracker.exits().keys() == {one.trade_id for one in world.tracker.trades()}
    world.journal.close()
