"""What is thought of a signal before anybody acts on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judgement:
    """A signal's score and whether it may be taken for it.

    Attributes:
        gate: what refuses it, ``score`` or ``untrained``; empty when it may be taken.
        score: 100 times the calibrated probability of a gain, or the points of the rule; None when nothing judged it.
        expected_r: what it is expected to make in R after fees, None where only the rule has judged.
        by: what judged it: a model's name, ``rule``, or empty.
        detail: why it may not, in words.
        features: its vector by name, None when there was too little history for one.
    """

    gate: str = ""
    score: float | None = None
    expected_r: float | None = None
    by: str = ""
    detail: str = ""
    features: dict[str, float] | None = None


UNJUDGED = Judgement()
"""Nothing has been thought of it."""
