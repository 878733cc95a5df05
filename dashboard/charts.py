"""Routes of the chart: which timeframes there are, bars and marks further back, the strategies' own columns."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from dashboard import models
from dashboard.services import REFUSALS, Held, may_read
from domain.candle import MAIN_TIMEFRAME, timeframe_ms

router = APIRouter(prefix="/api/v1/chart", tags=["chart"], dependencies=[Depends(may_read)], responses=REFUSALS)

Symbol = Annotated[str, Query(min_length=1, max_length=80)]
Timeframe = Annotated[str, Query(max_length=10)]
Count = Annotated[int, Query(ge=1, le=1_000)]
Before = Annotated[int, Query(ge=0, le=10_000_000_000_000, description="Open time (UTC ms) that bars are older than.")]
NEVER = 10_000_000_000_000


@router.get("/timeframes")
async def timeframes(services: Held, symbol: Symbol) -> list[str]:
    """Return the timeframes of which bars of a symbol are at hand or stored, the shortest first."""
    desk = services.desk
    stored = await services.stored.timeframes(desk.symbol(symbol))
    return sorted({*desk.timeframes(), *stored}, key=timeframe_ms)


@router.get("/older", response_model=models.OlderBars)
async def older(
    services: Held, symbol: Symbol, before: Before, timeframe: Timeframe = MAIN_TIMEFRAME, count: Count = 1_000
) -> dict[str, Any]:
    """Return stored bars before a time with what was done within them; no bars where history begins."""
    desk = services.desk
    name, _ = desk.symbol(symbol), timeframe_ms(timeframe)
    rows = (await services.stored.older(name, timeframe, before, count)).rows()
    marks = await desk.marks(name, rows[0].open_time) if rows else []
    bars = [dict(zip(("time", "open", "high", "low", "close", "volume"), row, strict=False)) for row in rows]
    return {
        "bars": bars,
        "marks": [
            {field: getattr(mark, field) for field in mark.__struct_fields__}
            for mark in marks if mark.entry[0] < before and mark.kind != "open"
        ],
    }  # fmt: skip


@router.get("/columns", response_model=list[models.StrategyColumns])
async def columns(
    services: Held, symbol: Symbol, timeframe: Timeframe = MAIN_TIMEFRAME, count: Count = 400, before: Before = NEVER
) -> list[dict[str, Any]]:
    """Return what the strategies that decide on a timeframe have computed of its bars, a value for each bar."""
    name, _ = services.desk.symbol(symbol), timeframe_ms(timeframe)
    return await services.stored.columns(name, timeframe, before, count)
