"""Scoring a signal and retraining, beside scikit-learn and beside the way of the bot that this one succeeds."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from sklearn.calibration import IsotonicRegression
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from benchmarks.bar_close import STEP, history
from benchmarks.measured import Measured, compared, in_turns, took
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
from processes.trainer import TrainingProcess
from tests.unit.test_learning import TERMS, teach
from tests.unit.test_training import NOW, market

if TYPE_CHECKING:
    from domain.training_run import TrainingRun
    from persistence.database import Database

ROUNDS, LESSONS = 300, 10_000
CALIBRATED = 300
"""Rows that the original's way is timed on; the rest costs the same each."""


def measure_score() -> list[Measured]:
    """Measure scoring one signal."""
    lessons = market(2_000, edge=1.0)
    model = training.train(market(600, edge=1.0), TERMS, NOW).model
    if model is None:
        raise AssertionError("a known edge was not found")
    fitted = ensemble.fit(lessons, np.full(len(lessons.vectors), 0.8), 1)
    heads = tuple(Head(name, graph) for name, graph in fitted.graphs().items())
    probe = tuple(map(float, lessons.vectors[0]))
    held = msgspec.structs.replace(
        model, heads=heads, mean=tuple(fitted.mean), scale=tuple(fitted.scale), probe=probe,
        probe_p=model.calibrator(float(fitted.means(lessons.vectors[:1])[0])),
    )  # fmt: skip
    scorer, bars = Scorer(held), history(600)
    last = int(bars.open_time[-1])
    signal = Signal("scalp", "A/USDT:USDT", "3m", last, last + STEP, Side.LONG, 100, 99, 102)
    named = features(signal, bars, Bars.empty(), 0.00055)
    if named is None:
        raise AssertionError("no vector")
    row = vector(named)[None, :]
    pairs = in_turns(
        lambda _: scorer.probability(named), lambda _: held.calibrator(float(fitted.means(row)[0])), ROUNDS, 1e6
    )
    what = "a signal scored in the daemon; predict_proba of the same ensemble by scikit-learn, one row"
    return [compared("score", what, "us", pairs, 0.02)]


def measure_retrain() -> list[Measured]:
    """Measure a whole retraining of 10,000 lessons, in its own process."""
    lessons = market(LESSONS, edge=0.5)
    with tempfile.TemporaryDirectory() as folder:
        ours, run = asyncio.run(_retrained(Path(folder)))
    theirs = _original(lessons.vectors, lessons.won)
    what = "10,000 lessons: four folds, fit and calibration, off the loop; one fit and row by row calibration on it"
    details = f"{run.verdict}, {len(run.report['folds'])} folds"
    return [compared("retrain", what, "s", [(ours, theirs)], 0.3, details=details)]


async def _retrained(folder: Path) -> tuple[float, TrainingRun]:
    database, tier = teach(folder / "audit", LESSONS, edge=0.5), Tier("learning", 60)
    learning = learning_of(database, tier, LESSONS)
    try:
        began = time.perf_counter()
        run = await learning.train("scalp")
        return time.perf_counter() - began, run
    finally:
        tier.close()
        database.close()


def learning_of(database: Database, tier: Tier, lessons: int) -> Learning:
    """Return what has the daemon's models trained, on the lessons of a database."""
    judge = Judge(Bar(0, 0, 0, rule_trades=True), lambda _: None)
    school = School(
        judge, LessonBook(database, "synthetic", NAMES, SCHEMA), ModelStore(TableState(database, "models")),
        Registry(database, "synthetic"), key=b"k" * 32, database=database.address, terms={"scalp": TERMS},
        lessons_max=lessons, clock=lambda: int(time.time() * 1000),
    )  # fmt: skip
    return Learning(school, tier, TrainingProcess(600), every=50)


def _original(vectors: np.ndarray, won: np.ndarray) -> float:
    """Return the seconds of the original's way: three models on scaled rows, then every row calibrated by itself."""
    models: list[Any] = [
        RandomForestClassifier(n_estimators=100, max_depth=8, random_state=1),
        GradientBoostingClassifier(n_estimators=100, random_state=1),
        MLPClassifier(hidden_layer_sizes=(64, 32), max_iter=300, random_state=1),
    ]
    scaler = StandardScaler()

    def fit() -> None:
        scaled = scaler.fit_transform(vectors)
        for model in models:
            model.fit(scaled, won)

    def calibrate() -> None:
        told = [
            float(np.mean([model.predict_proba(scaler.transform(row[None, :]))[0, 1] for model in models]))
            for row in vectors[:CALIBRATED]
        ]
        IsotonicRegression(out_of_bounds="clip").fit(told, won[:CALIBRATED])

    return took(fit) + took(calibrate) * len(vectors) / CALIBRATED
