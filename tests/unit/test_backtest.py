"""A backtest: bars without news are passed over, and nothing is different for it."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal as D

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.causality import examine
from backtest.charts import LEVELS, levels
from backtest.figures import daily_returns, drawdown, figures, monthly
from backtest.outcome import Funding, Outcome
from backtest.past import phantoms
from backtest.runner import Lane, Runner
from backtest.signals import find, replayed, said
from backtest.tape import Tape, first_touch
from backtest.venue import Venue
from domain.candle import Bar, Bars, Series, resample, timeframe_ms
from domain.coverage import Span
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.ids import Identity
from domain.rule_history import RuleHistory
from domain.signal import Signal
from domain.trading_hours import ALWAYS, TradingHours
from engine.risk import RiskLimits
from engine.trader import Plan, Trader, TraderTerms
from sandbox.tape import GeneratedTape
from strategies.breakout import Breakout
from strategies.examples.chandelier import Chandelier
from strategies.examples.donchian import Donchian
from strategies.mean_reversion import MeanReversion
from strategies.scalp import Scalp
from strategies.trend_pullback import TrendPullback

MINUTE, DAY, START = 60_000, 86_400_000, 1_717_200_000_000
WHO = Identity("test", "backtest", "backtest")
LIMITS = RiskLimits(D(1), 3, D(4), D(1), D(6), D(5), D("0.00055"), D("0.0003"))
WINDOW = 1_000
THREE = ("trend_pullback", "mean_reversion", "scalp")


class EveryBar(Runner):
    """Passes nothing over: every bar of a symbol with a position or an order is lived through."""

    def _next_match(self, lane: Lane, time: int) -> int:
        row = lane.matched.closed(time)
        return lane.matched.close_time(row) if row < len(lane.matched) else 2**62

    def _has_to_decide(self, lane: Lane, signalled) -> bool:
        return True


class Diary(Trader):
    """Notes the days as they begin."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.days: list[tuple[int, D, D]] = []

    def turn_of_day(self, now: int) -> list:
        commands = super().turn_of_day(now)
        self.days += [(one.record.day, one.record.equity, one.record.open_pnl) for one in commands]
        return commands


def market(seed: int, symbols: int, days: int, finest: str = "3m") -> tuple[dict[Series, Bars], dict]:
    made = GeneratedTape(seed, symbols, START)
    begin = made.span()[0]
    bars: dict[Series, Bars] = {}
    for symbol in made.instruments:
        base = made.bars(symbol, begin, begin + days * DAY)
        for timeframe, step in (("1m", MINUTE), ("3m", 3 * MINUTE), ("15m", 15 * MINUTE)):
            if timeframe != "1m" or finest == "1m":
                bars[Series(symbol, timeframe)] = resample(base, step, MINUTE)
    return bars, made.instruments


