"""Closed bars as numpy columns, and the timeframes they come in."""

from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from domain.durations import DAY_MS, HOUR_MS, MINUTE_MS, WEEK_MS
from domain.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
    Times = np.ndarray[tuple[int], np.dtype[np.int64]]

PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "volume", "turnover")

FAST_TIMEFRAME, MAIN_TIMEFRAME = "3m", "15m"
"""What a bot always collects, for scalping and for all else; the second is meant where no timeframe is named."""

_UNIT_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS}


@lru_cache(maxsize=64)
def timeframe_ms(timeframe: str) -> int:
    """Return the length of a timeframe such as ``15m``, ``1h`` or ``1d`` in milliseconds.

    Raises:
        BadData: when it is not a whole number followed by m, h, d or w.
    """
    count, unit = timeframe[:-1], timeframe[-1:]
    if not count.isdecimal() or int(count) == 0 or unit not in _UNIT_MS:
        raise BadData(f"timeframe {timeframe!r} is not a number followed by m, h, d or w, such as 15m")
    return int(count) * _UNIT_MS[unit]


class Series(NamedTuple):
    """Names one stream of bars: a symbol (``BTC/USDT:USDT``) in a timeframe (``15m``)."""

    symbol: str
    timeframe: str


class Bar(NamedTuple):
    """One closed bar; ``open_time`` is UTC milliseconds, volume in base and turnover in quote units."""

    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float


class ClosedBar(NamedTuple):
    """A closed bar and the series it belongs to."""

    series: Series
    bar: Bar

    @property
    def close_time(self) -> int:
        """The first millisecond after the bar."""
        return self.bar.open_time + timeframe_ms(self.series.timeframe)


TIME_MAX = 2**53
"""Times beyond this are no milliseconds since 1970 in anybody's calendar."""


PRICE_MAX, VOLUME_MAX = 1e12, 1e21
"""What is beyond these was never traded of anything."""


def decimal_of(value: float) -> Decimal:
    """Return the number that a float stands for.

    What arithmetic leaves in its last digits must not decide between two ticks, or two quantities.
    """
    return Decimal(f"{value:.13g}")


def check_bar(bar: Bar, step_ms: int) -> None:
    """Raise BadData unless the bar could have been traded and lies on its timeframe's grid."""
    prices = bar[1:5]
    if not 0 <= bar.open_time < TIME_MAX:
        raise BadData(f"bar {str(bar.open_time)[:40]}: no time in milliseconds since 1970")
    if not all(map(math.isfinite, bar[1:])):
        raise BadData(f"bar {bar.open_time}: a value is not a finite number")
    lowest, highest = min(prices), max(prices)
    if lowest <= 0:
        raise BadData(f"bar {bar.open_time}: a price is zero or negative")
    if bar.high < highest or bar.low > lowest:
        raise BadData(
            f"bar {bar.open_time}: high {bar.high} and low {bar.low} do not enclose "
            f"open {bar.open} and close {bar.close}"
        )
    if highest > PRICE_MAX or max(bar.volume, bar.turnover) > VOLUME_MAX:
        raise BadData(f"bar {bar.open_time}: a price or volume that no market has")
    if bar.volume < 0 or bar.turnover < 0:
        raise BadData(f"bar {bar.open_time}: negative volume or turnover")
    if bar.open_time % step_ms:
        raise BadData(f"bar {bar.open_time}: opens off the grid of {step_ms} ms")


