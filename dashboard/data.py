"""Routes that tell what is stored."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from dashboard import models
from dashboard.services import REFUSALS, Held, may_read

router = APIRouter(prefix="/api/v1", tags=["data"], dependencies=[Depends(may_read)], responses=REFUSALS)

Symbol = Annotated[str, Query(min_length=1, max_length=80)]
Timeframe = Annotated[str, Query(min_length=1, max_length=10)]


@router.get("/coverage", response_model=list[models.StoredSeries])
async def coverage(services: Held) -> list[dict[str, Any]]:
    """Return every stored series with what lacks between its ends."""
    return await services.stored.series()


@router.get("/coverage/gaps", response_model=models.Gaps)
async def gaps(services: Held, source: Annotated[str, Query(min_length=1, max_length=40)], symbol: Symbol,
               timeframe: Timeframe) -> dict[str, Any]:  # fmt: skip
    """Return how complete a series is, exactly, with its first hundred gaps."""
    return await services.stored.gaps(source, symbol, timeframe)


@router.get("/coverage/compare", response_model=list[models.ComparedSource])
async def compare(services: Held, symbol: Symbol, timeframe: Timeframe) -> list[dict[str, Any]]:
    """Return the sources that hold a series side by side, over the newest 5,000 bars of each."""
    return await services.stored.compared(symbol, timeframe)


@router.get("/jobs", response_model=list[models.JobRow])
async def jobs(services: Held) -> list[dict[str, Any]]:
    """Return the regular jobs with their last and next runs."""
    return await services.stored.jobs()


@router.get("/workers", response_model=models.Workers)
async def workers(services: Held) -> dict[str, Any]:
    """Return who works through Celery, and what waits for them."""
    return await services.stored.workers()


@router.get("/works", response_model=list[models.Work])
async def works(services: Held) -> list[Any]:
    """Return the works begun here, newest first."""
    return list(services.works.all())


@router.get("/audit")
async def audit(services: Held, count: Annotated[int, Query(ge=1, le=500)] = 50) -> list[dict[str, Any]]:
    """Return what people had done lately, by page, program or chat, newest first."""
    return await services.stored.deeds(count)
