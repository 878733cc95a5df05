"""What a backtest tells of its trades, against plain reckoning with pandas."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal as D

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from app.sweep import Trial
from backtest.curve import Closes, curve, until_used_up
from backtest.figures import deepest, figures
from backtest.outcome import REJECTED, Funding, Holdings, OpenPosition, Outcome
from backtest.rules import RulesInForce
from backtest.runner import Runner
from backtest.signals import Replayed
from backtest.tape import Tape
from backtest.trials import OBJECTIVES
from backtest.venue import Venue
from domain.account import AccountState, SimulatedAccount, VenueOrder, executions
from domain.account_state import Payment
from domain.assumed_rules import assumed
from domain.candle import Bar, Bars, Series
from domain.coverage import Span
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.funding import INTERVALS_MS, base_rate, describe, gaps
from domain.ids import Identity
from domain.order import OrderKind, OrderSide, Side
from domain.rule_history import RuleHistory
from domain.signal import Signal
from domain.trade import Trade
from engine.risk import RiskLimits
from engine.trader import Plan, Trader, TraderTerms

HOUR, DAY = 3_600_000, 86_400_000
SYMBOL = "COIN/USDT:USDT"
RULES = assumed(SYMBOL, 100.0)
FREE = Costs(D(0), D(0), D(0), D(0))
WHO = Identity("test", "backtest", "backtest")


def walk(seed: int, count: int, step: int = HOUR) -> Bars:
    rng = np.random.default_rng(seed)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.01, count))), 2)
    opened = np.r_[100.0, close[:-1]]
    high = np.round(np.maximum(opened, close) * (1 + rng.exponential(0.004, count)), 2)
    low = np.round(np.minimum(opened, close) * (1 - rng.exponential(0.004, count)), 2)
    return Bars(np.arange(count) * step, opened, high, low, close, np.full(count, 1e6), 1e6 * close)


class Given:
    """A strategy whose signals are given."""

    name, timeframes, warmup_bars = "given", ("1h",), {"1h": 1}

    def start(self, symbol: str) -> str:
        return symbol


def played(
    bars: Bars, signals: list[Signal], exits: ExitPlan = ExitPlan(), payments: Funding | None = None, rules=RULES,
    wallet: D = D(10_000), step: int = HOUR,
) -> Outcome:  # fmt: skip
    name = {HOUR: "1h", DAY: "1d"}[step]
    strategy = Given()
    strategy.timeframes, strategy.warmup_bars = (name,), {name: 1}
    tape = Tape({Series(SYMBOL, name): bars}, {Series(SYMBOL, name): 50})
    known = {(SYMBOL, one.bar_start): one for one in signals}
    limits = RiskLimits(D(1), 3, D(4), D(1), D(99), D(5), D(0), D(0))
    terms = TraderTerms(
        WHO, limits, {"given": Plan(Replayed(strategy, known), exits)}, paper=True, unfilled_timeout_ms=10**10,
        completeness_min=0,
    )  # fmt: skip
    held = RulesInForce({SYMBOL: RuleHistory([0], [rules])}, 0)
    trader = Trader(terms, held.instruments, tape.bars)
    runner = Runner(
        trader, Venue(wallet, held.instruments, FREE), tape, {SYMBOL: {one.time for one in signals}}, name, name,
        {SYMBOL: payments} if payments is not None else {}, held,
    )  # fmt: skip
    return runner.run(0, int(bars.open_time[-1]) + step)


def signals_of(bars: Bars, seed: int, every: int = 7, step: int = HOUR) -> list[Signal]:
    rng, found = np.random.default_rng(seed), []
    for row in range(2, len(bars) - 1, every):
        side = Side.LONG if rng.random() < 0.5 else Side.SHORT
        close, away = float(bars.close[row]), float(rng.uniform(0.01, 0.03))
        start = int(bars.open_time[row])
        name = {HOUR: "1h", DAY: "1d"}[step]
        found.append(Signal(
            "given", SYMBOL, name, start, start + step, side, close, close * (1 - side.sign * away),
            close * (1 + side.sign * 1.5 * away),
        ))  # fmt: skip
    return found


def long_of(signal: Signal, stop: float, target: float) -> Signal:
    return Signal(
        "given", SYMBOL, "1h", signal.bar_start, signal.time, Side.LONG, signal.entry, signal.entry * stop,
        signal.entry * target,
    )  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 10_000), st.integers(1, 10_000), st.sampled_from([
    ExitPlan(), ExitPlan(trail_start_r=0.5, trail_distance_r=0.5), ExitPlan(1.0, 0.5), ExitPlan(timeout_ms=5 * HOUR),
]))  # fmt: skip
def test_excursions_are_those_of_all_bars_up_to_the_exit(market, signals, exits):
    bars = walk(market, 300)
    outcome = played(bars, signals_of(bars, signals), exits)
    frame = pd.DataFrame({"high": bars.high, "low": bars.low, "open": bars.open_time})
    assert outcome.trades
    for trade in outcome.trades:
        sign, entry = (1, trade.entry_price) if trade.side == "long" else (-1, trade.entry_price)
        begin, end = (round(at.timestamp() * 1000) for at in (trade.entry_time, trade.exit_time))
        unit = abs(float(trade.gross_pnl / trade.quantity) / float(trade.r_multiple)) if trade.r_multiple else None
        gross = sign * float(trade.exit_price - entry)
        assert trade.max_favourable_r >= 0 >= trade.max_adverse_r
        if unit is None or abs(trade.r_multiple) < D("0.01"):
            continue
        assert float(trade.max_favourable_r) >= max(0.0, gross / unit) - 1e-3
        assert float(trade.max_adverse_r) <= min(0.0, gross / unit) + 1e-3
        # all bars that it outlived
        outlived = frame[(frame.open >= begin // HOUR * HOUR) & (frame.open + HOUR <= end // HOUR * HOUR)]
        if len(outlived):
            best = outlived.high.max() if sign > 0 else outlived.low.min()
            worst = outlived.low.min() if sign > 0 else outlived.high.max()
            assert float(trade.max_favourable_r) >= sign * (best - float(entry)) / unit - 1e-3
            assert float(trade.max_adverse_r) <= sign * (worst - float(entry)) / unit + 1e-3
        if trade.exit_reason == "stop_loss":
            assert trade.max_adverse_r <= D(-1)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_the_equity_at_every_close_is_what_pandas_makes_of_the_trades(market, signals):
    bars = walk(market, 400)
    outcome = played(bars, signals_of(bars, signals, 11))
    closes = {SYMBOL: Closes(bars.open_time + HOUR, bars.close)}
    found = curve(outcome.holdings, closes, len(bars) * HOUR)
    ends = bars.open_time + HOUR
    equity = pd.Series(10_000.0, index=ends)
    for trade in [*outcome.trades, *outcome.open]:
        sign = 1 if trade.side == "long" else -1
        closed = isinstance(trade, Trade)
        begin = round(trade.entry_time.timestamp() * 1000) if closed else trade.entry_time
        end = round(trade.exit_time.timestamp() * 1000) if closed else 2**62
        inside = (ends > begin) & (ends <= end)
        equity[inside] += sign * (bars.close[inside] - float(trade.entry_price)) * float(trade.quantity)
        if closed:
            equity[ends > end] += float(trade.pnl_usd)
    equity = pd.concat([pd.Series([10_000.0], index=[0]), equity])
    fall = (equity.cummax() - equity) / equity.cummax()
    told = deepest(found)
    assert told.percent == pytest.approx(100 * fall.max(), abs=1e-6)
    assert told.trough_at == fall.idxmax()
    there = pd.Series(found.values, index=found.times)
    assert np.allclose(there.to_numpy(), equity.reindex(there.index).to_numpy(), rtol=1e-9)


def test_what_is_open_at_the_end_counts():
    bars = walk(5, 40)
    (signal,) = signals_of(bars, 1, 100)
    far = long_of(signal, 0.5, 2)
    paid = Funding(np.array([8 * HOUR, 16 * HOUR]), np.array([0.001, 0.001]))
    outcome = played(bars, [far], payments=paid)
    (there,) = outcome.open
    found = figures(outcome, {SYMBOL: bars.close}, 0, 40 * HOUR)
    assert found.exposure == pytest.approx(100 * (40 - 3) / 40)
    assert found.funding == there.funding > 0
    assert found.total.trades == 0
    assert found.profit == there.unrealised - there.funding - there.fees
    assert found.open_positions == [there]
    assert (there.side, there.symbol) == ("long", SYMBOL)


def test_an_order_that_the_exchange_rejects_is_a_refusal_with_a_name():
    bars = walk(5, 40)
    (signal,) = signals_of(bars, 1, 100)
    # on a tick as coarse as this the target is no gain any more
    outcome = played(bars, [long_of(signal, 0.9, 1.001)], rules=replace(RULES, tick=D(10)))
    (decision,) = outcome.decisions
    assert decision.gate == REJECTED
    assert "target" in decision.detail
    found = figures(outcome, {SYMBOL: bars.close}, 0, 40 * HOUR)
    assert found.refused == {REJECTED: 1}
    assert found.signals == 1


def test_an_account_that_is_used_up_is_liquidated_and_loses_its_wallet():
    times = np.arange(1, 6) * HOUR
    closes = {SYMBOL: Closes(times, np.array([100.0, 80.0, 55.0, 40.0, 120.0]))}
    holdings = [
        Holdings(0, 1_000.0, {}),
        Holdings(HOUR, 990.0, {SYMBOL: (20.0, 100.0)}),
        Holdings(5 * HOUR, 1_390.0, {}),
    ]
    at = [datetime.fromtimestamp(hours * 3600, UTC) for hours in (0, 4.9)]
    late = trade_of(at[0], at[1], D(400))
    outcome = Outcome([late], [], [(0, D(1_000)), (5 * HOUR, D(1_390))], holdings)
    cut, equity = until_used_up(outcome, curve(holdings, closes, 5 * HOUR), closes)
    assert cut.liquidated_at == 4 * HOUR
    assert cut.trades == []
    assert cut.equity == [(0, D(1_000)), (4 * HOUR, D(0))]
    (there,) = cut.open
    assert there.unrealised == D(-990)
    found = figures(cut, {}, 0, 5 * HOUR, equity)
    assert (found.profit, found.profit_percent, found.drawdown.percent) == (D(-1_000), -100, 100)
    assert found.merit("profit_factor") == -np.inf
    untouched = Outcome([late], [], outcome.equity, [Holdings(0, 1_000.0, {}), Holdings(5 * HOUR, 1_390.0, {})])
    assert until_used_up(untouched, curve(untouched.holdings, closes, 5 * HOUR), closes)[0] is untouched


def test_a_trade_never_loses_more_than_the_wallet():
    at = [datetime.fromtimestamp(hours * 3600, UTC) for hours in (1, 2)]
    gap = trade_of(at[0], at[1], D(-16_000))
    holdings = [Holdings(0, 10_000.0, {}), Holdings(2 * HOUR, -6_000.0, {})]
    outcome = Outcome([gap], [], [(0, D(10_000)), (2 * HOUR, D(-6_000))], holdings)
    cut, equity = until_used_up(outcome, curve(holdings, {}, 3 * HOUR), {})
    (last,) = cut.trades
    assert last.pnl_usd == D(-10_000)
    assert equity[1].min() == 0


def trade_of(begin: datetime, end: datetime, pnl: D) -> Trade:
    return Trade(
        symbol=SYMBOL, side="long", entry_price=D(100), exit_price=D(120), quantity=D(20), entry_time=begin,
        exit_time=end, pnl_usd=pnl, pnl_percent=D(1), exit_reason="take_profit", leverage=D(1),
        strategy_name="given", gross_pnl=pnl, r_multiple=D(1),
    )  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 10_000), st.sampled_from(INTERVALS_MS), st.integers(1, 10_000))
def test_funding_is_paid_in_every_interval_however_long_the_bars_are(seed, interval, signals):
    bars = walk(seed, 20, DAY)
    times = np.arange(1, 20 * DAY // interval + 1) * interval
    rates = np.round(np.random.default_rng(seed).normal(0, 0.001, len(times)), 6)
    outcome = played(bars, signals_of(bars, signals, 5, DAY), payments=Funding(times, rates), step=DAY)
    assume(outcome.trades)
    for trade in outcome.trades:
        begin, end = (round(at.timestamp() * 1000) for at in (trade.entry_time, trade.exit_time))
        sign = 1 if trade.side == "long" else -1
        due = [i for i, time in enumerate(times.tolist()) if begin < time <= end]
        expected = 0.0
        for i in due:
            row, inside = divmod(int(times[i]), DAY)
            # inside of a bar the price of its open is known, at its end that of its close
            price = bars.open[row] if inside else bars.close[row - 1]
            expected += sign * float(trade.quantity) * price * rates[i]
        assert float(trade.funding) == pytest.approx(expected, abs=1e-6)


def test_funding_in_the_bar_of_the_exit_is_paid_by_who_held_until_then():
    account = SimulatedAccount(AccountState(wallet=D(1_000)), {SYMBOL: RULES}, FREE)
    account.mark(SYMBOL, D(100))
    order = VenueOrder(
        id="", link_id="", symbol=SYMBOL, side=OrderSide.BUY, kind=OrderKind.MARKET, qty=D(1), stop=D(95)
    )
    account.place(order, 0, at_once=True)
    due = [Payment(8 * HOUR, D("0.01")), Payment(16 * HOUR, D("0.02")), Payment(DAY, D("0.5"))]
    told = executions(account.on_bar(SYMBOL, Bar(0, 100.0, 101.0, 94.0, 94.0, 1.0, 1.0), DAY, due))
    assert [(one.kind, one.time, one.fee) for one in told if one.kind == "Funding"] == [
        ("Funding", 8 * HOUR, D("1.00")), ("Funding", 16 * HOUR, D("2.00")),
    ]  # fmt: skip
    assert account.state.wallet == D(1_000) - D(3) - D(5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(INTERVALS_MS), st.integers(3, 12)), min_size=1, max_size=4),
    st.integers(0, 10_000),
)
def test_changing_intervals_are_no_gaps_and_missing_payments_are(spells, seed):
    """Intervals that change at days, as exchanges change them; what is taken out inside of a spell is told."""
    times, now = [], 0
    for interval, days in spells:
        times += range(now + interval, now + days * DAY + 1, interval)
        now += days * DAY
    every, rng = np.array(times), np.random.default_rng(seed)
    rates = np.where(rng.random(len(every)) < 0.5, 0.0, rng.normal(0, 0.0003, len(every)))
    assert gaps(every, rates, Span(0, now + 1)) == []
    steps = np.diff(every, prepend=0)
    inside = [i for i in range(2, len(every) - 2) if len(set(steps[i - 2 : i + 3].tolist())) == 1]
    taken = int(rng.choice(inside))
    kept = np.delete(every, taken), np.delete(rates, taken)
    found = gaps(*kept, Span(0, now + 1))
    assert [(one.span, one.missing) for one in found] == [(Span(int(every[taken - 1]), int(every[taken + 1])), 1)]
    assert describe(kept[0], found).startswith(f"1 of {len(every)} payments")


SPELLS = st.lists(st.tuples(st.sampled_from(INTERVALS_MS), st.integers(5, 20)), min_size=2, max_size=5)


def paid(spells: list[tuple[int, int]], seed: int, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Payments of intervals that change, at no base rate, and which of them are left of a random share taken out."""
    times, now, rng = [], 0, np.random.default_rng(seed)
    for interval, days in spells:
        times += range(now + interval, now + days * DAY + 1, interval)
        now += days * DAY
    left = rng.random(len(times)) >= share
    left[[0, -1]] = True
    return np.array(times), rng.normal(0, 0.0003, len(times)), left


