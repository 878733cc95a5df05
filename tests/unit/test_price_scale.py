"""A price told in another unit changes no decision, no R and no percentage."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal as D

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backtest import past
from backtest.rules import RulesInForce
from backtest.runner import Runner
from backtest.signals import Replayed, find
from backtest.tape import Tape
from backtest.venue import Venue
from domain.assumed_rules import DIGITS, assumed, fitting, following, reported_or
from domain.candle import Bars, Series, resample
from domain.coverage import Span
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.ids import Identity
from domain.order import Side
from domain.signal import Signal
from engine.risk import RiskLimits
from engine.trader import Plan, Trader, TraderTerms
from sandbox.tape import GeneratedTape
from strategies.mean_reversion import MeanReversion
from strategies.scalp import Scalp
from strategies.trend_pullback import TrendPullback
from tests.unit.test_backtest import EveryBar

MINUTE, DAY, START, DAYS = 60_000, 86_400_000, 1_717_200_000_000, 12
WHO = Identity("test", "backtest", "backtest")
PERPETUAL, SPOT, STOCK = "COIN/USDT:USDT", "COIN/USDT", "COIN"
STEP = 15 * MINUTE
EXITS = (
    ExitPlan(1.6, 0.5, timeout_ms=96 * STEP), ExitPlan(trail_start_r=0.5, trail_distance_r=0.4, timeout_ms=64 * STEP),
    ExitPlan(timeout_ms=180 * MINUTE),
)  # fmt: skip
COLLAPSE = 13.8
"""Natural logarithm of a million."""


def minutes(seed: int, first: float, fall: float = 0.0) -> Bars:
    """Return minutes that begin at about a price and may fall by e to the power of ``fall`` in the middle."""
    made = GeneratedTape(seed, 1, START)
    begin = made.span()[0]
    (name,) = made.instruments
    base = made.bars(name, begin, begin + DAYS * DAY)
    count = len(base)
    path = np.exp(-fall * np.clip((np.arange(count) - count * 0.6) / (count * 0.05), 0, 1)) * first / base.open[0]
    # neighbours share a price where they share one: the bar's factor is that of its beginning
    ends = np.r_[path[1:], path[-1]]
    opened, close = base.open * path, base.close * ends
    high = np.maximum.reduce([base.high * path, base.high * ends, opened, close])
    low = np.minimum.reduce([base.low * path, base.low * ends, opened, close])
    return Bars(base.open_time, opened, high, low, close, base.turnover / close, base.turnover)


def told_in(base: Bars, power: int) -> Bars:
    """Return bars in units of ten to the power of ``-power``."""
    times, *prices, volume, turnover = base.columns()
    return Bars(times, *(column * 10.0**power for column in prices), volume * 10.0**-power, turnover)


class Played:
    """One symbol, played by the engine under rules that follow its price."""

    def __init__(self, symbol: str, base: Bars, kind: type[Runner] = Runner) -> None:
        bars = {
            Series(symbol, name): resample(base, step, MINUTE) for name, step in (("3m", 3 * MINUTE), ("15m", STEP))
        }
        self.tape = Tape(bars, dict.fromkeys(bars, 500))
        self.rules = following(symbol, bars[Series(symbol, "3m")], 3 * MINUTE)
        since, until = START // DAY * DAY + 6 * DAY, START // DAY * DAY + DAYS * DAY
        self.span, self.phantoms = Span(since, until), []
        kinds, plans, times = (TrendPullback, MeanReversion, Scalp), {}, set()
        for one, exits in zip(kinds, EXITS, strict=True):
            strategy = one(one.Parameters())
            known = {(symbol, s.bar_start): s for s in find(strategy, symbol, self.tape, since, until, 500)}
            times |= {signal.time for signal in known.values()}
            plans[strategy.name] = Plan(Replayed(strategy, known), exits)
            self.phantoms += past.phantoms(
                strategy, symbol, exits, self.tape, self.rules, Costs(), lambda _: {}, self.span, 500
            )
        limits = RiskLimits(D(1), 3, D(4), D(1), D(20), D(5), D("0.00055"), D("0.0003"))
        terms = TraderTerms(WHO, limits, plans, paper=True, unfilled_timeout_ms=30 * MINUTE)
        held = RulesInForce({symbol: self.rules}, since)
        trader = Trader(terms, held.instruments, self.tape.bars)
        venue = Venue(D(10_000), held.instruments, Costs())
        self.outcome = kind(trader, venue, self.tape, {symbol: times}, "3m", "3m", {}, held).run(since, until)

    @property
    def decisions(self) -> list:
        return [(one.signal.strategy, one.signal.time, one.signal.side, one.gate) for one in self.outcome.decisions]

    @property
    def results(self) -> list:
        return [
            (t.entry_time, t.exit_time, t.exit_reason, t.pnl_usd, t.pnl_percent, t.r_multiple, t.max_favourable_r,
             t.max_adverse_r, t.fees) for t in self.outcome.trades
        ]  # fmt: skip

    @property
    def imagined(self) -> list:
        return [(p.signal_time, p.exit_time, p.exit_reason, p.realized_rr, p.pnl_percent) for p in self.phantoms]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(1, 40),
    power=st.integers(-9, 7),
    symbol=st.sampled_from([PERPETUAL, SPOT, STOCK]),
    fall=st.sampled_from([0.0, COLLAPSE / 2, COLLAPSE]),
)
def test_the_unit_of_a_price_changes_nothing(seed, power, symbol, fall):
    # a price of one millionth after the fall is the least that there is
    power = max(power, -3) if fall else power
    base = minutes(seed, 1.3, fall)
    one, other = Played(symbol, base), Played(symbol, told_in(base, power))
    assert len(one.decisions) > 10
    assert other.decisions == one.decisions
    assert other.results == one.results
    assert other.imagined == one.imagined
    assert [value for _, value in other.outcome.equity] == [value for _, value in one.outcome.equity]


@pytest.mark.parametrize("seed", [3, 8])
def test_a_coin_that_falls_a_millionfold_is_traded_all_the_time(seed):
    played = Played(PERPETUAL, minutes(seed, 80.0, COLLAPSE))
    after = [t for t in played.outcome.trades if t.entry_time.timestamp() * 1000 > played.span.start + 4 * DAY]
    assert len(after) > 3
    assert all(t.entry_price < D("0.001") for t in after)
    assert not [one for one in played.outcome.decisions if one.gate in {"sizing", "order_rejected", "liquidation"}]


@pytest.mark.parametrize("seed", [3, 5])
def test_rules_that_change_are_those_of_the_moment_whatever_is_passed_over(seed):
    base = minutes(seed, 1.003, 0.02)
    quick, slow = (Played(PERPETUAL, base, kind) for kind in (Runner, EveryBar))
    assert len(quick.rules.rules) > 3
    assert quick.outcome.trades
    assert quick.outcome.trades == slow.outcome.trades
    assert quick.outcome.decisions == slow.outcome.decisions


@given(st.decimals("1.00001", "9.9999", places=5), st.integers(-9, 7), st.integers(-9, 7))
def test_assumed_rules_are_scaled_as_the_price_is(digits, one, other):
    first, second = (assumed(PERPETUAL, float(digits.scaleb(power))) for power in (one, other))
    assert second.tick == first.tick.scaleb(other - one)
    assert second.step == first.step.scaleb(one - other)
    assert second.max_qty == first.max_qty.scaleb(one - other)
    assert (second.min_notional, second.max_leverage) == (first.min_notional, first.max_leverage)
    price = digits.scaleb(one)
    assert D(10) ** (DIGITS - 1) <= price / first.tick < D(10) ** DIGITS


@given(st.integers(10**5, 10**6 - 1), st.integers(-14, 2), st.floats(-3e-15, 3e-15))
def test_what_arithmetic_leaves_in_the_last_digits_decides_no_tick(ticks, power, noise):
    exact = D(ticks).scaleb(power)
    rules = assumed(SPOT, float(exact))
    noisy = float(exact) * (1 + noise)
    assert rules.price(noisy) == rules.price_up(noisy) == rules.price_down(noisy) == exact


@given(st.lists(st.floats(1e-9, 1e7), min_size=2, max_size=50))
def test_rules_for_all_bars_fit_each_of_them(closes):
    column = np.array(closes)
    times = np.arange(len(column)) * MINUTE
    bars = Bars(times, column, column, column, column, np.ones(len(column)), column)
    rules = fitting(PERPETUAL, bars)
    for price in closes:
        here = assumed(PERPETUAL, price)
        assert rules.tick <= here.tick
        assert rules.step <= here.step
        assert rules.max_qty >= here.max_qty


def test_reported_rules_count_where_they_fit_the_price():
    times = np.arange(4) * DAY
    column = np.array([80.0, 80.0, 0.0002, 0.0002])
    follows = following(PERPETUAL, Bars(times, column, column, column, column, column, column), DAY)
    early, late = assumed(PERPETUAL, 80.0), assumed(PERPETUAL, 0.0002)
    coarse = replace(early, tick=D("0.01"))
    used = reported_or(follows, [(DAY, coarse)])
    assert used.at(0) == used.at(2 * DAY) == coarse
    # the close of the third day is known when it ends
    assert used.at(3 * DAY) == replace(late, turnover_24h=used.at(3 * DAY).turnover_24h)
    assert reported_or(follows, [(0, coarse), (DAY, early)]).at(DAY) == early


def test_the_smallest_price_has_signals_that_can_be_followed():
    rules = assumed(SPOT, 1e-9)
    signal = Signal("mr", SPOT, "1h", 0, 3_600_000, Side.LONG, 1.2345e-9, 1.2e-9, 1.3e-9)
    assert rules.price_down(signal.stop) == D("1.2e-9")
    assert D("1e3") < rules.max_qty * D("1e-9")
