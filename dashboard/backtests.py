"""Routes of the backtests that are kept. One is begun by ``POST /api/v1/backtests``, see ``dashboard.actions``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from dashboard import models
from dashboard.charts import NEVER, Before, Count
from dashboard.services import REFUSALS, Held, may_read

router = APIRouter(prefix="/api/v1/backtests", tags=["backtests"], dependencies=[Depends(may_read)], responses=REFUSALS)

KINDS = {"report.html": "text/html", "trades.csv": "text/csv", "result.json": "application/json"}
Id = Annotated[str, Query(min_length=1, max_length=80)]


@router.get("", response_model=list[models.BacktestRow])
async def backtests(services: Held) -> list[dict[str, Any]]:
    """Return the backtests that were done, the newest first: what each asked for, and its figures."""
    return await services.stored.backtests()


@router.get("/compared")
async def compared(services: Held, one: Id, other: Id) -> dict[str, list[Any]]:
    """Return in what two backtests differ (request, settings, bars): by dotted name, a value of each."""
    return await services.stored.backtests_compared([one, other])


@router.get("/{name}", response_model=models.Backtest)
async def backtest(services: Held, name: str) -> dict[str, Any]:
    """Return a backtest: what was asked, settings, figures, equity. ``last`` is the newest."""
    return await services.stored.backtest(name)


@router.get("/{name}/trades", response_model=models.BacktestTrades)
async def trades(
    services: Held, name: str, symbol: Annotated[str, Query(max_length=80)] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50, offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> dict[str, Any]:  # fmt: skip
    """Return a page of a backtest's trades, the newest first."""
    return await services.stored.backtest_trades(name, symbol, offset, limit)


@router.get("/{name}/chart", response_model=models.BacktestChart)
async def chart(
    services: Held, name: str, symbol: Annotated[str, Query(min_length=1, max_length=80)],
    timeframe: Annotated[str, Query(max_length=10)] = "", before: Before = NEVER, count: Count = 400,
) -> dict[str, Any]:  # fmt: skip
    """Return stored bars of a backtest before a time with its trades; without a timeframe it is that of its trades."""
    return await services.stored.backtest_chart(name, symbol, timeframe, before, count)


@router.get("/{name}/{kind}", response_class=Response)
async def file(services: Held, name: str, kind: Literal["report.html", "trades.csv", "result.json"]) -> Response:
    """Return a backtest's report, its trades as CSV, or all of it as JSON, as a file."""
    content = await services.stored.backtest_file(name, kind)
    named = {"content-disposition": f"attachment; filename={kind}"}
    return Response(content, media_type=KINDS[kind], headers=named)
