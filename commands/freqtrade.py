"""Commands that give stored candles to freqtrade."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from commands.chosen import Symbols, Timeframes, chosen, window_of
from commands.shared import DEGRADED, FAILED, OK, AsJson, Config, load, show
from commands.times import Days, Since, Timerange, Until, told, window
from domain.coverage import Span
from domain.lean import lazily
from domain.source import Source
from formats.freqtrade import EXTRAS_TIMEFRAME, KINDS
from history import export as exporting
from history.calendar import closed
from history.port import PERPETUAL, market_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bootstrap import history as opening
    from bootstrap import rules
    from bootstrap.history import History
    from domain.candle import Series
    from domain.funding import Told
    from persistence.history import Entry
else:
    # --help of a group waits for none of these
    opening = lazily("bootstrap.history")
    rules = lazily("bootstrap.rules")

Folder = Annotated[Path, typer.Option("--out", help="freqtrade's data folder; the exchange's own lies below it.")]


def export(
    config: Config = None,
    as_json: AsJson = False,
    source: Annotated[Source, typer.Option("-s", "--source", help="Whose bars.")] = Source.BINANCE,
    symbols: Symbols = None,
    timeframes: Timeframes = None,
    since: Since = "",
    until: Until = "",
    timerange: Timerange = "",
    days: Days = None,
    out: Folder = Path("user_data/data"),
    kind: Annotated[str, typer.Option("--format", help=f"One of {', '.join(KINDS)}.")] = "feather",
    mode: Annotated[str, typer.Option("--trading-mode", help="spot or futures.")] = "spot",
    allow_gaps: Annotated[bool, typer.Option("--allow-gaps", help="Export incomplete ranges as they are.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Compare the exported files with their manifest.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Delete the exported files, and nothing else.")] = False,
) -> None:
    """Write candle files that freqtrade reads, with mark prices and funding for futures, and a manifest."""
    settings = load(config, trading=False)
    folder = out / source.value
    if verify:
        amiss = exporting.verify(folder)
        show({"folder": str(folder), "files": len(exporting.read_manifest(folder)), "amiss": amiss}, as_json)
        raise typer.Exit(FAILED if amiss else OK)
    if clean:
        show({"folder": str(folder), "deleted": exporting.clean(folder)}, as_json)
        return
    if mode not in {"spot", "futures"}:
        raise typer.BadParameter(f"{mode}: write spot or futures", param_hint="--trading-mode")
    asked = window(since, until, timerange, days)
    with opening.History(settings) as history, Console(stderr=True).status("reading") as shown:
        entries = [
            entry for entry in chosen(history.candles, source, symbols, timeframes)
            if symbols or (market_of(entry.series.symbol) == PERPETUAL) == (mode == "futures")
        ]  # fmt: skip
        spans = {entry.series: window_of(entry, asked) for entry in entries}

        due = rules.funding_told(settings, source)

        def read(entry: Entry) -> exporting.Material:
            shown.update(f"reading {entry.series.symbol} {entry.series.timeframe}")
            return _material(history, entry, spans, due.get(entry.series.symbol, ()))

        materials = exporting.side_by_side(read, entries)
        shown.update("writing")
        written = exporting.export(materials, folder, kind, mode, allow_gaps=allow_gaps)
    rows = [{**asdict(one), "first": told(one.first), "last": told(one.last)} for one in written]
    if as_json:
        show({"folder": str(folder), "files": rows}, as_json)
    else:
        shown_rows = [{**row, "sha256": row["sha256"][:12]} for row in rows]
        show([{name: row[name] for name in row if name != "warnings"} for row in shown_rows], as_json)
        for warning in (one for row in written for one in row.warnings):
            print(f"warning: {warning}")
    raise typer.Exit(DEGRADED if any(one.missing for one in written) else OK)


def _material(history: History, entry: Entry, spans: Mapping[Series, Span], due: Told) -> exporting.Material:
    source, series = entry.source, entry.series
    span = spans[series]
    bars = history.candles.load(source, series, span)
    absent = [*history.candles.absent(source, series), *closed(series, span)]
    if market_of(series.symbol) != PERPETUAL:
        return exporting.Material(series, span, bars, absent)
    # one file of each per symbol serves all its timeframes
    of_symbol = [one for name, one in spans.items() if name.symbol == series.symbol]
    whole = Span(min(one.start for one in of_symbol), max(one.end for one in of_symbol))
    mark = history.marks.load(source, series._replace(timeframe=EXTRAS_TIMEFRAME), whole)
    funding = history.funding.load(source, series.symbol, whole)
    return exporting.Material(series, span, bars, absent, mark, funding, due)
