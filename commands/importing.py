"""The command that takes candle files into the store."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer

from commands.shared import DEGRADED, FAILED, OK, SYMBOLS, AsJson, Config, load, show
from commands.times import told
from domain.candle import Bars, Series, timeframe_ms
from domain.coverage import known_timeframe
from domain.errors import BadData, RevenantError
from domain.lean import lazily
from domain.sifting import sift
from domain.source import Source
from domain.symbols import Symbols, in_full, perpetual
from formats import candles, kept_rows, names
from formats.freqtrade import EXTRAS_TIMEFRAME
from history.deposit import deposit
from history.plausibility import APART_MAX, Stored, distance, silent
from history.port import EQUITY, market_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bootstrap import history as opening
    from bootstrap.history import History
    from domain.coverage import Span
    from history.port import Store
else:
    # --help of a group waits for none of these
    opening = lazily("bootstrap.history")


class What(StrEnum):
    """What a file holds."""

    CANDLES = "candles"
    MARK = "mark"
    FUNDING = "funding"


NAMED = {"": What.CANDLES, "mark prices": What.MARK, "funding": What.FUNDING}
"""What is taken of what names say that a file holds."""


class Wish(NamedTuple):
    """What was asked for: whose table, and of symbol, timeframe and content what the files need not tell."""

    source: Source
    symbol: str
    timeframe: str
    what: What | None
    force: bool


def import_files(
    files: Annotated[list[Path], typer.Argument(help=f"Candle files: {candles.KINDS}.")],
    config: Config = None,
    as_json: AsJson = False,
    source: Annotated[Source, typer.Option("-s", "--source", help="Whose table they go into.")] = Source.TEST,
    symbol: Annotated[str, typer.Option(*SYMBOLS, help="Without it, as the file is named.")] = "",
    timeframe: Annotated[str, typer.Option("-t", "--timeframe", help="Without it, as named or spaced.")] = "",
    what: Annotated[What | None, typer.Option("--what", help="What the files hold; without it, as named.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take prices far from those stored, or without volume.")
    ] = False,
) -> None:
    """Take candle files into the store; rows that cannot be bars are set aside with the reason."""
    if timeframe:
        known_timeframe(timeframe)
    rows: list[dict[str, Any]] = []
    with opening.History(load(config, trading=False)) as history:
        wish = Wish(source, _in_full(symbol, source), timeframe, what, force)
        for path in _within(files):
            try:
                kept = kept_rows.read(path)
                # which markets are meant is told by those that are in it
                named = wish._replace(symbol=symbol)
                rows += [_import(history, path, wish)] if kept is None else _kept(history, path, named, kept)
            except RevenantError as error:
                rows.append({"file": path.name, "error": str(error)})
    show(rows if as_json else [{name: row.get(name, "") for name in _SHOWN} for row in rows], as_json)
    failures = sum("error" in row for row in rows)
    poor = failures or any(row.get("refused") for row in rows)
    raise typer.Exit(FAILED if failures == len(rows) else DEGRADED if poor else OK)


_SHOWN = ("file", "symbol", "timeframe", "rows", "added", "updated", "refused", "first", "last", "error")


def _within(files: list[Path]) -> Iterator[Path]:
    """Yield the files, and of folders the candle files in them by name, however deep."""
    for path in files:
        inside = [
            one for one in sorted(path.rglob("*"))
            if one.name.lower().removesuffix(".gz").rpartition(".")[2] in candles.SUFFIXES and one.is_file()
            and not one.name.startswith((".", "revenant-manifest"))
        ] if path.is_dir() else []  # fmt: skip
        yield from inside or [path]


def _import(history: History, path: Path, wish: Wish) -> dict[str, Any]:
    content = names.content_of(path)
    what = wish.what or NAMED.get(content)
    if what is None:
        raise BadData(f"{path.name}: holds {content} by its name, not candles; give --what candles if it does not")
    if what is What.FUNDING:
        return _import_funding(history, path, wish)
    named, spaced = ("", "") if wish.symbol and wish.timeframe else names.market_at(path)
    _need_symbol(path, wish.symbol or named)
    bars = candles.read(path)
    if not len(bars):
        raise BadData(f"{path.name}: holds no row")
    try:
        series = Series(wish.symbol or named, candles.timeframe_of(bars, wish.timeframe or spaced))
    except BadData as error:
        raise BadData(f"{path.name}: {error}") from error
    if what is What.MARK:
        if series.timeframe != EXTRAS_TIMEFRAME:
            raise BadData(f"{path.name}: mark prices are kept of {EXTRAS_TIMEFRAME} only, these are {series.timeframe}")
        bars = _without_volume(bars)
    _need_market(history, path, wish, series, bars, traded=what is What.CANDLES)
    store = history.candles if what is What.CANDLES else history.marks
    return _stored(store, path, wish.source, series, bars)


def _stored(store: Store, path: Path, source: Source, series: Series, bars: Bars) -> dict[str, Any]:
    got = deposit(store, source, series, bars, _now())
    times = got.bars.open_time
    failed = {} if len(times) else {"error": _why_none(path, bars, series, got.reasons)}
    return {
        "file": path.name, "source": source.value, **series._asdict(), "rows": got.processed, "added": got.added,
        "updated": got.updated, "refused": got.refused, "unfinished": got.unfinished, "repeated": got.repeated,
        "first": told(int(times[0])) if len(times) else "", "last": told(int(times[-1])) if len(times) else "",
        "reasons": list(got.reasons), **failed,
    }  # fmt: skip


def _why_none(path: Path, bars: Bars, series: Series, reasons: tuple[str, ...]) -> str:
    step = timeframe_ms(series.timeframe)
    off = np.unique(bars.open_time[bars.open_time >= 0] % step)
    late = f"; each stands {off[0] / 60_000:g} min after a bar of {series.timeframe} opens" if len(off) == 1 else ""
    said = "; ".join(reasons) or "not finished yet"
    return f"{path.name}: none of its {len(bars)} rows can be stored: {said}{late if off.any() else ''}"


def _need_market(history: History, path: Path, wish: Wish, series: Series, bars: Bars, *, traded: bool) -> None:
    """Refuse what is not the market that it is named after, unless told to take it. Raises BadData."""
    if wish.force:
        return
    good = sift(bars, timeframe_ms(series.timeframe), _now()).bars
    if traded and market_of(series.symbol) != EQUITY and silent(good):
        raise BadData(
            f"{path.name}: nothing was traded in any of {len(good)} bars: an index, a premium or mark prices? "
            "Give --what mark, or --force"
        )
    held = [
        Stored(entry.source, entry.series, entry.earliest, entry.latest)
        for entry in history.candles.entries() if entry.earliest is not None and entry.latest is not None
    ]  # fmt: skip

    def load(one: Stored, span: Span) -> Bars:
        return history.candles.load(one.source, one.series, span)

    found = distance(good, series, wish.source, held, load)
    if found is not None and found.median > APART_MAX:
        raise BadData(
            f"{path.name}: its closes are {np.expm1(found.median):.1%} (median of {found.bars} bars) from those "
            f"stored of {found.other.source} {' '.join(found.other.series)}: another market's? Nothing is stored; "
            "give the right --symbol, or --force"
        )


def _kept(history: History, path: Path, wish: Wish, kept: Mapping[Series, Bars]) -> list[dict[str, Any]]:
    """Bring back rows that were written to a file before they were deleted: of all series in it, or of those named."""
    named = Symbols(series.symbol for series in kept).matches(wish.symbol) if wish.symbol else None
    found = {
        series: bars for series, bars in kept.items()
        if (named is None or series.symbol in named) and wish.timeframe in {"", series.timeframe}
    }  # fmt: skip
    if not found:
        raise BadData(f"{path.name}: holds {', '.join(' '.join(one) for one in kept) or 'no row'}, and nothing else")
    return [_stored(history.candles, path, wish.source, series, bars) for series, bars in found.items()]


def _import_funding(history: History, path: Path, wish: Wish) -> dict[str, Any]:
    name = wish.symbol or names.market_at(path)[0]
    _need_symbol(path, name)
    times, rates = candles.read_funding(path)
    added = history.funding.save(wish.source, name, list(zip(times.tolist(), rates.tolist(), strict=True)))
    return {"file": path.name, "symbol": name, "rows": len(times), "added": added}


def _without_volume(bars: Bars) -> Bars:
    # mark prices have no volume: some tools write none where others write 0
    nothing = np.zeros(len(bars))
    return Bars(bars.open_time, bars.open, bars.high, bars.low, bars.close, nothing, nothing)


def _in_full(symbol: str, source: Source) -> str:
    """Return what a symbol is called here; a word at a source of stocks, or of nobody knows what, may be a stock."""
    if not symbol or in_full(symbol):
        return symbol
    named, _ = names.market_of(symbol.upper().replace("-", "_").replace("/", "_").replace(":", "_"))
    return named or (symbol if source.stocks or source.made_up else perpetual(symbol))


def _need_symbol(path: Path, symbol: str) -> None:
    if not symbol:
        raise BadData(f"{path.name}: its name does not tell the symbol; give --symbol BTC/USDT:USDT")


def _now() -> int:
    return int(time.time() * 1000)
