"""Bars of years on disk instead of in memory: what is not looked at just now, the system may let go of."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

import numpy as np

from domain.candle import Bars
from domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def mapped(parts: Iterable[Bars], folder: Path) -> Bars:
    """Return bars that were read in parts, ascending, as one, kept in files without a name in ``folder``.

    The files go with the last of their users.

    Raises:
        Unavailable: when there is no room for them.
    """
    kinds = [column.dtype for column in Bars.empty().columns()]
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in kinds]
            for part in parts:
                for file, column in zip(files, part.columns(), strict=True):
                    column.tofile(file)
            return Bars(*(_map(file, kind) for file, kind in zip(files, kinds, strict=True)))
    except OSError as error:
        raise Unavailable(f"{folder}: the bars of the backtest find no room there ({error})") from error


def _map(file: IO[bytes], kind: np.dtype) -> np.ndarray:
    if not file.tell():
        # nothing cannot be mapped
        return np.empty(0, kind)
    # a plain view: memmap's own slices cost twice
    return np.asarray(np.memmap(file, kind, mode="r"))
