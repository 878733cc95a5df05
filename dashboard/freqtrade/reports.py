"""Routes that tell how the bot stands and what it did, as freqtrade does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query

from dashboard.freqtrade import figures, settings_shown
from dashboard.freqtrade.log_lines import rows
from dashboard.freqtrade.machine import load
from dashboard.freqtrade.numbers import beginning, lock_number, number_of
from dashboard.freqtrade.trades import FORMAT, closed_trade, moment, open_trade, trading_mode
from dashboard.freqtrade.visitors import may_read
from dashboard.services import Held, Services
from domain.errors import BadData
from domain.reports import Period
from domain.symbols import nearest
from domain.trade import as_row
from domain.trade_page import Wanted
from domain.version import VERSION

if TYPE_CHECKING:
    from domain.trade import Trade

router = APIRouter(dependencies=[Depends(may_read)])

LINES, PAGE = 1_000, 500
Scale = Annotated[int, Query(ge=1, le=400)]
Pair = Annotated[str, Query(max_length=80)]
Limit = Annotated[int, Query(ge=1, le=PAGE)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
SIDES = {"all": "", "long": "long", "short": "short"}


def exchange(services: Services) -> str:
    """Return where the bot trades."""
    return str(services.desk.status()["source"])


def open_trades(services: Services) -> list[dict[str, Any]]:
    """Return the positions of the moment."""
    where = exchange(services)
    return [open_trade(row, where) for row in services.desk.pulse()["positions"]]


async def trade_called(services: Services, number: int) -> dict[str, Any]:
    """Return the position or trade of a number. Raises HTTPException, Unavailable."""
    for one in open_trades(services):
        if one["trade_id"] == number:
            return one
    try:
        found = await services.desk.order(beginning(number))
    except BadData as error:
        raise HTTPException(404, "Trade not found.") from error
    if "trade" not in found:
        return open_trade(found["position"], exchange(services))
    told = closed_trade(as_row(found["trade"]), exchange(services))
    return {**told, "current_rate": told["close_rate"], "total_profit_abs": told["profit_abs"],
            "total_profit_fiat": None, "total_profit_ratio": told["profit_ratio"]}  # fmt: skip


def money(services: Services) -> figures.Money:
    """Return the account's money as the bot knows it, without asking the exchange."""
    seen = services.desk.pulse()
    return figures.Money(float(seen["equity"] or 0), float(seen["open_pnl"] or 0))


@router.get("/version")
async def version() -> dict[str, str]:
    """Return which program this is."""
    return {"version": f"Revenant {VERSION}"}


@router.get("/show_config")
async def show_config(services: Held) -> dict[str, Any]:
    """Return what of the configuration concerns trading."""
    return settings_shown.shown(services.desk)


@router.get("/status")
async def status(services: Held) -> list[dict[str, Any]]:
    """Return the open positions."""
    return open_trades(services)


@router.get("/count")
async def count(services: Held) -> dict[str, Any]:
    """Return how many positions are open, and how many may be."""
    held = open_trades(services)
    most = services.desk.status().get("max_open_trades", 0)
    return {"current": len(held), "max": most, "total_stake": sum(one["stake_amount"] for one in held)}


@router.get("/trades")
async def trades(
    services: Held, limit: Limit = PAGE, offset: Offset = 0, *, order_by_id: bool = True
) -> dict[str, Any]:
    """Return closed trades, the oldest first, or the newest."""
    wanted = Wanted(sort="exit_time", descending=not order_by_id)
    found = await services.desk.page(wanted, None, offset, limit)
    where = exchange(services)
    told = [closed_trade(row, where) for row in found["trades"]]
    return {"trades": told, "trades_count": len(told), "offset": offset, "total_trades": found["total"]}


@router.get("/trade/{number}")
async def trade(services: Held, number: int) -> dict[str, Any]:
    """Return a position or closed trade."""
    return await trade_called(services, number)


@router.get("/trades/open/custom-data")
async def open_custom_data(
    services: Held, key: Pair = "", limit: Limit = 100, offset: Offset = 0
) -> list[dict[str, Any]]:
    """Return what is known of open positions besides."""
    held = services.desk.pulse()["positions"][offset : offset + limit]
    return [_custom(row["trade_id"], {"score": row["score"], "r": row["r"]}, row["opened_at"], key) for row in held]


@router.get("/trades/{number}/custom-data")
async def custom_data(services: Held, number: int, key: Pair = "") -> list[dict[str, Any]]:
    """Return what is known of a position or trade besides."""
    try:
        found = await services.desk.order(beginning(number))
    except BadData as error:
        raise HTTPException(404, "Trade not found.") from error
    if "trade" in found:
        held = found["trade"]
        told = {"score": held.score, "r": str(held.r_multiple), "touched": held.touched}
        return [_custom(held.trade_id, told, held.exit_time, key)]
    row = found["position"]
    return [_custom(row["trade_id"], {"score": row["score"], "r": row["r"]}, row["opened_at"], key)]


