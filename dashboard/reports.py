"""Routes that tell how the bot stands and what it did."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response, StreamingResponse

from dashboard import figures, models
from dashboard.services import REFUSALS, Held, Services, may_read
from domain.candle import MAIN_TIMEFRAME, timeframe_ms
from domain.reports import Group, Period
from domain.symbols import nearest
from domain.trade import as_row
from domain.trade_page import Wanted, chosen, known

router = APIRouter(prefix="/api/v1", tags=["reports"], dependencies=[Depends(may_read)], responses=REFUSALS)

Days = Annotated[int | None, Query(ge=1, le=36_500, description="Only what ended in the last days of the market.")]
Name = Annotated[str, Query(max_length=80)]
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Sort = Literal[
    "exit_time", "entry_time", "symbol", "strategy_name", "side", "pnl_usd", "pnl_percent", "r_multiple", "exit_reason",
    "score", "fees",
]  # fmt: skip


@router.get("/status", response_model=models.Status)
async def status(services: Held) -> dict[str, Any]:
    """Return all figures of the moment."""
    return services.desk.status()


@router.get("/bots", response_model=list[models.BotRow])
async def bots(services: Held) -> list[dict[str, Any]]:
    """Return the other bots of the settings (``dashboard.bots``), each as it stands, or why it cannot be read."""
    return await services.others.rows()


@router.get("/statistics")
async def statistics(services: Held, days: Days = None) -> dict[str, Any]:
    """Return the figures of closed trades."""
    found = await services.desk.statistics(days)
    names = ("total_trades", "wins", "losses", "win_rate", "total_pnl", "avg_win", "avg_loss", "profit_factor",
             "trading_days", "daily_avg", "total_fees", "total_funding")  # fmt: skip
    fallen = (await services.desk.curve(days)).slump
    return {**{name: getattr(found, name) for name in names}, "slump": fallen.depth}


@router.get("/equity", response_model=list[models.EquityPoint])
async def equity(services: Held, days: Days = None) -> list[dict[str, Any]]:
    """Return the running net profit, a thousand points at most: of many trades the extremes of neighbours are kept."""
    points = (await services.desk.curve(days)).points
    return [{"time": int(time.timestamp() * 1000), "net": net} for _, time, net in points]


@router.get("/results/{period}", response_model=list[models.ResultRow])
async def results(services: Held, period: Period, count: Annotated[int, Query(ge=1, le=400)] = 30) -> list[Any]:
    """Return what the last days, weeks or months made."""
    return await services.desk.results(period, count)


@router.get("/groups/{group}", response_model=list[models.ResultRow])
async def groups(services: Held, group: Group, days: Days = None) -> list[Any]:
    """Return what each symbol, strategy, kind of exit or hour of entry made."""
    return await services.desk.groups(group, days)


@router.get("/trades", response_model=models.TradePage)
async def trades(
    services: Held, days: Days = None, symbol: Name = "", strategy: Name = "", exit_reason: Name = "",
    side: Literal["", "long", "short"] = "", sort: Sort = "exit_time", descending: bool = True,  # noqa: FBT001, FBT002
    limit: Limit = 50, offset: Offset = 0,
) -> dict[str, Any]:  # fmt: skip
    """Return closed trades: filtered, sorted, a page of them."""
    wanted = Wanted(symbol, strategy, exit_reason, side, sort, descending)
    return await services.desk.page(wanted, days, offset, limit)


@router.get("/trades.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
async def trades_csv(
    services: Held, days: Days = None, symbol: Name = "", strategy: Name = "", exit_reason: Name = "",
    side: Literal["", "long", "short"] = "",
) -> Response:  # fmt: skip
    """Return closed trades as CSV, exact."""
    held, followed = await services.desk.trades(days), services.desk.symbols()
    wanted = Wanted(symbol, strategy, exit_reason, side)

    def written() -> str:
        known(wanted, (one.symbol for one in held), followed)
        return figures.as_csv(chosen(held, wanted))

    text = await asyncio.to_thread(written)
    name = {"content-disposition": "attachment; filename=revenant-trades.csv"}
    return Response(text, media_type="text/csv; charset=utf-8", headers=name)


@router.get("/trades/{name}")
async def trade(services: Held, name: str) -> dict[str, Any]:
    """Return a position or trade by its id, or the beginning of it, with its executions."""
    found = await services.desk.order(name)
    rows = [dict(zip(("time", "cause", "qty", "price", "fee"), fill, strict=True)) for fill in found["fills"]]
    ended = {"trade": as_row(found["trade"])} if "trade" in found else {}
    return {**found, **ended, "fills": rows}


def _symbol_of_phantoms(services: Services, text: str) -> str | None:
    """Return the symbol that is meant: one that is followed, or was when its signal came. Raises BadData."""
    if not text:
        return None
    followed = services.desk.symbols()
    return nearest(text, [*followed, *(one.symbol for one in services.desk.phantoms())])


@router.get("/phantoms")
async def phantoms(services: Held, symbol: Name = "", strategy: Name = "") -> dict[str, Any]:
    """Return what became of every signal, and what refusing cost or saved: per gate, strategy and symbol.

    Gates and strategies have a 95 % interval of ``net_r``: ``low_r`` to ``high_r``, null with fewer than eight days.
    """
    wanted = _symbol_of_phantoms(services, symbol)
    found = services.desk.phantom_stats(wanted, strategy or None)
    held = [one for one in services.desk.phantoms()
            if wanted in {None, one.symbol} and strategy in {"", one.strategy_name}]  # fmt: skip

    def judged() -> dict[str, Any]:
        return {
            **found, "by_gate": figures.judged_costs(held, lambda one: one.gate),
            "by_strategy": figures.judged_costs(held, lambda one: one.strategy_name),
            "by_symbol": figures.costs(held, lambda one: one.symbol),
        }  # fmt: skip

    return await asyncio.to_thread(judged)


@router.get("/phantoms/list", response_model=list[models.PhantomRow])
async def phantom_list(
    services: Held, symbol: Name = "", strategy: Name = "", gate: Name = "", limit: Limit = 100
) -> list[dict[str, Any]]:
    """Return the newest phantoms, newest first."""
    asked = {"symbol": _symbol_of_phantoms(services, symbol), "strategy_name": strategy, "gate": gate}
    found = [one for one in services.desk.phantoms()
             if all(not value or getattr(one, name) == value for name, value in asked.items())]  # fmt: skip
    found.sort(key=lambda one: one.signal_time, reverse=True)
    return [figures.phantom_row(one) for one in found[:limit]]


@router.get("/models")
async def model_states(services: Held) -> dict[str, Any]:
    """Return how each strategy's model stands, how its scores ranked signals, and what scores are held against.

    ``worth`` is by how much (mean R, with its 95 % interval) the better scored half of signals made more.
    """
    stats, held = services.desk.ml_stats(), list(services.desk.phantoms())

    def judged() -> dict[str, Any]:
        mine = {name: [one for one in held if one.strategy_name == name] for name in stats}
        return {
            name: {**state, "deciles": figures.deciles(mine[name]), "worth": figures.score_worth(mine[name])}
            for name, state in stats.items()
        }

    return {"strategies": await asyncio.to_thread(judged), "judging": services.desk.judging()}


@router.get("/models/runs")
async def model_runs(services: Held) -> list[dict[str, Any]]:
    """Return the newest training runs, newest first."""
    return await services.stored.runs()


@router.get("/symbols")
async def symbols(services: Held) -> dict[str, Any]:
    """Return the symbols and timeframes that are followed, the strategies in use, and what the pairlists say."""
    desk = services.desk
    return {"symbols": desk.symbols(), "timeframes": desk.timeframes(), "strategies": desk.strategies(),
            "universe": desk.universe()}  # fmt: skip


@router.get("/chart", response_model=models.ChartData)
async def chart(
    services: Held, symbol: Annotated[str, Query(min_length=1, max_length=80)],
    timeframe: Annotated[str, Query(max_length=10)] = MAIN_TIMEFRAME,
    count: Annotated[int, Query(ge=1, le=1_000)] = 300,
) -> dict[str, Any]:  # fmt: skip
    """Return the newest bars of a series with entries, exits, stops, targets and phantoms."""
    name, step = services.desk.symbol(symbol), timeframe_ms(timeframe)
    rows = (await services.desk.bars(name, timeframe, count)).rows()
    marks = await services.desk.marks(name, rows[0].open_time) if rows else []
    price = services.desk.prices().get(name)
    bars = [dict(zip(("time", "open", "high", "low", "close", "volume"), row, strict=False)) for row in rows]
    return {
        "symbol": name, "timeframe": timeframe, "step_ms": step, "bars": bars, "price": price[0] if price else None,
        "marks": [{field: getattr(mark, field) for field in mark.__struct_fields__} for mark in marks],
    }  # fmt: skip


@router.get("/tiers")
async def tiers(services: Held) -> dict[str, Any]:
    """Return what every tier holds, and what waits for it."""
    return await services.stored.tiers()


@router.get("/config")
async def config(services: Held) -> dict[str, Any]:
    """Return the settings in force, secrets masked."""
    return services.desk.config()


@router.get("/logs")
async def logs(services: Held, lines: Annotated[int, Query(ge=1, le=1_000)] = 200) -> list[str]:
    """Return the newest lines of the log, oldest first, without secrets."""
    return services.desk.logs(lines)


@router.get("/version")
async def version(services: Held) -> dict[str, str]:
    """Return which program this is."""
    return services.desk.version()


@router.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def events(services: Held) -> StreamingResponse:
    """Tell what happens, as server-sent events: pulse, bars, entry, refused, trade, work."""
    return StreamingResponse(await services.hub.listen(), media_type="text/event-stream")
