"""Stand-ins that do nothing, for tests of what lies beside them."""

from __future__ import annotations

from typing import Any

from domain.judgement import Judgement
from engine.learning import Learning

JUDGED = Judgement(score=40.0, by="rule", features={"rsi": 1.0})


class NoTrail:
    """Keeps what it is told, for the test to look at."""

    unsettled = 0

    def __init__(self) -> None:
        self.told: list[Any] = []

    def add(self, records: Any) -> None:
        self.told += records

    def restore(self, records: Any) -> bool:
        return True

    def load(self) -> list[Any]:
        return []

    def legacy(self) -> list[Any]:
        return []

    def converted(self) -> None:
        pass

    def start(self) -> None:
        pass

    def close(self, seconds: float = 0.0) -> None:
        pass

    def tiers(self) -> dict[str, Any]:
        return {}


class NoSchool:
    """Teaches nothing."""

    strategies: list[str] = []

    def counts(self) -> dict[str, Any]:
        return {}

    def heal(self) -> None:
        pass


def no_learning(tier: Any) -> Learning:
    """Return a learner with nothing to learn."""
    school: Any = NoSchool()
    return Learning(school, tier, None, every=1)  # type: ignore[arg-type]
