"""Where phantoms' records go once the journal has them: into the audit, and from there into the state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from domain.errors import RevenantError
from domain.records import PhantomClosed, PhantomOpened
from persistence.audit import AuditTable, Told, key_of
from persistence.journal import read_pieces
from persistence.outbox import BATCH, Outbox
from persistence.phantom_mirror import COMPLETED_MAX, PhantomMirror

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from domain.ids import Identity
    from domain.phantom import PhantomTrade
    from domain.records import Phantom
    from persistence.database import Database
    from persistence.state import State

    Convert = Callable[[bytes], tuple[list[PhantomTrade], list[str]]]

log = structlog.get_logger(__name__)

STATE_MAX = 10_000
EVERY_S = 0.3
"""Least time between two batches: signals come in bursts, and a transaction for each would cost more than they do."""
LAST_S = 0.1


class PhantomTrail:
    """Carries what the journal tells of phantoms to the audit table, and what has arrived there to the state.

    Each on a thread of its own (``start``); nobody ever waits for either. ``folder`` is the journal's; ``convert``
    makes phantoms, and complaints, of what an earlier program left in the state.
    """

    def __init__(
        self, database: Database, who: Identity, folder: Path, state: State, strategies: Collection[str],
        convert: Convert | None = None,
    ) -> None:  # fmt: skip
        self.audit = AuditTable(database, who, folder, self._arrived, lambda: _journaled(folder))
        self._convert = convert
        self.mirror = PhantomMirror(state, who, self.audit, strategies)
        self._settling: Outbox[Phantom] = Outbox("audit", self.audit, every_s=EVERY_S)
        self._mirroring: Outbox[Told] = Outbox(
            f"phantoms in {state.name}", self.mirror, size=STATE_MAX, every_s=EVERY_S
        )

    @property
    def unsettled(self) -> int:
        """How many records are not in the audit yet."""
        return self._settling.waiting

    def add(self, records: Sequence[Phantom]) -> None:
        """Take records that the journal has; those told before change nothing."""
        self._settling.put({" ".join(key_of(record)): record for record in records})

    def restore(self, records: Sequence[Phantom]) -> bool:
        """Take what the journal told of earlier lives; say whether the audit has all of it already."""
        lacking = self.audit.after_carried(records)
        try:
            sure = self.audit.holds_noted()
        except RevenantError as error:
            log.warning("the audit cannot be asked what it has", reason=str(error))
            self.add(lacking)
            return False
        if not sure:
            lacking = records
        self.add(lacking)
        return sure and not lacking

    def load(self) -> list[Phantom]:
        """Return what the audit, or else the state, tells of phantoms: for a journal that was lost."""
        sources: list[Callable[[], list[Phantom]]] = [lambda: self.audit.newest(COMPLETED_MAX), self.mirror.load]
        for source in sources:
            try:
                phantoms = source()
            except RevenantError as error:
                log.warning("phantoms cannot be brought back from there", reason=str(error))
                continue
            if phantoms:
                return phantoms
        return []

    def legacy(self) -> list[Phantom]:
        """Return the open phantoms of an earlier program, in our terms, until they are ``converted``."""
        if self._convert is None:
            return []
        try:
            text = self.mirror.legacy()
        except RevenantError:
            return []
        phantoms, wrong = self._convert(text) if text is not None else ([], [])
        for reason in wrong:
            log.warning("a phantom of an earlier program cannot be followed: passed over", reason=reason)
        if text is not None and not phantoms:
            self.converted()
        return [PhantomOpened(time=phantom.signal_time, phantom=phantom) for phantom in phantoms]

    def converted(self) -> None:
        """Put away what ``legacy`` told of: the journal has it."""
        try:
            text = self.mirror.legacy() if self._convert is not None else None
            if text is not None:
                self.mirror.converted(text)
        except RevenantError as error:
            log.warning("phantoms of an earlier program not put away yet", reason=str(error))

    def start(self) -> None:
        """Begin to carry."""
        self._settling.start()
        self._mirroring.start()

    def close(self, seconds: float = 0.0) -> None:
        """Carry what can be carried in so many seconds, then stop; the rest is carried after the next start."""
        self._settling.close(seconds)
        self._mirroring.close(min(seconds, LAST_S))

    def tiers(self) -> dict[str, dict[str, Any]]:
        """Return of each tier its state, what waits for it, and how long the oldest has been waiting."""
        return {outbox.name: outbox.report() for outbox in (self._settling, self._mirroring)}

    def _arrived(self, told: list[Told]) -> None:
        self._mirroring.put({f"{event.copy} {event.n}": event for event in told})


def _journaled(folder: Path) -> Iterator[list[Phantom]]:
    """Yield what a journal tells of phantoms, a piece at a time."""
    for records in read_pieces(folder):
        phantoms = [record for record in records if isinstance(record, PhantomOpened | PhantomClosed)]
        yield from (phantoms[start : start + BATCH] for start in range(0, len(phantoms), BATCH))