def _custom(trade_id: str, told: dict[str, Any], time: Any, key: str) -> dict[str, Any]:
    since = moment("at", time)["at_date"]
    held = {name: value for name, value in told.items() if value is not None and key in {"", name}}
    return {"trade_id": number_of(trade_id), "custom_data": [
        {"key": name, "type": type(value).__name__, "value": value, "created_at": since, "updated_at": None}
        for name, value in held.items()
    ]}  # fmt: skip


@router.get("/balance")
async def balance(services: Held) -> dict[str, Any]:
    """Return the account's money, as the exchange tells it now."""
    seen, stake = await services.desk.balance(), settings_shown.currency(services.desk)
    held = open_trades(services)
    total, free = float(seen["equity"]), float(seen["available"])
    made = float((await services.desk.statistics(None)).total_pnl)
    start = figures.Money(total, float(seen["open_pnl"])).start(made)
    ratio = total / start - 1 if start > 0 else 0.0
    shown = [
        _owned(stake, free, total, total - free, stake, free, position=0.0, side="long"),
        *(_owned(one["pair"], 0.0, 0.0, 0.0, stake, one["stake_amount"], position=one["amount"],
                 side="short" if one["is_short"] else "long") for one in held),
    ]  # fmt: skip
    return {
        "currencies": shown, "total": total, "total_bot": total, "symbol": "", "value": 0.0, "value_bot": 0.0,
        "stake": stake, "note": "" if services.desk.mode == "LIVE" else "Simulated balances",
        "starting_capital": start, "starting_capital_ratio": ratio, "starting_capital_pct": round(100 * ratio, 2),
        "starting_capital_fiat": 0.0, "starting_capital_fiat_ratio": 0.0, "starting_capital_fiat_pct": 0.0,
        "trade_count": len(held),
    }  # fmt: skip


def _owned(
    name: str, free: float, total: float, used: float, stake: str, worth: float, *, position: float, side: str
) -> dict[str, Any]:
    return {
        "currency": name, "free": free, "balance": total, "used": used, "bot_owned": total, "est_stake": worth,
        "est_stake_bot": worth, "stake": stake, "side": side, "is_position": position > 0, "position": position,
        "is_bot_managed": True,
    }  # fmt: skip


async def _closed(services: Services, pair: str = "") -> list[Trade]:
    held = await services.desk.trades()
    if not pair:
        return held
    name = nearest(pair, [*services.desk.symbols(), *(one.symbol for one in held)])
    return [one for one in held if one.symbol == name]


@router.get("/profit")
async def profit(services: Held) -> dict[str, Any]:
    """Return what all trades made."""
    told: dict[str, Any] = (await _profits(services, ("all",)))["all"]
    return told


@router.get("/profit_all")
async def profit_all(services: Held) -> dict[str, Any]:
    """Return what all trades made, and long and short ones of them."""
    return await _profits(services, tuple(SIDES))


async def _profits(services: Services, sides: tuple[str, ...]) -> dict[str, Any]:
    desk, held, whole = services.desk, open_trades(services), money(services)
    closed = await desk.trades()
    made = float(sum(one.pnl_usd for one in closed))

    def summed() -> dict[str, Any]:
        found = {}
        for side in sides:
            wanted = SIDES[side]
            ended = [one for one in closed if wanted in {"", one.side}]
            current = [one for one in held if wanted in {"", "short" if one["is_short"] else "long"}]
            # every side is told of the capital that the account began with
            own = figures.Money(
                whole.start(made)
                + float(sum(one.pnl_usd for one in ended))
                + sum(one["profit_abs"] for one in current),
                sum(one["profit_abs"] for one in current),
            )
            found[side] = figures.totals(ended, current, own, desk.started, desk.market_time)
        return found

    return await asyncio.to_thread(summed)


@router.get("/stats")
async def stats(services: Held) -> dict[str, Any]:
    """Return how trades ended and how long they took."""
    return await asyncio.to_thread(figures.stats, await services.desk.trades())


@router.get("/performance")
async def performance(services: Held) -> list[dict[str, Any]]:
    """Return what each symbol made."""
    found = await asyncio.to_thread(figures.by, await services.desk.trades(), lambda one: one.symbol, "pair")
    return [{**row, "profit": row["profit_pct"]} for row in found]


@router.get("/entries")
async def entries(services: Held, pair: Pair = "") -> list[dict[str, Any]]:
    """Return what each strategy made."""
    return await asyncio.to_thread(
        figures.by, await _closed(services, pair), lambda one: one.strategy_name, "enter_tag"
    )


@router.get("/exits")
async def exits(services: Held, pair: Pair = "") -> list[dict[str, Any]]:
    """Return what each kind of exit made."""
    return await asyncio.to_thread(
        figures.by, await _closed(services, pair), lambda one: one.exit_reason, "exit_reason"
    )


