"""Memory that is incomplete: what was forgotten is found, told apart by position, and locks nothing."""

import asyncio
from decimal import Decimal as D
from types import SimpleNamespace

import msgspec
import pytest

from domain import ids
from domain.order import Cause
from domain.records import Adopted, Touch
from engine import rebuild, verification
from engine.corrections import LASTING_S
from engine.execution_reader import ExecutionReader
from engine.executions import once
from engine.market_clock import MarketClock
from engine.memory import forgotten, lost_since
from tests.torture import memory
from tests.torture.virtual import run_virtually
from tests.unit.test_reconciliation import BUY, SELL, Case, fill, opened
from tests.unit.test_trader import A

DAY_MS = 86_400_000
OURS, NEXT = "B" * 24, "C" * 24
E = {"cause": Cause.ENTRY}
STOPPED = {"cause": Cause.STOP_LOSS}


def entry_of(digest):
    return f"L1-{digest}-e0"


def position(digest, since):
    return SimpleNamespace(digest=digest, intended_at=since)


@pytest.mark.parametrize(
    ("journaled", "elsewhere", "begun", "until", "open_here", "lost"),
    [
        ({"a"}, {"a": 10}, 1, 10, [], None),
        (set(), {}, 0, 0, [], None),
        ({"a"}, {"a": 10, "b": 30}, 1, 20, [], 20),
        (set(), {"a": 10, "b": 30}, 0, 0, [], 30),
        # what was put away is known elsewhere and no sign of anything
        ({"b"}, {"a": 10, "b": 30}, 0, 30, [], None),
        ({"b"}, {"a": 10, "b": 30}, 20, 30, [], 10),
        ({"x"}, {"x": 5, ids.trade_id(OURS): 15}, 1, 20, [position(OURS, 12), position(NEXT, 3)], 12),
    ],
    ids=["whole", "nothing anywhere", "tail cut off", "all gone", "put away", "begun anew", "an end forgotten"],
)
def test_a_journal_that_others_know_more_than_has_lost_its_memory(journaled, elsewhere, begun, until, open_here, lost):
    assert lost_since(journaled, elsewhere, begun, until, open_here) == lost


def test_a_position_after_a_close_that_was_forgotten_is_told_apart_from_the_one_before():
    """The close of the one was read, the entry of the next is nobody's, and the first is not recorded yet."""
    case = opened()
    (first,) = case.trader.book.positions()
    now = case.shell.market_time()
    case.trader.on_fill(fill(800, SELL, first.qty, 98, time=now - 9, closed=first.qty, **STOPPED))
    assert first.flat
    case.exchange.fills = [fill(900, BUY, 3, 99, time=now - 5, order_id=entry_of(NEXT), **E)]
    case.report("3", stop="97", target="110")
    case.compare()
    second = case.trader.book.find(NEXT)
    assert (second.qty, second.flat, case.reconciler.found.foreign) == (3, False, [])
    assert case.trader.book.of_symbol(A) is second, "what is managed is the one that is open"


def test_the_close_of_a_position_that_nobody_remembers_is_taken_though_it_bears_no_name_of_ours():
    case = opened()
    book = case.trader.book
    assert not forgotten(case.trader, A)
    case.trader.on_fill(fill(900, BUY, 3, 99, time=9_000, order_id=entry_of(NEXT), **E))
    assert [one.exec_id for one in forgotten(case.trader, A)] == ["e900"]
    case.trader.recorded.add(ids.trade_id(NEXT))
    assert not forgotten(case.trader, A), "the late entry of a trade that is recorded is another matter"
    assert book.stray_symbols() == [A]


