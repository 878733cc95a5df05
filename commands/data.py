"""Commands about stored candles: bring them in, look at them, mend them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from commands.chosen import OneSource, Symbols, Timeframes, Top, highest, several, window_of
from commands.chosen import chosen as chosen_series
from commands.freqtrade import export
from commands.importing import import_files
from commands.progress import progress_bar
from commands.quality import quality
from commands.rules import rules
from commands.shared import DEGRADED, FAILED, OK, AsJson, Config, Yes, load, show
from commands.times import FOREVER, Days, Since, Timerange, Until, Years, told, window
from domain.candle import Series, timeframe_ms
from domain.coverage import Span, known_timeframe
from domain.durations import DAY_MS
from domain.errors import ConfigError, RevenantError
from domain.lean import lazily
from domain.source import Source
from domain.symbols import in_full
from history.jobs import ALL, named
from history.port import EQUITY, PERPETUAL, market_of
from history.symbols import choose, hint, unlisted

if TYPE_CHECKING:
    from app import cluster_view
    from app import jobs as working
    from app import names as naming
    from bootstrap import history as opening
    from bootstrap import pins as pinning
    from bootstrap.history import History
    from history.symbols import Market
    from persistence import cluster_state
    from persistence import sources as tables
    from persistence.history import Entry
    from persistence.job_parts import Progress
    from settings import Settings
else:
    # --help of a group waits for none of these
    cluster_state = lazily("persistence.cluster_state")
    tables = lazily("persistence.sources")
    cluster_view = lazily("app.cluster_view")
    working = lazily("app.jobs")
    naming = lazily("app.names")
    opening = lazily("bootstrap.history")
    pinning = lazily("bootstrap.pins")

app = typer.Typer(no_args_is_help=True)

app.command("import")(import_files)
app.command("export")(export)
app.command("quality")(quality)
app.command("rules")(rules)

MONTH_DAYS = 30
_STOCK_PRICES = {
    "adjusted": "prices and volumes are adjusted for splits", "raw": "prices are as traded, splits are steps in them"
}  # fmt: skip

MarketKind = Annotated[str, typer.Option("--market", help="perpetual or spot.")]
Everything = Annotated[bool, typer.Option("--all", help="Every active market against USDT.")]
Core = Annotated[bool, typer.Option("--core", help="The thirty coins that are always wanted.")]


@app.command()
def status(config: Config = None, as_json: AsJson = False, source: OneSource = None) -> None:
    """Show every stored series: rows, span, last sync; what was fetched last; the regular jobs."""
    with opening.History(load(config, trading=False)) as history:
        store, held_jobs = history.candles, working.listed(history)
        entries = [entry for entry in store.entries(source) if entry.rows or entry.listed]
        logged, refused = store.logged(), store.quarantined(source)
    rows = [
        {"source": one.source.value, **one.series._asdict(), "rows": one.rows, "earliest": told(one.earliest),
         "latest": told(one.latest), "last_synced": f"{one.last_synced:%Y-%m-%d %H:%M}" if one.last_synced else ""}
        for one in entries
    ]  # fmt: skip
    if as_json:
        show({"series": rows, "log": logged, "quarantined": len(refused), "jobs": held_jobs}, as_json)
        return
    show(rows, as_json)
    for line in logged[:10]:
        print(
            f"{line['started_at']:%Y-%m-%d %H:%M} {line['sync_type']:8} {line['status']:9} {line['source']:13} "
            f"{line['symbol']} {line['timeframe']} +{line['records_added']} {line['error_message'][:80]}"
        )
    if refused:
        print(f"{len(refused)} rows are set aside as impossible; data quarantine tells why")
    for job in held_jobs:
        failing = f", failed {job['failures']} times in a row" if job["failures"] else ""
        last = f"last {job['last_run']} {job['status']}" if job["last_run"] else "never run"
        print(f"job {job['job']:12} {last}, next {job['next_run']}{failing}")


@app.command("jobs")
def list_jobs(config: Config = None, as_json: AsJson = False) -> None:
    """Show the regular jobs: when each ran last and how it ended, and when it runs next."""
    with opening.History(load(config, trading=False)) as history:
        rows = working.listed(history)
    show(rows if as_json else [{**row, "said": str(row["said"])[:70]} for row in rows], as_json)


@app.command("workers")
def list_workers(config: Config = None, as_json: AsJson = False) -> None:
    """Show who works on jobs through Celery, the beat, and what waits; 3 when any of them is missing."""
    with opening.History(load(config, trading=False)) as history:
        seen = cluster_view.seen(history)
    if as_json:
        show(seen, as_json)
    else:
        _show_workers(seen)
    beat, workers = seen["beat"], seen["workers"]
    silent = beat is None or beat["seen_s"] > cluster_state.BEAT_S
    raise typer.Exit(DEGRADED if silent or not workers or any(one["lost"] for one in workers) else OK)


def _show_workers(seen: dict[str, Any]) -> None:
    beat, waiting = seen["beat"], seen["waiting"]
    show([{**one, "seen_s": round(one["seen_s"])} for one in seen["workers"]], as_json=False)
    print(
        f"beat: {beat['name']}, seen {beat['seen_s']:.0f} s ago, its clock is {beat['drift_s']:.0f} s ahead"
        if beat else "beat: none was seen"
    )  # fmt: skip
    age = f", for up to {seen['oldest_s']:.0f} s" if waiting else ""
    print(f"{seen['tasks']} tasks wait; of the parts of jobs {seen['running']} are being done, {waiting} wait{age}")
    if seen["reason"]:
        print(seen["reason"])


@app.command("run")
def run_job(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(job.name for job in ALL)}.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Do one of the regular jobs now, unless somebody is doing it; 3 when there was nothing to do."""
    job = named(name)
    if job is None:
        raise ConfigError(f"job {name}: there is none; there are {', '.join(one.name for one in ALL)}")
    done = working.do(load(config, trading=False), job)
    show({"job": name, **done._asdict()}, as_json)
    raise typer.Exit({"FAILED": FAILED, "PARTIAL": DEGRADED, "SKIPPED": DEGRADED}.get(done.status, OK))


