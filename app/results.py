"""Backtests that were done: kept in the data folder, each with its page, its trades, and everything for machines."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.backtest import during
from backtest.page import page
from domain.errors import BadData
from domain.sheet import cell
from domain.trade import as_tree
from persistence.files import AtomicFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from app.backtest import Result
    from domain.trade import Trade
    from settings import Settings

COLUMNS = (
    "trade_id", "symbol", "strategy_name", "timeframe", "side", "entry_time", "exit_time", "entry_price", "exit_price",
    "quantity", "leverage", "gross_pnl", "fees", "funding", "pnl_usd", "pnl_percent", "r_multiple",
    "max_favourable_r", "max_adverse_r", "exit_reason", "score",
)  # fmt: skip


def body_of(result: Result) -> dict[str, Any]:
    """Return a backtest for machines: request, settings, hashes, figures, trades, decisions, equity."""
    request = {name: value for name, value in asdict(result.request).items() if name not in {"span", "who"}}
    return {
        "request": request, "since": _iso(result.span.start), "until": _iso(result.span.end),
        "settings": result.settings, "config_hash": result.config_hash, "data_hash": result.data_hash,
        "result_hash": result.result_hash, "bars": result.outcome.bars, "notes": list(result.notes),
        "figures": asdict(result.figures), "trades": [as_tree(trade) for trade in result.outcome.trades],
        "decisions": [
            {"time": one.signal.time, "symbol": one.signal.symbol, "strategy": one.signal.strategy,
             "side": one.signal.side.value, "entry": one.signal.entry, "stop": one.signal.stop,
             "target": one.signal.target, "gate": one.gate, "detail": one.detail, "score": one.judged.score}
            for one in result.outcome.decisions
        ],
        "equity": [[time, str(value)] for time, value in result.outcome.equity],
    }  # fmt: skip


def keep(settings: Settings, result: Result) -> Path:
    """Keep a backtest; return its folder, which holds result.json, summary.json, trades.csv and report.html."""
    now = datetime.now(UTC)
    # two may be done within a second, and the newest comes first by its name
    moment = f"{now:%Y%m%d-%H%M%S}.{now.microsecond // 1000:03d}"
    folder = settings.data_dir / "backtests" / f"{moment}-{result.result_hash[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    body = {"id": folder.name, "done_at": now.isoformat(timespec="seconds"), **body_of(result)}
    AtomicFile(folder / "report.html").write(_page(result).encode())
    write_trades(folder / "trades.csv", result.outcome.trades)
    AtomicFile(folder / "summary.json").write(json.dumps(_short(body), default=str).encode())
    # last: a folder without it is not a backtest
    AtomicFile(folder / "result.json").write(json.dumps(body, default=str).encode())
    return folder


def kept(settings: Settings) -> list[dict[str, Any]]:
    """Return the backtests that are kept, the newest first, without their trades and decisions."""
    found = []
    for path in sorted((settings.data_dir / "backtests").glob("*/result.json"), reverse=True):
        summary = path.with_name("summary.json")
        found.append(_read(summary) if summary.exists() else _short(_read(path)))
    return found


def _short(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in body if name not in {"trades", "decisions", "equity"}}


def read(settings: Settings, name: str) -> dict[str, Any]:
    """Return a kept backtest whole, by its id or the beginning of its result hash, ``last`` for the newest.

    Raises:
        BadData: when there is none of that name, or several.
    """
    folders = sorted((settings.data_dir / "backtests").glob("*/result.json"))
    fits = [
        path for path in folders if path.parent.name == name or path.parent.name.partition("-")[2].endswith(f"-{name}")
    ]
    if name == "last":
        fits = folders[-1:]
    if len(fits) != 1:
        known = ", ".join(path.parent.name for path in folders[-10:]) or "none"
        raise BadData(f"backtest {name}: {'several of' if fits else 'none of'} that name; there are {known}")
    return _read(fits[0])


def differing(bodies: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return in what settings, requests and bars backtests differ, by dotted name."""
    plain = [
        _flat({**body["request"], "since": body["since"], "until": body["until"], "data_hash": body["data_hash"],
               "settings": body["settings"]})
        for body in bodies
    ]  # fmt: skip
    names = sorted({name for one in plain for name in one})
    columns = {name: [one.get(name) for one in plain] for name in names}
    return {name: values for name, values in columns.items() if any(value != values[0] for value in values)}


def _flat(held: dict[str, Any], before: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in held.items():
        out |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return out


def write_trades(path: Path, trades: list[Trade]) -> None:
    """Write trades as csv, one row each, money as exact decimals, times as ISO 8601 in UTC."""
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(COLUMNS)
        for trade in trades:
            values = [getattr(trade, name) for name in COLUMNS]
            writer.writerow([value.isoformat() if isinstance(value, datetime) else cell(value) for value in values])


def _page(result: Result) -> str:
    bars = {symbol: during(held, result.span) for symbol, held in result.bars.items()}
    request = result.request
    facts = {
        "source": request.source.value, "symbols": ", ".join(request.symbols),
        "strategies": ", ".join(result.strategies), "bars": f"{result.outcome.bars:,}",
        "refused": ", ".join(f"{gate} {count}" for gate, count in result.figures.refused.items()) or "none",
        "open at the end": ", ".join(
            f"{one.symbol} {one.side} {one.unrealised:+,.2f}" for one in result.figures.open_positions
        ) or "none",
        "settings": result.config_hash, "bars' hash": result.data_hash, "result": result.result_hash,
    }  # fmt: skip
    title = f"Backtest on {request.source}: {', '.join(result.strategies)}"
    return page(title, result.figures, result.outcome.equity, result.outcome.trades, bars, facts, result.notes)


def _read(path: Path) -> dict[str, Any]:
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadData(f"{path}: is no backtest ({error}); delete its folder") from error
    return body


def _iso(time: int) -> str:
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(timespec="minutes")
