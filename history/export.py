"""Exports stored candles to freqtrade, whole or not at all, with a manifest of what was written."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from domain.candle import Bars, Series
from domain.coverage import Span, cover, missing
from domain.durations import HOUR_MS
from domain.errors import BadData, Rejected
from domain.funding import describe, gaps
from formats import freqtrade
from history.port import PERPETUAL, SPOT, market_of
from history.steps import describe as describe_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from domain.candle import Times
    from domain.funding import Told

MANIFEST = "revenant-manifest.json"
AT_ONCE = 2
"""Series that are read or packed at the same time: while the database or a packer works, Python has nothing to do."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Material:
    """What is stored of one series for a window: its bars, confirmed absences, and for perpetuals mark and funding.

    ``due`` is what the source said of the funding's interval.
    """

    series: Series
    window: Span
    bars: Bars
    absent: Sequence[Span]
    mark: Bars | None = None
    funding: tuple[Times, np.ndarray] | None = None
    due: Told = ()


@dataclass(frozen=True, slots=True)
class Written:
    """One file of an export; times are UTC ms.

    ``warnings`` are what whoever trades on it should know: a split that nobody adjusted for, a ticker taken over.
    """

    file: str
    symbol: str
    timeframe: str
    rows: int
    first: int
    last: int
    missing: int
    absent: int
    sha256: str
    warnings: tuple[str, ...] = ()


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return what work makes of each item, in their order; raises what the first of them to fail raises."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, items))


def check(material: Material) -> str:
    """Return why a series is not fit to be exported, "" when it is whole."""
    series, window = material.series, material.window
    name = f"{series.symbol} {series.timeframe}"
    coverage = cover(material.bars.open_time, window, series.timeframe, material.absent)
    if not len(material.bars):
        return f"{name}: nothing is stored of it"
    if coverage.missing:
        first = coverage.missing[0]
        return f"{name}: {coverage.lacking} bars are missing in {len(coverage.missing)} ranges, the first {_day(first)}"
    if market_of(series.symbol) != PERPETUAL:
        return ""
    if material.mark is None or material.funding is None:
        return f"{name}: has neither mark prices nor funding"
    holes = missing(material.mark.open_time, window, HOUR_MS)
    if holes:
        return f"{name}: mark prices are missing, the first {_day(holes[0])}"
    unpaid = gaps(*material.funding, window, material.due)
    if unpaid:
        return f"{name}: funding is missing: {describe(material.funding[0], unpaid)}, the first {_day(unpaid[0].span)}"
    return ""


def export(
    materials: Sequence[Material], folder: Path, kind: str, mode: str, *, allow_gaps: bool = False
) -> list[Written]:
    """Write the files of one exchange below its folder, all on disk before any is replaced, the manifest last.

    Raises:
        Rejected: when a series is incomplete, or of the other trading mode; then nothing is written.
        BadData: when the format is not known.
    """
    wanted = PERPETUAL if mode == "futures" else SPOT
    for one in materials:
        if market_of(one.series.symbol) != wanted:
            raise Rejected(f"{one.series.symbol}: is no {wanted} market; trading mode {mode} has those only")
    problems = [] if allow_gaps else [said for one in materials if (said := check(one))]
    if problems:
        hint = "fill them with data fill-gaps and data download --marks, or export them as they are with --allow-gaps"
        raise Rejected("\n".join([*problems, hint]))
    contents: dict[str, tuple[bytes, Written]] = {}
    for files in side_by_side(partial(_files, kind=kind), materials):
        contents |= {name: (content, written) for name, content, written in files}
    _replace({folder / name: content for name, (content, _) in contents.items()})
    kept = {entry["file"]: entry for entry in read_manifest(folder) if entry["file"] not in contents}
    entries = [asdict(written) for _, written in contents.values()] + list(kept.values())
    body = {"files": sorted(entries, key=lambda entry: str(entry["file"]))}
    _replace({folder / MANIFEST: json.dumps(body, indent=1).encode()})
    return [written for _, written in contents.values()]


