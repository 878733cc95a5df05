"""How good probabilities are, and whether that is more than chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from domain.score_bins import score_bins

if TYPE_CHECKING:
    from domain.lesson import Flags, Floats

BINS, GROUPS = 5, 10


def log_losses(won: Flags, p: Floats) -> Floats:
    """Return the log loss of each prediction: -log of the probability given to what came true."""
    return np.asarray(-np.log(np.where(won, p, 1 - p)))


def brier(won: Flags, p: Floats) -> float:
    """Return the mean squared error of probabilities (Brier 1950)."""
    return float(np.mean((p - won) ** 2))


def auc(won: Flags, values: Floats) -> float:
    """Return the chance that a gain has a larger value than a loss (Mann and Whitney 1947); 0.5 for one class."""
    gains, losses = int(won.sum()), int((~won).sum())
    if not gains or not losses:
        return 0.5
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[won].sum() - gains * (gains + 1) / 2) / (gains * losses))


def advantage(better: Floats, worse: Floats) -> float:
    """Return by how many standard errors the first losses are smaller than the second, pair by pair; 0 for too few."""
    gain = worse - better
    error = float(np.std(gain, ddof=1)) / len(gain) ** 0.5 if len(gain) > 1 else 0.0
    return float(np.mean(gain)) / error if error > 0 else 0.0


def summary(won: Flags, p: Floats, base: float) -> dict[str, float]:
    """Return the figures of predictions beside those of always giving the base rate."""
    level = np.full(len(won), base)
    return {
        "log_loss": float(np.mean(log_losses(won, p))), "base_log_loss": float(np.mean(log_losses(won, level))),
        "brier": brier(won, p), "base_brier": brier(won, level), "auc": auc(won, p),
    }  # fmt: skip


def reliability(won: Flags, p: Floats, count: int = BINS) -> list[dict[str, float]]:
    """Return what was predicted and what came true, in at most ``count`` groups by what was predicted."""
    return [
        {"predicted": float(p[g].mean()), "came_true": float(won[g].mean()), "n": len(g)} for g in score_bins(p, count)
    ]


def calibration_error(won: Flags, p: Floats) -> float:
    """Return the mean distance of predicted from true shares, over at most ten groups as equal as ties allow.

    Source: M. P. Naeini, G. Cooper and M. Hauskrecht, Obtaining Well Calibrated Probabilities, AAAI 2015.
    """
    groups = reliability(won, p, GROUPS)
    return float(sum(g["n"] * abs(g["predicted"] - g["came_true"]) for g in groups) / len(p))