def test_what_belongs_to_nobody_is_tried_as_a_whole_run_at_every_comparison():
    """The entry is older than what is read anew by now, and its end comes last."""
    case, asked = opened(), []
    trader = case.trader

    class Listing:
        async def fills_since(self, time, until, symbol=""):
            asked.append(symbol)
            return []

    reader = ExecutionReader(trader, Listing(), MarketClock(lambda: 9_000))

    def comparison():
        found = run_virtually(lambda _: reader.unknown([]))
        run_virtually(lambda _: case.reconciler.restore_closed(found))

    trader.on_fill(fill(900, BUY, 3, 99, time=8_000, order_id=entry_of(NEXT), **E))
    comparison()
    comparison()
    assert (asked, trader.book.find(NEXT)) == ([A], None), "asked once, while nothing is added to it"
    trader.on_fill(fill(901, SELL, 3, 98, time=8_500, order_id=f"L1-{NEXT}-x0", closed=3))
    comparison()
    assert trader.book.find(NEXT).flat


def test_an_entry_that_went_on_filling_after_a_close_is_one_trade():
    told = [
        fill(1, BUY, 1, 100, time=10, order_id=entry_of(NEXT), **E),
        fill(2, SELL, 1, 98, time=20, closed=1, **STOPPED),
        fill(3, BUY, 2, 100, time=30, order_id=entry_of(NEXT), **E),
        fill(4, SELL, 2, 97, time=40, closed=2),
    ]
    case = Case()
    run_virtually(lambda _: case.reconciler.restore_closed(told))
    assert case.trader.book.find(NEXT).opened == case.trader.book.find(NEXT).closed == 3
    case = Case()
    run_virtually(lambda _: case.reconciler.restore_closed(told[:3]))
    assert case.trader.book.find(NEXT) is None, "what is open still is not rebuilt as closed"


def again(told, number):
    return msgspec.structs.replace(told, exec_id=f"again-{number}")


def test_executions_that_are_told_again_under_new_ids_change_nothing():
    case = opened()
    (held,) = case.trader.book.positions()
    told = list(held.fills.values())
    for number, one in enumerate(told):
        assert case.trader.book.told_again(again(one, number))
        assert case.trader.on_fill(again(one, number)) == []
    stop = replace_fill(fill(5, SELL, 1, 98, time=900_000, closed=1, **STOPPED), order_qty=D(2))
    case.trader.on_fill(stop)
    # two of the same moment, price and quantity are two, as long as their order is for so much
    assert not case.trader.book.told_again(again(stop, 7))
    case.trader.on_fill(again(stop, 7))
    assert case.trader.book.told_again(again(stop, 8))
    paid = fill(6, BUY, held.qty, 100, time=950_000, cause=Cause.FUNDING)
    case.trader.on_fill(paid)
    assert case.trader.book.told_again(again(paid, 9))
    assert held.opened == sum(one.qty for one in told)
    assert held.closed == 2


def replace_fill(one, **changes):
    return msgspec.structs.replace(one, **changes)


def test_a_list_that_tells_everything_twice_makes_the_same_runs():
    told = [
        replace_fill(fill(1, BUY, 1, 100, time=10, order_id=entry_of(NEXT), **E), order_qty=D(1)),
        fill(2, BUY, 1, 100, time=15, cause=Cause.FUNDING),
        replace_fill(fill(3, SELL, 1, 98, time=20, closed=1, **STOPPED), order_qty=D(1)),
    ]
    twice = [*told, *(again(one, number) for number, one in enumerate(told)), *told]
    assert once(twice) == told
    assert rebuild.runs(twice) == rebuild.runs(told)


def test_a_position_that_differs_for_long_is_made_anew_of_the_exchanges_executions():
    case = opened()
    (held,) = case.trader.book.positions()
    (entry,) = held.fills.values()
    wrong = fill(70, BUY, 2, 100, time=entry.time + 1)
    case.trader.on_fill(wrong)
    case.exchange.fills = [entry]
    case.report(str(entry.qty), stop="98", target="105")

    async def rounds(loop):
        while held.qty != entry.qty:
            await case.reconciler.compare()
            await asyncio.sleep(2)
        return loop.time()

    assert LASTING_S <= run_virtually(rounds) <= LASTING_S + 4
    (record,) = [one for one in case.shell.records if isinstance(one, Adopted)]
    assert (record.digest, [one.exec_id for one in record.fills]) == (held.digest, [entry.exec_id])
    assert not case.reconciler.locked() or case.compare().mismatched == []


