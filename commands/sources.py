"""Commands about the sources' tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console

from commands.chosen import Symbols, several
from commands.shared import FAILED, OK, AsJson, Config, Yes, load, show
from commands.times import told
from domain.errors import BadData, Rejected
from domain.lean import lazily
from domain.source import Source
from domain.symbols import GLOB
from domain.symbols import Symbols as Names
from history.quality import compare as compare_bars

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bootstrap import history as opening
    from persistence import sources as tables
    from persistence.history import CandleHistory, Entry
else:
    # --help of a group waits for none of these
    tables = lazily("persistence.sources")
    opening = lazily("bootstrap.history")

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_sources(config: Config = None, as_json: AsJson = False) -> None:
    """Show every source's table: rows, symbols, from when to when."""
    with opening.History(load(config, trading=False)) as history:
        rows = tables.overview(history.database)
    if not as_json:
        rows = [{**row, "earliest": told(row["earliest"]), "latest": told(row["latest"])} for row in rows]
    show(rows, as_json)


@app.command()
def create(config: Config = None, as_json: AsJson = False) -> None:
    """Make the tables of all sources; those that are there stay as they are."""
    with opening.History(load(config, trading=False)) as history:
        before, now = history.database.version(), history.database.migrate()
        made = [{"table": row["table"], "exists": row["exists"]} for row in tables.overview(history.database)]
    show({"schema_before": before or "empty", "schema": now, "tables": made} if as_json else made, as_json)


@app.command()
def clean(
    source: Annotated[Source, typer.Option("-s", "--source", help="Whose rows go.")],
    config: Config = None,
    as_json: AsJson = False,
    symbols: Symbols = None,
    yes: Yes = False,
) -> None:
    """Delete a source's rows, after they have been written to a file in data_dir/backups."""
    settings = load(config, trading=False)
    with opening.History(settings) as history:
        entries = _of(history.candles, source, symbols)
        rows = sum(entry.rows for entry in entries)
        body: dict[str, Any] = {"source": source.value, "series": len(entries), "rows": rows}
        if not yes:
            show({**body, "done": False, "hint": "nothing was deleted; add --yes to delete these rows"}, as_json)
            raise typer.Exit(OK)
        if source is settings.source and opening.bot_runs(settings):
            raise Rejected(f"sources clean: a bot is trading on {source} here; stop it first")
        path = tables.backup_path(settings.data_dir, source)
        with Console(stderr=True).status(f"writing {rows} rows to {path}"):
            kept = tables.back_up(history.candles, source, entries, path)
        with Console(stderr=True).status(f"deleting {rows} rows"):
            gone = tables.empty(history.database, source, entries)
    show({**body, "done": True, "backup": str(path), "backed_up": kept, "deleted": gone}, as_json)
    raise typer.Exit(OK if gone == kept else FAILED)


@app.command()
def migrate(
    source: Annotated[Source, typer.Option("-s", "--source", help="Where the rows are.")],
    target: Annotated[Source, typer.Option("--target", help="Where they are copied to.")],
    config: Config = None,
    as_json: AsJson = False,
    symbols: Symbols = None,
    yes: Annotated[bool, typer.Option("--yes", "--confirm", help="Accepted; copying destroys nothing.")] = False,
) -> None:
    """Copy rows into another source's table, where that is lawful; twice is the same as once."""
    del yes
    if reason := tables.lawful(source, target):
        raise Rejected(f"sources migrate: {reason}")
    settings = load(config, trading=False)
    with opening.History(settings) as history, Console(stderr=True).status(f"copying {source} to {target}") as shown:
        meant = {one.series.symbol for one in _of(history.candles, source, symbols)}
        done = tables.copy(
            history.database, history.candles, source, target, meant,
            lambda series: shown.update(f"{series.symbol} {series.timeframe}"),
        )  # fmt: skip
    rows = [
        {**one.series._asdict(), "copied": one.copied, "present": one.present, "differing": one.differing}
        for one in done
    ]
    if as_json:
        show(
            {"source": source.value, "target": target.value, "copied": sum(one.copied for one in done), "series": rows},
            as_json,
        )
        return
    show(rows, as_json)
    print(f"copied {sum(one.copied for one in done)} rows from {source} to {target}")


@app.command()
def compare(
    source: Annotated[Source, typer.Option("-s", "--source", help="One source.")],
    target: Annotated[Source, typer.Option("--target", help="The other.")],
    config: Config = None,
    as_json: AsJson = False,
    symbols: Symbols = None,
) -> None:
    """Compare two sources bar by bar: what only one has, what both have, and how far their prices differ."""
    with opening.History(load(config, trading=False)) as history:
        rows = _compared(history.candles, source, target, symbols)
    if as_json:
        show(rows, as_json)
        return
    show([{**row, "agreement": ""} for row in rows], as_json)
    for row in rows:
        if held := row["agreement"]:
            print(
                f"{row['symbol']} {row['timeframe']}: {held['equal']} of {held['bars']} closes equal, "
                f"median difference {held['median']:.4%}, largest {held['largest']:.4%} at {told(held['largest_at'])}"
            )


def _of(store: CandleHistory, source: Source, symbols: list[str] | None) -> list[Entry]:
    entries = [one for one in store.entries(source) if one.rows]
    if not entries:
        raise BadData(f"{source} holds nothing")
    meant = _meant(several(symbols), (one.series.symbol for one in entries), str(source))
    return [one for one in entries if one.series.symbol in meant]


def _meant(texts: list[str], stored: Iterable[str], whose: str) -> set[str]:
    """Return the symbols that are meant: all without a text; one each, or those that a pattern matches.

    Raises BadData for a text that means none, or several without being a pattern.
    """
    held = set(stored)
    names = Names(sorted(held))
    return {symbol for text in texts for symbol in _each(text, names, whose)} if texts else held


def _each(text: str, names: Names, whose: str) -> list[str]:
    found = names.matches(text)
    if not found:
        raise BadData(f"{whose} holds nothing of {text!r}; {names.hint(text)}".rstrip("; "))
    if len(found) > 1 and not GLOB.search(text):
        raise BadData(f"{text!r} is any of {', '.join(sorted(found))}: write one of them")
    return found


def _compared(store: CandleHistory, source: Source, target: Source, symbols: list[str] | None) -> list[dict[str, Any]]:
    mine = {entry.series: entry for entry in store.entries(source) if entry.rows}
    theirs = {entry.series: entry for entry in store.entries(target) if entry.rows}
    if not (mine or theirs):
        raise BadData(f"neither {source} nor {target} holds anything")
    meant = _meant(several(symbols), (series.symbol for series in (*mine, *theirs)), f"neither {source} nor {target}")
    names = sorted({series for series in (*mine, *theirs) if series.symbol in meant})
    rows = []
    for series in names:
        one, other = store.load(source, series), store.load(target, series)
        common = len(np.intersect1d(one.open_time, other.open_time, assume_unique=True))
        found = compare_bars(one, other)
        rows.append({
            **series._asdict(), source.value: len(one), target.value: len(other), "common": common,
            f"only_{source}": len(one) - common, f"only_{target}": len(other) - common,
            "agreement": asdict(found) if found else None,
        })  # fmt: skip
    return rows
