"""A model as data: numbers and ONNX graphs, nothing that runs by being read."""

from __future__ import annotations

import bisect
import math

import msgspec

FORMAT = 1
LOW, HIGH = 0.01, 0.99
"""No signal is ever called certain."""


class Head(msgspec.Struct, frozen=True):
    """One classifier of the ensemble: what it is, and its graph."""

    name: str
    onnx: bytes


class Calibrator(msgspec.Struct, frozen=True):
    """Turns the ensemble's mean into a probability that comes true.

    ``isotonic`` goes along straight lines through the points (x, y); ``sigmoid`` is Platt's 1 / (1 + exp(-(a l + b)))
    of the log odds l, with x = [a] and y = [b].
    """

    kind: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    def __call__(self, mean: float) -> float:
        """Return the probability of a gain."""
        if self.kind == "sigmoid":
            clipped = min(max(mean, 1e-6), 1 - 1e-6)
            value = 1 / (1 + math.exp(-(self.x[0] * math.log(clipped / (1 - clipped)) + self.y[0])))
        else:
            value = self._between(mean)
        return min(max(value, LOW), HIGH)

    def _between(self, mean: float) -> float:
        at = bisect.bisect_right(self.x, mean)
        if at == 0 or at == len(self.x):
            return self.y[0 if at == 0 else -1]
        left, right = self.x[at - 1], self.x[at]
        share = (mean - left) / (right - left) if right > left else 1.0
        return self.y[at - 1] + share * (self.y[at] - self.y[at - 1])


class Model(msgspec.Struct, frozen=True):
    """All that is needed to score a strategy's signals, and to know whether one may.

    Attributes:
        run_id: the training run that made it.
        strategy, source: whose signals it scores: those of one strategy on one source's candles.
        schema: the features' table that it was trained on.
        trained_at: host's time (UTC ms); data_from and data_until are the times of its first and last lesson.
        base_rate: share of gains among its lessons.
        gain_r, loss_r: what gains and losses made on average, in R after fees.
        mean, scale: the scaler.
        heads: the ensemble, whose probabilities are averaged.
        probe, probe_p: a vector and what the model makes of it, looked at whenever it is loaded.
        versions: of what made it.
    """

    run_id: str
    strategy: str
    source: str
    schema: str
    trained_at: int
    data_from: int
    data_until: int
    lessons: int
    base_rate: float
    gain_r: float
    loss_r: float
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    heads: tuple[Head, ...]
    calibrator: Calibrator
    probe: tuple[float, ...]
    probe_p: float
    versions: dict[str, str]
    format: int = FORMAT

    def expected_r(self, probability: float) -> float:
        """Return what a signal of that probability makes on average, in R after fees."""
        return probability * self.gain_r + (1 - probability) * self.loss_r