def test_what_a_hand_did_in_a_position_that_is_made_anew_is_told_and_marks_it():
    case = opened()
    (held,) = case.trader.book.positions()
    (entry,) = held.fills.values()
    case.trader.on_fill(fill(70, BUY, 2, 100, time=entry.time + 1))
    added = replace_fill(fill(71, BUY, 1, 100, time=entry.time + 2, cause=Cause.MANUAL), venue_order_id="hand")
    case.exchange.fills = [entry, added]
    case.report(str(entry.qty + 1), stop="98", target="105")

    async def corrected(_):
        await case.reconciler._corrections.settle({one.symbol: one for one in case.exchange.reports})

    run_virtually(corrected)
    assert held.qty == entry.qty + 1
    assert [one.touch for one in held.touches] == [Touch.ADDED]
    assert held.fills_by_hand() == []


def test_a_symbol_that_is_locked_names_the_command_that_frees_it_and_it_does():
    case = opened()
    (held,) = case.trader.book.positions()
    case.exchange.reports, case.exchange.is_flat = [], True

    async def rounds(loop):
        told = []
        while loop.time() < 2 * LASTING_S:
            await case.reconciler.compare()
            told.append((loop.time(), case.reconciler.locked()))
            await asyncio.sleep(2)
        return told

    told = run_virtually(rounds)
    # a report and an execution cross all the time: what is new is no reason to call the operator
    assert [lines for at, lines in told if at < LASTING_S] == [[]] * len([at for at, _ in told if at < LASTING_S])
    assert {len(lines) for at, lines in told if at > LASTING_S} == {1}
    (line,) = case.reconciler.locked()
    assert A in line
    assert "manage.py trades rebuild --since 1970-01-01" in line
    assert run_virtually(lambda _: case.reconciler.settle()) == [A]
    assert held.flat
    case.compare()
    assert case.reconciler.locked() == []


def test_what_is_there_and_unexplained_is_taken_as_it_is_reported_when_asked():
    case = opened()
    (held,) = case.trader.book.positions()
    case.report("7", stop="98", target="105", price="101")
    assert run_virtually(lambda _: case.reconciler.settle()) == [A]
    assert (held.qty, held.entry_price) == (7, 101)
    assert run_virtually(lambda _: case.reconciler.settle()) == []


def test_what_the_running_bot_still_has_open_is_not_missing_but_awaited():
    told = [
        fill(1, BUY, 1, 100, time=10, order_id=entry_of(NEXT), **E),
        fill(2, SELL, 1, 98, time=20, closed=1, **STOPPED),
    ]
    kept = verification.Kept(journal=[], table=[], fills=[])
    lost = verification.verify(kept, rebuild.runs(told), 2**62)
    known = verification.verify(kept, rebuild.runs(told), 2**62, [NEXT])
    assert [(one.missing, one.awaiting, one.clean) for one in (lost, known)] == [(1, 0, False), (0, 1, True)]


@pytest.mark.parametrize("seed", [100, 101])
def test_everything_that_a_start_without_memory_finds_is_recorded_when_it_is_over(seed, tmp_path):
    """It had waited ten seconds where the next position of the same symbol was open, and the bot was ready before."""
    held, left = run_virtually(lambda _: memory.started_without_memory(seed, tmp_path))
    assert held
    assert left == [], "closed positions that are not recorded yet"


def test_what_was_made_good_is_made_good_once(tmp_path):
    asked = run_virtually(lambda _: memory.starts_after_a_loss(100, tmp_path))
    assert asked[0] > 7 * DAY_MS, "a week before the last that others know"
    assert asked[1] < DAY_MS, "the next start asks for the last moments only"


@pytest.mark.parametrize("kind", ["cut at 7 of 10", "all gone", "both older", "folder deleted under the bot"])
def test_nothing_is_missing_whatever_part_of_the_memory_is_lost(kind, tmp_path):
    damage = memory.kinds()[kind]
    assert run_virtually(lambda loop: memory.episode(loop, 100, tmp_path, damage)) > 10
