"""Reading executions: each reading costs what has happened since the last one, and nothing of ours is missed."""

import asyncio
import random
from decimal import Decimal as D
from types import SimpleNamespace

import msgspec
import pytest

from domain import ids
from domain.durations import WEEK_MS
from domain.order import Cause, OrderSide
from domain.records import Fill
from engine.execution_reader import LATE_S, OVERLAP_MAX_MS, QUIET_WEEKS, Asked, ExecutionReader, ReadMark
from engine.executions import OVERLAP_MS
from engine.market_clock import MarketClock
from engine.recovery import LAST_MOMENTS_MS, asking_start
from engine.tasks import Tasks
from tests.torture.episodes import BAR_S, SYMBOLS, Life, Market, rules
from tests.torture.venue import FlakyBroker, Venue, loop_time
from tests.torture.virtual import run_virtually

HOUR_MS = 3_600_000


def after(*asked, since=0):
    """Return from when on a reading that follows these asks, (seconds, market time) each."""
    mark = ReadMark()
    for wire, market in asked:
        mark.note(Asked(wire, market), mark.start(since))
    return mark.start(since)


def test_the_first_reading_begins_where_it_is_told():
    assert after(since=77) == 77


def test_the_next_reading_overlaps_by_what_the_market_has_moved_while_a_list_may_be_late():
    day = 24 * HOUR_MS
    assert after((0, day), (60, day + 60_000), (120, day + 120_000)) == day + 60_000 - OVERLAP_MS
    # a practice market that goes two minutes a second
    fast = [(second, day + second * 120_000) for second in range(20)]
    assert after(*fast) == fast[19 - int(LATE_S)][1] - OVERLAP_MS


def test_a_market_that_jumps_has_no_more_than_half_an_hour_read_again():
    assert after((0, HOUR_MS), (60, 200 * HOUR_MS)) == 200 * HOUR_MS - OVERLAP_MAX_MS


def test_while_the_pace_is_not_known_half_an_hour_is_read_again_but_nothing_before_the_first_reading():
    assert after((0, 9 * HOUR_MS), (1, 9 * HOUR_MS + 60_000)) == 9 * HOUR_MS + 60_000 - OVERLAP_MAX_MS
    assert after((0, 9 * HOUR_MS), since=9 * HOUR_MS - 1_000) == 9 * HOUR_MS - 1_000


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_listed_in_time_is_read_once_at_least(seed):
    draw = random.Random(seed)
    pace, mark, wire = draw.choice([1, 60, 300]) * 1_000, ReadMark(), 0.0
    asked = []
    for _ in range(60):
        wire += draw.choice([0.5, 2.0, 5.0, 60.0, 600.0])
        start = mark.start(0)
        asked.append((wire, start))
        mark.note(Asked(wire, int(wire * pace)), start)
    for _ in range(300):
        at = draw.uniform(0, wire - 1)
        # market time that may be missed is bounded: a list later than that is what doubts are for
        late = min(LATE_S, (OVERLAP_MAX_MS - OVERLAP_MS) / pace)
        listed = at + draw.uniform(0, late)
        assert any(one >= listed and start <= at * pace for one, start in asked if one > at) or listed > wire


class Listed(FlakyBroker):
    """Counts what is asked for, and keeps single executions off stream and list for a while."""

    def __init__(self, venue):
        super().__init__(venue)
        self.asked: list[tuple[int, str]] = []
        self.pages: list[int] = []
        self.hidden_until = float("-inf")

    async def fills_since(self, time, until, symbol=""):
        number = len(self.asked)
        self.asked.append((time, symbol))
        self.pages.append(0)
        found = await super().fills_since(time, until, symbol)
        self.pages[number] = 1 + len(found) // 100
        hidden = loop_time() < self.hidden_until
        return [one for one in found if not hidden or one.exec_id in self.shown]

    def hide(self, seconds):
        """Show no further executions for so long, and none of them ever on the stream."""
        self.hidden_until, self.shown = loop_time() + seconds, {fill.exec_id for _, fill in self.v.fills}
        self.v.listeners.clear()


