"""Does the regular jobs of history."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app.names import to_keep
from bootstrap.history import History, spans_to_prune
from bootstrap.keys import backup_key
from bootstrap.pins import pins_of
from domain.candle import Series, timeframe_ms
from domain.coverage import Span
from domain.durations import DAY_MS, HOUR_MS
from domain.errors import RevenantError
from domain.schedule import JobState
from history import quality
from history.calendar import closed
from history.jobs import ALL
from persistence import backup
from persistence import sources as tables
from persistence.job_parts import DOWNLOAD
from processes.job_process import job_book

if TYPE_CHECKING:
    from domain.schedule import Job
    from domain.source import Source
    from persistence.history import Entry
    from settings import Settings


STALE = timedelta(hours=48)
WINDOWS_DAYS = {"update": 2, "fill-gaps": 30, "validate": 90}
COLLECTED_MS = 3 * HOUR_MS
LEFT_SHOWN = 5


class Done(NamedTuple):
    """How a job ended: COMPLETED, PARTIAL, FAILED or SKIPPED; what is to be said of it; what somebody should see."""

    status: str
    said: str
    alerts: list[str]


def do(settings: Settings, job: Job) -> Done:
    """Do a job now, unless somebody is doing it; how it ended is kept.

    Raises:
        Unavailable: when the database is away.
    """
    with History(settings) as history:
        book = job_book(history.database)
        if not book.claim(job):
            return Done("SKIPPED", "somebody else is doing it", [])
        try:
            done = perform(history, job)
        except RevenantError as error:
            done = Done("FAILED", str(error), [])
        book.finish(job, done.status, done.said)
        return done


def perform(history: History, job: Job) -> Done:
    """Do a job, which nobody else does: whoever asks has seen to that.

    Raises:
        Unavailable: when the database is away.
    """
    settings = history.settings
    if job.network and settings.source.practice:
        hint = "DATA_SOURCE names another for this command, such as DATA_SOURCE=bybit"
        return Done("SKIPPED", f"source {settings.source} asks nobody for history; {hint}", [])
    if job.name == "backup":
        return _backup(history)
    if job.name == "retention":
        return _retention(history)
    if job.name == "quality":
        return _quality(history, 30)
    wanted, window = kept_series(history), window_of(job, now_ms())
    if not wanted:
        return Done("SKIPPED", "no series is kept: set trading.symbols, or download one", [])
    order = list(settings.history.chain)
    filled = asyncio.run(history.fill(order, dict.fromkeys(wanted, window), job.name))
    totals = filled.statistics
    failed = [f"{one.symbol} {one.timeframe}: {said}" for one, said in filled.refused.items()]
    failed += [f"{one.series.symbol} {one.series.timeframe}: {one.errors[0]}" for one in filled.results if one.errors]
    status = "COMPLETED" if not totals["failed"] else "PARTIAL" if totals["successful"] else "FAILED"
    said = json.dumps(totals) + ("; " + "; ".join(failed[:5]) if failed else "")
    judged = _quality(history, 62) if job.name == "consolidate" else Done(status, "", [])
    return Done(status, said + judged.said, judged.alerts)


def listed(history: History) -> list[dict[str, Any]]:
    """Return the regular jobs: when each ran last and how it ended, and when it runs next. Raises Unavailable."""
    book = job_book(history.database)
    states, now = book.states(), book.now()
    rows = [
        _row(states.get(job.name, JobState(job.name)), job.about, f"{job.next_due(now):%Y-%m-%d %H:%M}") for job in ALL
    ]
    shared = sorted(name for name in states if name.startswith(DOWNLOAD))
    return rows + [_row(states[name], "a download shared out to workers", "") for name in shared]


def _row(state: JobState, about: str, following: str) -> dict[str, Any]:
    last = f"{state.started_at:%Y-%m-%d %H:%M}" if state.started_at else ""
    return {
        "job": state.name, "does": about, "last_run": last, "status": state.status, "failures": state.failures,
        "next_run": following, "said": state.said,
    }  # fmt: skip


def now_ms() -> int:
    """Return the host's time in UTC ms."""
    return int(time.time() * 1000)


