"""Bars as PostgreSQL's binary COPY has them: per row a field count, then each field behind its length, big-endian."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from domain.candle import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import sqlalchemy as sa

    from domain.candle import Bars

_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\x00" + bytes(8), b"\xff\xff"
_TYPES = {"series_id": ">i4", "open_time": ">i8"} | dict.fromkeys(COLUMNS, ">f8")


def _row(names: Sequence[str]) -> np.dtype[Any]:
    fields = [item for name in names for item in ((f"size_{name}", ">i4"), (name, _TYPES[name]))]
    return np.dtype([("fields", ">i2"), *fields])


_ROW = _row(("series_id", "open_time", *COLUMNS))


def encoded(frames: Mapping[int, Bars]) -> bytes:
    """Return bars by the number of their series, ready for ``COPY ... FROM STDIN (FORMAT binary)``."""
    all_bars = list(frames.values())
    counts = [len(bars) for bars in all_bars]
    rows = np.empty(sum(counts), _ROW)
    rows["fields"], rows["size_series_id"], rows["size_open_time"] = 8, 4, 8
    rows["series_id"] = np.repeat(list(frames), counts)
    rows["open_time"] = np.concatenate([bars.open_time for bars in all_bars])
    for name in COLUMNS:
        rows[f"size_{name}"], rows[name] = 8, np.concatenate([getattr(bars, name) for bars in all_bars])
    return _HEADER + rows.tobytes() + _TRAILER


def copied(connection: sa.Connection, query: str, names: Sequence[str]) -> list[np.ndarray]:
    """Return what a query gives of the columns ``names`` of a candle table, one array per column.

    The query's columns have to be those, in that order, and never NULL.
    """
    out = io.BytesIO()
    cursor: Any = connection.connection.cursor()
    cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", out)
    cursor.close()
    row, raw = _row(names), out.getbuffer()
    count = (len(raw) - len(_HEADER) - len(_TRAILER)) // row.itemsize
    rows = np.frombuffer(raw, row, count, len(_HEADER))
    return [rows[name].astype(_TYPES[name][1:]) for name in names]
