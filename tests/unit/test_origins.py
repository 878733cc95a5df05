"""Positions that nobody remembers: their executions are found however old they are, and looked for once."""

import asyncio
import random
from decimal import Decimal as D

import msgspec
import pytest

from domain import ids
from domain.errors import Unavailable
from domain.order import Cause, OrderSide, PositionReport
from domain.records import Adopted, Fill
from engine.origins import AT_ONCE, EXECUTIONS_MAX, SEARCH_S, WINDOW_MS, Origins
from engine.reconciliation import Policy
from tests.torture.virtual import run_virtually
from tests.unit.test_reconciliation import Case
from tests.unit.test_trader import A

DAY_MS = 86_400_000
NOW = 1_800_000_000_000
DIGEST = "C" * 24


def fill(number, days_ago, side, qty, *, ours="", closed=0, time=0):
    return Fill(
        time=time or NOW - int(days_ago * DAY_MS), exec_id=f"o{number}", order_id=ours, venue_order_id=f"v{number}",
        symbol=A, side=OrderSide(side), qty=D(str(qty)), price=D(100), fee=D(0), closed_qty=D(str(closed)),
        cause=Cause.ENTRY if ours else Cause.MANUAL,
    )  # fmt: skip


def entry(number, days_ago, qty):
    return fill(number, days_ago, "Buy", qty, ours=ids.order_id(DIGEST, "e", 0, paper=False))


class Exchange:
    """Lists executions in windows of at most seven days, as Bybit does, and counts what it is asked."""

    def __init__(self, fills, *, fails=0):
        self.fills, self.asked, self.is_flat, self.fails = fills, [], False, fails

    async def fills_since(self, time, until, symbol):
        assert symbol == A
        assert until - time <= WINDOW_MS + 2 * DAY_MS
        self.asked.append((time, until))
        if self.fails and len(self.asked) % 3 == 0:
            self.fails -= 1
            raise Unavailable("away")
        return [one for one in self.fills if time <= one.time <= until]

    async def flat(self, symbol):
        return self.is_flat


def there(qty, created=0):
    return PositionReport(A, D(str(qty)), D(100), D(0), D(0), D(5), D(100), D(0), created=created)


def find(origins, report):
    return run_virtually(lambda _: origins.find(report, NOW))


@pytest.mark.parametrize("days", [0.5, 6.9, 7.1, 20, 29, 56, 57, 200, 700])
def test_a_position_of_any_age_is_found_by_its_order(days):
    run = find(Origins(Exchange([fill(0, days + 1, "Buy", 2), fill(1, days + 0.9, "Sell", 2, closed=2), entry(2, days, 5)])),
               there(5))  # fmt: skip
    assert run.digest == DIGEST
    assert [one.exec_id for one in run.fills] == ["o2"]


def test_a_position_that_was_added_to_and_reduced_since_is_found_whole():
    fills = [entry(1, 30, 5), fill(2, 20, "Buy", 3), fill(3, 9, "Sell", 4, closed=4), fill(4, 1, "Buy", 2)]
    run = find(Origins(Exchange(fills)), there(6))
    assert run.digest == DIGEST
    assert [one.exec_id for one in run.fills] == ["o1", "o2", "o3", "o4"]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_found_is_always_the_whole_position(seed):
    draw = random.Random(seed)
    fills, held, begun = [], 0, []
    for number in range(draw.randint(20, 60)):
        days = 400 - number * 6
        if held == 0:
            begun, held = [number], draw.randint(1, 5)
            fills.append(entry(number, days, held))
        elif draw.random() < 0.5:
            more = draw.randint(1, 3)
            fills.append(fill(number, days, "Buy", more))
            held, begun = held + more, [*begun, number]
        else:
            less = draw.randint(1, held)
            fills.append(fill(number, days, "Sell", less, closed=less))
            held, begun = held - less, [*begun, number]
    if held:
        run = find(Origins(Exchange(fills)), there(held))
        assert [one.exec_id for one in run.fills] == [f"o{number}" for number in begun]