def played(
    kind: type[Runner],
    bars,
    instruments,
    since,
    until,
    finest="3m",
    exits=None,
    limited=False,
    days=None,
    names=THREE,
    hours=ALWAYS,
) -> Outcome:
    tape = Tape(bars, dict.fromkeys(bars, WINDOW))
    step = 15 * MINUTE
    plans = {
        "trend_pullback": Plan(TrendPullback(TrendPullback.Parameters()), ExitPlan(1.6, 0.5, timeout_ms=96 * step)),
        "mean_reversion": Plan(
            MeanReversion(MeanReversion.Parameters()),
            ExitPlan(trail_start_r=0.5, trail_distance_r=0.4, timeout_ms=64 * step),
        ),
        "scalp": Plan(Scalp(Scalp.Parameters()), ExitPlan(timeout_ms=60 * 3 * MINUTE)),
        "breakout": Plan(Breakout(Breakout.Parameters(timeframe="15m")), ExitPlan(**Breakout.exits)),
        "donchian": Plan(Donchian(Donchian.Parameters(reward_r=4.0)), ExitPlan()),
        "chandelier": Plan(Chandelier(Chandelier.Parameters(reward_r=9.0)), ExitPlan()),
    }
    times: dict[str, set[int]] = {symbol: set() for symbol in instruments}
    known_plans, leaves = {}, defaultdict(list)
    for name in names:
        known, plan = {}, plans[name]
        for symbol in instruments:
            for start, one in said(plan.strategy, symbol, tape, since, until, WINDOW):
                known[symbol, start] = one
                if isinstance(one, Signal):
                    times[symbol].add(one.time)
                else:
                    leaves[name, symbol].append(start + timeframe_ms(plan.strategy.timeframes[0]))
        known_plans[name] = Plan(replayed(plan.strategy, known, tape, WINDOW), exits or plan.exits, hours=hours)
    terms = TraderTerms(WHO, LIMITS, known_plans, paper=True, unfilled_timeout_ms=30 * MINUTE, limit_entries=limited)
    trader = Diary(terms, dict(instruments), tape.bars)
    trader.days = days if days is not None else []
    paid = np.arange(since // (8 * 3_600_000) * 8 * 3_600_000, until, 8 * 3_600_000)
    funding = {symbol: Funding(paid, np.full(len(paid), 0.0003)) for symbol in instruments}
    runner = kind(trader, Venue(D(10_000), instruments, Costs()), tape, times, finest, "3m", funding, leaves=leaves)
    return runner.run(since, until)


@pytest.mark.parametrize(("seed", "finest"), [(11, "3m"), (12, "1m"), (13, "3m"), (14, "3m")])
def test_positions_that_nothing_moves_are_not_told_of_bars_and_nothing_is_different(seed, finest):
    bars, instruments = market(seed, 3, 20, finest)
    since, until = START // DAY * DAY + 12 * DAY, START // DAY * DAY + 20 * DAY
    days, every_day = [], []
    quick = played(Runner, bars, instruments, since, until, finest, exits=ExitPlan(), days=days)
    slow = played(EveryBar, bars, instruments, since, until, finest, exits=ExitPlan(), days=every_day)
    assert len(quick.trades) > 20
    assert quick.trades == slow.trades
    assert quick.decisions == slow.decisions
    assert dict(quick.equity) == dict(slow.equity)
    assert any(open_pnl for _, _, open_pnl in days)
    assert days == every_day


def test_a_backtest_enters_in_the_hours_of_a_strategy_only():
    bars, instruments = market(11, 2, 14)
    since, until = START // DAY * DAY + 12 * DAY, START // DAY * DAY + 14 * DAY
    hours = TradingHours.written([], ["08:00-20:00"])
    outcome = played(Runner, bars, instruments, since, until, hours=hours)
    refused = [one for one in outcome.decisions if one.gate == "schedule"]
    assert refused
    assert [one for one in refused if hours.open(one.signal.time)] == []
    assert [one for one in outcome.decisions if one.gate != "schedule" and not hours.open(one.signal.time)] == []
    assert [one for one in outcome.decisions if one.gate != "schedule"]


def test_without_target_and_timeout_a_position_lasts_until_its_stop_has_trailed_to_the_price():
    bars, instruments = market(5, 3, 24)
    since, until = START // DAY * DAY + 12 * DAY, START // DAY * DAY + 24 * DAY
    quick, slow = (played(kind, bars, instruments, since, until, names=("breakout",)) for kind in (Runner, EveryBar))
    assert quick.trades == slow.trades
    assert dict(quick.equity) == dict(slow.equity)
    assert len(quick.trades) > 10
    assert {one.exit_reason for one in quick.trades} <= {"trailing_stop_loss", "stop_loss"}
    assert max(one.max_favourable_r for one in quick.trades) > 1


@pytest.mark.parametrize(("seed", "finest", "exits"), [
    (5, "3m", None), (6, "1m", None), (7, "3m", ExitPlan(1.0, trail_start_r=2.5, trail_distance_r=2.0, timeout_ms=60 * 900_000)),
])  # fmt: skip
def test_positions_are_left_on_the_bar_on_which_their_strategy_says_so(seed, finest, exits):
    bars, instruments = market(seed, 3, 20, finest)
    since, until = START // DAY * DAY + 12 * DAY, START // DAY * DAY + 20 * DAY
    quick, slow = (
        played(kind, bars, instruments, since, until, finest, exits, names=("donchian", "scalp"))
        for kind in (Runner, EveryBar)
    )
    assert quick.trades == slow.trades
    assert quick.decisions == slow.decisions
    assert dict(quick.equity) == dict(slow.equity)
    left = [one for one in quick.trades if one.exit_reason == "exit_signal"]
    assert len(left) > 5
    # reckoned without the strategy: the first bar since the entry that closes beyond the middle of the channel
    for trade in (one for one in quick.trades if one.strategy_name == "donchian"):
        own = bars[Series(trade.symbol, "15m")]
        begun, ended = (int(at.timestamp() * 1000) for at in (trade.entry_time, trade.exit_time))
        sign = 1 if trade.side == "long" else -1
        first = int(own.open_time.searchsorted(begun - begun % 900_000))
        while ended > own.open_time[first] + 900_000:
            before = slice(first - 40, first)
            if sign * (2 * own.close[first] - own.high[before].max() - own.low[before].min()) < 0:
                break
            first += 1
        if trade in left:
            assert 0 <= ended - (own.open_time[first] + 900_000) < 60_000 * (1 if finest == "1m" else 3)
        else:
            assert ended <= own.open_time[first] + 900_000


@pytest.mark.parametrize(("seed", "finest", "exits"), [
    (15, "3m", None), (16, "1m", None), (17, "3m", ExitPlan(0.8, 0.3, trail_start_r=2.5, timeout_ms=60 * 900_000)),
])  # fmt: skip
def test_a_position_that_its_strategy_manages_is_stepped_on_every_bar_of_its_timeframe(seed, finest, exits):
    bars, instruments = market(seed, 3, 20, finest)
    since, until = START // DAY * DAY + 12 * DAY, START // DAY * DAY + 20 * DAY
    quick, slow = (
        played(kind, bars, instruments, since, until, finest, exits, names=("chandelier", "scalp"))
        for kind in (Runner, EveryBar)
    )
    assert quick.trades == slow.trades
    assert quick.decisions == slow.decisions
    assert dict(quick.equity) == dict(slow.equity)
    own = [one for one in quick.trades if one.strategy_name == "chandelier"]
    halved = [one for one in own if sum(leg.cause == "partial_exit" for leg in one.legs)]
    assert len(halved) > 5
    assert "trailing_stop_loss" in {one.exit_reason for one in own}


def test_phantoms_end_as_the_positions_that_their_strategy_manages():
    bars, instruments = market(15, 3, 20)
    since, until = START // DAY * DAY + 12 * DAY, START // DAY * DAY + 20 * DAY
    traded = played(Runner, bars, instruments, since, until, names=("chandelier",)).trades
    strategy, tape = Chandelier(Chandelier.Parameters(reward_r=9.0)), Tape(bars, dict.fromkeys(bars, WINDOW))
    ended = {}
    for symbol, rules in instruments.items():
        history = RuleHistory([0], [rules])
        for one in phantoms(
            strategy, symbol, ExitPlan(), tape, history, Costs(), lambda _: {}, Span(since, until), WINDOW
        ):
            ended[symbol, one.signal_time] = one
    assert len(traded) > 20
    for trade in traded:
        began = int(trade.entry_time.timestamp() * 1000)
        phantom = ended[trade.symbol, began - began % 900_000]
        assert (phantom.exit_reason, phantom.rest) == (trade.exit_reason, 0)
        # a phantom pays no funding, and rounds no quantity
        unfunded = trade.r_multiple * (trade.gross_pnl - trade.fees) / trade.pnl_usd
        assert float(phantom.realized_rr) == pytest.approx(float(unfunded), abs=0.02)


def test_positions_are_left_on_the_first_bar_that_gains_what_is_enough_by_then():
    bars, instruments = market(8, 3, 18)
    since, until, hour = START // DAY * DAY + 12 * DAY, START // DAY * DAY + 18 * DAY, 3_600_000
    table = ((0, D("0.01")), (hour, D("0.004")), (6 * hour, D("-0.002")))
    quick, slow = (
        played(kind, bars, instruments, since, until, exits=ExitPlan(roi=table), names=("mean_reversion",))
        for kind in (Runner, EveryBar)
    )
    assert quick.trades == slow.trades
    assert dict(quick.equity) == dict(slow.equity)
    assert sum(one.exit_reason == "roi" for one in quick.trades) > 5
    for trade in quick.trades:
        own, sign = bars[Series(trade.symbol, "15m")], 1 if trade.side == "long" else -1
        begun, ended = (int(at.timestamp() * 1000) for at in (trade.entry_time, trade.exit_time))
        closes = own.open_time + 15 * MINUTE
        gains = (
            close for close, price in zip(closes.tolist(), own.close.tolist(), strict=True) if close > begun
            and sign * (D(repr(price)) / trade.entry_price - 1) >= [f for at, f in table if close - begun >= at][-1]
        )  # fmt: skip
        enough = next(gains, until)
        assert 0 <= ended - enough < 3 * MINUTE if trade.exit_reason == "roi" else ended <= enough


@pytest.mark.parametrize("seed", [26, 31])
def test_a_trailing_stop_moves_by_a_single_tick_after_bars_that_were_passed_over(seed):
    bars, instruments = market(seed, 3, 20)
    since, until = START // DAY * DAY + 12 * DAY, START // DAY * DAY + 20 * DAY
    exits = ExitPlan(trail_start_r=0.5, trail_distance_r=0.4)
    quick, slow = (played(kind, bars, instruments, since, until, exits=exits) for kind in (Runner, EveryBar))
    assert quick.trades == slow.trades


@pytest.mark.parametrize(("seed", "finest", "limited"), [(1, "3m", False), (2, "1m", False), (3, "3m", True)])
def test_what_is_passed_over_changes_nothing(seed, finest, limited):
    bars, instruments = market(seed, 3, 20, finest)
    since, until = START // DAY * DAY + 12 * DAY, START // DAY * DAY + 20 * DAY
    quick = played(Runner, bars, instruments, since, until, finest, limited=limited)
    slow = played(EveryBar, bars, instruments, since, until, finest, limited=limited)
    assert len(quick.trades) > 20
    assert {trade.exit_reason for trade in quick.trades} >= {"stop_loss", "take_profit", "trailing_stop_loss"}
    assert not any(trade.exit_reason == "partial_exit" for trade in quick.trades)
    assert any(trade.funding for trade in quick.trades)
    assert quick.trades == slow.trades
    assert quick.decisions == slow.decisions
    assert quick.equity[-1] == slow.equity[-1]
    assert dict(quick.equity) == dict(slow.equity)
    assert quick.open == slow.open


def test_the_same_twice_and_another_market_otherwise():
    bars, instruments = market(5, 2, 16)
    since, until = START // DAY * DAY + 12 * DAY, START // DAY * DAY + 16 * DAY
    one, other = (played(Runner, bars, instruments, since, until) for _ in range(2))
    assert one == other
    assert one.trades != played(Runner, *market(6, 2, 16), since, until).trades


def test_the_money_adds_up():
    bars, instruments = market(7, 3, 18)
    since, hour = START // DAY * DAY + 12 * DAY, 3_600_000
    outcomes = (played(Runner, bars, instruments, since, since + 6 * DAY - n * hour) for n in range(48))
    # what is open counts in the equity only, so a moment is looked for at which nothing is
    outcome = next(one for one in outcomes if not one.open)
    made = sum(trade.pnl_usd for trade in outcome.trades)
    assert len(outcome.trades) > 10
    assert outcome.equity[-1][1] - outcome.equity[0][1] == pytest.approx(made, abs=D("1e-6"))
    for trade in outcome.trades:
        assert trade.pnl_usd == trade.gross_pnl - trade.fees - trade.funding
        assert trade.entry_time.timestamp() * 1000 >= since


@pytest.mark.parametrize("strategy", [TrendPullback, MeanReversion, Scalp])
def test_signals_are_the_same_in_pieces_and_with_more_history(strategy, monkeypatch):
    bars, instruments = market(9, 1, 30)
    tape, (symbol,) = Tape(bars, dict.fromkeys(bars, WINDOW)), instruments
    made = strategy(strategy.Parameters())
    begin = START // DAY * DAY
    whole = list(find(made, symbol, tape, begin + 12 * DAY, begin + 30 * DAY, WINDOW))
    monkeypatch.setattr("backtest.signals.CHUNK", 777)
    assert same(whole, list(find(made, symbol, tape, begin + 12 * DAY, begin + 30 * DAY, WINDOW)))
    assert len(whole) >= 5


def same(one, other) -> bool:
    """Say whether two lists of signals differ by no more than rounding."""
    plain = [[msgspec.structs.replace(s, entry=1.0, stop=0.5 if s.side.sign > 0 else 2.0, target=3.0 if s.side.sign > 0 else 0.5, notes={})
              for s in held] for held in (one, other)]  # fmt: skip
    prices = [[(s.entry, s.stop, s.target) for s in held] for held in (one, other)]
    return plain[0] == plain[1] and np.allclose(*prices, rtol=1e-9)


def test_the_window_shows_nothing_of_the_future():
    series = Series("A/USDT:USDT", "3m")
    rows = [Bar(n * 3 * MINUTE, 1.0, 1.0, 1.0, float(n + 1), 0.0, 0.0) for n in range(10)]
    tape = Tape({series: Bars.of(rows)}, {series: 4})
    for time, seen in (
        (0, []),
        (3 * MINUTE - 1, []),
        (3 * MINUTE, [1]),
        (16 * MINUTE, [2, 3, 4, 5]),
        (99 * MINUTE, [7, 8, 9, 10]),
    ):
        tape.now = time
        assert tape.bars(series).close.tolist() == seen
    assert tape.track(series).closing(6 * MINUTE) == 1
    assert tape.track(series).closing(7 * MINUTE) is None
    assert len(tape.bars(Series("B/USDT:USDT", "3m"))) == 0


@pytest.mark.parametrize("at", [0, 1, 63, 64, 65, 5_000, 9_999])
def test_the_first_touch_is_found_however_far_it_is(at):
    high, low = np.full(10_000, 2.0), np.full(10_000, 1.0)
    high[at] = 3.0
    assert first_touch(high, low, 0, 3.0, 0.5) == at
    assert first_touch(high, low, at + 1, 3.0, 0.5) == 10_000
    low[at] = 0.5
    assert first_touch(high, low, 0, 9.0, 0.5) == at


def test_figures_by_hand():
    at = [(0, D(100)), (DAY, D(110)), (2 * DAY, D(99)), (3 * DAY, D(120)), (4 * DAY, D(90))]
    fall = drawdown(at)
    assert (fall.money, fall.peak_at, fall.trough_at) == (D(30), 3 * DAY, 4 * DAY)
    assert fall.percent == pytest.approx(25)
    returns = daily_returns(at, 0, 4 * DAY)
    assert returns == pytest.approx([0.1, -0.1, 21 / 99, -0.25])
    found = figures(Outcome(equity=at), {"A": np.array([10.0, 12.0]), "B": np.array([10.0, 9.0])}, 0, 4 * DAY)
    assert found.sharpe == pytest.approx(np.mean(returns) / np.std(returns, ddof=1) * np.sqrt(365))
    losing = np.sqrt(np.mean(np.minimum(returns, 0) ** 2))
    assert found.sortino == pytest.approx(np.mean(returns) / losing * np.sqrt(365))
    assert found.profit == D(-10)
    assert found.buy_and_hold == pytest.approx(5)
    assert found.cagr == pytest.approx(100 * (0.9 ** (365 / 4) - 1))
    assert found.calmar == pytest.approx(found.cagr / 25)
    assert (found.total.trades, found.profit_factor, found.exposure) == (0, None, 0)


def test_a_time_that_ends_with_a_year_has_no_month_of_the_next():
    begin, new_year = (
        int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000) for year, month in ((2024, 11), (2025, 1))
    )
    found = monthly([(begin, D(100)), (begin + 30 * DAY, D(110)), (new_year, D(99))])
    assert found == pytest.approx({"2024-11": 10, "2024-12": -10})


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_an_axis_has_a_few_round_levels_inside_of_it(low, reach):
    found = levels(low, low + reach)
    assert len(found) <= LEVELS + 1
    assert all(low - 1e-6 * reach <= value <= low + reach * (1 + 1e-6) for value, _ in found)
    assert len({text for _, text in found}) == len(found)
    # figures that count, zeros at the end left out
    assert [text for _, text in levels(-26.0006, 0.0)] == ["-20", "-10", "0"]