class Bars(msgspec.Struct, frozen=True, eq=False):
    """Bars of one series in ascending time, one numpy array per column.

    ``open_time`` is int64 UTC milliseconds, every other column float64, all of one length.
    """

    open_time: Times
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    turnover: Floats

    @classmethod
    def empty(cls) -> Bars:
        """Return bars of length zero."""
        return cls.of([])

    @classmethod
    def of(cls, rows: Iterable[Sequence[float]]) -> Bars:
        """Build from rows of (open_time, open, high, low, close, volume, turnover), oldest first."""
        held = list(rows)
        times = np.array([row[0] for row in held], dtype=np.int64)
        values = np.array([tuple(row[1:7]) for row in held], dtype=np.float64).reshape(len(held), 6)
        return cls(times, *(np.ascontiguousarray(values[:, i]) for i in range(6)))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Bars:
        """Build from a DataFrame with prices and volume, and UTC times as index, ``date`` or ``timestamp``.

        Raises:
            BadData: when a column is missing or the times carry no time zone.
        """
        missing = [name for name in (*PRICES, "volume") if name not in frame.columns]
        if missing:
            raise BadData(f"candle table lacks the columns {', '.join(missing)}")
        named = next((name for name in ("date", "timestamp", "open_time") if name in frame.columns), None)
        times = frame[named].array if named else frame.index.array
        prices = [np.ascontiguousarray(frame[name].to_numpy(np.float64)) for name in (*PRICES, "volume")]
        turnover = (
            np.ascontiguousarray(frame["turnover"].to_numpy(np.float64))
            if "turnover" in frame.columns
            else prices[3] * prices[4]
        )
        opened, high, low, close, volume = prices
        return cls(_milliseconds(times), opened, high, low, close, volume, turnover)

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with an index of UTC open times named ``timestamp``."""
        import pandas as pd  # noqa: PLC0415  half a second that only people at a notebook need to pay

        index = pd.DatetimeIndex(self.open_time.astype("datetime64[ms]"), tz="UTC", name="timestamp")
        return pd.DataFrame({name: getattr(self, name) for name in COLUMNS}, index=index)

    def __len__(self) -> int:
        return len(self.open_time)

    def __getitem__(self, part: slice) -> Bars:
        return Bars(
            self.open_time[part], self.open[part], self.high[part], self.low[part], self.close[part],
            self.volume[part], self.turnover[part],
        )  # fmt: skip

    def where(self, wanted: np.ndarray) -> Bars:
        """Return the bars for which a column of booleans is true."""
        return Bars(*(column[wanted] for column in self.columns()))

    def columns(self) -> tuple[np.ndarray, ...]:
        """Return all columns, time first."""
        return (self.open_time, self.open, self.high, self.low, self.close, self.volume, self.turnover)

    def row(self, i: int) -> Bar:
        """Return bar i as plain numbers."""
        return Bar(
            self.open_time.item(i), self.open.item(i), self.high.item(i), self.low.item(i), self.close.item(i),
            self.volume.item(i), self.turnover.item(i),
        )  # fmt: skip

    def rows(self) -> list[Bar]:
        """Return every bar as plain numbers."""
        return [Bar(*row) for row in zip(*(column.tolist() for column in self.columns()), strict=True)]

    def read_only(self) -> Bars:
        """Return the same bars, which whoever is given them cannot change."""
        held = [column.view() for column in self.columns()]
        for column in held:
            column.flags.writeable = False
        return Bars(*held)

    def copy(self) -> Bars:
        """Return bars that share no memory with these."""
        return Bars(*(column.copy() for column in self.columns()))

    def missing(self, step_ms: int) -> list[int]:
        """Return the open times absent between the first and the last bar."""
        if not len(self):
            return []
        full = np.arange(self.open_time[0], self.open_time[-1] + step_ms, step_ms)
        absent: list[int] = np.setdiff1d(full, self.open_time).tolist()
        return absent


def ascends(bars: Bars) -> bool:
    """Say whether each bar is later than the one before it."""
    # most batches are one new bar of a series, for which looking would cost more than storing
    return len(bars) <= 1 or bool((bars.open_time[1:] > bars.open_time[:-1]).all())


def ordered(bars: Bars) -> Bars:
    """Return bars in ascending time; of those with one open time the last."""
    return bars if ascends(bars) else join([bars])


def join(parts: Sequence[Bars]) -> Bars:
    """Merge bars in ascending time; of two bars with one open time the later argument wins."""
    columns = [np.concatenate(column) for column in zip(*(part.columns() for part in parts), strict=True)]
    # np.unique keeps the first of equal keys, so the parts are looked at from the last to the first
    times, first = np.unique(columns[0][::-1], return_index=True)
    keep = len(columns[0]) - 1 - first
    return Bars(times, *(column[keep] for column in columns[1:]))


def resample(bars: Bars, step_ms: int, base_ms: int, absent: Iterable[tuple[int, int]] = ()) -> Bars:
    """Build bars of ``step_ms`` from complete groups of bars of ``base_ms``; incomplete groups are left out.

    ``absent`` are the stretches (UTC ms, the end outside) that are known to have no bars: a group that lacks only
    those is complete.
    """
    size = step_ms // base_ms
    if size == 1 or not len(bars):
        return bars
    group = bars.open_time // step_ms
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    counts = np.diff(np.r_[starts, len(bars)])
    whole = counts + _absent_in(bars, group[starts], step_ms, base_ms, absent) == size
    last = starts + counts - 1
    return Bars(
        group[starts][whole] * step_ms,
        bars.open[starts][whole],
        np.maximum.reduceat(bars.high, starts)[whole],
        np.minimum.reduceat(bars.low, starts)[whole],
        bars.close[last][whole],
        np.add.reduceat(bars.volume, starts)[whole],
        np.add.reduceat(bars.turnover, starts)[whole],
    )


def _absent_in(
    bars: Bars, groups: Times, step_ms: int, base_ms: int, absent: Iterable[tuple[int, int]]
) -> np.ndarray | int:
    """Return how many bars each group lacks that are known to be absent."""
    first, end = groups.item(0) * step_ms, (groups.item(-1) + 1) * step_ms
    known = [np.arange(-(-max(start, first) // base_ms) * base_ms, min(until, end), base_ms) for start, until in absent]
    if not known:
        return 0
    # a bar that is there after all counts once
    gone = np.setdiff1d(np.concatenate(known), bars.open_time) // step_ms
    return np.searchsorted(gone, groups, side="right") - np.searchsorted(gone, groups)


def _milliseconds(times: object) -> Times:
    import pandas as pd  # noqa: PLC0415  only tables bring us here

    values = pd.Series(times)
    if pd.api.types.is_integer_dtype(values):
        return np.ascontiguousarray(values.to_numpy(np.int64))
    if not isinstance(values.dtype, pd.DatetimeTZDtype):
        raise BadData(f"candle times are {values.dtype}: expected UTC times with a time zone, or milliseconds")
    utc = values.dt.tz_convert("UTC").dt.tz_localize(None)
    return np.ascontiguousarray(utc.to_numpy("datetime64[ms]").astype(np.int64))
