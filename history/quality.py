"""How complete a series is, and what in it cannot be believed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from domain.coverage import Span, cover, merged
from domain.durations import DAY_MS
from domain.funding import FundingGap, describe, gaps
from history.steps import steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.candle import Bars, Floats, Times
    from domain.coverage import Coverage
    from domain.funding import Told

AROUND_BARS = 50
"""How many bars before and after tell what is usual."""
SPIKE_TIMES = 12.0
SPIKE_LEAST = 0.03
"""A spike leaves its neighbours by so many times the usual move, and by this fraction of the price at least."""
RUN_BARS = 10
"""From so many bars in a row on, a standing price or an empty volume is told."""
COMPARED_BARS = 96
DISAGREEMENT = 0.005
"""Stretches of so many common bars whose median close differs by this fraction are another market's."""
ANOMALIES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something that cannot be believed, or should be looked at: what, from when to when, and in numbers."""

    kind: str
    span: Span
    detail: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two sources agree on their common bars; differences of closes as fractions of the price."""

    bars: int
    equal: int
    median: float
    p99: float
    largest: float
    largest_at: int
    volume_ratio: float

    @property
    def told(self) -> str:
        """The figures in words."""
        return (
            f"{self.bars} common bars, {self.equal} with equal closes; closes differ by {self.median:.4%} (median), "
            f"{self.p99:.4%} (p99), {self.largest:.4%} at most; volume {self.volume_ratio:.3f} times"
        )


@dataclass(frozen=True, slots=True)
class Payments:
    """How complete the funding of a perpetual is: what is stored, and where payments are missing."""

    stored: int
    gaps: list[FundingGap]
    told: str


