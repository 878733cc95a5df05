"""A strategy that fails is switched off; its positions are managed on, and other strategies decide on."""

import sys
from decimal import Decimal as D

import numpy as np
import pytest

from domain.candle import Bar, Bars, ClosedBar, Series
from domain.exits import ExitPlan
from domain.ids import Identity
from domain.instrument import Instrument
from domain.order import Cause, Side
from domain.records import Fill
from domain.signal import Signal
from engine.commands import PlaceOrder, SwitchedOff
from engine.risk import RiskLimits
from engine.trader import Plan, Trader, TraderTerms

A, B, STEP = "A/USDT:USDT", "B/USDT:USDT", 180_000
LIMITS = RiskLimits(D(1), 5, D(10), D(10), D(5), D(5), D("0.0005"), D(0))


def signal(symbol, start, name="theirs", **changed) -> Signal:
    told = {
        "strategy": name, "symbol": symbol, "timeframe": "3m", "bar_start": start, "time": start + STEP,
        "side": Side.LONG, "entry": 100.0, "stop": 98.0, "target": 105.0,
    }  # fmt: skip
    return Signal(**{**told, **changed})


class Theirs:
    """Does on a bar what it is told; ``step`` is given (symbol, open time of the bar, columns)."""

    timeframes = ("3m",)
    warmup_bars = {"3m": 1}

    def __init__(self, on: dict):
        self.on = on

    def start(self, symbol):
        return symbol

    def columns(self, bars):
        return {"open_time": bars["3m"].open_time, "bars": bars["3m"]}

    def step(self, i, columns, state):
        start = int(columns["open_time"][i])
        return self.on[start // STEP](state, start, columns) if start // STEP in self.on else None


def world(on: dict, other: dict | None = None, exits=ExitPlan(), **terms):
    """A trader with two symbols, on which bars can be shown."""
    rows: dict[str, list[Bar]] = {A: [], B: []}
    rules = {
        name: Instrument(name, name[0] + "USDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(50))
        for name in rows
    }
    plans = {"theirs": Plan(Theirs(on), exits), "other": Plan(Theirs(other or {}), ExitPlan())}
    held = TraderTerms(
        Identity("synthetic", "synthetic", "1"), LIMITS, plans, paper=False, unfilled_timeout_ms=9 * STEP, **terms
    )
    trader = Trader(held, rules, lambda series: Bars.of(rows[series.symbol]))
    trader.situation.equity = D(10_000)
    for name in rows:
        trader.warm_up(name, 0)

    def bar(symbol=A, close=100.0):
        row = Bar(len(rows[symbol]) * STEP, close, close + 0.5, close - 0.5, close, 1.0, 1.0)
        rows[symbol].append(row)
        return trader.on_bar(ClosedBar(Series(symbol, "3m"), row))

    return trader, bar


def spoil(_symbol, _start, columns):
    columns["bars"].close[-1] = 1.0


class Odd:
    side = Side.LONG


WRONG = {
    "raises": (lambda *_: 1 / 0, "ZeroDivisionError"),
    "leaves": (lambda *_: sys.exit(), "SystemExit"),
    "no signal": (lambda *_: "buy", "step gave str"),
    "two signals": (lambda symbol, start, _: [signal(symbol, start)] * 2, "step gave list"),
    "NaN": (lambda symbol, start, _: signal(symbol, start, entry=float("nan")), "in that order"),
    "endless target": (lambda symbol, start, _: signal(symbol, start, target=float("inf")), "target is inf"),
    "NaN in a note": (lambda symbol, start, _: signal(symbol, start, notes={"atr": np.nan}), "atr is nan"),
    "contradictory": (lambda symbol, start, _: signal(symbol, start, stop=101.0), "in that order"),
    "foreign symbol": (lambda _, start, __: signal(B, start), "symbol B/USDT:USDT"),
    "another's name": (lambda symbol, start, _: signal(symbol, start, name="other"), "strategy other"),
    "another bar": (lambda symbol, start, _: signal(symbol, start - STEP), "bar_start"),
    "a bar to come": (lambda symbol, start, _: signal(symbol, start, time=start + 2 * STEP), "time"),
    "below zero": (lambda symbol, start, _: signal(symbol, start, entry=-1.0, stop=-2.0, target=1.0), "entry is -1.0"),
    "changes the bars": (spoil, "read-only"),
    "a missing column": (lambda _, __, columns: columns["atr"], "KeyError"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_whatever_it_does_wrong_switches_it_off_once_and_the_other_decides_on(name):
    does, reason = WRONG[name]
    good = {at: lambda symbol, start, _: signal(symbol, start, "other") for at in (2, 3)}
    trader, bar = world({2: does, 3: lambda symbol, start, _: signal(symbol, start)}, good)
    bar()
    bar(B)
    bar()
    bar(B)
    first, then = bar(), bar(B)
    off = [one for one in first if isinstance(one, SwitchedOff)]
    assert [(one.strategy, one.symbol) for one in off] == [("theirs", A)]
    assert reason in off[0].reason
    assert trader.decisions.off == {"theirs": off[0].reason}
    for commands, symbol in ((first, A), (then, B)):
        orders = [one for one in commands if isinstance(one, PlaceOrder)]
        assert [(one.signal.strategy, one.signal.symbol) for one in orders] == [("other", symbol)]
    assert not any(isinstance(one, SwitchedOff) for one in [*then, *bar()])


def test_one_that_never_answers_is_switched_off_after_its_deadline():
    def hang(*_):
        while True:
            pass

    trader, bar = world({0: hang}, step_s=0.2)
    (off,) = [one for one in bar() if isinstance(one, SwitchedOff)]
    assert "did not answer within 0.2 s" in off.reason
    assert trader.decisions.off


def test_positions_of_one_that_failed_keep_their_stop_and_are_managed_on():
    exits = ExitPlan(timeout_ms=3 * STEP)
    trader, bar = world({0: lambda symbol, start, _: signal(symbol, start), 1: lambda *_: 1 / 0}, exits=exits)
    (entry,) = [one for one in bar() if isinstance(one, PlaceOrder)]
    trader.on_fill(
        Fill(
            time=STEP + 1, exec_id="x1", order_id=entry.request.order_id, venue_order_id="v", symbol=A,
            side=entry.request.side, qty=entry.request.qty, price=D(100), fee=D(0), closed_qty=D(0), cause=Cause.ENTRY,
        )
    )  # fmt: skip
    assert [type(one) for one in bar()] == [SwitchedOff]
    assert trader.book.of_symbol(A).bracket.stop == D(98)
    orders = [one for _ in range(4) for one in bar() if isinstance(one, PlaceOrder)]
    assert [one.intent.cause for one in orders] == [Cause.TIMEOUT]


def test_one_that_fails_while_warming_up_is_told_of_when_the_bot_resumes():
    rows = [Bar(at * STEP, 100, 101, 99, 100, 1.0, 1.0) for at in range(5)]
    plans = {"theirs": Plan(Theirs({3: lambda *_: 1 / 0}), ExitPlan())}
    terms = TraderTerms(
        Identity("synthetic", "synthetic", "1"), LIMITS, plans, paper=False, unfilled_timeout_ms=STEP,
        unloaded={"broken": "user/strategies/broken.py, line 1: no"},
    )  # fmt: skip
    trader = Trader(terms, {}, lambda _: Bars.of(rows))
    assert trader.warm_up(A, 0) == []
    told = trader.resume()
    assert [(one.strategy, one.symbol) for one in told] == [("broken", ""), ("theirs", A)]
    assert trader.resume() == []


def test_numbers_of_numpy_become_plain_ones():
    made = {
        0: lambda symbol, start, _: signal(symbol, np.int64(start), entry=np.float32(100), notes={"a": np.float32(1)})
    }
    _, bar = world(made)
    (order,) = [one for one in bar() if isinstance(one, PlaceOrder)]
    assert type(order.signal.entry) is float
    assert type(order.signal.bar_start) is int
    assert type(order.signal.notes["a"]) is float
