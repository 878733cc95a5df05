"""Scoring a signal, against scikit-learn's own way; and the event loop while a model learns from 10,000 signals."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from benchmarks.lag import _probe
from bootstrap.trainer import TrainingProcess
from domain.candle import Bars
from domain.order import Side
from domain.signal import Signal
from engine.learning import Learning
from engine.threads import Tier
from ml import ensemble, training
from ml.features import NAMES, SCHEMA, features, vector
from ml.judge import Bar, Judge
from ml.model import Head
from ml.school import School
from ml.scorer import Scorer
from persistence.lessons import LessonBook
from persistence.models import ModelStore
from persistence.registry import Registry
from persistence.state import TableState
from tests.unit.test_learning import TERMS, teach
from tests.unit.test_training import NOW, market

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 300
LESSONS = 10_000
MINUTE_MS = 180_000


def measure_score() -> tuple[float, str]:
    """Return how many times faster a signal is scored than by scikit-learn, and the medians."""
    lessons = market(2_000, edge=1.0)
    model = training.train(market(600, edge=1.0), TERMS, NOW).model
    if model is None:
        raise AssertionError("a known edge was not found")
    fitted = ensemble.fit(lessons, 0.8, 1)
    heads = tuple(Head(name, graph) for name, graph in fitted.graphs().items())
    probe = tuple(map(float, lessons.vectors[0]))
    held = msgspec.structs.replace(
        model, heads=heads, mean=tuple(fitted.mean), scale=tuple(fitted.scale), probe=probe,
        probe_p=model.calibrator(float(fitted.means(lessons.vectors[:1])[0])),
    )  # fmt: skip
    scorer, bars = Scorer(held), _bars()
    judge = Judge(Bar(0, 0, 0, rule_trades=True), lambda one: features(one, bars, Bars.empty(), 0.00055))
    judge.scorers["scalp"] = scorer
    last = int(bars.open_time[-1])
    signal = Signal("scalp", "A/USDT:USDT", "3m", last, last + MINUTE_MS, Side.LONG, 100, 99, 102)
    named = features(signal, bars, Bars.empty(), 0.00055)
    if named is None:
        raise AssertionError("no vector")
    row = vector(named)[None, :]
    ours, theirs, whole = [], [], []
    for _ in range(ROUNDS):
        # one after the other, so that both meet the same machine
        ours.append(_took(lambda: scorer.probability(named)))
        theirs.append(_took(lambda: held.calibrator(float(fitted.means(row)[0]))))
        whole.append(_took(lambda: judge(signal)))
    medians = [1e6 * statistics.median(held) for held in (ours, theirs, whole)]
    told = f"{medians[0]:.0f} us against {medians[1]:.0f} us; with its 34 features {medians[2]:.0f} us"
    return medians[1] / medians[0], told


def measure_lag() -> tuple[float, str]:
    """Return the 99th percentile of the loop's lag in ms while a model is retrained and put to use."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_train(Path(folder)))


async def _train(folder: Path) -> tuple[float, str]:
    database = teach(folder / "audit", LESSONS, edge=0.5)
    judge = Judge(Bar(0, 0, 0, rule_trades=True), lambda _: None)
    school = School(
        judge, LessonBook(database, "synthetic", NAMES, SCHEMA), ModelStore(TableState(database, "models")),
        Registry(database, "synthetic"), key=b"k" * 32, database=database.address, terms={"scalp": TERMS},
        lessons_max=LESSONS, clock=lambda: int(time.time() * 1000),
    )  # fmt: skip
    tier, lags = Tier("learning", 60), list[float]()
    probe = asyncio.create_task(_probe(lags))
    run = await Learning(school, tier, TrainingProcess(600), every=50).train("scalp")
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    tier.close()
    database.close()
    told = f"{run.lessons} lessons, {run.verdict} in {run.seconds:.0f} s, max {max(lags):.1f} ms, {len(lags)} probes"
    return float(np.percentile(lags, 99)), told


def _bars() -> Bars:
    draw = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(draw.normal(0, 0.002, 600)))
    opened = np.r_[100.0, close[:-1]]
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    return Bars(np.arange(600) * MINUTE_MS, opened, high, low, close, draw.random(600) + 1, close)


def _took(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
