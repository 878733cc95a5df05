"""The ensemble: a forest, boosted trees and a linear head on scaled features, and the calibration of their mean."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ml.model import Calibrator

if TYPE_CHECKING:
    from domain.lesson import Flags, Floats, Grid, Lessons

ISOTONIC_MIN = 300
"""Predictions from which steps are fitted instead of one curve."""
OPSET = 18


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted ensemble."""

    mean: Floats
    scale: Floats
    heads: dict[str, Any]

    def means(self, vectors: Grid) -> Floats:
        """Return the mean of the heads' probabilities of a gain for each row."""
        scaled = ((vectors - self.mean) / self.scale).astype(np.float32)
        return np.asarray(np.mean([head.predict_proba(scaled)[:, 1] for head in self.heads.values()], axis=0))

    def graphs(self) -> dict[str, bytes]:
        """Return each head as an ONNX graph."""
        from skl2onnx import to_onnx  # noqa: PLC0415  most runs end without a model, and need no converter

        sample = np.zeros((1, len(self.mean)), dtype=np.float32)
        return {
            name: to_onnx(head, sample, options={id(head): {"zipmap": False}}, target_opset=OPSET).SerializeToString()
            for name, head in self.heads.items()
        }


def fit(lessons: Lessons, weights: Floats, seed: int) -> Fitted:
    """Fit the ensemble to lessons that hold both gains and losses, both counting the same in all.

    ``weights`` are what each of them counts within its side.
    """
    scaler = StandardScaler().fit(lessons.vectors)
    scaled = ((lessons.vectors - scaler.mean_) / scaler.scale_).astype(np.float32)
    weights, won = weights.copy(), lessons.won
    for side in (won, ~won):
        weights[side] *= len(weights) / (2 * weights[side].sum())
    # leaves grow with the data, so that few lessons do not make deep opinions
    leaf = max(5, len(lessons) // 100)
    heads = {
        "forest": RandomForestClassifier(150, max_depth=8, min_samples_leaf=leaf, random_state=seed),
        "boosting": GradientBoostingClassifier(
            n_estimators=100, max_depth=3, learning_rate=0.05, subsample=0.7, min_samples_leaf=leaf,
            max_features="sqrt", random_state=seed,
        ),
        "linear": LogisticRegression(C=0.05, max_iter=1_000),
    }  # fmt: skip
    # what they are given is checked already: each of hundreds of trees would check it again; and threads that wait for
    # each other cost more than such small sums
    with threadpool_limits(1), sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        for head in heads.values():
            head.fit(scaled, won, sample_weight=weights)
    return Fitted(np.asarray(scaler.mean_), np.asarray(scaler.scale_), heads)


def calibrate(means: Floats, won: Flags) -> Calibrator:
    """Fit what turns means that were not learned from into probabilities: steps, or Platt's curve for few."""
    if len(means) >= ISOTONIC_MIN:
        fitted = IsotonicRegression(out_of_bounds="clip").fit(means, won)
        return Calibrator("isotonic", tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_)))
    if won.all() or not won.any():
        rate = (won.sum() + 1) / (len(won) + 2)
        return Calibrator("sigmoid", (0.0,), (float(np.log(rate / (1 - rate))),))
    clipped = np.clip(means, 1e-6, 1 - 1e-6)
    odds = np.log(clipped / (1 - clipped))[:, None]
    fitted = LogisticRegression(C=1.0).fit(odds, won)
    return Calibrator("sigmoid", (float(fitted.coef_[0, 0]),), (float(fitted.intercept_[0]),))


def versions() -> dict[str, str]:
    """Return the versions of what makes models."""
    return {name: version(name) for name in ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy")}
