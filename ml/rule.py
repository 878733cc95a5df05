"""What judges the signals of a strategy that has no model: points for what speaks for a signal and against it."""

from __future__ import annotations

from typing import NamedTuple

START = 50.0
UP, DOWN = "at least", "at most"


class Fact(NamedTuple):
    """Points given when a feature is at least, or at most, so large."""

    feature: str
    how: str
    level: float
    points: float


COSTLY = (Fact("cost_r", UP, 0.25, -20),)
"""Where fees eat a quarter of the risk, little is left to gain; holds for every strategy."""

RULES = {
    "trend_pullback": (
        Fact("trend_strength", UP, 0.05, 10),
        Fact("higher_trend", UP, 0.05, 10),
        Fact("relative_strength", UP, 0.0, 5),
        Fact("market_trend", DOWN, -0.05, -10),
    ),
    "mean_reversion": (
        Fact("band_position", DOWN, -1.5, 10),
        Fact("rsi", DOWN, -0.3, 10),
        Fact("wick_with", UP, 0.3, 5),
        Fact("trend_quality", UP, 0.8, -10),
    ),
    "scalp": (
        Fact("volume_ratio", UP, 0.3, 10),
        Fact("body", UP, 0.4, 10),
        Fact("higher_trend", UP, 0.0, 5),
        Fact("market_trend", DOWN, -0.05, -10),
    ),
}


def points(strategy: str, features: dict[str, float]) -> float:
    """Return the points of a signal, 0 to 100; a strategy of which nothing is known is judged by its costs alone."""
    total = START
    for fact in (*RULES.get(strategy, ()), *COSTLY):
        value = features[fact.feature]
        if value >= fact.level if fact.how == UP else value <= fact.level:
            total += fact.points
    return min(max(total, 0.0), 100.0)
