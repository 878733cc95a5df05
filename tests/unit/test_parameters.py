"""A request's parameters are read as strictly as Bybit reads them: each wrong one is refused with 10001."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from domain.durations import WEEK_MS
from domain.errors import Rejected
from sandbox.parameters import FAR, Parameters, decoded

NOW = 10 * WEEK_MS


def given(*, body=False, **values):
    return Parameters(values, body=body)


def refused(read):
    with pytest.raises(Rejected) as error:
        read()
    return error.value.code == 10001


def test_what_is_missing_or_empty_is_its_default():
    for held in (given(), given(x="")):
        assert (held.text("x", "d"), held.choice("x", ("a",), "d"), held.integer("x", 7)) == ("d", "d", 7)
        assert (held.flag("x"), held.decimal("x"), held.signed("x"), "x" in held) == (False, None, None, False)
        assert refused(lambda held=held: held.required("x"))


def test_what_is_there_is_read():
    held = given(x="5", t="true", name="a")
    assert (held.required("x"), held.integer("x", 0), held.decimal("x"), held.flag("t")) == ("5", 5, D(5), True)
    assert (held.choice("name", ("a",)), "x" in held, held.without("x").text("x")) == ("a", True, "")


@pytest.mark.parametrize("value", [5, True, [], {}, 1.5])
def test_a_text_is_a_string(value):
    assert refused(lambda: given(x=value, body=True).text("x"))
    assert given(x=value).peek("x") == ""


@pytest.mark.parametrize("text", ["NaN", "Infinity", "x", "1e31", "1" * 31, "1e-31"])
def test_a_number_is_finite_and_of_a_sensible_size(text):
    assert refused(lambda: given(x=text).signed("x"))


def test_a_quantity_is_not_negative_and_a_change_may_be():
    assert given(x="-1").signed("x") == -1
    assert refused(lambda: given(x="-1").decimal("x"))


@pytest.mark.parametrize("value", ["1.0", "x", "1" * 31, str(FAR), -FAR, True, 1.0, []])
def test_a_whole_number_is_one(value):
    assert refused(lambda: given(x=value).integer("x", 0))


def test_a_flag_is_a_word_in_a_query_and_a_boolean_in_a_body():
    assert (given(x="false").flag("x"), given(x=True, body=True).flag("x")) == (False, True)
    assert refused(lambda: given(x="yes").flag("x"))
    assert refused(lambda: given(x="true", body=True).flag("x"))


@pytest.mark.parametrize("value", [None, [], {}, [1], [{}, {}, {}]])
def test_an_array_holds_objects_and_no_more_than_allowed(value):
    assert refused(lambda: given(x=value, body=True).rows("x", 2))


def test_a_page_has_a_size_that_is_brought_into_range():
    assert [given(limit=text).limit(20, 50) for text in ("0", "", "30", "51")] == [1, 20, 30, 50]


@pytest.mark.parametrize(
    ("start", "end", "window"),
    [
        ("", "", (NOW - WEEK_MS, NOW)), ("", "5000000000", (5_000_000_000 - WEEK_MS, 5_000_000_000)),
        ("1000", "", (1000, 1000 + WEEK_MS)), ("1000", "2000", (1000, 2000)), ("1000", str(1000 + WEEK_MS), (1000, 1000 + WEEK_MS)),
    ],
)  # fmt: skip
def test_a_window_is_a_week_where_an_end_is_missing(start, end, window):
    assert given(startTime=start, endTime=end).window(NOW) == window


@pytest.mark.parametrize(("start", "end"), [("2000", "1000"), ("1000", str(1001 + WEEK_MS))])
def test_a_window_runs_forward_and_not_longer_than_a_week(start, end):
    assert refused(lambda: given(startTime=start, endTime=end).window(NOW))


@pytest.mark.parametrize("body", [b"[]", b"x", b"1", b"[" * 100_000, b"\xff"])
def test_a_body_is_an_object(body):
    assert refused(lambda: decoded(body))
    assert decoded(b"") == {}
