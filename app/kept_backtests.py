"""Answers the page about the backtests that are kept: figures, equity, trades, and candles with trades on them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from app import results
from domain.candle import Series, timeframe_ms
from domain.coverage import Span
from domain.errors import BadData
from domain.picture import Mark
from domain.source import Source

if TYPE_CHECKING:
    from pathlib import Path

    from bootstrap.history import History
    from settings import Settings

POINTS_MAX, EACH_MAX = 1_000, 3
REMEMBERED = 2
"""Results that stay read: two are compared, and pages of trades of one are turned."""
NOT_TOLD = {"trades", "decisions", "equity", "settings"}
FILES = {"report.html": "text/html", "trades.csv": "text/csv", "result.json": "application/json"}


class KeptBacktests:
    """Reads the backtests of a data folder; the newest that were read stay in memory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._read: dict[str, dict[str, Any]] = {}

    def rows(self) -> list[dict[str, Any]]:
        """Return what each backtest asked for and its figures, the newest first. Raises BadData."""
        return [{name: one[name] for name in one if name not in NOT_TOLD} for one in results.kept(self._settings)]

    def one(self, name: str) -> dict[str, Any]:
        """Return a backtest without its trades; its equity is thinned to a thousand points. Raises BadData."""
        body = self.whole(name)
        symbols = sorted({trade["symbol"] for trade in body["trades"]} | set(body["request"]["symbols"]))
        told = {key: body[key] for key in body if key not in {"trades", "decisions"}}
        return {**told, "equity": thinned(body["equity"]), "symbols": symbols, "trades": len(body["trades"])}

    def trades(self, name: str, symbol: str, offset: int, limit: int) -> dict[str, Any]:
        """Return a page of a backtest's trades, the newest first. Raises BadData."""
        found = [one for one in self.whole(name)["trades"] if symbol in {"", one["symbol"]}]
        found.sort(key=lambda one: str(one["exit_time"]), reverse=True)
        rows = [{key: one[key] for key in one if key != "legs"} for one in found[offset : offset + limit]]
        return {"total": len(found), "trades": rows}

    def compared(self, names: list[str]) -> dict[str, list[Any]]:
        """Return in what requests, settings and bars of backtests differ, by dotted name. Raises BadData."""
        return results.differing([self.whole(name) for name in names])

    def file(self, name: str, kind: str) -> Path:
        """Return the path of a backtest's report, trades or result. Raises BadData."""
        path = self._settings.data_dir / "backtests" / str(self.whole(name)["id"]) / kind
        if kind not in FILES or not path.exists():
            raise BadData(f"backtest {name[:80]} has no {kind[:40]}; there are {', '.join(FILES)}")
        return path

    def whole(self, name: str) -> dict[str, Any]:
        """Return a backtest with all that is kept of it. Raises BadData."""
        if name not in self._read:
            found = results.read(self._settings, name)
            if name == "last":
                return found
            self._read = dict([*self._read.items(), (name, found)][-REMEMBERED:])
        return self._read[name]


def chart(
    history: History, body: dict[str, Any], symbol: str, timeframe: str, before: int, count: int
) -> dict[str, Any]:  # fmt: skip
    """Return the stored bars of a backtest's symbol that open before a time (UTC ms), with the trades within them.

    Without a timeframe it is that of its trades. Raises Unavailable.
    """
    source, mine = Source(body["request"]["source"]), [one for one in body["trades"] if one["symbol"] == symbol]
    entries = {one.series.timeframe: one for one in history.candles.entries(source)
               if one.rows and one.series.symbol == symbol}  # fmt: skip
    frames = sorted(entries, key=timeframe_ms)
    wanted = timeframe or next((one["timeframe"] for one in mine if one["timeframe"] in entries), "")
    wanted = wanted or (frames[-1] if frames else "")
    told = {"symbol": symbol, "timeframe": wanted, "timeframes": frames, "bars": [], "marks": [], "step_ms": 0}
    if wanted not in entries:
        return told
    step, entry = timeframe_ms(wanted), entries[wanted]
    end = min(before, _ms(body["until"]), (entry.latest or 0) + step)
    span = Span(max(entry.earliest or 0, end - count * step), end)
    rows = history.candles.load(source, Series(symbol, wanted), span).rows() if span.start < span.end else []
    bars = [dict(zip(("time", "open", "high", "low", "close", "volume"), row, strict=False)) for row in rows]
    marks = [_mark(one) for one in mine if span.start <= _ms(one["entry_time"]) < span.end]
    return {**told, "step_ms": step, "bars": bars, "marks": marks}


def thinned(points: list[list[Any]], most: int = POINTS_MAX) -> list[list[Any]]:
    """Return some of many points: of so many neighbours the lowest, the highest and the last."""
    if len(points) <= most:
        return points
    size = -(-len(points) * EACH_MAX // most)
    kept = []
    for first in range(0, len(points), size):
        part = range(first, min(first + size, len(points)))
        low, high = (choose(part, key=lambda at: float(points[at][1])) for choose in (min, max))
        kept += sorted({low, high, part[-1]})
    return [points[at] for at in kept]


def _mark(one: dict[str, Any]) -> dict[str, Any]:
    entry, end = (_ms(one["entry_time"]), float(one["entry_price"])), (_ms(one["exit_time"]), float(one["exit_price"]))
    made, label = float(one["pnl_usd"]) > 0, f"{float(one['r_multiple']):+.1f}R"
    mark = Mark("trade", one["side"] == "long", entry, end, good=made, label=label)
    return {field: getattr(mark, field) for field in mark.__struct_fields__}


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
