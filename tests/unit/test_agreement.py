"""The comparison with freqtrade believes a rule only where the candles bear it out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.candle import Bars
from tests.foreign.agreement import BEHIND, GAINED, TRAILED, TURNED, Exits, Trade, compare

HOUR = 3_600_000
# up to 110, then down: with a distance of 5 % the bar of 110 reaches its own new stop, which is 104.5
ROWS = [(100, 101, 99, 100), (100, 110, 104, 105), (105, 106, 105, 105), (105, 105, 90, 91), (91, 92, 90, 91)]
BARS = Bars.of([(i * HOUR, *row, 1.0, 1.0) for i, row in enumerate(ROWS)])
EXITS = Exits(0.05, [(0.0, 0.05)])
THEIRS = Trade(0, HOUR, False, 100.0, 104.5, "trailing_stop_loss")
OURS = Trade(0, 4 * HOUR - 1, False, 100.0, 104.5, "trailing_stop")


def rules(known, made, exits=EXITS) -> dict[str, int]:
    return dict(compare(known, made, BARS, exits, 0.001).rules)


def test_the_same_trade_is_alike_whatever_moment_of_its_last_bar_is_told():
    found = compare([THEIRS], [replace(THEIRS, left=2 * HOUR - 1, exit=104.501)], BARS, EXITS, 0.001)
    assert (found.alike, dict(found.rules), found.unexplained) == (1, {}, [])


def test_a_stop_that_moved_inside_of_its_last_bar_is_explained_only_where_both_walks_end_there():
    assert rules([THEIRS], [OURS]) == {TRAILED: 1}
    assert rules([THEIRS], [replace(OURS, left=3 * HOUR - 1)]) == {"unexplained": 1}
    assert rules([replace(THEIRS, left=2 * HOUR)], [OURS]) == {"unexplained": 1}


def test_a_later_row_of_gains_is_explained_only_where_no_bar_closed_beyond_it():
    exits = Exits(0.2, gains=[(0, 0.2), (HOUR, 0.06)])
    known = Trade(0, HOUR, False, 100.0, 106.0, "roi")
    late = Trade(0, 4 * HOUR, False, 100.0, 91.0, "exit_signal")
    assert rules([known], [late], exits) == {GAINED: 1}
    assert rules([known], [late], Exits(0.2, gains=[(0, 0.2), (HOUR, 0.04)])) == {"unexplained": 1}


@pytest.mark.parametrize(("short", "explained"), [(True, {TURNED: 1, "unexplained": 1}), (False, {"unexplained": 2})])
def test_a_trade_that_one_program_lacks_needs_a_rule_too(short, explained):
    first, second = (
        Trade(0, 2 * HOUR, False, 100.0, 105.0, "exit_signal"),
        Trade(2 * HOUR, 3 * HOUR, short, 105.0, 105.0, "x"),
    )
    assert rules([first, second], [replace(first, entered=4 * HOUR, left=4 * HOUR)]) == {
        **explained, "unexplained": explained["unexplained"] + 1,
    }  # fmt: skip


def test_a_stop_that_a_method_secured_is_walked_both_ways_too():
    exits = Exits(0.05, secured=(0.09, 0.045))
    assert rules([THEIRS], [OURS], exits) == {TRAILED: 1}
    assert rules([THEIRS], [replace(OURS, left=3 * HOUR - 1)], exits) == {"unexplained": 1}


def test_an_old_stop_explains_a_difference_only_where_the_bar_met_it():
    exits, own = Exits(0.05, own_stop=True), replace(OURS, left=2 * HOUR - 1, exit=106.0)
    assert rules([THEIRS], [own], exits) == {BEHIND: 1}
    assert rules([THEIRS], [own], EXITS) == {"unexplained": 1}
    assert rules([replace(THEIRS, exit=103.0)], [own], exits) == {"unexplained": 1}
    assert rules([THEIRS], [replace(own, exit=104.2)], exits) == {"unexplained": 1}


def test_gains_that_do_not_rest_are_not_expected_on_bars_with_a_signal():
    known = Trade(0, HOUR, False, 100.0, 106.0, "roi")
    late = Trade(0, 4 * HOUR, False, 100.0, 91.0, "exit_signal")
    for ignored, expected in (({1, 2}, GAINED), ({1}, "unexplained")):
        exits = Exits(0.2, gains=[(0, 0.04)], resting=False, ignored=frozenset(ignored))
        assert rules([known], [late], exits) == {expected: 1}
