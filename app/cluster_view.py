"""Who works on the regular jobs through Celery, and what waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bootstrap import parts
from domain.errors import RevenantError
from persistence.cluster_state import QUEUES, ClusterState
from persistence.job_parts import JobParts

if TYPE_CHECKING:
    from bootstrap.history import History


def seen(history: History) -> dict[str, Any]:
    """Return workers, the beat (None: none was seen for a day), and what waits; ``reason`` is why Redis says nothing.

    ``tasks`` wait in Redis; ``waiting`` parts of jobs may be taken, ``running`` ones are. Ages are in s.

    Raises:
        Unavailable: when the database is away.
    """
    backlog = JobParts(history.database, "").backlog()
    told: dict[str, Any] = {
        "beat": None, "workers": [], "tasks": 0, "waiting": backlog.waiting, "running": backlog.running,
        "oldest_s": backlog.oldest_s, "reason": "",
    }  # fmt: skip
    redis = parts.keyvalue(history.settings)
    if redis is None:
        return told | {"reason": "no REDIS_URL: the daemon does the jobs by itself"}
    state = ClusterState(redis)
    try:
        beat = state.beat()
        workers = [{**one._asdict(), "lost": one.lost} for one in state.workers()]
        return told | {"beat": beat._asdict() if beat else None, "workers": workers, "tasks": state.queued(QUEUES)}
    except RevenantError as error:
        return told | {"reason": str(error)}
    finally:
        redis.close()
