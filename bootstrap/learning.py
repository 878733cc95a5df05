"""Puts together what judges signals and has models trained."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from bootstrap.keys import model_key
from bootstrap.parts import costs, database, keyspace, keyvalue, realm, state_database
from domain.candle import Bars, Series, timeframe_ms
from ml.features import NAMES, SCHEMA, features
from ml.job import Terms
from ml.judge import Bar, Judge
from ml.rule import RULES
from ml.school import School
from persistence.lessons import LessonBook
from persistence.models import ModelStore
from persistence.registry import Registry
from persistence.state import RedisState, TableState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from domain.signal import Signal
    from engine.trader import Plan
    from persistence.database import Database
    from persistence.keyvalue import Redis
    from settings import Settings

log = structlog.get_logger(__name__)

LEADER = "BTC/USDT:USDT"
"""The symbol whose moves the others follow."""
EMBARGO_BARS = 20


def judge_of(
    settings: Settings, plans: Mapping[str, Plan], bars: Callable[[Series], Bars], wanted: Collection[Series]
) -> Judge:
    """Return what scores signals from the bars at hand; no model is in use yet."""
    ml = settings.ml
    # practice and paper money may be risked on a rule; real money only when the operator says so
    trades = settings.mode != "live" or ml.untrained == "rule"
    if not trades:
        log.info("strategies without a model are followed only until they have one", strategies=list(plans))
    bare = [name for name in plans if name not in RULES]
    if bare and ml.enabled:
        log.info("strategies whose signals are scored by their costs alone until they have a model", strategies=bare)
    return Judge(Bar(ml.margin_r, ml.floor, ml.rule_floor, trades, ml.enabled), describer(settings, bars, wanted))


def describer(
    settings: Settings, bars: Callable[[Series], Bars], wanted: Collection[Series]
) -> Callable[[Signal], dict[str, float] | None]:
    """Return what makes a signal's vector from the bars at hand."""
    fee = float(costs(settings).taker)

    def describe(signal: Signal) -> dict[str, float] | None:
        leader = Series(LEADER, signal.timeframe)
        market = bars(leader) if leader in wanted else Bars.empty()
        return features(signal, bars(Series(signal.symbol, signal.timeframe)), market, fee)

    return describe


def school(
    settings: Settings, plans: Mapping[str, Plan], judge: Judge, main: Database, state: Database, redis: Redis | None
) -> School:
    """Return what keeps the models of the configured source."""
    source, ml = settings.source.value, settings.ml
    terms = {
        name: Terms(
            name, source, EMBARGO_BARS * timeframe_ms(plan.strategy.timeframes[0]), ml.executed_min, ml.phantom_share,
            ml.phantom_weight, past_weight=ml.past_weight,
        )
        for name, plan in plans.items()
    }  # fmt: skip
    copies = RedisState(redis, keyspace(settings)) if redis is not None else None
    store = ModelStore(TableState(state, f"models/{realm(settings)}"), copies)
    return School(
        judge, LessonBook(main, source, NAMES, SCHEMA), store, Registry(main, realm(settings)), key=model_key(settings),
        database=main.address, terms=terms, lessons_max=ml.lessons_max, clock=lambda: int(time.time() * 1000),
        past=lambda name: str(past_file(settings, name)),
    )  # fmt: skip


def past_file(settings: Settings, strategy: str) -> Path:
    """Return where the lessons of the past of a strategy are kept."""
    return settings.data_dir / "past" / f"{settings.source.value}-{strategy}.npz"


def open_models(settings: Settings, plans: Mapping[str, Plan], judge: Judge) -> None:
    """Have a judge use the models that are in use, without a bot."""
    main, state, redis = database(settings), state_database(settings), keyvalue(settings)
    try:
        taught = school(settings, plans, judge, main, state, redis)
        for name in plans:
            taught.open(name)
    finally:
        for one in (main, state, redis):
            if one is not None:
                one.close()
