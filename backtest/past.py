"""Phantoms of the past: every signal that stored bars give, described and followed to its outcome as a live one is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.signals import PastColumns, said
from domain.candle import Series
from domain.holding import managed
from domain.leaves import Leaves
from domain.lesson import Lessons
from domain.phantom import follow, open_phantom
from domain.signal import Signal, leave_in
from engine.foreign_code import naming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from backtest.tape import Tape
    from domain.coverage import Span
    from domain.exits import ExitPlan
    from domain.fills import Costs
    from domain.holding import Adjust, Holding, Manage
    from domain.phantom import PhantomTrade
    from domain.rule_history import RuleHistory
    from domain.signal import Leave

GATE = "past"
"""What refused them: they had been over before anybody looked."""


def phantoms(
    strategy: Any, symbol: str, plan: ExitPlan, tape: Tape, rules: RuleHistory, costs: Costs,
    describe: Callable[[Signal], dict[str, float] | None], span: Span, before: int,
) -> Iterator[PhantomTrade]:  # fmt: skip
    """Yield what became of a strategy's signals on a symbol, in the order of the signals.

    Signals that cannot be described (too little history), and those that the bars end on before they do, are left out.
    """
    own = Series(symbol, strategy.timeframes[0])
    track = tape.track(own)
    found, leaves = list(said(strategy, symbol, tape, span.start, span.end, before)), Leaves(len(track))
    for start, one in found:
        if (left := leave_in(one)) is not None:
            leaves.note(strategy.name, own, start, left)
    manager = _manager(strategy, symbol, tape, before)
    for signal in (one for _, one in found if isinstance(one, Signal)):
        tape.now = signal.time
        features = describe(signal)
        if features is None:
            continue
        name = f"{signal.strategy}|{signal.symbol}|{signal.timeframe}|{signal.bar_start}"
        phantom = open_phantom(
            signal, plan, rules.at(signal.time), costs, phantom_id=name, gate=GATE, score=None, features=features
        )
        for row in range(track.closed(signal.time), len(track)):
            bar = track.bars.row(row)
            # what the exchange never had does not keep a phantom waiting
            phantom.next_open = max(phantom.next_open, bar.open_time)
            leave = leaves.on_bar(strategy.name, own, bar.open_time, signal.side)
            follow(
                phantom, bar, rules.since(signal.time, bar.open_time), costs, leave=leave, manage=manager(bar.open_time)
            )
            if phantom.outcome:
                yield phantom
                break


def _manager(strategy: Any, symbol: str, tape: Tape, before: int) -> Callable[[int], Manage | None]:
    """Return what asks a strategy about a position on the bar that opened at a time (UTC ms)."""
    if getattr(strategy, "manage", None) is None:
        return lambda _: None
    past = PastColumns(strategy, tape, before)

    def ask(start: int, holding: Holding) -> Adjust | Leave | None:
        with naming(strategy.name):
            return managed(strategy.manage(holding, *past.at(symbol, start)))

    return lambda start: partial(ask, start)


def ordered(found: Iterable[PhantomTrade]) -> list[PhantomTrade]:
    """Return phantoms by the time of their signal."""
    return sorted(found, key=lambda one: (one.signal_time, one.phantom_id))


def lessons(held: Sequence[PhantomTrade], names: Sequence[str]) -> Lessons:
    """Return ordered phantoms as lessons; none of them was executed."""
    vectors = [[one.features[name] for name in names] for one in held if one.features is not None]
    return Lessons(
        np.array(vectors, dtype=np.float64).reshape(len(held), len(names)),
        np.array([float(one.realized_rr) for one in held]),
        np.zeros(len(held), dtype=bool),
        np.array([one.signal_time for one in held], dtype=np.int64),
        np.array([one.exit_time for one in held], dtype=np.int64),
    )
