"""Asks of stored candles whether the score is worth anything, and trains a first model on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog

from app.backtest import chosen_plans, prepare
from backtest import past
from bootstrap.learning import EMBARGO_BARS, describer
from bootstrap.parts import costs
from domain.candle import timeframe_ms
from domain.judgement import Judgement
from ml import training
from ml.evaluation import Evaluation, Seen, evaluate
from ml.features import NAMES
from ml.job import Terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.backtest import Ground, Progress, Request
    from domain.lesson import Lessons
    from domain.phantom import PhantomTrade
    from engine.trader import Plan
    from settings import Settings

    Past = list[PhantomTrade]
    Key = tuple[str, str, int]

log = structlog.get_logger(__name__)

FOLDS = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What was found of one strategy; ``reason`` says why its score could not be judged."""

    strategy: str
    signals: int
    seen: Seen | None = None
    evaluation: Evaluation | None = None
    reason: str = ""


def past_phantoms(settings: Settings, request: Request, progress: Progress) -> dict[str, tuple[Plan, Past]]:
    """Return of each strategy every signal of the past with what became of it, by time, its plan beside it.

    Raises:
        BadData: when bars are missing. ConfigError: for a strategy that is none.
    """
    used = chosen_plans(settings, request.strategies, request.source)
    ground = prepare(settings, request, used, progress)
    for note in ground.notes:
        log.info("what the past stands on", note=note)
    found, done = {}, 0
    for name, plan in used.items():
        held: list[PhantomTrade] = []
        for symbol in request.symbols:
            progress("signals and their outcomes", done, len(used) * len(request.symbols))
            done += 1
            held += _phantoms(settings, plan, symbol, ground) if plan.takes(symbol) else []
        found[name] = plan, past.ordered(held)
    return found


def past_lessons(settings: Settings, request: Request, progress: Progress) -> dict[str, tuple[Plan, Lessons]]:
    """Return the same as lessons. Raises as ``past_phantoms`` does."""
    found = past_phantoms(settings, request, progress)
    return {name: (plan, past.lessons(held, NAMES)) for name, (plan, held) in found.items()}


def forward_scores(settings: Settings, request: Request, progress: Progress = lambda *_: None) -> dict[Key, Judgement]:
    """Return what models that had seen only what ended before think of signals, by strategy, symbol and time.

    Those before the first model, and those of strategies with too few lessons, have none.

    Raises:
        BadData: when bars are missing. ConfigError: for a strategy that is none.
    """
    scores: dict[Key, Judgement] = {}
    for name, (plan, held) in past_phantoms(settings, request, progress).items():
        lessons, terms = past.lessons(held, NAMES), terms_of(settings, request, name, plan)
        if training.refusal(lessons, terms):
            continue
        trials = training.walk_forward(lessons, terms, terms.folds, _learning(name, progress))
        for one in training.judge(lessons, trials, terms.embargo_ms):
            expected, passed = _expected(lessons, one), _passed(settings, lessons, one)
            for place, row in enumerate(one.rows.tolist()):
                phantom, score = held[row], 100 * float(one.p[place])
                gate, said = ("", "") if passed[place] else ("score", f"score {score:.1f}, walking forward")
                scores[name, phantom.symbol, phantom.signal_time] = Judgement(
                    gate, score, float(expected[place]), "walk-forward", said
                )
    return scores


def ask(settings: Settings, request: Request, progress: Progress = lambda *_: None) -> list[Asked]:
    """Judge the score of each strategy on the whole time, walking forward: it never sees what it is judged on.

    Raises:
        BadData: when bars are missing. ConfigError: for a strategy that is none.
    """
    return [
        _asked(settings, request, name, plan, lessons, progress)
        for name, (plan, lessons) in past_lessons(settings, request, progress).items()
    ]


def _learning(name: str, progress: Progress) -> training.Progress:
    return lambda done, of, _: progress(f"learning {name}", done, of)


def terms_of(settings: Settings, request: Request, name: str, plan: Plan) -> Terms:
    """Return how a strategy's past is learned from."""
    ml = settings.ml
    embargo = EMBARGO_BARS * timeframe_ms(plan.strategy.timeframes[0])
    return Terms(name, request.source.value, embargo, ml.executed_min, ml.phantom_share, ml.phantom_weight, FOLDS,
                 past_weight=ml.past_weight)  # fmt: skip


def _phantoms(settings: Settings, plan: Plan, symbol: str, ground: Ground) -> Sequence[PhantomTrade]:
    describe = describer(settings, ground.tape.bars, ground.tape.series)
    before = ground.needs[plan.strategy.timeframes[0]]
    rules = ground.rules[symbol]
    paid = costs(settings)
    return list(
        past.phantoms(plan.strategy, symbol, plan.exits, ground.tape, rules, paid, describe, ground.span, before)
    )


def _asked(settings: Settings, request: Request, name: str, plan: Plan, lessons: Lessons, progress: Progress) -> Asked:
    terms = terms_of(settings, request, name, plan)
    if reason := training.refusal(lessons, terms):
        return Asked(name, len(lessons), reason=reason)
    trials = training.walk_forward(lessons, terms, terms.folds, _learning(name, progress))
    judged = training.judge(lessons, trials, terms.embargo_ms)
    if not judged:
        return Asked(name, len(lessons), reason="too few lessons: nothing is left to judge the score on")
    passed = np.concatenate([_passed(settings, lessons, one) for one in judged])
    rows = np.concatenate([one.rows for one in judged])
    seen = Seen(
        np.concatenate([one.p for one in judged]), np.concatenate([np.full(len(one.rows), one.base) for one in judged]),
        lessons.r[rows], lessons.signal_time[rows], passed,
    )  # fmt: skip
    return Asked(name, len(lessons), seen, evaluate(seen))


def _expected(lessons: Lessons, one: training.Judged) -> np.ndarray:
    """Return what the signals of a fold were expected to make, in R, by what was known before the fold."""
    known = lessons[lessons.exit_time <= lessons.signal_time[one.rows[0]]]
    gain_r, loss_r = float(known.r[known.won].mean()), float(known.r[~known.won].mean())
    return np.asarray(one.p * gain_r + (1 - one.p) * loss_r)


def _passed(settings: Settings, lessons: Lessons, one: training.Judged) -> np.ndarray:
    """Return which signals of a fold the gate would have let through."""
    expected = _expected(lessons, one)
    return np.asarray((100 * one.p >= settings.ml.floor) & (expected >= settings.ml.margin_r))
