"""Whatever arrives in whatever order, what leaves is contiguous, strictly increasing, and each bar once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.candle import Bar, Bars, ClosedBar, Series
from domain.errors import BadData
from market.frames import Batches, Frames, Window, coarsest_parts, disagreement

THREE, FIFTEEN = Series("A", "3m"), Series("A", "15m")
STEP = 180_000


def bar(i: int, close: float = 10.0) -> Bar:
    return Bar(i * STEP, 10.0, 12.0, 9.0, close, 1.0, 10.0)


@settings(max_examples=300)
@given(
    st.lists(st.integers(0, 30), max_size=80),
    st.sets(st.integers(0, 30), max_size=8),
    st.integers(2, 12),
)
def test_released_bars_are_contiguous_and_unique(arrivals, never_existed, capacity):
    frames = Frames({THREE: capacity})
    frames.seed(THREE, Bars.of([bar(-1)]))
    released = []
    for i in [i for i in arrivals if i not in never_existed]:
        released += frames.offer(THREE, bar(i))
        hole = frames.hole(THREE)
        if hole and i % 3 == 0:
            exists = [t // STEP for t in range(*hole, STEP) if t // STEP not in never_existed]
            released += frames.confirm_absent(THREE, *hole, Bars.of([bar(k) for k in exists]))

    times = [closed.bar.open_time // STEP for closed in released]
    assert times == sorted(set(times))
    reached = times[-1] if times else -1
    assert times == [i for i in range(reached + 1) if i not in never_existed]
    kept = frames.bars(THREE).open_time // STEP
    assert kept.tolist() == ([-1, *times])[-len(kept) :]
    assert len(kept) <= capacity


def test_a_repeated_bar_counts_and_a_changed_one_is_a_correction():
    frames = Frames({THREE: 10})
    frames.offer(THREE, bar(1))
    assert frames.offer(THREE, bar(1)) == []
    assert frames.offer(THREE, bar(1, 11.0)) == []
    assert (frames.counters.duplicates, frames.counters.corrections) == (1, 1)


def test_an_impossible_bar_is_counted_and_refused():
    frames = Frames({THREE: 10})
    with pytest.raises(BadData):
        frames.offer(THREE, bar(1)._replace(high=1.0))
    assert frames.counters.invalid == 1
    assert frames.last_time(THREE) is None


def test_a_bar_seen_forming_shows_the_hole_before_it():
    frames = Frames({THREE: 10})
    frames.offer(THREE, bar(1))
    assert frames.hole(THREE, 2 * STEP) is None
    assert frames.hole(THREE, 4 * STEP) == (2 * STEP, 4 * STEP)


def test_the_window_keeps_the_newest_bars_without_growing():
    window = Window(3)
    for i in range(20):
        window.append(bar(i))
    assert (window.bars().open_time // STEP).tolist() == [17, 18, 19]
    assert window.last() == bar(19)


def test_a_batch_waits_for_all_and_puts_the_longer_timeframe_first():
    batches = Batches([Series("B", "3m"), THREE, FIFTEEN], 1.5)
    closes = ClosedBar(FIFTEEN, Bar(0, 1, 1, 1, 1, 1, 1))
    batches.add([ClosedBar(THREE, bar(4)), closes], 0.0)
    assert batches.due(0.1) == []
    batches.add([ClosedBar(Series("B", "3m"), bar(4))], 0.2)
    (batch,) = batches.due(0.3)
    assert [closed.series for closed in batch] == [FIFTEEN, THREE, Series("B", "3m")]


def test_a_batch_does_not_wait_longer_than_its_grace_nor_overtake_an_older_one():
    batches = Batches([THREE, Series("B", "3m")], 1.5)
    batches.add([ClosedBar(THREE, bar(1))], 0.0)
    batches.add([ClosedBar(THREE, bar(2)), ClosedBar(Series("B", "3m"), bar(2))], 1.0)
    assert batches.due(1.0) == []
    assert batches.wait_s(1.0) == 0.5
    assert [batch[0].bar.open_time // STEP for batch in batches.due(1.6)] == [1, 2]


def test_a_quiet_market_is_not_waited_for_and_its_bar_follows_at_once():
    """Whoever is excused comes with the others when it is there in time, and alone, without a pause, when it is not."""
    quiet = Series("B", "3m")
    batches = Batches([THREE, quiet], 1.5)
    batches.add([ClosedBar(THREE, bar(1))], 0.0)
    assert batches.due(0.1) == []
    batches.excuse([quiet])
    assert [len(batch) for batch in batches.due(0.2)] == [1]
    batches.add([ClosedBar(THREE, bar(2))], 1.0)
    batches.add([ClosedBar(quiet, bar(2))], 1.0)
    assert [len(batch) for batch in batches.due(1.0)] == [2]
    batches.add([ClosedBar(quiet, bar(1))], 4.0)
    assert batches.wait_s(4.0) == 0.0
    (late,) = batches.due(4.0)
    assert [closed.series for closed in late] == [quiet]
    batches.excuse([])
    batches.add([ClosedBar(THREE, bar(3))], 5.0)
    assert batches.due(6.0) == []


def test_a_series_is_put_together_from_the_longest_bars_that_fit_into_its_own():
    followed = [Series(symbol, timeframe) for symbol in "AB" for timeframe in ("1h", "15m", "3m", "5m")]
    parts = coarsest_parts([*followed, Series("C", "15m"), Series("D", "3m")])
    assert {whole.timeframe: part.timeframe for whole, part in parts.items()} == {"1h": "15m", "15m": "5m"}
    assert len(parts) == 4
    assert all(whole.symbol == part.symbol for whole, part in parts.items())


def test_a_long_bar_is_compared_with_its_parts():
    parts = Bars.of([bar(i) for i in range(5)])
    assert disagreement(Bar(0, 10.0, 12.0, 9.0, 10.0, 5, 50), parts) is None
    assert "exchange says" in disagreement(Bar(0, 10.0, 12.5, 9.0, 10.0, 5, 50), parts)


def test_seeding_again_replaces_what_was_there():
    frames = Frames({THREE: 10})
    frames.seed(THREE, Bars.of([bar(1), bar(2)]))
    frames.offer(THREE, bar(5))
    frames.seed(THREE, Bars.of([bar(1), bar(2), bar(3)]))
    assert (frames.bars(THREE).open_time // STEP).tolist() == [1, 2, 3]
    assert frames.hole(THREE) is None


@given(count=st.integers(0, 12), more=st.integers(0, 25))
def test_a_window_filled_at_once_is_as_one_that_was_appended_to(count, more):
    rows = [bar(n) for n in range(count + more)]
    filled, appended = Window(5), Window(5)
    filled.fill(Bars.of(rows[:count]))
    for row in rows[:count]:
        appended.append(row)
    for row in rows[count:]:
        filled.append(row)
        appended.append(row)
    assert list(filled.bars().rows()) == list(appended.bars().rows())


@pytest.mark.parametrize("started", [0.0, 1e6])
def test_grace_counts_from_the_first_bar_whatever_the_clock_says(started):
    batches = Batches([THREE, FIFTEEN], 2.0)
    closed = ClosedBar(THREE, bar(4))
    batches.add([closed], started)
    assert batches.wait_s(started + 0.5) == 1.5
    assert batches.due(started + 1.9) == []
    assert batches.due(started + 2.0) == [[closed]]


@pytest.mark.parametrize(("seen", "hole"), [(2, None), (3, (2, 3)), (5, (2, 5))])
def test_the_bar_that_comes_next_leaves_no_hole_before_it(seen, hole):
    frames = Frames({THREE: 10})
    frames.seed(THREE, Bars.of([bar(number) for number in range(2)]))
    assert frames.hole(THREE, seen * STEP) == (hole and (hole[0] * STEP, hole[1] * STEP))
