"""Between trader and tracker: what is noted is written, what was missed is shown, what never was is passed over."""

from __future__ import annotations

import asyncio

import pytest

from domain.candle import Bar, Bars, Series
from domain.errors import Unavailable
from domain.judgement import UNJUDGED
from domain.records import PhantomClosed, PhantomManaged, PhantomOpened
from engine import phantoms as phantoms_module
from engine.phantoms import Phantoms
from tests.nothing import JUDGED, NoTrail
from tests.unit.test_phantom_tracker import STEP, A, signal, tracker

ALONG = Series(A, "3m")


def bar(number: int, high: float = 100.5, low: float = 99.5) -> Bar:
    return Bar(number * STEP, 100, high, low, 100, 1, 1)


class Windows:
    def __init__(self, rows):
        self.rows = rows

    def bars(self, _):
        return Bars.of(self.rows)


class Candles:
    """What REST would answer: bars, or nothing at all."""

    def __init__(self, rows=None):
        self.rows, self.asked = rows, []

    async def between(self, series, start, end):
        self.asked.append((start, end))
        if self.rows is None:
            raise Unavailable("away")
        return Bars.of([row for row in self.rows if start <= row.open_time < end])


async def written(held: Phantoms) -> list:
    records = []

    async def append(record):
        records.append(record)

    await held.flush(append)
    return records


async def test_what_is_noted_is_written_as_it_was_then():
    held = Phantoms(tracker(), lambda _: JUDGED, NoTrail())
    held.note(signal(0), "score", JUDGED)
    held.note(signal(0), "score", JUDGED)
    held.show(phantoms_module.ClosedBar(ALONG, bar(1)))
    held.show(phantoms_module.ClosedBar(ALONG, bar(2, high=105)))
    opened, closed = await written(held)
    assert (type(opened), opened.phantom.next_open, opened.phantom.features) == (PhantomOpened, STEP, {"rsi": 1.0})
    assert (type(closed), closed.phantom.outcome) == (PhantomClosed, "win")
    again = Phantoms(tracker(), lambda _: UNJUDGED, NoTrail())
    for record in (opened, closed):
        again.restore(record)
    assert closed.phantom.features is None
    assert again.report() == held.report()
    (carried,) = again.live()
    assert [carried] == held.live()
    assert carried.phantom.features == {"rsi": 1.0}


@pytest.mark.parametrize(
    "lacking", [None, 2, 5], ids=["all bars are there", "one before the window never was", "one in it"]
)
async def test_what_closed_meanwhile_is_shown_and_what_never_was_is_passed_over(lacking):
    held = Phantoms(tracker(), lambda _: UNJUDGED, NoTrail())
    held.note(signal(0), "score", JUDGED)
    rows = [bar(number, low=90 if number == 7 else 99.5) for number in range(1, 9) if number != lacking]
    candles = Candles([row for row in rows if row.open_time < 4 * STEP])
    await held.catch_up(Windows([row for row in rows if row.open_time >= 4 * STEP]), candles, [ALONG])
    assert candles.asked == [(STEP, 4 * STEP)]
    (closed,) = [record for record in await written(held) if isinstance(record, PhantomClosed)]
    assert (closed.phantom.outcome, closed.phantom.exit_time) == ("loss", 8 * STEP - 1)


async def test_a_bar_that_comes_while_the_exchange_is_asked_spoils_nothing():
    held, windows = Phantoms(tracker(), lambda _: UNJUDGED, NoTrail()), Windows([bar(number) for number in range(4, 8)])
    held.note(signal(0), "score", JUDGED)
    view = windows.bars(ALONG)
    windows.bars = lambda _: view

    class Slow(Candles):
        async def between(self, series, start, end):
            # what the next bar may do to a view of the window
            view.low[:] = 1.0
            return await super().between(series, start, end)

    await held.catch_up(windows, Slow([bar(number) for number in range(1, 4)]), [ALONG])
    assert held.report()["active"] == 1


async def test_while_the_exchange_cannot_be_asked_the_outcome_stays_open():
    held, candles = Phantoms(tracker(), lambda _: UNJUDGED, NoTrail()), Candles()
    held.note(signal(0), "score", JUDGED)
    rows = [bar(number, low=90 if number == 7 else 99.5) for number in range(1, 9)]
    await held.catch_up(Windows(rows[3:]), candles, [ALONG])
    held.show(phantoms_module.ClosedBar(ALONG, bar(9, high=110)))
    assert held.report()["active"] == 1
    candles.rows = rows
    await held.catch_up(Windows([*rows[3:], bar(9, high=110)]), candles, [ALONG])
    (closed,) = [record for record in await written(held) if isinstance(record, PhantomClosed)]
    assert closed.phantom.outcome == "loss"


