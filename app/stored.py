"""Answers the page about what the database holds; everything is asked on a thread of its own."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import cluster_view, jobs
from app.asked_backtest import checked
from app.kept_backtests import KeptBacktests, chart
from app.strategy_columns import columns_of
from bootstrap import inspection
from bootstrap.history import History
from bootstrap.parts import plans
from domain.candle import Series, timeframe_ms
from domain.coverage import Span, cover
from domain.errors import BadData
from domain.schedule import LOST
from domain.source import Source
from domain.symbols import Symbols
from engine.threads import Tier
from history.calendar import closed
from history.quality import compare
from persistence.candles import PostgresCandleStorage
from persistence.deeds import Deeds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from domain.candle import Bars
    from persistence.history import CandleHistory, Entry
    from settings import Settings

ASK_S = 30.0
GAPS_MAX = 100
COMPARED_BARS = 5_000


@dataclass(frozen=True, slots=True)
class Watched:
    """What a running bot knows besides: its trades, and its figures; neither without one."""

    known: Callable[[], inspection.Known] = lambda: inspection.Known(0, 0)
    figures: Callable[[], dict[str, Any] | None] = lambda: None


class StoredData:
    """Opens the database when first asked, and closes it in the end."""

    def __init__(self, settings: Settings, watched: Watched) -> None:
        self._settings, self._watched = settings, watched
        # strategies are code that people bring: however long it takes, only other charts wait for it
        self._tier, self._strategies = Tier("stored", ASK_S), Tier("columns", ASK_S)
        # a result of years takes a second to read: only the page of backtests waits for it
        self._past, self._kept = Tier("backtests", ASK_S), KeptBacktests(settings)
        self._history: History | None = None

    def close(self) -> None:
        """Close the database once the thread has finished what it is doing."""
        self._strategies.close()
        self._past.close()
        self._tier.close()
        if self._history is not None:
            self._history.close()

    async def tiers(self) -> dict[str, Any]:
        """Return what every tier holds and what waits for it. Raises Unavailable."""
        return await self._tier.call(
            inspection.db_stats, self._settings, self._watched.known(), self._watched.figures()
        )  # fmt: skip

    async def series(self) -> list[dict[str, Any]]:
        """Return every stored series with what lacks between its ends. Raises Unavailable."""
        return await self._tier.call(self._series)

    async def gaps(self, source: str, symbol: str, timeframe: str) -> dict[str, Any]:
        """Return how complete a series is, exactly. Raises BadData, Unavailable."""
        return await self._tier.call(self._gaps, _source(source), symbol, timeframe)

    async def compared(self, symbol: str, timeframe: str) -> list[dict[str, Any]]:
        """Return the sources that hold a series side by side, the longest first. Raises BadData, Unavailable."""
        return await self._tier.call(self._compared, symbol, timeframe)

    async def bars(self, source: str, symbol: str, timeframe: str, count: int) -> tuple[str, Bars]:
        """Return the whole name of a stored symbol, and its newest bars: of a source, or of the one with the most.

        Raises BadData, Unavailable.
        """
        return await self._tier.call(self._bars, _source(source) if source else None, symbol, timeframe, count)

    async def timeframes(self, symbol: str) -> list[str]:
        """Return the timeframes of which the settings' source has bars of a symbol. Raises Unavailable."""
        return await self._tier.call(self._timeframes, symbol)

    async def older(self, symbol: str, timeframe: str, before: int, count: int) -> Bars:
        """Return the newest bars of the settings' source that open before a time (UTC ms). Raises Unavailable."""
        return await self._tier.call(self._older, Series(symbol, timeframe), before, count)

    async def columns(self, symbol: str, timeframe: str, before: int, count: int) -> list[dict[str, Any]]:
        """Return what the strategies in use computed of those bars. Raises BadData, ConfigError, Unavailable."""
        return await self._strategies.call(self._columns, Series(symbol, timeframe), before, count)

    async def strategy(self, name: str) -> dict[str, str]:
        """Return a strategy in use: name, timeframe, code. Raises BadData, ConfigError, Unavailable."""
        return await self._strategies.call(self._strategy, name)

    async def workers(self) -> dict[str, Any]:
        """Return who works through Celery and what waits, see ``cluster_view.seen``. Raises Unavailable."""
        return await self._tier.call(lambda: cluster_view.seen(self._opened()))

    async def jobs(self) -> list[dict[str, Any]]:
        """Return the regular jobs with their last and next runs. Raises Unavailable."""
        return await self._tier.call(lambda: jobs.listed(self._opened()))

    async def runs(self) -> list[dict[str, Any]]:
        """Return the newest training runs, newest first. Raises Unavailable."""
        return await self._tier.call(inspection.training_runs, self._settings, "")

    async def summary(self) -> dict[str, Any]:
        """Return what metrics tell of the database. Raises Unavailable."""
        return await self._tier.call(self._summary)

    async def deeds(self, count: int) -> list[dict[str, Any]]:
        """Return what people had done lately, by page or chat, newest first."""
        return await self._tier.call(self._deeds, count)

    async def backtests(self) -> list[dict[str, Any]]:
        """Return the kept backtests with their figures, the newest first. Raises BadData, Unavailable."""
        return await self._past.call(self._kept.rows)

    async def backtest(self, name: str) -> dict[str, Any]:
        """Return a kept backtest without its trades. Raises BadData, Unavailable."""
        return await self._past.call(self._kept.one, name)

    async def backtest_trades(self, name: str, symbol: str, offset: int, limit: int) -> dict[str, Any]:
        """Return a page of a kept backtest's trades, the newest first. Raises BadData, Unavailable."""
        return await self._past.call(self._kept.trades, name, symbol, offset, limit)

    async def backtests_compared(self, names: list[str]) -> dict[str, list[Any]]:
        """Return in what kept backtests were asked differently, by dotted name. Raises BadData, Unavailable."""
        return await self._past.call(self._kept.compared, names)

    async def backtest_file(self, name: str, kind: str) -> bytes:
        """Return a kept backtest's report.html, trades.csv or result.json. Raises BadData, Unavailable."""
        return await self._past.call(lambda: self._kept.file(name, kind).read_bytes())

    async def backtest_chart(self, name: str, symbol: str, timeframe: str, before: int, count: int) -> dict[str, Any]:
        """Return bars of a kept backtest with its trades, see ``models.BacktestChart``. Raises BadData, Unavailable."""
        body = await self._past.call(self._kept.whole, name)
        return await self._tier.call(lambda: chart(self._opened(), body, symbol, timeframe, before, count))

    async def backtest_asked(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is asked of a backtest, names in full. Raises Rejected for what is wrong, Unavailable."""
        return await self._strategies.call(checked, self._settings, asked)

    def _strategy(self, name: str) -> dict[str, str]:
        held = plans(self._settings)
        if name not in held:
            raise BadData(f"no strategy {name[:80]!r} is in use; there are {', '.join(held)}")
        strategy = held[name].strategy
        code = Path(inspect.unwrap(type(strategy).step).__code__.co_filename).read_text()
        return {"strategy": name, "timeframe": strategy.timeframes[0], "code": code}

    def _opened(self) -> History:
        if self._history is None:
            self._history = History(self._settings)
        return self._history

    def _series(self) -> list[dict[str, Any]]:
        return [_row(entry) for entry in self._opened().candles.entries() if entry.rows]

    def _bars(self, source: Source | None, symbol: str, timeframe: str, count: int) -> tuple[str, Bars]:
        step, store = timeframe_ms(timeframe), self._opened().candles
        entry = _found(store, source, symbol, timeframe)[0]
        start, end = _span(entry)
        bars = store.load(entry.source, entry.series, Span(max(start, end - count * step), end))
        return entry.series.symbol, bars

    def _timeframes(self, symbol: str) -> list[str]:
        entries = self._opened().candles.entries(self._settings.source)
        return [one.series.timeframe for one in entries if one.rows and one.series.symbol == symbol]

    def _older(self, series: Series, before: int, count: int) -> Bars:
        store = PostgresCandleStorage(self._opened().database, self._settings.source)
        return store.load_candles(series.symbol, count, timeframe=series.timeframe, before=before)

    def _columns(self, series: Series, before: int, count: int) -> list[dict[str, Any]]:
        strategies = [one.strategy for one in plans(self._settings).values()]
        stored = [one.series.symbol for one in self._opened().candles.entries(self._settings.source) if one.rows]
        return columns_of(strategies, series, before, count, self._older, stored)

    def _gaps(self, source: Source, symbol: str, timeframe: str) -> dict[str, Any]:
        step, store = timeframe_ms(timeframe), self._opened().candles
        entry = _found(store, source, symbol, timeframe)[0]
        series, window = entry.series, Span(*_span(entry))
        never = store.absent(source, series)
        found = cover(
            store.times(source, series, window), window, series.timeframe, [*never, *closed(series, window)]
        )  # fmt: skip
        gaps = [{"start": gap.start, "bars": (gap.end - gap.start) // step} for gap in found.missing[:GAPS_MAX]]
        return {
            "source": source.value, "symbol": series.symbol, "timeframe": series.timeframe, "bars": found.actual,
            "missing": found.lacking, "absent": found.absent, "completeness": round(found.completeness, 4),
            "gaps": gaps,
        }  # fmt: skip

    def _compared(self, symbol: str, timeframe: str) -> list[dict[str, Any]]:
        store = self._opened().candles
        entries = _found(store, None, symbol, timeframe)
        first = _newest(store, entries[0])
        rows = []
        for entry in entries:
            bars = first if entry is entries[0] else _newest(store, entry)
            start, end = _span(entry)
            agreed = compare(first, bars) if entry is not entries[0] else None
            rows.append({
                "source": entry.source.value, "bars": entry.rows, "start": start, "end": end,
                "common": agreed.bars if agreed else 0, "equal": agreed.equal if agreed else 0,
                "median": agreed.median if agreed else None, "largest": agreed.largest if agreed else None,
                "largest_at": agreed.largest_at if agreed else None,
            })  # fmt: skip
        return rows

    def _summary(self) -> dict[str, Any]:
        history = self._opened()
        groups: dict[tuple[str, str], list[int]] = {}
        for row in self._series():
            held = groups.setdefault((row["source"], row["timeframe"]), [0, 0])
            held[0], held[1] = held[0] + row["bars"], held[1] + row["missing"]
        runs = Counter((one["strategy"], one["verdict"]) for one in inspection.training_runs(self._settings, ""))
        size = history.database.size_mb()
        return {
            "coverage": [
                {"source": source, "timeframe": frame, "bars": bars, "missing": lacking,
                 "ratio": bars / (bars + lacking)}
                for (source, frame), (bars, lacking) in groups.items()
            ],
            "jobs": [
                {"job": one["job"], "failures": one["failures"], "lost": one["status"] == LOST}
                for one in jobs.listed(history)
            ],
            "cluster": cluster_view.seen(history),
            "verdicts": [{"strategy": key[0], "verdict": key[1], "runs": count} for key, count in runs.items()],
            "syncs": history.candles.sync_counts(), "bytes": None if size is None else size * 1e6,
        }  # fmt: skip

    def _deeds(self, count: int) -> list[dict[str, Any]]:
        folder = self._settings.data_dir
        found = [
            {"told": kind, **deed}
            for kind in ("page", "telegram") for deed in Deeds(folder / f"{kind}-audit.jsonl").newest(count)
        ]  # fmt: skip
        return sorted(found, key=lambda deed: str(deed.get("time")), reverse=True)[:count]


def _row(entry: Entry) -> dict[str, Any]:
    start, end = _span(entry)
    expected = (end - start) // timeframe_ms(entry.series.timeframe)
    return {
        "source": entry.source.value, "symbol": entry.series.symbol, "timeframe": entry.series.timeframe,
        "bars": entry.rows, "start": start, "end": end, "missing": max(0, expected - entry.rows),
        "completeness": round(100 * min(1.0, entry.rows / expected), 4) if expected else 0.0,
    }  # fmt: skip


def _span(entry: Entry) -> tuple[int, int]:
    return entry.earliest or 0, (entry.latest or 0) + timeframe_ms(entry.series.timeframe)


def _newest(store: CandleHistory, entry: Entry) -> Any:
    start, end = _span(entry)
    step = timeframe_ms(entry.series.timeframe)
    return store.load(entry.source, entry.series, Span(max(start, end - COMPARED_BARS * step), end))


def _found(store: CandleHistory, source: Source | None, symbol: str, timeframe: str) -> list[Entry]:
    """Return what is stored of a symbol, written in any way: an entry for each source, the longest first.

    Raises BadData, naming what comes close.
    """
    timeframe_ms(timeframe)
    entries = [one for one in store.entries(source) if one.rows]
    names = Symbols(one.series.symbol for one in entries)
    meant = names.one(symbol)
    found = [one for one in entries if one.series == Series(meant or "", timeframe)]
    if not found:
        frames = sorted({one.series.timeframe for one in entries if one.series.symbol == meant}, key=timeframe_ms)
        hint = f"stored are {', '.join(frames)}" if frames else names.hint(symbol)
        where = f" from {source}" if source is not None else ""
        raise BadData(f"nothing is stored of {meant or symbol[:40]} {timeframe}{where}; {hint}".rstrip("; "))
    return sorted(found, key=lambda one: -one.rows)


def _source(name: str) -> Source:
    try:
        return Source(name.lower())
    except ValueError:
        raise BadData(f"source {name!r}: there is none; there are {', '.join(Source)}") from None
