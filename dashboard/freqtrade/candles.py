"""Routes of bars with what strategies computed of them, and with signals, as freqtrade tells them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel, Field

from dashboard.freqtrade.visitors import Reader, may_read
from dashboard.services import Held, Services
from domain.candle import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.candle import Bar

router = APIRouter(dependencies=[Depends(may_read)])

COUNT, COUNT_MAX, HISTORY_MAX = 500, 1_000, 5_000
OHLCV = ("date", "open", "high", "low", "close", "volume")
SIGNALS = ("enter_long", "exit_long", "enter_short", "exit_short")
NEAR = (0.8, 1.25)
"""What stays within so much of the price belongs over the candles."""
MOST = 0.9
TIME_MAX = 10_000_000_000_000

Pair = Annotated[str, Query(min_length=1, max_length=80)]
Timeframe = Annotated[str, Query(min_length=1, max_length=10)]
Range = Annotated[str, Query(max_length=40)]


class CandlesAsked(BaseModel):
    """Which bars, and which columns beside open, high, low, close, volume and signals; null for all."""

    pair: str = Field(min_length=1, max_length=80)
    timeframe: str = Field(min_length=1, max_length=10)
    limit: int | None = Field(None, ge=1)
    columns: list[str] | None = Field(None, max_length=500)


class HistoryAsked(CandlesAsked):
    """Which stored bars: ``timerange`` is 20240101-20240201, each end may be left out, seconds or ms are as good."""

    timerange: str = Field("", max_length=40)
    strategy: str = Field("", max_length=80)


@router.get("/pair_candles")
async def pair_candles(
    services: Held, pair: Pair, timeframe: Timeframe, limit: Annotated[int, Query(ge=1)] = COUNT
) -> dict[str, Any]:
    """Return the newest bars of a symbol."""
    return await _newest(services, CandlesAsked(pair=pair, timeframe=timeframe, limit=limit))


@router.post("/pair_candles")
async def pair_candles_of(services: Held, asked: CandlesAsked) -> dict[str, Any]:
    """Return the newest bars of a symbol with some columns."""
    return await _newest(services, asked)


@router.get("/pair_history")
async def pair_history(
    services: Held, pair: Pair, timeframe: Timeframe, strategy: Annotated[str, Query(max_length=80)] = "",
    timerange: Range = "",
) -> dict[str, Any]:  # fmt: skip
    """Return stored bars of a symbol."""
    return await _older(services, HistoryAsked(pair=pair, timeframe=timeframe, strategy=strategy, timerange=timerange))


@router.post("/pair_history")
async def pair_history_of(services: Held, asked: HistoryAsked) -> dict[str, Any]:
    """Return stored bars of a symbol with some columns."""
    return await _older(services, asked)


@router.get("/plot_config")
async def plot_config(services: Held) -> dict[str, Any]:
    """Return which columns of the strategies belong over the candles, and which below."""
    desk = services.desk
    symbols, timeframes = desk.symbols(), desk.timeframes()
    told: dict[str, Any] = {"main_plot": {}, "subplots": {}}
    for timeframe in timeframes if symbols else ():
        bars = (await desk.bars(symbols[0], timeframe, COUNT)).rows()
        for name, values in (await _columns(services, symbols[0], timeframe, bars)).items():
            if _of_price(values, bars):
                told["main_plot"][name] = {}
            else:
                told["subplots"][name] = {name: {}}
    return told


@router.get("/strategy/{name}")
async def strategy(services: Held, visitor: Reader, name: str) -> dict[str, Any]:
    """Return a strategy in use, or several as the configuration names them; the code only to who may act."""
    names = [one.strip() for one in name.split(",") if one.strip()]
    found = [await services.stored.strategy(one) for one in names]
    if not found:
        raise HTTPException(404, "Strategy not found")
    code = "\n\n".join(one["code"] for one in found) if visitor.acts else ""
    return {"strategy": ", ".join(names), "code": code, "timeframe": found[0]["timeframe"], "params": []}


async def _newest(services: Services, asked: CandlesAsked) -> dict[str, Any]:
    name = services.desk.symbol(asked.pair)
    count = min(asked.limit or COUNT, COUNT_MAX)
    bars = (await services.desk.bars(name, asked.timeframe, count)).rows()
    return await _told(services, name, asked, bars)


async def _older(services: Services, asked: HistoryAsked) -> dict[str, Any]:
    name, step = services.desk.symbol(asked.pair), timeframe_ms(asked.timeframe)
    begin, end = _span(asked.timerange)
    count = min(HISTORY_MAX, (end - begin) // step + 1)
    bars = await services.stored.older(name, asked.timeframe, end, count)
    rows = [one for one in bars.rows() if one.open_time >= begin]
    return await _told(services, name, asked, rows)


def _span(text: str) -> tuple[int, int]:
    """Return a time range in UTC ms; until now where it has no end."""
    begin, _, end = text.partition("-")
    now = int(datetime.now(UTC).timestamp() * 1000)
    try:
        span = _time(begin) if begin else 0, _time(end) if end else now
    except ValueError:
        span = (0, -1)
    if not 0 <= span[0] <= span[1] <= TIME_MAX:
        raise HTTPException(422, f"timerange {text!r}: give it as 20240101-20240201, 20240101- or -20240201")
    return span


def _time(text: str) -> int:
    if len(text) == len("20240101"):
        return int(datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).timestamp() * 1000)
    number = int(text)
    return number if len(text) == len("1700000000000") else number * 1000


async def _columns(
    services: Services, symbol: str, timeframe: str, bars: Sequence[Bar]
) -> dict[str, list[float | None]]:
    if not bars:
        return {}
    found = await services.stored.columns(symbol, timeframe, bars[-1].open_time + 1, len(bars))
    told: dict[str, list[float | None]] = {}
    for one in found:
        for name, values in one["columns"].items():
            held = dict(zip(one["times"], values, strict=True))
            told[f"{one['strategy']}_{name}" if len(found) > 1 else name] = [held.get(bar.open_time) for bar in bars]
    return told


def _of_price(values: Sequence[float | None], bars: Sequence[Bar]) -> bool:
    parts = [value / bar.close for value, bar in zip(values, bars, strict=True) if value is not None and bar.close]
    return bool(parts) and sum(NEAR[0] < one < NEAR[1] for one in parts) > MOST * len(parts)


async def _told(services: Services, symbol: str, asked: CandlesAsked, bars: Sequence[Bar]) -> dict[str, Any]:
    step = timeframe_ms(asked.timeframe)
    lines = await _columns(services, symbol, asked.timeframe, bars)
    signals = _signals(services, symbol, asked.timeframe, step)
    every = {
        **_drawn(bars),
        **lines,
        **{name: [int(bar.open_time in signals[name]) for bar in bars] for name in SIGNALS},
    }
    kept = [*OHLCV, *SIGNALS, *(asked.columns if asked.columns is not None else lines)]
    shown = {name: column for name, column in every.items() if name in kept}
    shown["__date_ts"] = [bar.open_time for bar in bars]
    for name in SIGNALS:
        if any(every[name]):
            shown[f"_{name}_signal_close"] = [
                bar.close if said else None for bar, said in zip(bars, every[name], strict=True)
            ]
    counts = {f"{name}_signals": sum(every[name]) for name in SIGNALS}
    ends = {"start": bars[0].open_time, "stop": bars[-1].open_time} if bars else {"start": 0, "stop": 0}
    now = services.desk.market_time
    return {
        "strategy": ", ".join(services.desk.strategies()), "pair": symbol, "timeframe": asked.timeframe,
        "timeframe_ms": step, "columns": list(shown), "all_columns": list(every), "length": len(bars),
        "data": [list(row) for row in zip(*shown.values(), strict=True)], "annotations": [], **counts,
        "buy_signals": counts["enter_long_signals"], "sell_signals": counts["exit_long_signals"],
        "last_analyzed": now.isoformat(), "last_analyzed_ts": int(now.timestamp()),
        **{f"data_{name}": _written(time) if bars else "" for name, time in ends.items()},
        **{f"data_{name}_ts": time for name, time in ends.items()},
    }  # fmt: skip


def _drawn(bars: Sequence[Bar]) -> dict[str, list[Any]]:
    return {
        "date": [_written(bar.open_time) for bar in bars], "open": [bar.open for bar in bars],
        "high": [bar.high for bar in bars], "low": [bar.low for bar in bars], "close": [bar.close for bar in bars],
        "volume": [bar.volume for bar in bars],
    }  # fmt: skip


def _signals(services: Services, symbol: str, timeframe: str, step: int) -> dict[str, set[int]]:
    """Return the open times of the bars that gave signals, taken or refused; nothing is a signal to leave."""
    found: dict[str, set[int]] = {name: set() for name in SIGNALS}
    for one in services.desk.phantoms():
        if (one.symbol, one.timeframe) == (symbol, timeframe):
            found[f"enter_{one.side.value}"].add(one.signal_time - step)
    return found


def _written(time: int) -> str:
    return f"{datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%d %H:%M:%S+00:00}"
