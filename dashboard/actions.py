"""Routes that have something done. Each is confirmed by who asks, and in the audit before it is done.

Where the audit takes nothing, only what lowers the risk is done, and says so.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request

from dashboard import models
from dashboard.services import REFUSALS, Held, may_act
from domain.errors import BadData
from domain.portion import Portion
from domain.records import SwitchState
from engine.operations import ExitOutcome

router = APIRouter(prefix="/api/v1", tags=["actions"], dependencies=[Depends(may_act)], responses=REFUSALS)


@router.post("/switch", response_model=models.Switched)
async def switch(services: Held, request: Request, order: models.SwitchOrder) -> dict[str, Any]:
    """Let new entries in, pause them, or stop; the choice survives a restart."""
    services.must_run()
    lowers = order.state is not SwitchState.RUNNING
    said = await services.note(request, "switch", lowers=lowers, state=order.state.value, reason=order.reason)
    await services.desk.switch(order.state, order.reason)
    return {"switch": order.state, **said}


@router.post("/forceexit", response_model=models.Closing)
async def force_exit(services: Held, request: Request, order: models.ExitOrder) -> dict[str, Any]:
    """Close a position at the market, or a part of it, or all."""
    services.must_run()
    part = Portion.parse(order.part) if order.part else None
    shared = {"part": order.part} if order.part else {}
    said = await services.note(request, "forceexit", lowers=True, target=order.what, reason=order.reason, **shared)
    if part is None:
        closing = await services.desk.force_exit(order.what, order.reason)
    else:
        closing = await services.desk.reduce(order.what, part, order.reason)
    if not closing and order.what != "all":
        raise BadData(f"no open position is called {order.what!r}")
    return {**_told(closing), **said}


@router.post("/panic", response_model=models.Closing)
async def panic(services: Held, request: Request, order: models.PanicOrder) -> dict[str, Any]:
    """Stop trading and close everything."""
    services.must_run()
    said = await services.note(request, "panic", lowers=True, foreign=order.foreign, reason=order.reason)
    return {**_told(await services.desk.panic(order.reason, foreign=order.foreign)), **said}


def _told(outcomes: list[ExitOutcome]) -> dict[str, Any]:
    return {
        "closing": [one.symbol for one in outcomes], "outcomes": [msgspec.structs.asdict(one) for one in outcomes],
    }  # fmt: skip


@router.post("/reconcile")
async def reconcile(services: Held, request: Request, order: models.ReconcileOrder) -> dict[str, Any]:
    """Compare with the exchange at once; with ``since``, ask for all from then on anew and record what is missing."""
    services.must_run()
    said = await services.note(request, "reconcile", lowers=True, reason=order.reason, since=order.since)
    return {**await services.desk.reconcile(int(order.since) if order.since else None), **said}


@router.post("/train")
async def train(services: Held, request: Request, order: models.TrainOrder) -> dict[str, Any]:
    """Train a strategy's model now."""
    services.must_run()
    await services.note(request, "train", strategy=order.strategy, reason=order.reason)
    return {order.strategy: await services.desk.train(order.strategy)}


@router.post("/link", response_model=models.LinkKey)
async def link(services: Held, request: Request) -> dict[str, str]:
    """Return a key that signs a browser in once, within five minutes."""
    # whoever cannot sign in cannot stop the bot either
    said = await services.note(request, "link", lowers=True)
    return {"key": services.access.link(), **said}


@router.post("/works", response_model=models.Work, status_code=201)
async def begin_work(services: Held, request: Request, work: models.NewWork) -> dict[str, Any]:
    """Begin a download, the filling of gaps, an export, or a regular job."""
    arguments = work.model_dump(exclude={"kind"})
    await services.note(request, "work", kind=work.kind, **arguments)
    return services.works.begin(work.kind, arguments)


@router.post("/backtests", response_model=models.Work, status_code=201)
async def begin_backtest(services: Held, request: Request, asked: models.NewBacktest) -> dict[str, Any]:
    """Trade the past in a process of its own, one at a time; what it found is then among the kept backtests."""
    wanted = await services.stored.backtest_asked(asked.model_dump())
    await services.note(request, "backtest", **wanted)
    return services.works.begin("backtest", wanted)


@router.delete("/works/{number}", response_model=models.Work)
async def end_work(services: Held, request: Request, number: int) -> dict[str, Any]:
    """End a work; what it has stored stays."""
    said = await services.note(request, "end work", lowers=True, number=number)
    return {**await services.works.end(number), **said}
