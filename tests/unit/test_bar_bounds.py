"""Bars that cannot be are refused, however many are claimed, and no claim makes the loop work for long."""

from __future__ import annotations

import sys
from decimal import Decimal as D

import numpy as np
import pytest

from broker.bybit import BybitBroker
from broker.bybit.instruments import instrument
from domain.candle import Bar, Bars, Series, check_bar
from domain.errors import BadData, Unavailable
from domain.instrument import Instrument
from market.frames import AHEAD_MS, HELD_MAX, Frames
from market.gaps import HOLE_BARS, HOLE_BARS_MAX, Gaps
from tests.unit.test_bybit_rows import Client
from tests.unit.test_frames import STEP, THREE, bar
from tests.unit.test_gaps import World

NOW = 10_000 * STEP
INFO = {
    "symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "settleCoin": "USDT", "contractType": "LinearPerpetual",
    "status": "Trading", "priceFilter": {"tickSize": "0.1"}, "leverageFilter": {"maxLeverage": "100"},
    "lotSizeFilter": {"qtyStep": "0.001", "minOrderQty": "0.001", "maxMktOrderQty": "100", "minNotionalValue": "5"},
}  # fmt: skip


def frames(ahead_ms=AHEAD_MS):
    made = Frames({THREE: 100}, ahead_ms, lambda: NOW)
    made.seed(THREE, Bars.of([bar(NOW // STEP)]))
    return made


@pytest.mark.parametrize("ahead_ms", [AHEAD_MS, STEP])
def test_a_bar_of_the_future_is_refused_and_the_next_true_one_taken(ahead_ms):
    held = frames(ahead_ms)
    with pytest.raises(BadData, match="future"):
        held.offer(THREE, bar((NOW + ahead_ms) // STEP + 1))
    assert (held.counters.invalid, held.hole(THREE)) == (1, None)
    assert len(held.offer(THREE, bar(NOW // STEP + 1))) == 1


def test_a_market_that_outruns_the_clock_is_measured_by_what_it_has_told():
    held = frames(STEP)
    assert all(held.offer(THREE, bar(NOW // STEP + number)) for number in range(1, 50))


@pytest.mark.parametrize("change", [{"high": 1e13}, {"volume": 1e22}, {"turnover": 1e300}])
def test_a_bar_of_absurd_size_is_refused(change):
    with pytest.raises(BadData):
        check_bar(bar(1)._replace(**change), STEP)


def steps(work):
    """Return how many lines of Python a piece of work takes."""
    count = 0

    def tracer(_frame, event, _arg):
        nonlocal count
        count += event == "line"
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("present", [0.0, 0.5, 1.0], ids=["none", "every other", "all"])
def test_what_closing_a_hole_costs_grows_with_the_bars_there_are_and_not_with_the_bars_that_are_claimed(present):
    """Found by a frame dated a year ahead: each absent bar was looked for among all the others, for 48 seconds."""

    def cost(count):
        held = frames()
        first = NOW // STEP + 1
        every = range(first, first + count) if present else ()
        had = Bars.of([bar(number) for number in every if present == 1 or number % 2])
        end = (first + count) * STEP
        taken = []
        spent = steps(lambda: taken.extend(held.confirm_absent(THREE, first * STEP, end, had)))
        assert len(taken) == len(had)
        assert held.hole(THREE, end + STEP) == (end, end + STEP)
        return spent

    few, many = cost(1_000), cost(4_000)
    assert many < 5 * few


def test_a_year_that_never_was_costs_nothing():
    held = frames()
    first, year = NOW // STEP + 1, 365 * 480
    assert steps(lambda: held.confirm_absent(THREE, first * STEP, (first + year) * STEP, Bars.empty())) < 100
    assert held.counters.absent == year


def test_what_waits_behind_a_hole_is_bounded_and_all_of_it_comes_out_once():
    held = frames()
    first = NOW // STEP + 1
    for number in range(first + 1, first + HELD_MAX + 100):
        held.offer(THREE, bar(number))
    assert held.counters.overflowed == 99
    released = held.confirm_absent(THREE, first * STEP, (first + 1) * STEP, Bars.empty())
    assert np.diff([closed.bar.open_time for closed in released]).tolist() == [STEP] * (HELD_MAX - 1)


async def test_a_hole_that_no_outage_leaves_is_not_asked_for():
    world = World(last=HOLE_BARS_MAX + 10)
    assert isinstance(world.gaps, Gaps)
    with pytest.raises(Unavailable, match="not believed"):
        await world.gaps._fill(Series("A/USDT:USDT", "3m"), (HOLE_BARS_MAX + 9) * STEP)
    assert [asked for asked in world.klines.asked if asked[0] == "closed"] == []
    assert HOLE_BARS < HOLE_BARS_MAX


@pytest.mark.parametrize("size", ["0", "NaN", "-1", "Infinity", "1e-28", "1e28"])
@pytest.mark.parametrize("name", ["tickSize", "qtyStep", "minOrderQty", "maxMktOrderQty", "maxLeverage"])
async def test_a_contract_with_impossible_rules_is_left_out_alone(name, size):
    """Found by a tick of 1e-28: every signal killed the task that handles them, and the bot said that it was ready."""
    other = {**INFO, "symbol": "ETHUSDT", "baseCoin": "ETH"}
    bad = {
        key: {**rules, name: size} if isinstance(rules, dict) and name in rules else rules
        for key, rules in INFO.items()
    }
    client = Client(instruments_info={"list": [bad, other]}, tickers={"list": []})
    assert list(await BybitBroker(client).instruments()) == ["ETH/USDT:USDT"]


@pytest.mark.parametrize("size", [D(0), D("NaN"), D("sNaN"), D("Infinity"), D("-0.1"), D("1e-28")])
@pytest.mark.parametrize("name", ["tick", "step", "min_qty", "max_qty", "max_leverage"])
def test_no_source_can_make_rules_that_nothing_can_be_rounded_by(name, size):
    sizes = dict.fromkeys(("tick", "step", "min_qty", "max_qty", "max_leverage"), D(1)) | {name: size}
    with pytest.raises(BadData, match=name):
        Instrument("A/USDT:USDT", "AUSDT", min_notional=D(5), **sizes)


def test_the_bounds_are_no_narrower_than_what_is_traded():
    cheap = Bar(0, 1e-9, 1e-9, 1e-9, 1e-9, 1e16, 1e7)
    check_bar(cheap, STEP)
    for beyond in (cheap._replace(volume=1e22), cheap._replace(high=1e13)):
        with pytest.raises(BadData, match="no market has"):
            check_bar(beyond, STEP)


LISTED = NOW + STEP // 2
"""In the midst of a bar: the one that it falls into is the first."""


def listed_frames(since=LISTED):
    return Frames({THREE: 100}, AHEAD_MS, lambda: NOW, {THREE.symbol: since})


def test_bars_from_before_the_listing_are_refused_wherever_they_come_from():
    first = NOW // STEP
    for early in (first - 1, first - 1_000, 0):
        held = listed_frames()
        with pytest.raises(BadData, match="listed"):
            held.offer(THREE, bar(early))
        assert (held.counters.invalid, held.last_time(THREE)) == (1, None)
    held = listed_frames()
    held.seed(THREE, Bars.of([bar(first - 2), bar(first - 1), bar(first)]))
    assert held.bars(THREE).open_time.tolist() == [first * STEP]
    held = listed_frames()
    assert len(held.offer(THREE, bar(first))) == 1
    held.confirm_absent(THREE, (first - 3) * STEP, first * STEP, Bars.of([bar(first - 2)]))
    assert held.counters.invalid == 1
    assert len(held.offer(THREE, bar(first + 1))) == 1


def test_a_listing_in_the_future_is_not_believed_beside_bars_of_now():
    assert len(listed_frames(NOW + AHEAD_MS + 1).offer(THREE, bar(NOW // STEP))) == 1


async def test_the_exchange_says_since_when_a_contract_is_listed():
    def rules(**more):
        return instrument({**INFO, **more}, D(1)).listed_at

    assert (rules(launchTime="1584230400000"), rules(launchTime=""), rules()) == (1_584_230_400_000, 0, 0)
