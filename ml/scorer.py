"""Scores signals with a model, by onnxruntime: microseconds, and no code out of the model's bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as told

from domain.errors import BadData
from ml.features import vector

if TYPE_CHECKING:
    from domain.lesson import Floats, Grid
    from ml.model import Model

TOLERANCE = 1e-5
WANTED = ("probabilities",)
UNUSABLE = (
    told.EPFail, told.Fail, told.InvalidArgument, told.InvalidGraph, told.InvalidProtobuf, told.NoSuchFile,
    told.NotImplemented, told.RuntimeException, RuntimeError, ValueError, IndexError,
)  # fmt: skip


class Scorer:
    """A loaded model. Making one takes tens of milliseconds; do it on a thread."""

    def __init__(self, model: Model) -> None:
        """Load the graphs and look at the probe.

        Raises:
            BadData: when a graph cannot be loaded, or the probe comes out differently than when it was trained.
        """
        self.model = model
        self._mean, self._scale = np.array(model.mean), np.array(model.scale)
        options: Any = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            sessions = [ort.InferenceSession(head.onnx, options, ["CPUExecutionProvider"]) for head in model.heads]
            self._heads = [(session, session.get_inputs()[0].name) for session in sessions]
            seen = float(self.probabilities(np.array([model.probe]))[0])
        except UNUSABLE as error:
            raise BadData(f"its graphs cannot be run: {str(error)[:200]}") from error
        if not abs(seen - model.probe_p) < TOLERANCE:
            raise BadData(f"its probe gives {seen:.6f} here, and gave {model.probe_p:.6f} where it was trained")

    def probability(self, features: dict[str, float]) -> float:
        """Return the calibrated probability of a gain, as ``probabilities`` does of many, and sooner."""
        scaled = ((vector(features) - self._mean) / self._scale).astype(np.float32)[None, :]
        chances = [session.run(WANTED, {name: scaled})[0].item(1) for session, name in self._heads]
        return self.model.calibrator(sum(chances) / len(chances))

    def means(self, vectors: Grid) -> Floats:
        """Return the uncalibrated mean of the heads for each row."""
        scaled = ((vectors - self._mean) / self._scale).astype(np.float32)
        total = np.zeros(len(vectors))
        for session, name in self._heads:
            total += session.run(WANTED, {name: scaled})[0][:, 1]
        return total / len(self._heads)

    def probabilities(self, vectors: Grid) -> Floats:
        """Return the calibrated probability for each row."""
        return np.array([self.model.calibrator(float(mean)) for mean in self.means(vectors)])
