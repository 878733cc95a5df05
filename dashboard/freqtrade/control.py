"""Routes that have something done, by the rules of the page: who may act, in the audit before it is done.

freqtrade's programs ask people before they send; the request itself is the confirmation.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field

from dashboard.freqtrade.numbers import NUMBER_MAX, beginning, lock_number
from dashboard.freqtrade.reports import banned, locked, trade_called
from dashboard.freqtrade.visitors import may_act
from dashboard.services import UNAUDITED, Held, Services
from domain.errors import BadData, Rejected
from domain.portion import Portion
from domain.records import SwitchState
from engine.adjustments import EVERYTHING

router = APIRouter(dependencies=[Depends(may_act)])

REASON = "freqtrade API"
Pairs = Annotated[list[str], Query(max_length=500)]


class ExitAsked(BaseModel):
    """The number of a trade, or ``all``."""

    tradeid: str | int
    ordertype: str | None = Field(None, max_length=20)
    amount: Decimal | None = Field(None, gt=0, le=Decimal("1e20"))
    price: float | None = None


class EntryAsked(BaseModel):
    """A position that is to be opened by hand."""

    pair: str = Field(max_length=80)
    side: str = Field("long", max_length=10)


class PairsAsked(BaseModel):
    """Symbols that are to take no new entries."""

    blacklist: list[str] = Field(min_length=1, max_length=500)


class LocksAsked(BaseModel):
    """A lock by its number or its symbol."""

    lockid: int | None = None
    pair: str | None = Field(None, max_length=80)


@router.post("/start")
async def start(services: Held, request: Request) -> dict[str, str]:
    """Let new entries in."""
    return await _switch(services, request, SwitchState.RUNNING, "starting trader ...")


@router.post("/stop")
async def stop(services: Held, request: Request) -> dict[str, str]:
    """Make no new entries; open positions are managed on."""
    return await _switch(services, request, SwitchState.STOPPED, "stopping trader ...")


@router.post("/pause")
@router.post("/stopentry")
@router.post("/stopbuy")
async def pause(services: Held, request: Request) -> dict[str, str]:
    """Make no new entries for now."""
    return await _switch(services, request, SwitchState.PAUSED, "no more entries from now on; start lets them in again")


@router.post("/forceexit")
@router.post("/forcesell")
async def force_exit(services: Held, request: Request, asked: ExitAsked) -> dict[str, str]:
    """Close a position at the market, or all."""
    services.must_run()
    if asked.ordertype not in {None, "", "market"} or asked.price is not None:
        raise Rejected("nothing was done: positions are closed at the market; leave out ordertype and price")
    what = "all" if asked.tradeid == "all" else beginning(_number(asked.tradeid))
    if asked.amount is not None:
        return await _reduce(services, request, what, asked.amount)
    noted = await services.note(request, "forceexit", lowers=True, target=what, reason=REASON)
    closing = await services.desk.force_exit(what, REASON)
    if not closing and what != "all":
        raise BadData(f"no open trade has the number {asked.tradeid}")
    if what == "all":
        return _said("result", "Created exit orders for all open trades.", noted)
    return _said("result", f"Created exit order for trade {asked.tradeid}.", noted)


@router.post("/forceenter")
@router.post("/forcebuy")
async def force_enter(services: Held, asked: EntryAsked) -> dict[str, str]:
    """Refuse: only strategies open positions, since only they know where the stop belongs."""
    services.must_run()
    raise Rejected(f"no position in {asked.pair} was opened: only strategies open them, each with a stop of its own")


@router.post("/reload_config")
async def reload_config(services: Held, request: Request) -> dict[str, str]:
    """Read the configuration anew and take on what a running bot can."""
    services.must_run()
    fresh, now, later = await services.desk.changes()
    noted = await services.note(request, "reload", changes=now)
    await services.desk.reload(fresh, REASON)
    waits = f"; from the next start: {'; '.join(later)}" if later else ""
    return _said("status", f"Reloading config ... {'; '.join(now) or 'nothing has changed'}{waits}", noted)


@router.delete("/trades/{number}")
async def delete_trade(services: Held, number: int) -> dict[str, Any]:
    """Refuse: what happened stays on record."""
    found = await trade_called(services, number)
    raise Rejected(f"trade {number} in {found['pair']} stays: records of what happened are never deleted")


@router.delete("/trades/{number}/open-order")
async def cancel_open_order(services: Held, request: Request, number: int) -> dict[str, Any]:
    """Withdraw an entry that has not filled."""
    services.must_run()
    found = await trade_called(services, number)
    if not found["has_open_orders"]:
        raise Rejected(f"trade {number} in {found['pair']} has no open order but its stop and target, which stay")
    await services.note(request, "cancel", lowers=True, target=beginning(number), reason=REASON)
    await services.desk.force_exit(beginning(number), REASON)
    return {**found, "has_open_orders": False, "is_open": False}


@router.post("/trades/{number}/reload")
async def reload_trade(services: Held, request: Request, number: int) -> dict[str, Any]:
    """Compare with the exchange at once; return the trade as it is then."""
    services.must_run()
    await trade_called(services, number)
    await services.note(request, "reconcile", lowers=True, reason=REASON, since="")
    await services.desk.reconcile()
    return await trade_called(services, number)


@router.post("/blacklist")
async def ban(services: Held, request: Request, asked: PairsAsked) -> dict[str, Any]:
    """Let no new entries into symbols; open positions are managed on."""
    services.must_run()
    known, errors = _known(services, asked.blacklist)
    if known:
        await services.note(request, "blacklist", lowers=True, symbols=known, reason=REASON)
        await services.desk.ban(known, REASON)
    return banned(services, errors)


@router.delete("/blacklist")
async def unban(services: Held, request: Request, pairs_to_delete: Pairs) -> dict[str, Any]:
    """Let entries into symbols again."""
    services.must_run()
    known, errors = _known(services, pairs_to_delete)
    for name in known:
        await services.note(request, "blacklist delete", symbols=[name], reason=REASON)
        try:
            await services.desk.unban([name], REASON)
        except BadData as error:
            errors[name] = {"error_msg": str(error)}
    return banned(services, errors)


@router.post("/locks")
async def lock(services: Held) -> dict[str, Any]:
    """Refuse: protections lock by themselves."""
    services.must_run()
    raise Rejected("no lock was added: protections lock by themselves; the blacklist keeps entries out of a symbol")


@router.delete("/locks/{number}")
async def unlock(services: Held, request: Request, number: int) -> dict[str, Any]:
    """Lift the protections of a symbol, or of all, by the number of a lock."""
    return await _unlock(services, request, LocksAsked(lockid=number))


@router.post("/locks/delete")
async def unlock_of(services: Held, request: Request, asked: LocksAsked) -> dict[str, Any]:
    """Lift the protections of a symbol, or of all, by the number of a lock or by the symbol."""
    return await _unlock(services, request, asked)


async def _reduce(services: Services, request: Request, what: str, amount: Decimal) -> dict[str, str]:
    if what == "all":
        raise Rejected("nothing was done: an amount is of one trade; leave it out, or give the number of the trade")
    noted = await services.note(request, "forceexit", lowers=True, target=what, amount=str(amount), reason=REASON)
    found = [one for one in services.desk.pulse()["positions"] if one["trade_id"].startswith(what)]
    if found and amount >= Decimal(found[0]["qty"]):
        outcomes = await services.desk.force_exit(what, REASON)
    else:
        outcomes = await services.desk.reduce(what, Portion(qty=amount), REASON)
    if not outcomes:
        raise BadData("no open trade has that number; status tells the numbers")
    if outcomes[0].outcome == "unchanged":
        raise Rejected(f"nothing was closed in {outcomes[0].symbol}: {outcomes[0].reason}")
    return _said("result", f"Created exit order for {amount} of {outcomes[0].symbol}.", noted)


async def _unlock(services: Services, request: Request, asked: LocksAsked) -> dict[str, Any]:
    services.must_run()
    wanted = services.desk.symbol(asked.pair) if asked.pair and asked.pair != EVERYTHING else asked.pair
    found = {one.symbol for one in await services.desk.locks()
             if asked.lockid == lock_number(one.symbol, one.method) or wanted == one.symbol}  # fmt: skip
    if not found:
        raise BadData(f"there is no lock {asked.lockid if asked.pair is None else asked.pair}")
    for symbol in sorted(found):
        where = "all" if symbol == EVERYTHING else symbol
        await services.note(request, "unlock", symbol=where, reason=REASON)
        await services.desk.unlock(where, REASON)
    return await locked(services)


async def _switch(services: Services, request: Request, state: SwitchState, text: str) -> dict[str, str]:
    services.must_run()
    lowers = state is not SwitchState.RUNNING
    noted = await services.note(request, "switch", lowers=lowers, state=state.value, reason=REASON)
    await services.desk.switch(state, REASON)
    return _said("status", text, noted)


def _said(name: str, text: str, noted: dict[str, str]) -> dict[str, str]:
    return {name: f"{text} ({noted[UNAUDITED]})" if noted else text, **noted}


def _number(tradeid: str | int) -> int:
    text = str(tradeid)
    if not (text.isascii() and text.isdecimal() and int(text) <= NUMBER_MAX):
        raise BadData(f"no open trade has the number {text[:40]!r}; status tells the numbers")
    return int(text)


def _known(services: Services, names: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the symbols that are meant, and what is wrong with the names that mean none."""
    known: list[str] = []
    errors: dict[str, Any] = {}
    for name in names:
        try:
            known += services.desk.meant([name])
        except BadData as error:
            errors[name[:80]] = {"error_msg": str(error)}
    return list(dict.fromkeys(known)), errors