def window_of(job: Job, now: int) -> Span:
    """Return the window that a job looks at."""
    if job.name == "collect":
        return Span(now // HOUR_MS * HOUR_MS - COLLECTED_MS, now)
    if job.name == "consolidate":
        first = datetime.fromtimestamp(now / 1000, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        before = (first - timedelta(days=1)).replace(day=1)
        return Span(int(before.timestamp() * 1000), int(first.timestamp() * 1000))
    return Span(now - WINDOWS_DAYS[job.name] * DAY_MS, now)


def kept_series(history: History) -> list[Series]:
    """Return the series that jobs keep complete: the settings', and those stored of the chain's first source."""
    settings = history.settings
    stored = {entry.series for entry in history.candles.entries(settings.history.chain[0]) if entry.rows}
    chosen = {Series(name, frame) for name in to_keep(history) for frame in settings.history.timeframes}
    return sorted(stored | chosen)


def _backup(history: History) -> Done:
    settings = history.settings
    key = backup_key(settings)
    made = backup.create(
        history.database, settings.data_dir, settings.backups, key, strategies=settings.strategies_folder
    )
    backup.verify(Path(made["path"]), key)
    gone = backup.prune(settings.backups, settings.backup.keep)
    left = f"; not the program's, so left out: {', '.join(made['left_out'][:LEFT_SHOWN])}" if made["left_out"] else ""
    said = f"{made['path']}, {made['bytes'] / 1e6:.1f} MB, {len(gone)} older ones deleted{left}"
    return Done("COMPLETED", said, [])


def _retention(history: History) -> Done:
    gone = 0
    entries = history.candles.entries()
    pins = pins_of(history.settings, entries)
    for entry in entries:
        for span in spans_to_prune(history.settings, entry, pins):
            gone += tables.delete(history.database, entry.source, entry.series, span)
    return Done("COMPLETED", f"{gone} old bars deleted", [])


def _quality(history: History, days: int) -> Done:
    settings, store, now = history.settings, history.candles, now_ms()
    alerts, judged = [], 0
    watched: set[Source] = {settings.source, settings.history.chain[0]}
    for entry in store.entries():
        if not entry.rows or entry.earliest is None or entry.latest is None:
            continue
        step = timeframe_ms(entry.series.timeframe)
        kept = entry.source is settings.history.chain[0]
        window = Span(max(entry.earliest, now - days * DAY_MS), _due(entry, now) if kept else entry.latest + step)
        if window.end <= window.start:
            continue
        bars = store.load(entry.source, entry.series, window)
        absent = [*store.absent(entry.source, entry.series), *closed(entry.series, window)]
        found = quality.examine(bars, window, entry.series.timeframe, absent)
        store.judge(entry.source, entry.series, found.coverage, found.counts)
        judged += 1
        name = f"{entry.source} {entry.series.symbol} {entry.series.timeframe}"
        if found.coverage.completeness < settings.history.completeness_min:
            alerts.append(
                f"{name}: {found.coverage.completeness:.2f} % complete over {days} days{_stopped(window, entry)}"
            )
        stale = entry.last_synced is not None and datetime.now(UTC) - entry.last_synced > STALE
        if stale and entry.source in watched and not entry.source.practice:
            alerts.append(f"{name}: last fetched {entry.last_synced:%Y-%m-%d %H:%M} UTC, more than 48 h ago")
    if not judged:
        return Done("SKIPPED", "no series is stored that could be judged: data download or import brings some in", [])
    return Done("COMPLETED", f"{judged} series judged, {len(alerts)} alerts", alerts)


def _due(entry: Entry, now: int) -> int:
    """Return up to when a series that is kept complete should reach: now, as far as that is collected, or its end."""
    assert entry.latest is not None
    step = timeframe_ms(entry.series.timeframe)
    closed_by = (min(now - COLLECTED_MS, entry.delisted or now) // step) * step
    return max(entry.latest + step, closed_by)


def _stopped(window: Span, entry: Entry) -> str:
    """Say since when a series has no bar any more, nothing where it goes on."""
    assert entry.latest is not None
    end = entry.latest + timeframe_ms(entry.series.timeframe)
    return f"; nothing since {datetime.fromtimestamp(end / 1000, UTC):%Y-%m-%d %H:%M}" if end < window.end else ""