@app.command()
def quarantine(config: Config = None, as_json: AsJson = False, source: OneSource = None) -> None:
    """Show rows that were refused, and why."""
    with opening.History(load(config, trading=False)) as history:
        rows = history.candles.quarantined(source)
    names = ("source", "symbol", "timeframe", "open_time", "reason", "body")
    show(rows if as_json else [{name: row[name] for name in names} for row in rows], as_json)


@app.command()
def download(
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
    market: MarketKind = PERPETUAL,
    top: Top = 0,
    core: Core = False,
    everything: Everything = False,
    marks: Annotated[bool, typer.Option("--marks", help="Also mark prices and funding, for futures exports.")] = False,
    celery: Annotated[bool, typer.Option("--celery", help="On Celery workers, of any number of machines.")] = False,
) -> None:
    """Fetch what is missing of a range; it can be killed at any time, and goes on where it was."""
    settings = load(config, trading=False)
    asked = window(since, until, timerange, days, years)
    if not asked.start:
        asked = Span(int(time.time() * 1000) - settings.history.months * MONTH_DAYS * DAY_MS, asked.end)
    order = [source] if source is not None else list(settings.history.chain)
    with opening.History(settings) as history:
        if top or core or everything:
            known = _markets(history, order[0], refresh=False)
            found = choose(known, top=None if everything else top, core=core, kind=market)
            symbols = [one.symbol for one in found]
            if core and (absent := unlisted(found)):
                Console(stderr=True, soft_wrap=True).print(f"{order[0]} lists no {market} of {', '.join(absent)}")
        wanted = _wanted(history, order[0], symbols, timeframes, market)
        for said in filter(None, (hint(name) for name in sorted({series.symbol for series in wanted}))):
            Console(stderr=True).print(said)
        if order[0].stocks and any(market_of(series.symbol) == EQUITY for series in wanted):
            prices = history.settings.history.stock_prices
            Console(stderr=True).print(f"stocks: {_STOCK_PRICES[prices]} (history.stock_prices: {prices})")
        if marks:
            _fill_perpetual(history, order[0], wanted, asked, as_json)
        if celery:
            _share(settings, order, dict.fromkeys(wanted, asked), as_json)
        _fill(history, order, dict.fromkeys(wanted, asked), "backfill", as_json)


