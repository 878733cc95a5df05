"""What there is to learn from: signals with their vectors and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Times = np.ndarray[tuple[int], np.dtype[np.int64]]
Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]
Grid = np.ndarray[tuple[int, int], np.dtype[np.float64]]


class Counts(NamedTuple):
    """How many lessons there are: signals that were executed, and phantoms."""

    executed: int = 0
    phantoms: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.executed + self.phantoms


NOTHING = Counts()


@dataclass(frozen=True, slots=True)
class Lessons:
    """Columns of equal length, oldest signal first.

    Attributes:
        vectors: one row of features per signal.
        r: what it made, in R after fees.
        executed: whether a trade was made on it.
        signal_time: when it was given (UTC ms).
        exit_time: when its outcome was known (UTC ms).
        past: whether it is of the past, from stored bars, before the bot was there; None when none is.
    """

    vectors: Grid
    r: Floats
    executed: Flags
    signal_time: Times
    exit_time: Times
    past: Flags | None = None

    def __len__(self) -> int:
        return len(self.r)

    def __getitem__(self, rows: slice | np.ndarray) -> Lessons:
        return Lessons(
            self.vectors[rows], self.r[rows], self.executed[rows], self.signal_time[rows], self.exit_time[rows],
            self.past[rows] if self.past is not None else None,
        )  # fmt: skip

    @property
    def won(self) -> Flags:
        """Whether each of them ended in a gain after fees, however it ended."""
        return self.r > 0

    @property
    def own(self) -> Flags:
        """Which of them a bot has lived through."""
        return ~self.past if self.past is not None else np.ones(len(self), dtype=bool)

    @property
    def counts(self) -> Counts:
        """How many there are of each kind; those of the past do not count."""
        executed = int(self.executed.sum())
        return Counts(executed, int(self.own.sum()) - executed)

    def weights(self, phantom: float, past: float) -> Floats:
        """Return what each counts beside an executed trade's 1."""
        return np.where(self.executed, 1.0, np.where(self.own, phantom, past))

    def after(self, past: Lessons) -> Lessons:
        """Return these with those of the past before them that had ended when the first of these was given."""
        if not len(self):
            return self
        before = past[past.exit_time < self.signal_time[0]]
        flags = np.r_[np.ones(len(before), dtype=bool), ~self.own]
        return Lessons(
            np.concatenate([before.vectors, self.vectors]), np.r_[before.r, self.r],
            np.r_[before.executed, self.executed], np.r_[before.signal_time, self.signal_time],
            np.r_[before.exit_time, self.exit_time], flags,
        )  # fmt: skip
