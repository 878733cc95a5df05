"""What a picture shows, as plain values; another process draws it."""

from __future__ import annotations

from typing import Literal

import msgspec


class Mark(msgspec.Struct, frozen=True):
    """A trade, an open position or a phantom on a chart.

    Attributes:
        kind: ``trade``, ``open`` or ``phantom``.
        long: its direction.
        entry: (UTC ms, price) of the entry.
        exit: the same of its end, None while it is open.
        stop: its stop, 0 when it is not shown.
        target: its target, likewise.
        good: whether it ended, or stands, in profit.
        label: a few words, such as the profit.
    """

    kind: Literal["trade", "open", "phantom"]
    long: bool
    entry: tuple[int, float]
    exit: tuple[int, float] | None = None
    stop: float = 0.0
    target: float = 0.0
    good: bool = False
    label: str = ""


class Chart(msgspec.Struct, frozen=True, tag="chart"):
    """Candles of a series with what was done on them; ``bars`` holds (open time, open, high, low, close, volume)."""

    title: str
    step_ms: int
    bars: list[tuple[int, float, float, float, float, float]]
    marks: list[Mark]


class Curve(msgspec.Struct, frozen=True, tag="curve"):
    """A running profit: (UTC ms, quote units) after each trade."""

    title: str
    points: list[tuple[int, float]]


Picture = Chart | Curve