@settings(max_examples=60, deadline=None)
@given(SPELLS, st.integers(0, 10_000), st.floats(0.02, 0.7))
def test_a_random_share_taken_out_of_changing_intervals_is_told(spells, seed, share):
    """By spacing and hours alone nearly all of it is told, nearly nothing that is not so, and nothing of a whole one."""
    times, rates, left = paid(spells, seed, share)
    window = Span(int(times[0]), int(times[-1]))
    assert gaps(times, rates, window) == []
    found, taken = gaps(times[left], rates[left], window), times[~left]
    inside = sum(any(one.span.start < time < one.span.end for one in found) for time in taken.tolist())
    # where an interval changes nobody knows to the day which of the two it was: a day's payments at each change
    unsure = 24 * (len(spells) - 1)
    told = sum(one.missing for one in found)
    assert inside >= 0.95 * len(taken) - unsure
    assert abs(told - len(taken)) <= 0.05 * len(taken) + unsure


@settings(max_examples=60, deadline=None)
@given(SPELLS, st.integers(0, 10_000))
def test_what_the_exchange_said_tells_payments_that_nothing_else_does(spells, seed):
    """Only every eighth hour is left, at no base rate: nothing in it says what is missing, but the exchange did."""
    times, rates, _ = paid(spells, seed, 0.0)
    left = (times % (8 * HOUR) == 0) | (times == times[-1])
    window = Span(int(times[left][0]), int(times[-1]))
    begins = np.cumsum([0, *(days * DAY for _, days in spells)]).tolist()
    said = [(begin, interval) for begin, (interval, _) in zip(begins, spells, strict=False)]
    told = sum(one.missing for one in gaps(times[left], rates[left], window, said))
    assert gaps(times[left], rates[left], window) == []
    # between two sayings that differ it may have been either, so the longer of both is believed
    pairs = zip(spells, [*spells[1:], spells[-1]], strict=True)
    assert told == sum(max(0, days * DAY // max(one, other) - 3 * days) for (one, days), (other, _) in pairs) - (
        8 * HOUR // max(spells[0][0], spells[1][0]) - 1
    )  # fmt: skip


@given(st.sampled_from(INTERVALS_MS[:3]), st.integers(20, 200))
def test_base_rates_tell_an_interval_of_which_every_other_payment_is_missing(interval, count):
    times = np.arange(count) * 8 * HOUR
    found = gaps(times, np.full(count, base_rate(interval)), Span(0, int(times[-1]) + 1))
    assert sum(one.missing for one in found) == (count - 1) * (8 * HOUR // interval - 1)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_setting_that_never_loses_ranks_first(objective):
    ends = [(day * DAY, D(10_000)) for day in range(1)]
    good, best, bad = (
        trial_of([*ends, *((day * DAY, D(10_000) + D(step) * day) for day in range(1, 6))], pnls)
        for step, pnls in ((60, [60, 60, 60, 60, -5]), (100, [100] * 5), (-50, [-50] * 5))
    )
    ordered = sorted([good, bad, best], key=lambda one: one.place(objective), reverse=True)
    assert ordered[0] is best
    assert ordered[-1] is bad


def trial_of(equity: list, pnls: list[int]) -> Trial:
    at = [datetime.fromtimestamp(hours * 3600, UTC) for hours in (1, 2)]
    trades = [trade_of(at[0], at[1], D(pnl)) for pnl in pnls]
    # a drawdown that is none: the curve never falls
    if pnls[-1] == -5:
        equity = [*equity[:-1], (equity[-1][0], equity[-2][1] - 5)]
    return Trial({}, Span(0, 5 * DAY), figures(Outcome(trades=trades, equity=equity), {}, 0, 5 * DAY))


def test_nothing_open_is_told_as_nothing():
    assert figures(Outcome(equity=[(0, D(1)), (DAY, D(1))]), {}, 0, DAY).open_positions == []
    assert OpenPosition(SYMBOL, "long", 0, D(1), D(1), D(0), D(0), D(0)).symbol == SYMBOL