@dataclass(frozen=True, slots=True)
class Quality:
    """What was found of one series."""

    coverage: Coverage
    anomalies: list[Anomaly] = field(default_factory=list)
    periods: dict[str, float] = field(default_factory=dict)
    agreement: Agreement | None = None
    funding: Payments | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Anomalies by kind."""
        kinds = [anomaly.kind for anomaly in self.anomalies]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def examine(bars: Bars, window: Span, timeframe: str, absent: Sequence[Span], other: Bars | None = None) -> Quality:
    """Judge stored bars of a window; ``other`` are bars of the same market from another source, to compare with."""
    coverage = cover(bars.open_time, window, timeframe, absent)
    step = coverage.step
    anomalies = [*inconsistent(bars, step), *spikes(bars, step), *standing(bars, step), *empty(bars, step)]
    anomalies += [_at(bars, one.at, step, one.kind, one.detail) for one in steps(bars, step)]
    agreement = None
    if other is not None:
        agreement = compare(bars, other)
        anomalies += foreign(bars, other, step)
    anomalies.sort(key=lambda one: one.span)
    return Quality(coverage, anomalies[:ANOMALIES_MAX], by_period(bars, coverage, timeframe, absent), agreement)


def by_period(bars: Bars, coverage: Coverage, timeframe: str, absent: Sequence[Span]) -> dict[str, float]:
    """Return the completeness of every month (``2024-03``) and of the last 30, 90 and 365 days of the window."""
    window, day = coverage.window, DAY_MS
    if window.end <= window.start:
        return {}
    first = np.datetime64(window.start, "ms").astype("datetime64[M]")
    months = np.arange(first, np.datetime64(window.end - 1, "ms").astype("datetime64[M]") + 1)
    spans = {
        str(month): Span(*((month + more).astype("datetime64[ms]").astype(np.int64) for more in (0, 1)))
        for month in months
    }
    spans |= {f"last {days} days": Span(window.end - days * day, window.end) for days in (30, 90, 365)}
    cut = {name: Span(max(int(s.start), window.start), min(int(s.end), window.end)) for name, s in spans.items()}
    return {name: cover(bars.open_time, span, timeframe, absent).completeness for name, span in cut.items()}


def inconsistent(bars: Bars, step: int) -> list[Anomaly]:
    """Find bars that no market can have made: prices that do not fit together, times off the grid."""
    prices = np.vstack((bars.open, bars.high, bars.low, bars.close))
    if not len(bars):
        return []
    wrong = (bars.high < prices.max(axis=0)) | (bars.low > prices.min(axis=0)) | (prices.min(axis=0) <= 0)
    off = bars.open_time % step != 0
    return [
        *(
            _at(bars, i, step, "ohlc_inconsistent", "high and low do not enclose open and close")
            for i in np.flatnonzero(wrong).tolist()
        ),
        *(_at(bars, i, step, "off_grid", "does not open on the grid") for i in np.flatnonzero(off).tolist()),
    ]


def spikes(bars: Bars, step: int) -> list[Anomaly]:
    """Find single bars that leave their neighbours and come back: a close, or a wick far beyond both of them."""
    if len(bars) < AROUND_BARS:
        return []
    logs = np.log(np.vstack((bars.close, bars.high, bars.low)))
    middle = (logs[0][:-2] + logs[0][2:]) / 2
    away = np.max(np.abs(logs[:, 1:-1] - middle), axis=0)
    usual = _rolling_median(np.abs(np.diff(logs[0])), AROUND_BARS)[1:]
    came_back = np.abs(logs[0][2:] - logs[0][:-2]) < away / 3
    near = np.diff(bars.open_time)
    spiking = (away > SPIKE_LEAST) & (away > SPIKE_TIMES * usual) & came_back & (near[1:] == step) & (near[:-1] == step)
    return [
        _at(bars, i + 1, step, "spike", f"{np.expm1(away[i]):.1%} from its neighbours, which is "
            f"{away[i] / max(usual[i], 1e-9):.0f} times the usual move")
        for i in np.flatnonzero(spiking).tolist()
    ]  # fmt: skip


def standing(bars: Bars, step: int) -> list[Anomaly]:
    """Find runs of bars with one and the same price although volume was traded."""
    if not len(bars):
        return []
    flat = (bars.high == bars.low) & (bars.volume > 0)
    same = np.r_[False, (bars.close[1:] == bars.close[:-1]) & (np.diff(bars.open_time) == step)]
    starts, ends = _runs(flat, same)
    return [
        _over(bars, a, b, step, "frozen", f"{b - a + 1} bars at {bars.close[a]:g} with volume")
        for a, b in zip(starts, ends, strict=True)
    ]


def empty(bars: Bars, step: int) -> list[Anomaly]:
    """Find runs of bars in which nothing was traded."""
    if not len(bars):
        return []
    follows = np.r_[False, np.diff(bars.open_time) == step]
    starts, ends = _runs(bars.volume == 0, follows)
    return [
        _over(bars, a, b, step, "zero_volume", f"{b - a + 1} bars without volume")
        for a, b in zip(starts, ends, strict=True)
    ]


def compare(bars: Bars, other: Bars) -> Agreement | None:
    """Return how two sources agree on their common bars; None when they have none."""
    _, mine, theirs = np.intersect1d(bars.open_time, other.open_time, assume_unique=True, return_indices=True)
    if not len(mine):
        return None
    differ = np.abs(bars.close[mine] / other.close[theirs] - 1)
    worst = int(np.argmax(differ))
    volume = float(other.volume[theirs].sum())
    return Agreement(
        len(mine), int((differ == 0).sum()), float(np.median(differ)), float(np.percentile(differ, 99)),
        float(differ[worst]), int(bars.open_time[mine][worst]),
        float(bars.volume[mine].sum()) / volume if volume else float("nan"),
    )  # fmt: skip


def foreign(bars: Bars, other: Bars, step: int) -> list[Anomaly]:
    """Find stretches that another market, or a test net, has made, by what another source tells of the same time.

    Two tests per stretch: the closes are far apart; or the stretches before and after equal the other source bar for
    bar and this one does not (a splice of two markets whose prices are close).
    """
    _, mine, theirs = np.intersect1d(bars.open_time, other.open_time, assume_unique=True, return_indices=True)
    if len(mine) < 2:  # noqa: PLR2004  nothing to compare
        return []
    differ = np.abs(bars.close[mine] / other.close[theirs] - 1)
    edges = range(0, len(mine), COMPARED_BARS)
    medians = np.array([np.median(differ[i : i + COMPARED_BARS]) for i in edges])
    equal = np.array([(differ[i : i + COMPARED_BARS] == 0).mean() for i in edges])
    far = medians > DISAGREEMENT
    spliced = ~far & (equal < 0.5) & (bool((equal > 0.95).any()))  # noqa: PLR2004  mostly different; nearly all equal
    anomalies = []
    for kind, which, why in (
        ("wrong_market", far, "closes differ by"),
        ("spliced", spliced, "bars equal elsewhere, here"),
    ):
        spans = merged(
            Span(int(bars.open_time[mine[i]]), int(bars.open_time[mine[min(i + COMPARED_BARS, len(mine)) - 1]]) + step)
            for i, bad in zip(edges, which, strict=True) if bad
        )  # fmt: skip
        for span in spans:
            inside = (bars.open_time[mine] >= span.start) & (bars.open_time[mine] < span.end)
            anomalies.append(Anomaly(kind, span, f"{why} {np.median(differ[inside]):.3%} (median)"))
    return anomalies


def as_rows(quality: Quality) -> dict[str, Any]:
    """Return what was found as plain values."""
    coverage = quality.coverage
    return {
        "window": coverage.window._asdict(), "expected": coverage.expected, "actual": coverage.actual,
        "absent": coverage.absent, "missing": coverage.lacking, "completeness": round(coverage.completeness, 4),
        "missing_ranges": [
            [span.start, span.end, (span.end - span.start) // coverage.step] for span in coverage.missing
        ],
        "anomalies": quality.counts,
        "anomaly_list": [
            {"kind": anomaly.kind, "start": anomaly.span.start, "end": anomaly.span.end, "detail": anomaly.detail}
            for anomaly in quality.anomalies
        ],
        "periods": {name: round(value, 4) for name, value in quality.periods.items()},
        "agreement": asdict(quality.agreement) if quality.agreement else None,
        "funding": _as_row(quality.funding) if quality.funding else None,
    }  # fmt: skip


def payments_of(times: Times, rates: Floats, window: Span, due: Told = ()) -> Payments:
    """Judge funding payments (UTC ms, ascending) of a window; ``due`` is what the source said of their intervals."""
    absent = gaps(times, rates, window, due)
    summary = describe(times, absent) if len(times) else "none is stored"
    return Payments(len(times), absent, summary)


def _as_row(found: Payments) -> dict[str, Any]:
    return {
        "stored": found.stored, "missing": sum(gap.missing for gap in found.gaps), "said": found.told,
        "missing_ranges": [[*gap.span, gap.missing, gap.interval] for gap in found.gaps],
    }  # fmt: skip


def _rolling_median(values: Floats, around: int) -> Floats:
    """Return for each value the median of those around it, by blocks: usual is not what one bar makes it."""
    size = 2 * around
    padded = np.concatenate((values, values[-(size - len(values) % size) :])) if len(values) % size else values
    blocks = np.median(padded[: len(padded) // size * size].reshape(-1, size), axis=1)
    return np.repeat(blocks, size)[: len(values)]


def _runs(wanted: np.ndarray, follows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return first and last index of runs of wanted bars, each following the one before, of RUN_BARS or more."""
    begins = wanted & ~(np.r_[False, wanted[:-1]] & follows)
    goes_on = np.r_[follows[1:] & wanted[1:], False]
    starts, ends = np.flatnonzero(begins), np.flatnonzero(wanted & ~goes_on)
    long = ends - starts + 1 >= RUN_BARS
    return starts[long], ends[long]


def _at(bars: Bars, i: int, step: int, kind: str, detail: str) -> Anomaly:
    return _over(bars, i, i, step, kind, detail)


def _over(bars: Bars, first: int, last: int, step: int, kind: str, detail: str) -> Anomaly:
    return Anomaly(kind, Span(int(bars.open_time[first]), int(bars.open_time[last]) + step), detail)
