"""Trains a first model on the signals of the past, so that a new bot need not begin without one."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.evaluation import past_lessons, terms_of
from bootstrap.keys import model_key
from bootstrap.learning import judge_of, past_file, school
from bootstrap.parts import database, keyvalue, plans, state_database
from bootstrap.place import refuse_if_held
from domain.candle import Bars
from domain.errors import Rejected
from ml import envelope, training
from ml.features import SCHEMA
from ml.job import Outcome
from persistence.past_lessons import PastLessons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.backtest import Progress, Request
    from domain.lesson import Lessons
    from domain.training_run import TrainingRun
    from engine.trader import Plan
    from ml.school import School
    from settings import Settings


@dataclass(frozen=True, slots=True)
class Taught:
    """How it ended for one strategy: on how many signals of the past, and what the registry says."""

    strategy: str
    signals: int
    run: TrainingRun


def teach(settings: Settings, request: Request, progress: Progress = lambda *_: None) -> list[Taught]:
    """Train every strategy on the past; a model that is better than the base rate, and than the one in use, is used.

    The signals get into no audit and no statistics. They are kept as lessons of the past, which weigh less in later
    trainings than what the bot lives through, and on which nothing is tried.

    Raises:
        Rejected: while a bot runs here, or when made-up bars were to teach about a real market.
        BadData: when bars are missing. ConfigError: for a strategy that is none.
    """
    refuse_if_held(settings, "ml bootstrap")
    if request.source.made_up and not settings.source.made_up:
        raise Rejected(f"ml bootstrap: bars of {request.source} are made up; {settings.source} is a real market")
    found = past_lessons(settings, request, progress)
    used, main, state, redis = plans(settings), database(settings), state_database(settings), keyvalue(settings)
    judge = judge_of(settings, used, lambda _: Bars.empty(), ())
    try:
        taught = school(settings, used, judge, main, state, redis)
        for name, (_, lessons) in found.items():
            if len(lessons):
                PastLessons(past_file(settings, name), SCHEMA).save(lessons)
        return [
            Taught(name, len(lessons), _train(settings, request, taught, judge.scorers, name, plan, lessons, progress))
            for name, (plan, lessons) in found.items()
        ]
    finally:
        for one in (main, state, redis):
            if one is not None:
                one.close()


def _train(
    settings: Settings, request: Request, taught: School, scorers: Mapping[str, Any], name: str, plan: Plan,
    lessons: Lessons, progress: Progress,
) -> TrainingRun:  # fmt: skip
    taught.open(name)
    started, now_ms = time.monotonic(), int(time.time() * 1000)
    terms = terms_of(settings, replace(request, source=settings.source), name, plan)
    result = training.train(
        lessons, terms, now_ms, scorers.get(name), lambda done, of, _: progress(f"training {name}", done, of)
    )
    report = {**result.report, "past": {"source": request.source.value, "symbols": list(request.symbols)}}
    blob = envelope.seal(result.model, model_key(settings)) if result.model is not None else b""
    run_id = result.model.run_id if result.model is not None else ""
    return taught.settle(name, Outcome(result.verdict, result.reason, report, time.monotonic() - started, blob, run_id))
