"""Tries many settings on the same bars, on all cores."""

from __future__ import annotations

import concurrent.futures
import math
import multiprocessing
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import structlog

from app import backtest
from backtest.figures import Figures, daily_returns
from backtest.trials import Fold, deflated_sharpe, folds
from bootstrap.user_strategies import origin
from domain.coverage import Span
from domain.errors import BadData, RevenantError
from domain.ids import SHORT
from settings import Settings, with_values
from strategies.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from app.backtest import Request


@dataclass(slots=True)
class Trial:
    """One combination of values, and what it led to; ``error`` says why it led to nothing.

    ``notes`` are what should be known of the bars, rules and payments that it stands on.
    """

    values: dict[str, str]
    span: Span
    figures: Figures | None = None
    returns: list[float] = field(default_factory=list)
    result_hash: str = ""
    error: str = ""
    notes: list[str] = field(default_factory=list)

    def score(self, objective: str) -> float:
        """Return how good it was, minus infinity where that cannot be said; a ratio without a loss is infinite."""
        return self.figures.merit(objective) if self.figures is not None else -math.inf

    def place(self, objective: str) -> tuple[float, float]:
        """Return what trials are ordered by, the best has the largest: of equal ones the profit decides."""
        return self.score(objective), self.figures.profit_percent if self.figures is not None else -math.inf


@dataclass(slots=True)
class Sweep:
    """Trials, the best first; how probable it is that the best is good at all; and what its like made afterwards.

    ``forward`` has for each fold the best trial of the time it was chosen on, and the same values on the time after.
    """

    objective: str
    trials: list[Trial]
    deflated: float | None
    forward: list[tuple[Trial, Trial]] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What should be known of what the trials stand on, each thing once."""
        return list(dict.fromkeys(note for one in self.trials for note in one.notes))


class Pool(Protocol):
    """Who tries combinations, several at once; to be entered and left."""

    def __enter__(self) -> Self:
        """Begin to work."""
        ...

    def __exit__(self, *_: object) -> None:
        """Give up what has not begun."""
        ...

    def submit(self, settings: Settings, request: Request, values: dict[str, str]) -> Future[Trial]:
        """Have one combination tried."""
        ...


class Processes:
    """So many processes of this machine, one for each core with 0."""

    def __init__(self, count: int = 0) -> None:
        # a fresh Python each: a forked one would share the parent's sockets and locks
        context = multiprocessing.get_context("spawn")
        self._pool = concurrent.futures.ProcessPoolExecutor(
            count or os.cpu_count() or 1, mp_context=context, initializer=_quiet
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # whoever is interrupted waits for no more than what runs now
        self._pool.shutdown(cancel_futures=True)

    def submit(self, settings: Settings, request: Request, values: dict[str, str]) -> Future[Trial]:
        """Have one combination tried."""
        return self._pool.submit(attempt, settings, request, values)


def sweep(
    settings: Settings, request: Request, values: Sequence[dict[str, str]], objective: str, workers: Pool, *,
    parts: int = 0, progress: Callable[[int, int], None] = lambda *_: None,
) -> Sweep:  # fmt: skip
    """Try every combination on the whole time and, with ``parts``, walk forward through as many parts of it.

    Raises:
        BadData: when not one of them could be tried, or the time is too short for the folds.
    """
    # what is stored decides where open ends lie, the same for every trial whatever is stored meanwhile
    request = replace(request, span=backtest.stored_span(settings, request))
    cut: list[Fold] = folds(request.span, parts) if parts else []
    work = [(one, request.span) for one in values] + [(one, fold.chosen_on) for fold in cut for one in values]
    done: list[Trial] = []
    with workers as pool:
        waiting = [pool.submit(settings, replace(request, span=span), one) for one, span in work]
        for future in concurrent.futures.as_completed(waiting):
            done.append(future.result())
            progress(len(done), len(work) + len(cut))
        ordered = [future.result() for future in waiting]
        whole = sorted(ordered[: len(values)], key=lambda one: one.place(objective), reverse=True)
        best = [
            max(ordered[len(values) * (place + 1) : len(values) * (place + 2)], key=lambda one: one.place(objective))
            for place in range(len(cut))
        ]
        after = [
            pool.submit(settings, replace(request, span=fold.tried_on), one.values)
            for fold, one in zip(cut, best, strict=True)
        ]
        forward = [(one, future.result()) for one, future in zip(best, after, strict=True)]
        progress(len(work) + len(cut), len(work) + len(cut))
    if all(one.figures is None for one in whole):
        raise BadData(whole[0].error)
    daily = [_sharpe(one.returns) for one in whole if one.figures is not None]
    return Sweep(objective, whole, deflated_sharpe(np.array(whole[0].returns), daily), forward)


def attempt(settings: Settings, request: Request, values: dict[str, str]) -> Trial:
    """Try one combination."""
    trial = Trial(values, request.span)
    try:
        # naming one strategy must not leave out the others that nobody configured
        named = {} if settings.strategies else {f"strategies.{name}.enabled": "true" for name in TABLE}
        changed = with_values(settings, named | {setting_of(name, settings): text for name, text in values.items()})
        result = backtest.run(changed, request)
    except RevenantError as error:
        trial.error = str(error)
        return trial
    trial.figures, trial.span, trial.result_hash = result.figures, result.span, result.result_hash
    trial.notes = list(result.notes)
    trial.returns = daily_returns(result.outcome.equity, *result.span).tolist()
    return trial


def setting_of(name: str, settings: Settings) -> str:
    """Return the setting that a short name means: ``mr.touch_atr``, ``scalp.exits.timeout_bars``, ``risk.percent``."""
    first, _, rest = name.partition(".")
    full = {short: long for long, short in SHORT.items()}.get(first, first)
    if not origin(settings.strategies_folder, full):
        return name
    return f"strategies.{full}.{rest if rest.startswith(('exits.', 'parameters.')) else f'parameters.{rest}'}"


def as_row(trial: Trial) -> dict[str, Any]:
    """Return a trial for a table."""
    held = trial.figures
    if held is None:
        return {**trial.values, "trades": 0, "said": trial.error.splitlines()[0]}
    return {
        **trial.values, "trades": held.total.trades, "won": round(held.total.win_rate, 1),
        "profit %": round(held.profit_percent, 2), "drawdown %": round(held.drawdown.percent, 2),
        "sharpe": _rounded(held.sharpe), "calmar": _rounded(held.calmar), "profit factor": _rounded(held.profit_factor),
        "mean R": round(held.expectancy_r, 3), "said": "",
    }  # fmt: skip


def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))


def _sharpe(returns: Sequence[float]) -> float:
    deviation = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
    return float(np.mean(returns)) / deviation if deviation else 0.0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
