"""Filters of the symbols: what each keeps, that it says why it does not keep the rest, and that it invents nothing."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.candle import Bars
from domain.instrument import Instrument, Quote
from domain.pairlists import (
    METHODS,
    AgeFilter,
    Facts,
    OffsetFilter,
    PerformanceFilter,
    PrecisionFilter,
    PriceFilter,
    RangeStabilityFilter,
    ShuffleFilter,
    SpreadFilter,
    StaticPairList,
    VolatilityFilter,
    VolumePairList,
)

DAY = 86_400_000
NOW = 20_000 * DAY + 5 * 3_600_000
A, B, C = (f"{base}/USDT:USDT" for base in "ABC")


def rules(symbol: str = A, **facts) -> Instrument:
    usual = {"tick": D("0.1"), "step": D("0.01"), "turnover_24h": D(1_000), "listed_at": NOW - 100 * DAY}
    usual |= {"quote": Quote(D(100), D("99.9"), D(100))} | facts
    return Instrument(
        symbol, symbol[0] + "USDT", usual.pop("tick"), usual.pop("step"), D("0.01"), D(1_000), D(5), D(50), **usual
    )


def daily(*closes: float, spread: float = 0.0) -> Bars:
    begin = NOW // DAY - len(closes)
    return Bars.of([
        ((begin + i) * DAY, close, close * (1 + spread), close, close, 1.0, close) for i, close in enumerate(closes)
    ])  # fmt: skip


def trade(symbol: str, pnl: float, ago_minutes: int = 1, stake: float = 100, leverage: int = 2):
    at = datetime.fromtimestamp(NOW / 1000, UTC) - timedelta(minutes=ago_minutes)
    return SimpleNamespace(
        symbol=symbol, pnl_usd=D(str(pnl)), exit_time=at, entry_price=D(1), quantity=D(str(stake * leverage)),
        leverage=D(leverage),
    )  # fmt: skip


def said(pairlist, facts: Facts | None = None, **of_a) -> str:
    """Return why a filter removes a symbol, empty when it keeps it."""
    facts = facts or Facts(NOW, {A: rules(**of_a)})
    kept, removed = pairlist.sift([A], facts)
    assert kept == ([] if removed else [A])
    return removed.get(A, "")


def test_the_names_are_freqtrades():
    assert set(METHODS) == {
        "StaticPairList", "VolumePairList", "AgeFilter", "PrecisionFilter", "PriceFilter", "SpreadFilter",
        "RangeStabilityFilter", "VolatilityFilter", "PerformanceFilter", "ShuffleFilter", "OffsetFilter",
    }  # fmt: skip
    assert said(StaticPairList()) == ""


def test_the_highest_turnover_is_kept_in_its_order_and_the_rest_is_told_its_place():
    known = {A: rules(A, turnover_24h=D(5)), B: rules(B, turnover_24h=D(9)), C: rules(C, turnover_24h=D(7))}
    kept, removed = VolumePairList(2).sift([A, B, C], Facts(NOW, known))
    assert (kept, removed) == ([B, C], {A: "place 3 by turnover, the first 2 are kept"})
    # as freqtrade has it, the bounds themselves are outside
    kept, removed = VolumePairList(9, min_value=5, max_value=9).sift([A, B, C], Facts(NOW, known))
    assert kept == [C]
    assert removed == {A: "turnover 5, more than 5 is wanted", B: "turnover 9, less than 9 is wanted"}


def test_turnover_of_days_is_added_up_and_a_contract_younger_than_that_has_none():
    facts = Facts(NOW, {A: rules(A), B: rules(B)}, {A: daily(1, 2, 3), B: daily(50)})
    assert VolumePairList(1, lookback_days=2).days_of(rules()) == 2
    kept, removed = VolumePairList(5, min_value=4, lookback_days=2).sift([A, B], facts)
    assert (kept, removed) == ([A], {B: "turnover 0, more than 4 is wanted"})


@pytest.mark.parametrize(("days", "reason"), [
    (9, "listed for 9 days, 10 at least are wanted"), (10, ""), (30, ""), (31, "listed for more than 30 days"),
])  # fmt: skip
def test_age_is_counted_in_daily_candles_however_it_is_known(days, reason):
    pairlist = AgeFilter(10, 30)
    assert pairlist.days_of(rules()) == 0
    assert said(pairlist, listed_at=(NOW // DAY - days) * DAY + 7_000) == reason
    unknown = rules(listed_at=0)
    assert pairlist.days_of(unknown) == 31
    assert said(pairlist, Facts(NOW, {A: unknown}, {A: daily(*[1.0] * days)})) == reason


def test_a_tick_must_be_fine_enough_for_a_stop():
    assert said(PrecisionFilter()) == ""
    # 95 and 94.05 are both 96 on a grid of 8
    assert said(PrecisionFilter(), tick=D(8)) == "a stop at 95.00 and one 1 % lower are the same: the tick is 8"
    assert said(PrecisionFilter(), quote=None) == "no last price is known"


@pytest.mark.parametrize(("pairlist", "reason"), [
    (PriceFilter(low_price_ratio=0.001), ""),
    (PriceFilter(low_price_ratio=0.0009), "a tick is 0.100% of the price, above 0.090%"),
    (PriceFilter(max_value=1), ""), (PriceFilter(max_value=0.9), "a step of the quantity is worth 1.00, above 0.9"),
    (PriceFilter(min_price=100, max_price=100), ""), (PriceFilter(min_price=101), "price 100 is below 101"),
    (PriceFilter(max_price=99), "price 100 is above 99"), (PriceFilter(), ""),
])  # fmt: skip
def test_price_tick_and_step_are_within_bounds(pairlist, reason):
    assert said(pairlist) == reason


def test_without_a_quote_the_last_daily_close_is_the_price():
    unquoted = rules(quote=None)
    assert (PriceFilter().days_of(unquoted), PriceFilter().days_of(rules())) == (1, 0)
    assert said(PriceFilter(min_price=8), Facts(NOW, {A: unquoted}, {A: daily(7.5)})) == "price 7.5 is below 8"


def test_a_wide_spread_and_a_missing_quote_are_removed():
    assert said(SpreadFilter(0.001)) == ""
    assert said(SpreadFilter(0.0009)) == "spread 0.100%, above 0.090%"
    for quote in (None, Quote(D(100)), Quote(D(100), D(0), D(100))):
        assert said(SpreadFilter(), quote=quote) == "no bid and ask are known"


def test_the_range_of_the_days_is_neither_too_narrow_nor_too_wide():
    facts = Facts(NOW, {A: rules()}, {A: daily(500, 100, 104, 110, spread=0.01)})
    # of the last three: 111.1 over 100
    assert RangeStabilityFilter(3).figure(A, facts) == pytest.approx(0.111)
    assert said(RangeStabilityFilter(3), facts) == ""
    assert said(RangeStabilityFilter(3, min_rate_of_change=0.2), facts) == (
        "rate of change 0.1110 over 3 days, below 0.2"
    )
    assert said(RangeStabilityFilter(3, max_rate_of_change=0.1), facts) == (
        "rate of change 0.1110 over 3 days, above 0.1"
    )
    assert said(RangeStabilityFilter(3)) == "no daily candles are known"


def test_volatility_is_the_deviation_of_the_days_returns_scaled_to_them():
    closes = (100.0, 110.0, 99.0, 99.0)
    facts = Facts(NOW, {A: rules()}, {A: daily(77.0, *closes)})
    returns = [0.0, math.log(1.1), math.log(0.9), 0.0]
    mean = sum(returns) / 4
    expected = math.sqrt(sum((one - mean) ** 2 for one in returns) / 3) * 2
    assert VolatilityFilter(4).figure(A, facts) == pytest.approx(expected)
    assert said(VolatilityFilter(4), facts) == ""
    assert "below 0.5" in said(VolatilityFilter(4, min_volatility=0.5), facts)
    assert "above 0.1" in said(VolatilityFilter(4, max_volatility=0.1), facts)
    assert said(VolatilityFilter(6), facts) == "fewer than 6 daily candles are known"
    assert said(VolatilityFilter(4)) == "no daily candles are known"


def test_what_is_kept_can_be_sorted_by_the_figure():
    facts = Facts(NOW, {one: rules(one) for one in (A, B, C)}, {A: daily(1, 1.2), B: daily(1, 1.5), C: daily(1, 1.1)})
    for kind in (RangeStabilityFilter, VolatilityFilter):
        assert kind(2, sort_direction="desc").sift([A, B, C], facts).kept == [B, A, C]
        assert kind(2, sort_direction="asc").sift([A, B, C], facts).kept == [C, A, B]
        assert kind(2).sift([C, B, A], facts).kept == [C, B, A]


def test_our_own_trades_decide_the_order_and_the_losers_go():
    known = {one: rules(one) for one in (A, B, C)}
    closed = [trade(A, -5), trade(B, 10), trade(B, 0), trade(A, 90, ago_minutes=60)]
    kept, removed = PerformanceFilter(30, min_profit=-0.01).sift([A, B, C], Facts(NOW, known, closed=closed))
    assert (kept, removed) == ([B, C], {A: "profit -0.0500, below -0.01"})
    # all of the time: +85 of 200 staked
    assert PerformanceFilter().sift([C, B, A], Facts(NOW, known, closed=closed)).kept == [A, B, C]
    assert PerformanceFilter(min_profit=1).sift([C, A], Facts(NOW, known)) == ([C, A], {})
    equal = [trade(A, 0), trade(A, 0), trade(B, 0)]
    assert PerformanceFilter().sift([A, B, C], Facts(NOW, known, closed=equal)).kept == [C, B, A]


def test_a_seed_mixes_in_the_same_way_and_without_one_each_refresh_in_another():
    names = [f"{i}/USDT:USDT" for i in range(30)]
    first = ShuffleFilter(7).sift(names, Facts(NOW, {})).kept
    assert first == ShuffleFilter(7).sift(names[::-1], Facts(NOW + 1, {})).kept != names
    assert ShuffleFilter(8).sift(names, Facts(NOW, {})).kept != first
    assert ShuffleFilter().sift(names, Facts(NOW, {})).kept != ShuffleFilter().sift(names, Facts(NOW + 1, {})).kept


def test_a_part_of_the_list_is_kept_by_places():
    kept, removed = OffsetFilter(1, 1).sift([A, B, C], Facts(NOW, {}))
    assert (kept, removed) == ([B], {A: "place 1 of the list", C: "place 3 of the list"})
    assert OffsetFilter(1).sift([A, B, C], Facts(NOW, {})).kept == [B, C]


def anything(kind) -> st.SearchStrategy:
    """Return filters of a kind with settings that may be of any size."""
    sizes = {
        "int": st.integers(1, 40), "float": st.floats(0, 3), "str": st.just("quoteVolume"),
        "float | None": st.none() | st.floats(0, 3), "int | None": st.none() | st.integers(1, 40),
        "str | None": st.sampled_from([None, "asc", "desc"]),
    }  # fmt: skip
    return st.builds(kind, **{one.name: sizes[one.type] for one in dataclasses.fields(kind)})


@st.composite
def markets(draw) -> Facts:
    names = draw(st.lists(st.sampled_from([f"{base}/USDT:USDT" for base in "ABCDEFGH"]), unique=True))
    sizes = st.sampled_from([D("0.001"), D("0.1"), D(3)])
    quotes = st.none() | st.builds(Quote, *[st.sampled_from([D(0), D("0.5"), D(90), D(100)])] * 3)
    known = {
        name: rules(
            name, tick=draw(sizes), step=draw(sizes), turnover_24h=D(draw(st.integers(0, 50))), quote=draw(quotes),
            listed_at=draw(st.sampled_from([0, NOW - 3 * DAY, NOW - 30 * DAY])),
        ) for name in names
    }  # fmt: skip
    candles = {
        name: daily(*draw(st.lists(st.floats(0.5, 200), min_size=0, max_size=12)))
        for name in names
        if draw(st.booleans())
    }
    closed = [
        trade(name, draw(st.integers(-20, 20)), draw(st.integers(0, 60))) for name in names if draw(st.booleans())
    ]
    return Facts(NOW, known, candles, closed)


@given(st.sampled_from(list(METHODS.values())).flatmap(anything), markets())
def test_kept_and_removed_are_what_was_given_and_every_removal_has_a_reason(pairlist, facts):
    names = list(facts.rules)
    kept, removed = pairlist.sift(names, facts)
    assert sorted([*kept, *removed]) == sorted(names)
    assert all(reason.strip() for reason in removed.values())
    # the same facts give the same list, and what is kept is kept again by all that look at one symbol alone
    assert pairlist.sift(names, facts) == (kept, removed)
    if type(pairlist) not in {OffsetFilter, ShuffleFilter}:
        assert pairlist.sift(kept, facts).kept == kept


@given(markets())
def test_filters_that_do_not_sort_leave_the_order_alone(facts):
    names = list(facts.rules)
    for pairlist in (
        AgeFilter(),
        PrecisionFilter(),
        PriceFilter(),
        SpreadFilter(),
        RangeStabilityFilter(),
        VolatilityFilter(),
    ):
        kept = pairlist.sift(names, facts).kept
        assert kept == [name for name in names if name in kept]