@pytest.mark.parametrize("quiet", [0, 1, QUIET_WEEKS, QUIET_WEEKS + 1])
def test_after_a_loss_a_few_weeks_without_entries_end_no_search(quiet):
    """Nine days of standing still made everything before them be forgotten for good."""
    now, asked = 100 * WEEK_MS, []
    entries = [
        msgspec.structs.replace(
            foreign(number, now - weeks * WEEK_MS - 1),
            order_id=ids.order_id(f"{number}".rjust(24, "A"), "e", 0, paper=False),
        )
        for number, weeks in ((2, 0), (3, quiet + 1))
    ]

    class Broker:
        async def fills_since(self, time, until, symbol=""):
            asked.append(time)
            return [one for one in entries if time <= one.time <= until]

    trader = SimpleNamespace(
        knows=lambda digest: False, book=SimpleNamespace(positions=list, of_symbol=lambda symbol: "held")
    )
    clock = SimpleNamespace(told=lambda: now, now=lambda: now)
    reader = ExecutionReader(trader, Broker(), clock)
    found = run_virtually(lambda _: reader.since(now - WEEK_MS, lost=True))
    assert len(found) == (2 if quiet <= QUIET_WEEKS else 1)
    assert len(asked) <= 2 * QUIET_WEEKS + 4


def foreign(number, time, symbol="Z/USDT:USDT"):
    return Fill(
        time=time, exec_id=f"z{number}", order_id="", venue_order_id=f"zv{number}", symbol=symbol, side=OrderSide.BUY,
        qty=D(1), price=D(1), fee=D(0), closed_qty=D(0), cause=Cause.MANUAL,
    )  # fmt: skip


async def lived(tmp_path, during, *, opened=True):
    """Run a bot that has a position on an exchange without faults, and let something happen to it."""
    draw = random.Random(7)
    venue = Venue(draw, {symbol: rules(symbol) for symbol in SYMBOLS}, trouble=0.0)
    market = Market(draw, venue)
    life = Life(tmp_path / "journal", venue, market, {})
    broker = life.runtime._p.broker = Listed(venue)
    life.runtime.orders._broker = life.runtime.intake._broker = life.runtime.lists._lists = broker
    async with Tasks() as tasks:
        await life.runtime.recover_with_patience()
        life.runtime.start(tasks)
        while opened and not [held for held in life.trader.book.positions() if not held.pending]:
            await life.runtime._events.put(market.step())
            await asyncio.sleep(BAR_S)
        await during(life, venue, market, broker)
    life.journal.close()


def test_a_stranger_who_trades_all_day_costs_a_request_a_round_and_nothing_in_the_journal(tmp_path):
    async def busy(life, venue, market, broker):
        begun = venue.now()
        venue.fills += [(loop_time(), foreign(n, begun + n * 100)) for n in range(3_000)]
        venue.time += 3_000 * 100 + HOUR_MS
        life.trader.situation.market_time = venue.time
        await life.runtime.catch_up()
        asked = len(broker.asked)
        for _ in range(3):
            await life.runtime.catch_up()
            await asyncio.sleep(5)
        assert len(broker.asked) - asked >= 3
        # what was under way before may still have been the first reading of all of it
        assert max(broker.pages[asked:]) == 1, "a reading took more than one page"
        written = b"".join(part.read_bytes() for part in (tmp_path / "journal").rglob("*") if part.is_file())
        assert SYMBOLS[0].encode() in written
        assert b"Z/USDT" not in written, "a stranger's executions were written down"
        assert life.trader.book.unmatched == 0

    run_virtually(lambda _: lived(tmp_path, busy))


