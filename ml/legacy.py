"""Phantoms that an earlier program left open in Redis, in our own terms."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from domain import ids
from domain.candle import timeframe_ms
from domain.errors import BadData
from domain.exits import Bracket
from domain.fills import Costs
from domain.order import Side
from domain.phantom import WHOLE, PhantomTrade

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from domain.exits import ExitPlan
    from domain.ids import Identity

NAMES = {
    "trend": "trend_pullback",
    "mr": "mean_reversion",
    "enhanced_mr": "mean_reversion",
    "range_fbo": "mean_reversion",
}


class Strategy(NamedTuple):
    """What a strategy of ours says of its phantoms: their timeframe and how they are managed."""

    timeframe: str
    exits: ExitPlan


def convert(
    text: bytes, who: Identity, strategies: Mapping[str, Strategy], unified: Callable[[str], str | None], costs: Costs
) -> tuple[list[PhantomTrade], list[str]]:
    """Return the phantoms in a value of ``phantom:active`` as it used to be, and what is wrong with the others.

    That was JSON: by symbol a list of phantoms, or a single one. Their features were not ours, so nothing is learned
    from them; they are followed to their end. ``unified`` gives our name of an exchange's symbol.
    """
    try:
        tree = msgspec.json.decode(text)
        listed = [row for rows in tree.values() for row in (rows if isinstance(rows, list) else [rows])]
    except (msgspec.MsgspecError, AttributeError) as error:
        return [], [f"it is no JSON of phantoms by symbol: {error}"]
    phantoms: dict[str, PhantomTrade] = {}
    wrong = []
    for row in listed:
        try:
            phantom = _phantom(row, who, strategies, unified, costs)
        except (BadData, KeyError, TypeError, ValueError, InvalidOperation, AttributeError) as error:
            wrong.append(f"{str(row)[:80]}: {error!r}")
            continue
        phantoms.setdefault(phantom.phantom_id, phantom)
    return list(phantoms.values()), wrong


def _phantom(
    one: dict[str, Any], who: Identity, strategies: Mapping[str, Strategy], unified: Callable[[str], str | None],
    costs: Costs,
) -> PhantomTrade:  # fmt: skip
    name = NAMES.get(one["strategy_name"], one["strategy_name"])
    symbol = unified(one["symbol"])
    if name not in strategies or symbol is None:
        raise BadData(f"no strategy {name} or no symbol {one['symbol']} here")
    timeframe, plan = strategies[name]
    step = timeframe_ms(timeframe)
    signal_time = datetime.fromisoformat(one["signal_time"])
    # times without a zone were UTC by intention
    at = int((signal_time if signal_time.tzinfo else signal_time.replace(tzinfo=UTC)).timestamp() * 1000)
    closed = at - at % step
    side, entry = Side(str(one["side"]).lower()), Decimal(str(one["entry_price"]))
    stop, target = Decimal(str(one["stop_loss"])), Decimal(str(one["take_profit"]))
    if not side.sign * stop < side.sign * entry < side.sign * target:
        raise BadData(f"stop {stop}, entry {entry} and target {target} are not in order")
    bracket = Bracket(side=side, entry=entry, first_stop=stop, stop=stop, target=target, plan=plan, opened_at=closed)
    score = one.get("ml_score")
    return PhantomTrade(
        phantom_id=ids.signal_digest(who, name, symbol, timeframe, closed - step), symbol=symbol, strategy_name=name,
        timeframe=timeframe, signal_time=closed, gate="" if one.get("was_executed") else "earlier_program",
        ml_score=float(score) if score is not None else None, features=None, bracket=bracket, next_open=closed,
        made=-costs.fee(WHOLE, entry, maker=False),
    )  # fmt: skip
