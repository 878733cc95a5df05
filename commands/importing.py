"""The command that takes candle files into the store."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bootstrap.history import History
from commands.shared import DEGRADED, FAILED, OK, AsJson, Config, load, show
from commands.times import told
from domain.candle import Bars, Series
from domain.coverage import known_timeframe
from domain.errors import BadData, RevenantError
from domain.source import Source
from domain.symbols import in_full, perpetual
from formats import candles
from formats.freqtrade import EXTRAS_TIMEFRAME
from history.deposit import deposit


class What(StrEnum):
    """What a file holds."""

    CANDLES = "candles"
    MARK = "mark"
    FUNDING = "funding"


def import_files(
    files: Annotated[list[Path], typer.Argument(help=f"Candle files: {candles.KINDS}.")],
    config: Config = None,
    as_json: AsJson = False,
    source: Annotated[Source, typer.Option("-s", "--source", help="Whose table they go into.")] = Source.TEST,
    symbol: Annotated[str, typer.Option("-p", "--symbol", help="Without it, as the file is named.")] = "",
    timeframe: Annotated[str, typer.Option("-t", "--timeframe", help="Without it, as named or spaced.")] = "",
    what: Annotated[What, typer.Option("--what", help="What the files hold.")] = What.CANDLES,
) -> None:
    """Take candle files into the store; rows that cannot be bars are set aside with the reason."""
    rows, failures = [], 0
    symbol = _in_full(symbol, source)
    with History(load(config)) as history:
        for path in files:
            try:
                if what is What.CANDLES:
                    rows.append(_import(history, path, source, symbol, timeframe))
                else:
                    rows.append(_import_extra(history, path, source, symbol, what))
            except RevenantError as error:
                failures += 1
                rows.append({"file": path.name, "error": str(error)})
    show(rows if as_json else [{name: row.get(name, "") for name in _SHOWN} for row in rows], as_json)
    refused = any(row.get("refused") for row in rows)
    raise typer.Exit(FAILED if failures == len(files) else DEGRADED if failures or refused else OK)


_SHOWN = ("file", "symbol", "timeframe", "rows", "added", "updated", "refused", "first", "last", "error")


def _import(history: History, path: Path, source: Source, symbol: str, timeframe: str) -> dict[str, Any]:
    bars = candles.read(path)
    if not len(bars):
        raise BadData(f"{path.name}: holds no row")
    named, spaced = candles.market_of(path.name)
    series = Series(symbol or named, known_timeframe(timeframe or spaced or candles.spacing(bars)))
    _need_symbol(path, series.symbol)
    got = deposit(history.candles, source, series, bars, _now())
    times = got.bars.open_time
    return {
        "file": path.name, "source": source.value, **series._asdict(), "rows": got.processed, "added": got.added,
        "updated": got.updated, "refused": got.refused, "unfinished": got.unfinished, "repeated": got.repeated,
        "first": told(int(times[0])) if len(times) else "", "last": told(int(times[-1])) if len(times) else "",
        "reasons": list(got.reasons),
    }  # fmt: skip


def _import_extra(history: History, path: Path, source: Source, symbol: str, what: What) -> dict[str, Any]:
    name = symbol or candles.market_of(path.name)[0]
    _need_symbol(path, name)
    if what is What.FUNDING:
        times, rates = candles.read_funding(path)
        added = history.funding.save(source, name, list(zip(times.tolist(), rates.tolist(), strict=True)))
        return {"file": path.name, "symbol": name, "rows": len(times), "added": added}
    series, bars = Series(name, EXTRAS_TIMEFRAME), candles.read(path)
    # mark prices have no volume: some tools write none where others write 0
    nothing = np.zeros(len(bars))
    flat = Bars(bars.open_time, bars.open, bars.high, bars.low, bars.close, nothing, nothing)
    got = deposit(history.marks, source, series, flat, _now())
    return {"file": path.name, **series._asdict(), "rows": got.processed, "added": got.added, "refused": got.refused}


def _in_full(symbol: str, source: Source) -> str:
    """Return what a symbol is called here; a word at a source of stocks, or of nobody knows what, may be a stock."""
    if not symbol or in_full(symbol):
        return symbol
    named, _ = candles.market_of(symbol.upper().replace("-", "_").replace("/", "_").replace(":", "_"))
    return named or (symbol if source.stocks or source.made_up else perpetual(symbol))


def _need_symbol(path: Path, symbol: str) -> None:
    if not symbol:
        raise BadData(f"{path.name}: its name does not tell the symbol; give --symbol BTC/USDT:USDT")


def _now() -> int:
    return int(time.time() * 1000)
