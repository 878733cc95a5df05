"""Strategies that look at other symbols: aligned by close, the same live and in a backtest, and never ahead."""

from __future__ import annotations

from decimal import Decimal as D
from pathlib import Path

import pytest

from app import strategy_check
from app.backtest import _others
from app.strategy_columns import columns_of
from backtest.causality import examine
from backtest.signals import find, said
from backtest.tape import Tape
from bootstrap.parts import InUse, with_others
from domain.candle import Bars, ClosedBar, Series, resample
from domain.errors import BadData, ConfigError
from domain.exits import ExitPlan
from domain.ids import Identity
from domain.signal import Signal
from domain.source import Source
from engine.commands import PlaceOrder, Refused
from engine.decisions import Decided, Decisions
from engine.risk import RiskLimits
from engine.trader import Plan, Trader, TraderTerms
from sandbox.tape import GeneratedTape
from strategies.examples.leader import Leader

MINUTE, DAY, START = 60_000, 86_400_000, 1_717_200_000_000
STEP, WINDOW = 15 * MINUTE, 700
BTC, ETH = Series("BTC/USDT:USDT", "15m"), Series("ETH/USDT:USDT", "15m")
OTHERS = {"BTC": BTC.symbol}
LIMITS = RiskLimits(D(1), 5, D(10), D(10), D(5), D(5), D("0.0005"), D(0))


@pytest.fixture(scope="module")
def bars() -> dict[Series, Bars]:
    made = GeneratedTape(41, 2, START)
    begin = made.span()[0]
    return {series: resample(made.bars(series.symbol, begin, begin + 14 * DAY), STEP, MINUTE) for series in (BTC, ETH)}


@pytest.fixture
def strategy() -> Leader:
    return Leader(Leader.Parameters())


def lived(strategy: Leader, bars: dict[Series, Bars], ahead: int = 0) -> list[Signal]:
    """Return the signals of a bot that is shown the other symbol's bars, ``ahead`` more of them than have closed."""
    now = WINDOW

    def window(series: Series) -> Bars:
        end = now + (ahead if series == BTC else 0)
        return bars[series][max(0, end - WINDOW) : end]

    decisions = Decisions({"leader": Plan(strategy, ExitPlan())}, window, {}, 0, OTHERS)
    decisions.warm_up(ETH.symbol, 2**62)
    found = []
    for row in range(WINDOW, len(bars[ETH])):
        now = row + 1
        decided = decisions.step("leader", ClosedBar(ETH, bars[ETH].row(row)))
        if isinstance(decided, Decided):
            assert (decided.warm, decided.late) == (True, "")
            found.append(decided.signal)
    return found


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_bot_and_a_backtest_see_the_same_of_another_symbol_however_far_its_window_has_run_ahead(
    bars, strategy, ahead
):
    tape = Tape(bars, dict.fromkeys(bars, WINDOW), OTHERS)
    track = tape.track(ETH)
    since, until = track.close_time(WINDOW - 1), track.close_time(len(track) - 1)
    past = list(find(strategy, ETH.symbol, tape, since, until, WINDOW))
    live = lived(strategy, bars, ahead)
    assert len(past) > 20
    assert [(one.time, one.side) for one in live] == [(one.time, one.side) for one in past]
    # it has been looked at: without the filter there are more
    plain = {one.time for _, one in said(super_of(strategy), ETH.symbol, tape, since, until, WINDOW)
             if isinstance(one, Signal)}  # fmt: skip
    assert {one.time for one in past} < plain


def super_of(strategy: Leader):
    """The same strategy without the filter."""

    class Unfiltered(Leader):
        def step(self, i, columns, state):
            return super(Leader, self).step(i, columns, state)

    return Unfiltered(Leader.Parameters())


