"""The command that judges stored candles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.chosen import OneSource, Symbols, Timeframes, Top, chosen, highest, judged_window
from commands.progress import progress_bar
from commands.shared import DEGRADED, FAILED, OK, AsJson, Config, load, show
from commands.times import Days, Since, Timerange, Until, Years, told, window
from domain.candle import Series
from domain.coverage import Span
from domain.durations import HOUR_MS
from domain.lean import lazily
from domain.source import MERGE_ORDER, Source
from history import pictures
from history import quality as judging
from history.calendar import closed
from history.port import PERPETUAL, market_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bootstrap import history as opening
    from bootstrap import rules
    from bootstrap.history import History
    from persistence import candle_reader as reading
    from persistence.history import Entry
else:
    # --help of a group waits for none of these
    reading = lazily("persistence.candle_reader")
    opening = lazily("bootstrap.history")
    rules = lazily("bootstrap.rules")

MERGED = "best"
GAPS_SHOWN = 10
"""So many gaps in funding are listed for people."""

Judged = dict[tuple[str, Series], judging.Quality]


def quality(
    config: Config = None,
    as_json: AsJson = False,
    source: OneSource = None,
    symbols: Symbols = None,
    timeframes: Timeframes = None,
    since: Since = "",
    until: Until = "",
    timerange: Timerange = "",
    days: Days = None,
    years: Years = None,
    top: Top = 0,
    against: Annotated[Source | None, typer.Option(help="Compare with the same series of another source.")] = None,
    merged: Annotated[bool, typer.Option("--merged", help="Judge what all real sources have together.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw the coverage into this svg file.")] = None,
) -> None:
    """Judge stored series: expected, present, every missing range, and what in them cannot be believed."""
    if merged and source is not None:
        raise typer.BadParameter("is about all sources: leave --source out", param_hint="--merged")
    settings, asked = load(config, trading=False), window(since, until, timerange, days, years)
    found: Judged = {}
    with opening.History(settings) as history, progress_bar(as_json, "series") as bar:
        entries = highest(history, chosen(history.candles, source, symbols, timeframes), top)
        groups = _by_series(entries) if merged else [[entry] for entry in entries]
        for group in bar.track(groups, description="judging"):
            if merged:
                found[MERGED, group[0].series] = _judge_merged(history, group, asked, against)
            else:
                found[group[0].source.value, group[0].series] = _judge(history, group[0], asked, against)
    if plot is not None:
        pictures.draw_coverage(plot, {" ".join((name, *series)): one.coverage for (name, series), one in found.items()})
    if as_json:
        rows = [{"source": name, **series._asdict(), **judging.as_rows(one)} for (name, series), one in found.items()]
        show(rows, as_json)
    else:
        for (name, series), one in found.items():
            _tell(" ".join((name, *series)), one)
    poor = any(
        one.coverage.completeness < settings.history.completeness_min
        or (one.funding is not None and one.funding.stored and one.funding.gaps)
        for one in found.values()
    )
    raise typer.Exit(FAILED if not found else DEGRADED if poor else OK)


def _by_series(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Return the entries of real sources, those of a series together."""
    groups: dict[Series, list[Entry]] = {}
    for entry in entries:
        if entry.source in MERGE_ORDER:
            groups.setdefault(entry.series, []).append(entry)
    return list(groups.values())


def _judge(history: History, entry: Entry, asked: Span, against: Source | None) -> judging.Quality:
    span, store = judged_window(entry, asked), history.candles
    bars = store.load(entry.source, entry.series, span)
    absent = [*store.absent(entry.source, entry.series), *closed(entry.series, span)]
    other = store.load(against, entry.series, span) if against is not None else None
    found = judging.examine(bars, span, entry.series.timeframe, absent, other)
    store.judge(entry.source, entry.series, found.coverage, found.counts)
    if market_of(entry.series.symbol) == PERPETUAL and history.funding.covers(entry.source):
        paid = history.funding.load(entry.source, entry.series.symbol, span)
        due = rules.funding_told(history.settings, entry.source).get(entry.series.symbol, ())
        found = replace(found, funding=judging.payments_of(*paid, span, due))
    return found


def _judge_merged(history: History, group: list[Entry], asked: Span, against: Source | None) -> judging.Quality:
    """Judge the best bars of a series; absent is what any of its sources has confirmed not to have, and none has."""
    spans, series, store = [judged_window(entry, asked) for entry in group], group[0].series, history.candles
    span = Span(min(one.start for one in spans), max(one.end for one in spans))
    bars, _ = reading.read_best(history.database, MERGE_ORDER, series, span)
    absent = [*closed(series, span), *(hole for entry in group for hole in store.absent(entry.source, series))]
    other = store.load(against, series, span) if against is not None else None
    return judging.examine(bars, span, series.timeframe, absent, other)


def _tell(name: str, found: judging.Quality) -> None:
    held = found.coverage
    print(
        f"{name}: {told(held.window.start)} to {told(held.window.end)}: "
        f"expected {held.expected}, actual {held.actual}, "
        f"missing {held.lacking} in {len(held.missing)} ranges, absent {held.absent}, "
        f"completeness {held.completeness:.4f}%"
    )
    for span in held.missing:
        print(f"  missing {told(span.start)} to {told(span.end)}: {(span.end - span.start) // held.step} bars")
    for kind, count in found.counts.items():
        first = next(one for one in found.anomalies if one.kind == kind)
        print(f"  {kind}: {count}, first {told(first.span.start)}: {first.detail}")
    if found.funding is not None and found.funding.gaps:
        print(f"  funding: {found.funding.told}")
        for gap in found.funding.gaps[:GAPS_SHOWN]:
            every = gap.interval // HOUR_MS
            print(f"    {told(gap.span.start)} to {told(gap.span.end)}: {gap.missing} missing, due every {every} h")
        if len(found.funding.gaps) > GAPS_SHOWN:
            print(f"    and {len(found.funding.gaps) - GAPS_SHOWN} more; --json lists them all")
    if found.agreement is not None:
        print(f"  compared: {found.agreement.told}")
