"""Routes under the names that programs written for an earlier dashboard know, with real contents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from dashboard import figures
from dashboard.services import REFUSALS, Held, may_read
from domain.candle import MAIN_TIMEFRAME, timeframe_ms
from domain.durations import DAY_MS, HOUR_MS
from domain.errors import BadData
from domain.symbols import Symbols

if TYPE_CHECKING:
    from dashboard.port import Desk

router = APIRouter(prefix="/api", tags=["market"], dependencies=[Depends(may_read)], responses=REFUSALS)

Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("/market-summary")
async def market_summary(services: Held, limit: Limit = 20) -> list[dict[str, Any]]:
    """Return of each symbol its price, its change over an hour and a day, and its turnover, largest turnover first."""
    desk = services.desk
    finest = min(desk.timeframes(), key=timeframe_ms, default=MAIN_TIMEFRAME)
    rows = [row for name in desk.symbols() if (row := await _summary(desk, name, finest))]
    return sorted(rows, key=lambda row: -row["turnover_24h"])[:limit]


@router.get("/recent-signals")
async def recent_signals(services: Held, limit: Limit = 50) -> list[dict[str, Any]]:
    """Return the newest signals, taken or refused, newest first."""
    found = sorted(services.desk.phantoms(), key=lambda one: one.signal_time, reverse=True)
    return [{**figures.phantom_row(one), "executed": one.was_executed} for one in found[:limit]]


@router.get("/historical-data/{symbol:path}")
async def historical_data(
    services: Held, symbol: Annotated[str, Path(max_length=80)],
    timeframe: Annotated[str, Query(max_length=10)] = MAIN_TIMEFRAME,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    source: Annotated[str, Query(max_length=40, description="Only what is stored of this source.")] = "",
) -> dict[str, Any]:  # fmt: skip
    """Return the newest closed bars of a symbol, oldest first: of one that is followed, else of one that is stored.

    BTC, BTCUSDT, BTC/USDT and BTC/USDT:USDT are the same, as everywhere.
    """
    asked = timeframe.lower()
    timeframe_ms(asked)
    name = None if source else Symbols(services.desk.symbols()).one(symbol)
    if name is None:
        name, bars = await services.stored.bars(source, symbol, asked, limit)
    else:
        bars = await services.desk.bars(name, asked, limit)
    columns = ("time", "open", "high", "low", "close", "volume", "turnover")
    return {
        "symbol": name, "timeframe": asked, "data": [dict(zip(columns, row, strict=True)) for row in bars.rows()]
    }  # fmt: skip


@router.get("/available-symbols")
async def available_symbols(services: Held) -> dict[str, Any]:
    """Return the symbols that are followed, and those of which bars are stored, by source."""
    stored: dict[str, set[str]] = {}
    for one in await services.stored.series():
        stored.setdefault(one["source"], set()).add(one["symbol"])
    held = {source: sorted(names) for source, names in stored.items()}
    return {"symbols": services.desk.symbols(), "timeframes": services.desk.timeframes(), "stored": held}


@router.get("/system-health")
async def system_health(services: Held) -> dict[str, Any]:
    """Return whether the bot can trade, and how its parts are."""
    return {"ready": not services.desk.reasons(), "reasons": services.desk.reasons(), **services.desk.pulse()}


@router.get("/ml-performance")
async def ml_performance(services: Held) -> dict[str, Any]:
    """Return how each model was judged, and how its scores ranked signals."""
    held = list(services.desk.phantoms())
    return {
        name: {
            "ready": state["is_ml_ready"], "lessons": state["completed"], "last_result": state["last_result"],
            "deciles": figures.deciles(one for one in held if one.strategy_name == name),
        }
        for name, state in services.desk.ml_stats().items()
    }  # fmt: skip


async def _summary(desk: Desk, symbol: str, timeframe: str) -> dict[str, Any] | None:
    step = timeframe_ms(timeframe)
    try:
        bars = await desk.bars(symbol, timeframe, DAY_MS // step + 1)
    except BadData:
        return None
    if not len(bars):
        return None
    closes, known = bars.close.tolist(), desk.prices().get(symbol)
    price = known[0] if known else closes[-1]
    hour = closes[-min(len(closes), HOUR_MS // step + 1)]
    return {
        "symbol": symbol, "price": price, "change_1h_percent": round(100 * (price / hour - 1), 4),
        "change_24h_percent": round(100 * (price / closes[0] - 1), 4), "high_24h": float(bars.high.max()),
        "low_24h": float(bars.low.min()), "volume_24h": float(bars.volume.sum()),
        "turnover_24h": float(bars.turnover.sum()), "hours": round(len(bars) * step / HOUR_MS, 2),
        "time": int(bars.open_time[-1]) + step,
    }  # fmt: skip