def test_an_end_that_is_told_minutes_late_is_found_by_symbol_from_the_entry_on(tmp_path):
    async def stopped(life, venue, market, broker):
        (held, *_) = [one for one in life.trader.book.positions() if not one.pending]
        broker.hide(300)
        last, price = market.rows[held.symbol][-1], float(held.bracket.stop)
        through = last._replace(low=min(price, last.low) - 0.1, high=max(price, last.high) + 0.1)
        venue.bar(held.symbol, through, venue.time + 1)
        assert not venue.account.position(held.symbol).qty
        life.trader.situation.market_time = venue.time + 2 * HOUR_MS
        await asyncio.sleep(120)
        assert life.trader.book.find(held.digest) is held, "closed by nothing that was told"
        await asyncio.sleep(240)
        assert life.trader.book.find(held.digest) is None
        trade = life.trades.held[ids.trade_id(held.digest)]
        assert trade.exit_reason == "stop_loss"
        assert held.symbol in {symbol for _, symbol in broker.asked}

    run_virtually(lambda _: lived(tmp_path, stopped))


def test_an_entry_whose_executions_are_told_minutes_late_is_found_by_its_order(tmp_path):
    async def entered(life, venue, market, broker):
        broker.hide(240)
        while not life.trader.book.positions():
            await life.runtime._events.put(market.step())
            await asyncio.sleep(BAR_S)
        # the market has moved on meanwhile: what is new lies long after the entry
        life.trader.situation.market_time += HOUR_MS
        await asyncio.sleep(100)
        life.trader.situation.market_time += HOUR_MS
        await asyncio.sleep(100)
        pending = life.trader.book.positions()
        assert all(held.pending for held in pending), "opened by nothing that was told"
        assert min(time for time, symbol in broker.asked[-20:] if not symbol) > max(one.intended_at for one in pending)
        await asyncio.sleep(120)
        there = {one.symbol: abs(one.qty) for one in venue.account.open_positions()}
        assert there == {held.symbol: held.qty for held in life.trader.book.positions()}
        assert there

    run_virtually(lambda _: lived(tmp_path, entered, opened=False))


def test_a_start_asks_the_whole_account_for_the_last_moments_only_and_the_symbols_of_older_positions_from_their_entry():
    held = SimpleNamespace(symbol=SYMBOLS[0], intended_at=50 * HOUR_MS)
    young = SimpleNamespace(symbol=SYMBOLS[1], intended_at=101 * HOUR_MS)
    trader = SimpleNamespace(book=SimpleNamespace(positions=lambda: [held, young]))
    asked = []

    class Listing:
        async def fills_since(self, time, until, symbol=""):
            asked.append((time, symbol))
            return [
                foreign(1, 100 * HOUR_MS + 5, SYMBOLS[0]),
                *([foreign(2, 60 * HOUR_MS, SYMBOLS[0])] if symbol else []),
            ]

    async def started(_):
        reader = ExecutionReader(trader, Listing(), MarketClock(lambda: 102 * HOUR_MS))
        return await reader.since(100 * HOUR_MS)

    fills = run_virtually(started)
    assert asked == [(100 * HOUR_MS, ""), (50 * HOUR_MS - OVERLAP_MS, SYMBOLS[0])]
    assert [fill.exec_id for fill in fills] == ["z2", "z1"], "each once, oldest first"


@pytest.mark.parametrize(
    ("doubtful", "lived", "start"),
    [(None, 40, 40 * HOUR_MS - LAST_MOMENTS_MS), (None, 0, 0), (20, 40, 9 * HOUR_MS - OVERLAP_MS),
     (5, 40, 5 * HOUR_MS - OVERLAP_MS)],
)  # fmt: skip
def test_where_records_are_missing_the_start_asks_for_all_that_they_may_have_told(doubtful, lived, start):
    held = SimpleNamespace(intended_at=9 * HOUR_MS)
    trader = SimpleNamespace(book=SimpleNamespace(positions=lambda: [held], last_fill_time=30 * HOUR_MS))
    ledger = SimpleNamespace(doubtful_since=None if doubtful is None else doubtful * HOUR_MS)
    assert asking_start(trader, ledger, lived * HOUR_MS, 41 * HOUR_MS) == start