def test_it_is_causal_and_one_that_looks_ahead_in_another_symbol_is_found(bars, strategy):
    class Ahead(Leader):
        def columns(self, bars):
            leader = bars["BTC 15m"]
            found = super().columns(bars)
            last = leader.open_time.searchsorted(bars["15m"].open_time + STEP, side="right") - 1
            return {**found, "lead": leader.close[last.clip(max=len(leader) - 1)]}

    tape = Tape(bars, dict.fromkeys(bars, WINDOW), OTHERS)
    track = tape.track(ETH)
    since, until = track.close_time(len(track) - 200), track.close_time(len(track) - 1)
    assert examine(strategy, ETH.symbol, tape, since, until, WINDOW // 4 * 2).good
    assert "lead" in examine(Ahead(Leader.Parameters()), ETH.symbol, tape, since, until, WINDOW // 4 * 2).ahead


def test_a_signal_on_whose_close_the_other_bar_is_not_there_is_refused_and_the_next_is_not(bars, strategy):
    tape = Tape(bars, dict.fromkeys(bars, WINDOW), OTHERS)
    track = tape.track(ETH)
    past = list(find(strategy, ETH.symbol, tape, track.close_time(WINDOW), track.close_time(len(track) - 1), WINDOW))
    first, second = past[0], past[1]
    now, late = 0, True

    def window(series: Series) -> Bars:
        end = track.closed(now) - (1 if late and series == BTC else 0)
        return bars[series][max(0, end - WINDOW) : end]

    made = GeneratedTape(41, 2, START).instruments
    terms = TraderTerms(
        Identity("synthetic", "synthetic", "1"), LIMITS, {"leader": Plan(strategy, ExitPlan())}, paper=False,
        unfilled_timeout_ms=STEP, others=OTHERS,
    )  # fmt: skip
    trader = Trader(terms, dict(made), window)
    trader.situation.equity = D(10_000)
    now = first.bar_start
    trader.warm_up(ETH.symbol, 2**62)
    told = []
    for absent, signal in ((True, first), (False, second)):
        late = absent
        now = signal.time
        closed = ClosedBar(ETH, bars[ETH].row(track.closed(now) - 1))
        told += [one for one in trader.on_bar(closed) if isinstance(one, Refused | PlaceOrder)]
    refused, placed = told
    assert (refused.gate, refused.detail) == ("data_quality", "the bar of BTC 15m is not there yet")
    assert placed.signal.time == second.time
    # a symbol that is only looked at is not stepped
    assert trader.on_bar(ClosedBar(BTC, bars[BTC].row(0)))[1:] == []


def test_what_a_market_does_not_have_keeps_the_strategy_out_and_the_others_run(strategy):
    class Other(Leader):
        informative = ("NOPE",)

    plans = {"leader": Plan(strategy, ExitPlan()), "other": Plan(Other(Leader.Parameters()), ExitPlan())}
    used, others = with_others(InUse(plans, {"third": "a typo"}), [BTC.symbol, ETH.symbol])
    assert (list(used.plans), others) == (["leader"], OTHERS)
    assert used.unloaded == {
        "third": "a typo", "other": "strategies.other: it looks at NOPE, and the exchange has no such symbol",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="it looks at BTC, and the exchange"):
        with_others(InUse({"leader": plans["leader"]}, {}), [ETH.symbol])
    with pytest.raises(BadData, match="strategy leader looks at BTC: bybit has no bars of it stored"):
        _others({"leader": plans["leader"]}, [ETH.symbol], Source.BYBIT)


def test_a_name_that_is_written_in_another_way_means_the_same_symbol(bars):
    class Written(Leader):
        informative = ("BTCUSDT",)

        def columns(self, bars):
            return super().columns({**bars, "BTC 15m": bars["BTCUSDT 15m"]})

    _, others = with_others(InUse({"written": Plan(Written(Leader.Parameters()), ExitPlan())}, {}), [BTC.symbol])
    assert others == {"BTCUSDT": BTC.symbol}
    tape = Tape(bars, dict.fromkeys(bars, WINDOW), others)
    until = tape.track(ETH).close_time(900)
    assert list(find(Written(Leader.Parameters()), ETH.symbol, tape, until - DAY, until, WINDOW)) == list(
        find(Leader(Leader.Parameters()), ETH.symbol, Tape(bars, dict.fromkeys(bars, WINDOW), OTHERS), until - DAY,
             until, WINDOW)
    )  # fmt: skip


def test_a_chart_has_its_columns_where_the_other_symbol_is_stored(bars, strategy):
    def load(series: Series, before: int, count: int) -> Bars:
        held = bars[series]
        end = int(held.open_time.searchsorted(before))
        return held[max(0, end - count) : end]

    end = int(bars[ETH].open_time[-1])
    (found,) = columns_of([strategy], ETH, end, 50, load, [BTC.symbol, ETH.symbol])
    assert len(found["columns"]["lead"]) == 50
    assert columns_of([strategy], ETH, end, 50, load, [ETH.symbol]) == []


def test_the_example_is_sound_and_odd_names_are_told(tmp_path):
    example = Path("strategies/examples/leader.py")
    assert strategy_check.check_file(example).faults == []
    text = example.read_text().replace('"leader"', '"mine"')
    (tmp_path / "mine.py").write_text(text.replace('("BTC",)', '"BTC"'))
    with pytest.raises(ConfigError, match="informative is 'BTC'; it is a tuple of symbols"):
        strategy_check.check_file(tmp_path / "mine.py")
    (tmp_path / "mine.py").write_text(text.replace("leader.open_time + step", "leader.open_time"))
    assert any("column lead changes" in one for one in strategy_check.check_file(tmp_path / "mine.py").faults)
