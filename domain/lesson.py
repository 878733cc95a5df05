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
    """

    vectors: Grid
    r: Floats
    executed: Flags
    signal_time: Times
    exit_time: Times

    def __len__(self) -> int:
        return len(self.r)

    def __getitem__(self, rows: slice | np.ndarray) -> Lessons:
        return Lessons(
            self.vectors[rows], self.r[rows], self.executed[rows], self.signal_time[rows], self.exit_time[rows]
        )

    @property
    def won(self) -> Flags:
        """Whether each of them ended in a gain after fees, however it ended."""
        return self.r > 0

    @property
    def counts(self) -> Counts:
        """How many there are of each kind."""
        executed = int(self.executed.sum())
        return Counts(executed, len(self) - executed)