@app.command("symbols")
def list_symbols(
    config: Config = None,
    as_json: AsJson = False,
    source: OneSource = None,
    market: MarketKind = PERPETUAL,
    top: Top = 0,
    core: Core = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask now, however fresh what is known is.")] = False,
) -> None:
    """Show the markets of a source by the rank of their coins; asked for anew after a day."""
    settings = load(config, trading=False)
    with opening.History(settings) as history:
        known = _markets(history, source or settings.history.chain[0], refresh=refresh)
    found = choose(known, top=top or None, core=core, kind=market)
    if core and (absent := unlisted(found)):
        Console(stderr=True, soft_wrap=True).print(
            f"{source or settings.history.chain[0]} lists no {', '.join(absent)}"
        )
    show([{**one._asdict(), "listed": told(one.listed), "delisted": told(one.delisted)} for one in found], as_json)


@app.command()
def update(
    config: Config = None,
    as_json: AsJson = False,
    source: OneSource = None,
    symbols: Symbols = None,
    timeframes: Timeframes = None,
) -> None:
    """Fetch what has closed since the newest stored bar of each series."""
    settings = load(config, trading=False)
    order = [source] if source is not None else list(settings.history.chain)
    with opening.History(settings) as history:
        chosen = chosen_series(history.candles, order[0], symbols, timeframes)
        wanted = {one.series: Span(one.latest, FOREVER) for one in chosen if one.latest is not None}
        _fill(history, order, wanted, "update", as_json)


@app.command("fill-gaps")
def fill_gaps(
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
    only: Annotated[bool, typer.Option("--only", help="Ask this source only, nobody in its stead.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Ask again for what was confirmed absent.")] = False,
) -> None:
    """Ask for every missing range between a series' first and last bar; what the source lacks is kept as absent."""
    settings, asked = load(config, trading=False), window(since, until, timerange, days, years)
    order = [source] if source is not None else [settings.history.chain[0]]
    if not only:
        order += [one for one in settings.history.chain if one not in order]
    with opening.History(settings) as history:
        chosen = highest(history, chosen_series(history.candles, order[0], symbols, timeframes), top)
        if again:
            for entry in chosen:
                history.candles.forget_absent(entry.source, entry.series)
        spans = {entry.series: window_of(entry, asked) for entry in chosen}
        _fill(history, order, spans, "gaps", as_json)


@app.command()
def prune(config: Config = None, as_json: AsJson = False, source: OneSource = None, yes: Yes = False) -> None:
    """Delete bars older than history.keep_days allows, pinned ranges excepted; they are written to a file before."""
    settings, rows = load(config, trading=False), []
    with opening.History(settings) as history:
        pins = pinning.pins_of(settings, history.candles.entries())
        old = [(entry, opening.spans_to_prune(settings, entry, pins)) for entry in history.candles.entries(source)]
        counts = [sum(len(history.candles.times(one.source, one.series, span)) for span in spans) for one, spans in old]
        doomed = [one for one, bars in zip(old, counts, strict=True) if bars]
        backups = _kept(history, doomed) if yes else {}
        for (entry, spans), bars in zip(old, counts, strict=True):
            if not bars:
                continue
            gone = sum(
                tables.delete(history.database, entry.source, entry.series, span) for span in (spans if yes else ())
            )
            rows.append({
                "source": entry.source.value, **entry.series._asdict(), "old": bars, "deleted": gone,
                "before": told(spans[-1].end), "backup": backups.get(entry.source, ""),
            })  # fmt: skip
    show(rows, as_json)
    if rows and not yes:
        Console(stderr=True).print("nothing was deleted; add --yes to delete these rows")


def _kept(history: History, doomed: list[tuple[Entry, list[Span]]]) -> dict[Source, str]:
    """Write what is to be deleted into a file of each source in data_dir/backups; return the files."""
    found: dict[Source, str] = {}
    for source in dict.fromkeys(entry.source for entry, _ in doomed):
        path = tables.backup_path(history.settings.data_dir, source)
        spans = {entry.series: spans for entry, spans in doomed if entry.source is source}
        entries = [entry for entry, _ in doomed if entry.source is source]
        tables.back_up(history.candles, source, entries, path, spans)
        found[source] = str(path)
    return found


