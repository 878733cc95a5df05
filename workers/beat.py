"""The beat of Celery: it only says every so often that somebody should look what is due; one of them counts."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import structlog
from celery.beat import Scheduler
from kombu.exceptions import OperationalError

from domain.errors import RevenantError

if TYPE_CHECKING:
    from celery import Celery

    from persistence.cluster_state import ClusterState

log = structlog.get_logger(__name__)

TICK = "revenant.tick"
TICK_S = 20.0
DRIFT_MAX_S = 60.0


class OneBeat(Scheduler):  # type: ignore[misc]
    """Sends ticks while no other beat does. What is due is decided by whoever takes the tick, on the database's clock.

    It needs no schedule file, and its own clock decides nothing: one that is hours behind is only told.
    """

    def __init__(self, app: Celery, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self._state: ClusterState = app.cluster_state
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._told = ""

    def setup_schedule(self) -> None:
        """Have no table: jobs are in the database."""

    def tick(self, *_: object, **__: object) -> float:
        """Send a tick if ours is the beat that counts; return how long to sleep."""
        try:
            drift = self._state.hold_beat(self._name)
            if drift is None:
                self._tell("another beat runs; this one stands by")
            else:
                self._tell(f"this host's clock is {drift:.0f} s off Redis's" if abs(drift) > DRIFT_MAX_S else "")
                if self._state.ask_tick():
                    self.app.send_task(TICK, priority=0)
        except (RevenantError, OperationalError) as error:
            self._tell(f"Redis does not answer: {error}")
        return TICK_S

    def close(self) -> None:
        """Let another beat take over at once."""
        try:
            self._state.release_beat(self._name)
        except RevenantError as error:
            self._tell(f"Redis does not answer: {error}")

    def _tell(self, what: str) -> None:
        if what and what != self._told:
            log.warning("beat", what=what)
        self._told = what