@router.get("/mix_tags")
async def mix_tags(services: Held, pair: Pair = "") -> list[dict[str, Any]]:
    """Return what each strategy made by each kind of exit."""
    held = await _closed(services, pair)
    return await asyncio.to_thread(figures.by, held, lambda one: f"{one.strategy_name} {one.exit_reason}", "mix_tag")


async def _periods(services: Services, period: Period, timescale: int) -> dict[str, Any]:
    found = await services.desk.results(period, timescale)
    return figures.periods(found, money(services), settings_shown.currency(services.desk))


@router.get("/daily")
async def daily(services: Held, timescale: Scale = 7) -> dict[str, Any]:
    """Return what the last days made."""
    return await _periods(services, Period.DAY, timescale)


@router.get("/weekly")
async def weekly(services: Held, timescale: Scale = 4) -> dict[str, Any]:
    """Return what the last weeks made."""
    return await _periods(services, Period.WEEK, timescale)


@router.get("/monthly")
async def monthly(services: Held, timescale: Scale = 3) -> dict[str, Any]:
    """Return what the last months made."""
    return await _periods(services, Period.MONTH, timescale)


@router.get("/whitelist")
async def whitelist(services: Held) -> dict[str, Any]:
    """Return the symbols that are traded: those that the pairlists keep, or all that are followed."""
    held = services.desk.symbols()
    universe = services.desk.universe()
    kept = universe.get("kept", held)
    return {"whitelist": kept, "length": len(kept), "method": universe.get("pairlists", ["StaticPairList"])}


@router.get("/blacklist")
async def blacklist(services: Held) -> dict[str, Any]:
    """Return the symbols that take no new entries."""
    return banned(services)


def banned(services: Services, errors: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the symbols that take no new entries, and what became of those that cannot be added or taken off."""
    held = services.desk.banned()
    return {"blacklist": held, "blacklist_expanded": held, "errors": errors or {}, "length": len(held),
            "method": ["StaticPairList"]}  # fmt: skip


@router.get("/locks")
async def locks(services: Held) -> dict[str, Any]:
    """Return which protections hold entries back."""
    return await locked(services)


async def locked(services: Services) -> dict[str, Any]:
    """Return which protections hold entries back, each with a number."""
    now = services.desk.market_time
    held = [
        {
            "id": lock_number(one.symbol, one.method), "active": True, "pair": one.symbol, "side": "*",
            "reason": one.method, "lock_time": f"{now:{FORMAT}}", "lock_timestamp": int(now.timestamp() * 1000),
            "lock_end_time": moment("end", one.until)["end_date"], "lock_end_timestamp": one.until,
        }
        for one in await services.desk.locks()
    ]  # fmt: skip
    return {"lock_count": len(held), "locks": held}


@router.get("/logs")
async def logs(services: Held, limit: Annotated[int, Query(ge=0, le=LINES)] = LINES) -> dict[str, Any]:
    """Return the newest lines of the log, oldest first, without secrets."""
    found = rows(services.desk.logs(limit or LINES))
    return {"log_count": len(found), "logs": found}


@router.get("/strategies")
async def strategies(services: Held) -> dict[str, list[str]]:
    """Return the strategies in use."""
    return {"strategies": sorted(services.desk.strategies())}


@router.get("/pairlists/available")
async def pairlists() -> dict[str, list[Any]]:
    """Return no pair lists: symbols are chosen at the start (``trading.symbols``)."""
    return {"pairlists": []}


@router.get("/available_pairs")
async def available_pairs(
    services: Held, timeframe: Annotated[str, Query(max_length=10)] = "",
    stake_currency: Annotated[str, Query(max_length=20)] = "",
) -> dict[str, Any]:  # fmt: skip
    """Return the symbols of which bars are stored."""
    found = sorted({
        (one["symbol"], one["timeframe"]) for one in await services.stored.series()
        if timeframe in {"", one["timeframe"]} and settings_shown.quote(one["symbol"]).startswith(stake_currency)
    })  # fmt: skip
    names = list(dict.fromkeys(symbol for symbol, _ in found))
    told = [[symbol, step, trading_mode(symbol)] for symbol, step in found]
    return {"length": len(names), "pairs": names, "pair_interval": told}


@router.get("/sysinfo")
async def sysinfo() -> dict[str, Any]:
    """Return how busy the machine is."""
    return await load()


@router.get("/health")
async def health(services: Held) -> dict[str, Any]:
    """Return when the market told something last, and since when the bot runs."""
    told: dict[str, Any] = {}
    for name, time in (("last_process", services.desk.market_time), ("bot_start", services.desk.started),
                       ("bot_startup", services.desk.started)):  # fmt: skip
        told |= {name: time.isoformat(), f"{name}_ts": int(time.timestamp()), f"{name}_loc": f"{time:{FORMAT}}"}
    return told