def _markets(history: History, source: Source, *, refresh: bool) -> list[Market]:
    if refresh or not history.markets.fresh(source):
        with Console(stderr=True).status(f"asking {source} for its markets"):
            asyncio.run(history.refresh_markets(source))
    return history.known_markets(source)


def _fill_perpetual(history: History, source: Source, wanted: list[Series], asked: Span, quiet: bool) -> None:
    symbols = sorted({series.symbol for series in wanted if market_of(series.symbol) == PERPETUAL})
    with progress_bar(quiet, "symbols") as bar:
        for symbol in bar.track(symbols, description=f"mark prices and funding of {source}"):
            got = asyncio.run(history.fetch_perpetual(source, symbol, asked))
            said = f"{symbol}: {got.marks} mark prices, {got.payments} fundings{f'; {got.error}' if got.error else ''}"
            Console(stderr=True).print(said)


def _fill(history: History, order: list[Source], wanted: dict[Series, Span], kind: str, as_json: bool) -> None:
    with progress_bar(as_json) as bar:
        tasks: dict[Series, Any] = {}

        def progress(series: Series, source: str, done: int, of: int) -> None:
            if series not in tasks:
                tasks[series] = bar.add_task("", total=of)
            bar.update(
                tasks[series], completed=done, total=of, description=f"{series.symbol} {series.timeframe} {source}"
            )

        done = asyncio.run(history.fill(order, wanted, kind, progress))
    rows = [
        {"symbol": one.series.symbol, "timeframe": one.series.timeframe, "wanted": one.wanted, "added": one.added,
         "updated": one.updated, "refused": one.refused, "absent": one.absent,
         "missing": sum(s.end - s.start for s in one.lacking) // timeframe_ms(one.series.timeframe),
         "used": ", ".join(f"{name} {count}" for name, count in one.used.items()), "said": "; ".join(one.errors)}
        for one in done.results
    ]  # fmt: skip
    rows += [{"symbol": s.symbol, "timeframe": s.timeframe, "said": said} for s, said in done.refused.items()]
    totals = done.statistics
    if as_json:
        show({**totals, "series": rows}, as_json)
    else:
        names = ("symbol", "timeframe", "wanted", "added", "updated", "refused", "absent", "missing", "used", "said")
        show([{name: row.get(name, "") for name in names} for row in rows], as_json)
        print(json.dumps(totals))
    raise typer.Exit(
        OK if not totals["failed"] else DEGRADED if totals["successful"] or totals["total_records"] else FAILED
    )


def _share(settings: Settings, order: list[Source], wanted: dict[Series, Span], as_json: bool) -> NoReturn:
    from workers.download import share  # noqa: PLC0415  who does without Celery need not have it

    with progress_bar(as_json, "parts") as bar:
        task = bar.add_task("waiting for workers")

        def progress(now: Progress) -> None:
            of = sum(now.parts.values())
            left = now.parts.get("WAITING", 0) + now.parts.get("RUNNING", 0)
            who = ", ".join(f"{name} x{count}" if count > 1 else name for name, count in sorted(now.workers.items()))
            said = f"{now.records:,} bars stored, {now.done:,} of {now.wanted:,} fetched by {who or 'nobody yet'}"
            bar.update(task, completed=of - left, total=of, description=said)

        ended = share(settings, order, wanted, progress)
    show(ended._asdict(), as_json)
    raise typer.Exit({"COMPLETED": OK, "PARTIAL": DEGRADED}.get(ended.status, FAILED))


def _wanted(
    history: History, source: Source, symbols: list[str] | None, timeframes: list[str] | None, market: str
) -> list[Series]:
    settings = history.settings
    written, where = several(symbols) or list(settings.trading.symbols), "--symbols" if symbols else "trading.symbols"
    if not written:
        raise ConfigError("name symbols with --symbols BTC/USDT:USDT, or set trading.symbols in config.yaml")
    if not all(in_full(one) for one in written):
        with contextlib.suppress(RevenantError):
            # a source that lists no markets, or does not answer: what is stored may tell
            _markets(history, source, refresh=False)
    names = naming.to_fetch(history, source, written, where, market)
    frames = [known_timeframe(one) for one in several(timeframes) or settings.history.timeframes]
    return [Series(name, frame) for name in names for frame in frames]
