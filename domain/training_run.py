"""One attempt to train a strategy's model, as the registry keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

PROMOTED, KEPT, DEMOTED, REFUSED, FAILED = "promoted", "kept", "demoted", "refused", "failed"


class TrainingRun(NamedTuple):
    """How it ended: promoted, kept (the old model stays), demoted (the old one goes too), refused or failed; and why.

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
