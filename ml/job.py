"""What the training process is told, and what it answers."""

from __future__ import annotations

from typing import Any

import msgspec


class Terms(msgspec.Struct, frozen=True):
    """How training is done.

    Attributes:
        strategy, source: whose signals these are.
        embargo_ms: time that has to lie between the end of a lesson and what it is tried on.
        executed_min: lessons to begin with; a phantom counts as much of one as ``phantom_share`` says.
        phantom_weight: weight of a phantom beside an executed trade.
        past_weight: weight of a signal of the past; with 0 they are left out.
        folds: how many later parts each earlier part is tried on.
    """

    strategy: str
    source: str
    embargo_ms: int
    executed_min: int = 30
    phantom_share: float = 0.3
    phantom_weight: float = 0.8
    folds: int = 4
    seed: int = 1
    past_weight: float = 0.4

    def weigh(self, executed: int, phantoms: int) -> float:
        """Return how many executed trades these lessons count as."""
        return executed + self.phantom_share * phantoms


class Job(msgspec.Struct, frozen=True):
    """What to train, where its lessons are and those of the past, and the sealed model in use, if there is one."""

    database: str
    key: bytes
    terms: Terms
    lessons_max: int
    current: bytes = b""
    past: str = ""


class Step(msgspec.Struct, frozen=True, tag="step"):
    """How far it has come."""

    done: int
    of: int
    what: str


class Outcome(msgspec.Struct, frozen=True, tag="outcome"):
    """How it ended, and why; ``blob`` is the sealed model when one was promoted."""

    verdict: str
    reason: str
    report: dict[str, Any]
    seconds: float = 0.0
    blob: bytes = b""
    run_id: str = ""


Message = Step | Outcome