def test_nothing_is_looked_for_before_the_first_position_there_ever_was():
    exchange = Exchange([])
    assert find(Origins(exchange), there(5, created=NOW - 30 * DAY_MS)) is None
    assert min(time for time, _ in exchange.asked) >= NOW - 31 * DAY_MS
    assert len(exchange.asked) <= 1 + AT_ONCE


def test_nothing_is_looked_for_further_back_than_executions_are_kept_and_never_without_end():
    exchange = Exchange([])
    assert find(Origins(exchange), there(5)) is None
    assert 100 < len(exchange.asked) < 120
    busy = [fill(n, 0, "Buy", 1, time=NOW - DAY_MS - n) for n in range(EXECUTIONS_MAX)]
    exchange = Exchange(busy)
    find(Origins(exchange), there(-5))
    assert len(exchange.asked) == 1


def test_what_is_not_there_any_more_is_not_looked_for():
    exchange = Exchange([])
    exchange.is_flat = True
    assert find(Origins(exchange), there(5)) is None
    assert len(exchange.asked) == 1


def test_when_the_exchange_stops_answering_the_next_call_goes_on_from_there():
    exchange = Exchange([entry(1, 350, 5)], fails=4)
    origins, run = Origins(exchange), None
    for _ in range(5):
        try:
            run = find(origins, there(5))
        except Unavailable:
            continue
        break
    assert run.digest == DIGEST
    asked = [time for time, _ in exchange.asked]
    assert len(asked) < 3 * 52


def test_a_strangers_position_is_looked_for_once_as_long_as_it_is_there_on_its_side():
    case = Case()
    case.exchange.fills = [msgspec.structs.replace(one, time=90 * DAY_MS) for one in [fill(1, 0, "Buy", 3)]]
    case.report("3")
    asked = []
    real = case.exchange.fills_since

    async def counted(*span):
        asked.append(span)
        return await real(*span)

    case.exchange.fills_since = counted
    assert case.compare().foreign == [A]
    first = len(asked)
    case.report("4")
    assert case.compare().foreign == [A]
    assert len(asked) == first
    # on the other side it is another position
    case.report("-4")
    case.compare()
    assert len(asked) > first
    # gone and there again, it may be anybody's
    seen = len(asked)
    case.exchange.reports, case.exchange.is_flat = [], True
    case.compare()
    case.report("-4")
    case.compare()
    assert len(asked) > seen


def test_after_the_loss_of_the_disk_a_position_of_three_weeks_is_taken_over():
    case = Case(policy=Policy.FLATTEN)
    mine = msgspec.structs.replace(entry(1, 0, 3), time=79 * DAY_MS)
    case.exchange.fills = [mine]
    case.report("3", stop="95")
    found = case.compare()
    assert (found.adopted, found.foreign) == (1, [])
    (adopted,) = [one for one in case.shell.records if isinstance(one, Adopted)]
    assert adopted.digest == DIGEST
    assert case.shell.commands == [], "what was ours was closed as somebody else's"


def slowly(case, seconds):
    """Have each request for executions take so long."""
    listed = case.exchange.fills_since

    async def fills_since(time, until, symbol=""):
        await asyncio.sleep(seconds)
        return await listed(time, until, symbol)

    case.exchange.fills_since = fills_since


def test_a_long_search_keeps_nothing_else_waiting_and_its_position_counts_as_somebody_elses_meanwhile():
    """Seen: one that no execution explained was looked for through two years, five seconds in which all else stood still."""
    case = Case(Policy.FLATTEN)
    case.report(7)
    slowly(case, SEARCH_S / 2)
    case.reconciler.found.rounds = 1
    took = []

    async def rounds(loop):
        while not case.shell.commands:
            begun = loop.time()
            await case.reconciler.compare()
            took.append(loop.time() - begun)
            assert case.reconciler.found.foreign == [A]

    run_virtually(rounds)
    assert len(took) > 2
    assert max(took) <= SEARCH_S + 1
    assert case.shell.nudges


def test_a_start_waits_for_the_end_of_the_search():
    case = Case(Policy.FLATTEN)
    case.report(7)
    slowly(case, SEARCH_S)
    case.compare()
    (command,) = case.shell.commands
    assert command.request.qty == D(7)
