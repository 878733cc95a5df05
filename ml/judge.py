"""Judges signals: by a strategy's model once it has one, until then by the rule."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from domain.judgement import Judgement
from ml.rule import points

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.signal import Signal
    from ml.scorer import Scorer


class Bar(NamedTuple):
    """What a signal has to reach.

    Attributes:
        margin_r: least expected gain in R after fees, by a model.
        floor: least score, by a model.
        rule_floor: least points, by the rule.
        rule_trades: whether signals that only the rule has judged may be traded at all.
        enabled: whether judging refuses anything; without it signals are scored only.
    """

    margin_r: float
    floor: float
    rule_floor: float
    rule_trades: bool
    enabled: bool = True


class Judge:
    """Gives each signal its score. ``describe`` makes its vector; a model takes effect with the next signal."""

    def __init__(self, bar: Bar, describe: Callable[[Signal], dict[str, float] | None]) -> None:
        self.bar, self._describe = bar, describe
        self.scorers: dict[str, Scorer] = {}

    def __call__(self, signal: Signal) -> Judgement:
        """Return what is thought of a signal."""
        features = self._describe(signal)
        scorer = self.scorers.get(signal.strategy)
        if scorer is None or features is None:
            return self._by_rule(signal, features)
        probability = scorer.probability(features)
        score, expected = 100 * probability, scorer.model.expected_r(probability)
        seen = Judgement("", score, expected, scorer.model.run_id, "", features)
        if not self.bar.enabled or (score >= self.bar.floor and expected >= self.bar.margin_r):
            return seen
        detail = (
            f"score {score:.1f} (floor {self.bar.floor:g}), expected {expected:+.2f} R after fees "
            f"(margin {self.bar.margin_r:g})"
        )
        return replace(seen, gate="score", detail=detail)

    def _by_rule(self, signal: Signal, features: dict[str, float] | None) -> Judgement:
        score = None if features is None else points(signal.strategy, features)
        seen = Judgement("", score, None, "rule", "", features)
        if not self.bar.enabled:
            return seen
        if not self.bar.rule_trades:
            detail = "no trained model yet: its signals are followed only (ml.untrained: rule would trade them)"
            return replace(seen, gate="untrained", detail=detail)
        if score is not None and score < self.bar.rule_floor:
            detail = f"{score:g} points by the rule (floor {self.bar.rule_floor:g}); no trained model yet"
            return replace(seen, gate="score", detail=detail)
        return seen
