"""The one table of regular jobs: the daemon runs it by itself, Celery runs the same one on several machines."""

from __future__ import annotations

from domain.schedule import SUNDAY, Job

HIGH, MIDDLE, LOW = 9, 6, 4

JOBS = (
    Job("collect", 5, (), None, None, HIGH, network=True, limit_s=3_000, about="the bars of the last hours"),
    Job("update", 0, (2,), None, None, HIGH, network=True, limit_s=10_800, about="the bars of two days"),
    Job("fill-gaps", 0, (3,), None, None, MIDDLE, network=True, limit_s=10_800, about="missing ranges of 30 days"),
    Job(
        "quality", 0, (0, 6, 12, 18), None, None, LOW, network=False, limit_s=3_600, about="judges 30 days", judges=True
    ),
    Job("validate", 0, (3,), SUNDAY, None, MIDDLE, network=True, limit_s=14_400, about="missing ranges of 90 days"),
    Job(
        "consolidate",
        0,
        (4,),
        None,
        1,
        MIDDLE,
        network=True,
        limit_s=14_400,
        about="the previous month, proven",
        judges=True,
    ),
    Job("retention", 0, (4,), None, 1, LOW, network=False, limit_s=7_200, about="deletes what is older than kept"),
)

BACKUP = Job("backup", 30, (4,), None, None, MIDDLE, network=False, limit_s=7_200, about="a copy of everything, proven")
"""Not with the others: only where the bot's own folder is can it be copied."""

ALL = (*JOBS, BACKUP)


def named(name: str) -> Job | None:
    """Return a job by its name."""
    return next((job for job in ALL if job.name == name), None)