def verify(folder: Path) -> list[str]:
    """Return what is amiss with an export: files that are gone, or not what was written."""
    entries = read_manifest(folder)
    if not entries:
        return [f"{folder}: no {MANIFEST} there, or it names no file"]
    amiss = []
    for entry in entries:
        path = folder / entry["file"]
        if not path.exists():
            amiss.append(f"{entry['file']}: is gone")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            amiss.append(f"{entry['file']}: is not what was written")
    return amiss


def clean(folder: Path) -> int:
    """Delete the files that a manifest names, and it; return how many files went. Others are left alone."""
    gone = 0
    for entry in read_manifest(folder):
        path = folder / entry["file"]
        gone += path.exists()
        path.unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    return gone


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """Return what a manifest names, nothing when there is none. Raises BadData when it is unreadable."""
    path = folder / MANIFEST
    if not path.exists():
        return []
    try:
        files = json.loads(path.read_bytes())["files"]
        return [{**entry, "file": str(entry["file"]), "sha256": str(entry["sha256"])} for entry in files]
    except (ValueError, KeyError, TypeError) as error:
        raise BadData(f"{path}: is no manifest; delete it and export anew") from error


def _files(one: Material, kind: str) -> list[tuple[str, bytes, Written]]:
    symbol, timeframe = one.series
    coverage = cover(one.bars.open_time, one.window, timeframe, one.absent)
    futures = market_of(symbol) == PERPETUAL
    name = freqtrade.file_name(symbol, timeframe, kind, "futures" if futures else "")
    content = freqtrade.encode_bars(one.bars, kind)
    bars = _written(name, one.series, one.bars.open_time, content, coverage.lacking, coverage.absent)
    files = [(name, content, replace(bars, warnings=tuple(describe_steps({one.series: one.bars}))))]
    extra = Series(symbol, freqtrade.EXTRAS_TIMEFRAME)
    if one.mark is not None and len(one.mark):
        name = freqtrade.file_name(*extra, kind, "mark")
        content = freqtrade.encode_bars(one.mark, kind)
        holes = missing(one.mark.open_time, one.window, HOUR_MS)
        lacking = sum((span.end - span.start) // HOUR_MS for span in holes)
        files.append((name, content, _written(name, extra, one.mark.open_time, content, lacking, 0)))
    if one.funding is not None and len(one.funding[0]):
        name = freqtrade.file_name(*extra, kind, "funding_rate")
        content = freqtrade.encode_funding(*one.funding, kind)
        unpaid = gaps(*one.funding, one.window, one.due)
        lacking = sum(gap.missing for gap in unpaid)
        warnings = (f"funding of {symbol}: {describe(one.funding[0], unpaid)}",) if unpaid else ()
        written = _written(name, extra, one.funding[0], content, lacking, 0)
        files.append((name, content, replace(written, warnings=warnings)))
    return files


def _written(name: str, series: Series, times: Times, content: bytes, lacking: int, absent: int) -> Written:
    ends = (int(times[0]), int(times[-1])) if len(times) else (0, 0)
    return Written(name, *series, len(times), *ends, lacking, absent, hashlib.sha256(content).hexdigest())


def _replace(contents: dict[Path, bytes]) -> None:
    """Put files in place, none of them before all are on disk."""
    beside = {path: path.with_name(f".{path.name}.new") for path in contents}
    with ExitStack() as opened:
        files = []
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            file = opened.enter_context(beside[path].open("wb"))
            file.write(content)
            file.flush()
            files.append(file)
        for file in files:
            os.fsync(file.fileno())
    for path, new in beside.items():
        new.replace(path)


def _day(span: Span) -> str:
    start, end = (str(np.datetime64(at, "ms").astype("datetime64[m]")).replace("T", " ") for at in span)
    return f"{start} to {end}"