async def test_the_oldest_record_is_let_go_and_counted_when_too_many_wait(monkeypatch):
    monkeypatch.setattr(phantoms_module, "WAITING_MAX", 3)
    held = Phantoms(tracker(), lambda _: UNJUDGED, NoTrail())
    for number in range(5):
        held.note(signal(number), "score", JUDGED)
    assert (held.report()["waiting"], held.report()["let_go"]) == (3, 2)
    assert [record.phantom.signal_time for record in await written(held)] == [3 * STEP, 4 * STEP, 5 * STEP]


class Managed:
    """A tracker whose only phantom is changed by its strategy on every bar."""

    def __init__(self):
        self.held = tracker()
        self.phantom = self.held.record_signal(A, signal(0), None, False, None, "scalp", "score")

    def update_phantom_prices(self, closed, *, none_missing=False):
        self.phantom.next_open = closed.bar.open_time + STEP
        return []

    def managed(self):
        return [self.phantom]


async def test_of_states_that_wait_for_the_journal_only_the_newest_is_written(monkeypatch):
    """A market that runs ahead of the disk must not make a queue of what nobody needs any more."""
    tracked = Managed()
    held = Phantoms(tracked, lambda _: UNJUDGED, NoTrail())
    for number in range(1, 4):
        held.show(phantoms_module.ClosedBar(ALONG, bar(number)))
    assert held._waiting.qsize() == 1
    (record,) = await written(held)
    assert (type(record), record.time, record.phantom.next_open) == (PhantomManaged, 4 * STEP, 4 * STEP)
    held.show(phantoms_module.ClosedBar(ALONG, bar(4)))
    assert [record.time for record in await written(held)] == [5 * STEP]
    monkeypatch.setattr(phantoms_module, "WAITING_MAX", 1)
    full = Phantoms(tracked, lambda _: UNJUDGED, NoTrail())
    full.show(phantoms_module.ClosedBar(ALONG, bar(5)))
    full._put(phantoms_module.opened(tracked.phantom))
    full.show(phantoms_module.ClosedBar(ALONG, bar(6)))
    assert ([record.time for record in await written(full)], full.let_go) == ([7 * STEP], 2)


async def test_the_writer_empties_the_queue_by_itself():
    held, records = Phantoms(tracker(), lambda _: UNJUDGED, NoTrail()), []

    async def append(record):
        records.append(record)

    writing = asyncio.create_task(held.run(append))
    held.note(signal(0), "score", JUDGED)
    async with asyncio.timeout(5):
        while not records:
            await asyncio.sleep(0)
    writing.cancel()
    assert isinstance(records[0], PhantomOpened)


async def test_what_was_missed_is_followed_behind_the_backs_of_those_who_trade(monkeypatch):
    monkeypatch.setattr(phantoms_module, "WAITING_MAX", 40)
    monkeypatch.setattr(phantoms_module, "ROOM_S", 0)
    held, records = Phantoms(tracker(), lambda _: UNJUDGED, NoTrail()), []

    async def append(record):
        records.append(record)

    held.missed([signal(number) for number in range(30)])
    rows = [bar(number, high=105 if number == 31 else 100.5) for number in range(1, 33)]
    async with asyncio.timeout(10):
        keeping = asyncio.create_task(held.keep_up(Windows(rows), Candles(), [ALONG]))
        writing = asyncio.create_task(held.run(append))
        while sum(isinstance(record, PhantomClosed) for record in records) < 30:
            await asyncio.sleep(0)
    keeping.cancel()
    writing.cancel()
    assert {record.phantom.gate for record in records} == {"missed"}
    assert held.let_go == 0


async def test_phantoms_of_a_symbol_that_is_followed_no_more_still_come_to_their_end():
    held = Phantoms(tracker(), lambda _: UNJUDGED, NoTrail())
    held.note(signal(0), "score", JUDGED)
    rows = [bar(number, high=105 if number == 4 else 100.5) for number in range(1, 9)]
    candles, other = Candles(rows), Series("B/USDT:USDT", "3m")
    await held.catch_up(Windows([bar(number) for number in range(3, 8)]), candles, [other])
    assert candles.asked == [(STEP, 8 * STEP)]
    assert [type(record) for record in await written(held)] == [PhantomOpened, PhantomClosed]
    gone = Phantoms(tracker(), lambda _: UNJUDGED, NoTrail())
    gone.note(signal(0), "score", JUDGED)
    await gone.catch_up(Windows(rows), Candles(), [other])
    assert gone.report()["active"] == 1


async def test_a_stop_that_runs_out_of_time_leaves_no_hole_between_the_journal_and_the_trail():
    """The trail takes what the journal has before the newest carried record for carried: so none may be passed over."""
    held, journal, free = Phantoms(tracker(), lambda _: JUDGED, NoTrail()), [], asyncio.Event()

    async def append(record):
        journal.append(record)
        await free.wait()

    writing = asyncio.create_task(held.run(append))
    for number in range(3):
        held.note(signal(number), "score", JUDGED)
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await held.flush(append)
    free.set()
    held.note(signal(3), "score", JUDGED)
    await held.flush(append)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    assert held.trail.told == journal
    assert len(journal) == 4