def test_a_quiet_time_has_no_ratios():
    found = figures(Outcome(equity=[(0, D(100)), (DAY // 2, D(100))]), {}, 0, DAY // 2)
    assert (found.sharpe, found.sortino, found.calmar, found.cagr) == (None, None, None, None)


class Prophet(MeanReversion):
    """Knows tomorrow's highest price."""

    def columns(self, bars):
        held = super().columns(bars)
        high = held["high"]
        return {**held, "upper": np.r_[high[4:], high[-4:]]}


class Elephant(MeanReversion):
    """Never forgets: its edges are those of all time."""

    def columns(self, bars):
        held = super().columns(bars)
        return {**held, "upper": np.maximum.accumulate(held["high"]), "lower": np.minimum.accumulate(held["low"])}


@pytest.mark.parametrize(
    ("kind", "ahead", "stable"), [(MeanReversion, [], True), (Prophet, ["upper"], True), (Elephant, [], False)]
)
def test_looking_ahead_and_not_forgetting_are_found_out(kind, ahead, stable):
    bars, instruments = market(4, 1, 40)
    tape, (symbol,), begin = Tape(bars, dict.fromkeys(bars, WINDOW)), instruments, START // DAY * DAY
    strategy = kind(MeanReversion.Parameters(width_max=0.5))
    found = examine(strategy, symbol, tape, begin + 20 * DAY, begin + 40 * DAY, 200)
    assert list(found.ahead) == ahead
    assert found.rows == 200
    assert bool(found.unstable) is not stable
    assert found.good is (not ahead and stable)
