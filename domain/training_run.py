"""One attempt to train a strategy's model, as the registry keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

PROMOTED, REJECTED, DEMOTED, NOT_TRAINED, FAILED = "promoted", "rejected", "demoted", "not trained", "failed"
EARLIER = {"kept": REJECTED, "refused": NOT_TRAINED}
"""Words of runs that an earlier version stored."""
BY_HAND = "by_hand"
"""In the report of a run that somebody asked for."""


class TrainingRun(NamedTuple):
    """How it ended, and why.

    Promoted; rejected (the previous model stays); demoted (rejected, and the previous model goes too); not trained; or
    failed, which is tried again.

    ``data_from`` and ``data_until`` are the times of the first and last lesson (UTC ms); ``report`` has fold scores,
    calibration and importance; ``digest`` names the sealed model that it put into use, empty when it put none.
    """

    run_id: str
    source: str
    strategy: str
    verdict: str
    reason: str
    schema: str
    trained_at: datetime
    seconds: float
    lessons: int
    executed: int
    phantoms: int
    data_from: int
    data_until: int
    report: dict[str, Any]
    digest: str = ""


def understood(verdict: str) -> str:
    """Return today's word for a verdict, whichever version stored it."""
    return EARLIER.get(verdict, verdict)


def spoken(verdict: str, *, model_in_use: bool) -> str:
    """Return a verdict as people are told it, with what it means for the model in use."""
    if verdict == REJECTED and model_in_use:
        return f"{verdict} (previous model stays)"
    return f"{verdict} (no model in use now)" if verdict == DEMOTED else verdict
