"""Strategies with days and hours of their own: outside of them nothing is entered, and everything else goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import parts
from domain.errors import BadData, ConfigError
from domain.order import Cause
from domain.signal import Leave
from domain.source import Source
from domain.trading_hours import ALWAYS, DAYS, Hours, TradingHours
from engine.commands import Refused
from tests.unit.test_decisions import STEP, A
from tests.unit.test_leave import enter, filled, placed
from tests.unit.test_scopes import bar, trader_of
from tests.unit.test_settings import load


def at(day: str, clock: str) -> int:
    """Return a moment of a week of 2026 (UTC ms): the 5th of January is a Monday."""
    hour, minute = map(int, clock.split(":"))
    time = datetime(2026, 1, 5 + DAYS.index(day), tzinfo=UTC) + timedelta(hours=hour, minutes=minute)
    return int(time.timestamp() * 1000)


@pytest.mark.parametrize(("days", "hours", "inside", "outside"), [
    ((), (), ["mon 0:00", "sun 23:59"], []),
    (("mon-fri",), (), ["mon 0:00", "fri 23:59"], ["sat 0:00", "sun 23:59"]),
    (("SAT-mon", "wed"), (), ["sat 0:00", "sun 9:00", "mon 9:00", "wed 9:00"], ["tue 9:00", "thu 9:00", "fri 23:59"]),
    ((), ("7:00-16:00",), ["tue 7:00", "sun 15:59"], ["tue 6:59", "sun 16:00"]),
    ((), ("07:00-08:00", "20:00-24:00"), ["tue 7:30", "tue 20:00", "tue 23:59"], ["tue 0:00", "tue 8:00", "tue 19:59"]),
    (("mon",), ("22:00-02:00",), ["mon 22:00", "tue 1:59"], ["mon 1:00", "tue 2:00", "tue 22:00", "mon 21:59"]),
    (("sun",), ("22:00-02:00",), ["sun 23:00", "mon 1:00"], ["sat 23:00", "sun 1:00"]),
])  # fmt: skip
def test_days_and_hours_are_as_they_are_written(days, hours, inside, outside):
    held = TradingHours.written(days, hours)
    assert [text for text in (*inside, *outside) if held.open(at(*text.split()))] == inside


def test_what_it_says_of_itself_is_what_was_written():
    held = TradingHours.written(["mon", "wed-thu"], ["7:00-16:30", "22:00-02:00"])
    assert str(held) == "mon wed thu 07:00-16:30, 22:00-02:00 UTC"
    assert (str(TradingHours.written([], ["07:00-16:00"])), str(ALWAYS)) == (
        "every day 07:00-16:00 UTC",
        "every day UTC",
    )


@pytest.mark.parametrize(("days", "hours", "said"), [
    (["monday"], [], "is no day; write mon, tue"), (["mon-x"], [], "is no day"), ([], ["7-16"], "as in 07:00-16:00"),
    ([], ["07:00"], "as in 07:00-16:00"), ([], ["07:60-08:00"], "a day has 00:00 to 24:00"),
    ([], ["07:00-24:01"], "a day has"), ([], ["24:00-02:00"], "a day has"), ([], ["07:00-07:00"], "leave the hours out"),
])  # fmt: skip
def test_what_cannot_be_read_is_said_with_what_can(days, hours, said):
    with pytest.raises(BadData, match=said):
        TradingHours.written(days, hours)


clocks = st.integers(0, 1_439)


@given(
    st.sets(st.integers(0, 6)), st.tuples(clocks, clocks).filter(lambda one: one[0] != one[1]), st.integers(0, 20_159)
)
def test_hours_and_the_hours_between_them_make_up_the_day(days, span, minute):
    """Each minute of a week lies in hours, or in those from their end to their beginning, and never in both."""
    begin, end = span
    time = at("mon", "0:00") + minute * 60_000
    held, rest = (TradingHours(hours=(one,)) for one in (Hours(begin, end), Hours(end, begin)))
    assert held.open(time) != rest.open(time)
    # days only take some away
    assert not TradingHours(frozenset(days), (Hours(begin, end),)).open(time) or held.open(time)


def test_outside_its_hours_a_signal_is_refused_with_their_names_and_its_position_is_left_all_the_same():
    # bars open at 00:00, 00:03, ... on a Thursday, and close three minutes later
    early = TradingHours.written(["thu"], ["00:00-00:06"])
    trader, rows = trader_of({0: enter, 1: lambda *_: Leave(), 2: enter}, hours=early)
    trader.warm_up(A, 0)
    (entry,) = placed(bar(trader, rows, A))
    filled(trader, entry, "e")
    (out,) = placed(bar(trader, rows, A))
    assert out.intent.cause is Cause.EXIT_SIGNAL
    filled(trader, out, "x")
    trader.finish(trader.book.of_symbol(A))
    (refused,) = [one for one in bar(trader, rows, A) if isinstance(one, Refused)]
    assert (refused.gate, refused.detail) == ("schedule", "theirs enters thu 00:00-00:06 UTC only")
    assert refused.signal.time == 3 * STEP


def test_settings_say_it_in_lists_or_with_commas(tmp_path):
    for text in ("{days: 'mon-fri, sun', hours: 7:00-16:00}", "{days: [mon-fri, sun], hours: ['7:00-16:00']}"):
        plan = parts.plans(load(tmp_path, f"strategies: {{scalp: {{schedule: {text}}}}}"), source=Source.SYNTHETIC)[
            "scalp"
        ]
        assert plan.hours == TradingHours(frozenset({0, 1, 2, 3, 4, 6}), (Hours(420, 960),))
    plain = parts.plans(load(tmp_path, "strategies: {scalp: {}}"), source=Source.SYNTHETIC)["scalp"]
    assert plain.hours == ALWAYS
    for wrong, said in (
        ("{days: [noday]}", "strategies.scalp.schedule.days: "), ("{hours: [7-16]}", "as in 07:00-16:00"),
        ("{hour: []}", "did you mean hours?"), ("x", "its keys are days, hours"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as raised:
            load(tmp_path, f"strategies: {{scalp: {{schedule: {wrong}}}}}")
        assert said in str(raised.value)
