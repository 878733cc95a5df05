"""A date means the same on command lines, in settings and in a notebook: a year, a month, a day, or so long ago."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
import typer.core
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.moments import milliseconds
from commands import times
from commands.times import window
from domain.dates import moment
from domain.durations import DAY_MS
from domain.errors import BadData, ConfigError
from settings import Settings

NOW = 1_706_702_400_000


def ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(("text", "meant"), [
    ("2020", ms(2020, 1, 1)), ("2020-03", ms(2020, 3, 1)), ("202003", ms(2020, 3, 1)), ("2020-03-15", ms(2020, 3, 15)),
    ("2020/03/15", ms(2020, 3, 15)), ("20200315", ms(2020, 3, 15)), ("2020-03-15T12:30", ms(2020, 3, 15, 12, 30)),
    (" 2020 ", ms(2020, 1, 1)), ("2020-03-15T12:30+02:00", ms(2020, 3, 15, 10, 30)), (str(NOW), NOW),
    ("30d", NOW - 30 * DAY_MS), ("12h", NOW - DAY_MS // 2), ("4w", NOW - 28 * DAY_MS), ("6Y", NOW - 2190 * DAY_MS),
])  # fmt: skip
def test_a_moment_is_what_people_write(text, meant):
    assert moment(text, NOW) == meant
    assert times.moment(text) == meant or text[-1].lower() in "hdwy"
    assert milliseconds(text, 0) == meant or text[-1].lower() in "hdwy"


@given(st.one_of(st.text(max_size=12), st.from_regex(r"\d{1,8}-?\d{0,8}[a-z]?", fullmatch=True)))
def test_what_is_none_is_bad_data_and_nothing_else(text):
    try:
        assert moment(text, NOW) >= -(2**53)
    except BadData as error:
        assert "is not a date: write 2024, 2024-01" in str(error)


@pytest.mark.parametrize(("text", "since", "until"), [
    ("20240101-20250101", ms(2024, 1, 1), ms(2025, 1, 1)), ("2024-2025", ms(2024, 1, 1), ms(2025, 1, 1)),
    ("2024-01-2025-02", ms(2024, 1, 1), ms(2025, 2, 1)), ("2024-01-15-", ms(2024, 1, 15), times.FOREVER),
    ("2024-", ms(2024, 1, 1), times.FOREVER), ("-2024-03", 0, ms(2024, 3, 1)), ("2024-01-15-202403", ms(2024, 1, 15), ms(2024, 3, 1)),
])  # fmt: skip
def test_a_timerange_has_two_dates_of_any_kind(text, since, until):
    assert window("", "", text) == (since, until)


@pytest.mark.parametrize("text", ["2024", "2024-01-15", "-", "", "yesterday-", "2024-01-01-02-03"])
def test_a_timerange_that_is_none_is_an_error(text):
    if text:
        with pytest.raises(ConfigError, match="write 20240101-20250101"):
            window("", "", text)


def test_so_many_years_are_so_many_days_and_told_once():
    first, second = window("", "", "", None, 6), window("", "", "", 2190)
    assert 0 <= second.start - first.start < DAY_MS
    for how in ({"days": 3, "years": 1}, {"timerange": "2024-", "years": 1}, {"since": "2024", "years": 1}):
        with pytest.raises(ConfigError):
            window(**{"since": "", "until": "", **how})


@pytest.mark.parametrize(("written", "meant"), [
    (2024, date(2024, 1, 1)), ("2024-02", date(2024, 2, 1)), ("2024-02-03", date(2024, 2, 3)), (20240203, date(2024, 2, 3)),
    (date(2024, 2, 3), date(2024, 2, 3)), (None, None),
])  # fmt: skip
def test_settings_take_the_same_dates(written, meant):
    """Found by ``since: 2024`` of a pinned range, which was the year 1970."""
    held = Settings.model_validate({"history": {"pinned": [{"symbol": "BTC", "since": written}]}})
    assert held.history.pinned[0].since == meant


def test_every_command_that_asks_for_dates_asks_for_them_alike():
    import manage

    def walk(group, before=""):
        for name, one in group.commands.items():
            if isinstance(one, typer.core.TyperGroup):
                yield from walk(one, f"{before}{name} ")
            else:
                yield f"{before}{name}", {opt for given in one.params for opt in given.opts}, one

    seen = {name: opts for name, opts, _ in walk(typer.main.get_command(manage.app))}
    ranged = {name for name, opts in seen.items() if "--timerange" in opts}
    assert ranged
    for name in ranged:
        assert seen[name] >= {"--since", "--start", "--until", "--end", "--days"}
    for name in ("data download", "data quality", "data fill-gaps"):
        assert seen[name] >= {"--years", "--limit", "--top"}
    assert seen["data download"] >= {"--core", "--max-coins", "--start-year"}


@pytest.mark.parametrize(("text", "days"), [("30", 30), ("30d", 30), ("4w", 28), ("6y", 2190), ("48h", 2)])
def test_days_may_have_their_unit(text, days):
    assert times.days_of(text) == days


@pytest.mark.parametrize("text", ["0", "-3", "2h", "d", "", "99999999", "3.5"])
def test_what_is_no_number_of_days_is_a_wrong_option(text):
    with pytest.raises(typer.BadParameter, match="write a number of days from 1"):
        times.days_of(text)
