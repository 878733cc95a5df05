"""What people ask first of a bot and its trades, in lines of a hundred columns; ``--json`` has all of it."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from domain.reports import Result
    from domain.trade import Trade

WIDTH = 100
ID_SHOWN = 8
"""Characters of an id that name a position or trade everywhere."""
ROUND_FROM = 1_000_000
"""Prices from here on are shown without decimals."""
NUMBERS = frozenset(
    {"profit", "R", "entry", "exit", "price", "stop", "target", "trades", "won", "mean R", "fees", "held"}
)
COUNTED = {
    "unsettled": "trades are not in the database yet", "unmatched_fills": "executions belong to no position",
    "unknown_orders": "orders have an unknown outcome", "stops_refused": "stops were refused by the exchange",
    "candle_failures": "batches of candles could not be stored", "late_funding": "funding payments came late",
}  # fmt: skip
LISTED = {
    "naked": "positions without a stop", "ghosts": "positions that the exchange does not have",
    "mismatched": "positions that the exchange has otherwise", "stale": "streams that say nothing",
    "foreign_positions": "positions that are not the bot's",
}  # fmt: skip


def status_lines(seen: Mapping[str, Any]) -> list[str]:
    """Return how a running bot stands: its mode and money, what is wrong, its positions, then how busy it was."""
    return [
        part for line in _status(seen)
        for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""]
    ]  # fmt: skip


def _status(seen: Mapping[str, Any]) -> Iterator[str]:
    ready = "ready" if seen["ready"] else "CANNOT TRADE"
    waiting = f", {seen['pending']} entries waiting" if seen["pending"] else ""
    yield f"{seen.get('mode', '')}  {seen.get('source', '')}  {seen.get('switch', '')}  {ready}".rstrip()
    yield (
        f"equity {seen.get('equity', '-')}  today {seen.get('day_pnl', '-')}  open {seen.get('open_pnl', '-')}  "
        f"positions {seen['open']} of {seen.get('max_open_trades', '-')}{waiting}"
    )
    wrong = list(troubles(seen))
    yield from (f"! {line}" for line in wrong)
    if not wrong:
        yield "nothing is wrong"
    if seen.get("positions"):
        yield from table(map(_position, seen["positions"]))
    counts = ", ".join(f"{name} {seen[name]}" for name in ("signals", "taken", "opened", "closed") if name in seen)
    if time := seen.get("market_time"):
        counts += f", market time {datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    yield f"since its start: {counts}"


def troubles(seen: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a bot, the worst first: why it cannot trade, then what else somebody should look at."""
    yield from seen.get("reasons", [])
    yield from seen.get("notes", [])
    if seen.get("daily_loss_reached"):
        yield "the daily loss limit is reached: no more entries today"
    for name, said in LISTED.items():
        if seen.get(name):
            yield f"{said}: {', '.join(map(str, seen[name]))}"
    for name, said in COUNTED.items():
        if seen.get(name):
            yield f"{seen[name]} {said}"
    for name, state in (("journal", seen.get("ledger", {})), *seen.get("tiers", {}).items()):
        if state.get("state", "ok") != "ok":
            yield f"{name} is {state['state']}: {state.get('reason') or 'no reason is given'}".rstrip(": ")


def trade_lines(trades: Iterable[Trade]) -> list[str]:
    """Return closed trades as rows: when, what, how much, why, and the id to ask for more by."""
    return table(
        {
            "closed": f"{one.exit_time:%y-%m-%d %H:%M}", "symbol": _coin(one.symbol), "side": one.side,
            "strategy": one.strategy_name, "entry": _number(one.entry_price), "exit": _number(one.exit_price),
            "profit": f"{one.pnl_usd:+.2f}", "R": f"{one.r_multiple:+.2f}", "why": one.exit_reason,
            "id": one.trade_id[:ID_SHOWN],
        }
        for one in trades
    )  # fmt: skip


def result_lines(results: Iterable[Result]) -> list[str]:
    """Return what groups of trades made as rows."""
    return table(
        {
            "": one.name, "profit": f"{one.pnl:+.2f}", "trades": str(one.trades), "won": f"{one.win_rate:.0f} %",
            "mean R": f"{one.mean_r:+.2f}", "fees": f"{one.fees:.2f}", "held": _lasted(one.held_s),
        }
        for one in results
    )  # fmt: skip


def table(rows: Iterable[Mapping[str, str]]) -> list[str]:
    """Return rows as lines of a hundred columns at most; what is too long for its column is cut, never wrapped."""
    held = list(rows)
    if not held:
        return ["nothing yet"]
    columns = {name: [name, *(" ".join(row[name].split()) for row in held)] for name in held[0]}
    widths = {name: max(map(len, cells)) for name, cells in columns.items()}
    while sum(widths.values()) + len(widths) - 1 > WIDTH:
        # an id that is cut asks for nothing
        widths[max((name for name in widths if name != "id"), key=lambda name: widths[name])] -= 1
    rights = {name for name in NUMBERS if name in widths}
    lines = (
        " ".join(_cell(columns[name][row], widths[name], right=name in rights) for name in widths)
        for row in range(len(held) + 1)
    )
    return [line.rstrip() for line in lines]


def _cell(text: str, width: int, *, right: bool) -> str:
    shown = text if len(text) <= width else f"{text[: width - 1]}…"
    return shown.rjust(width) if right else shown.ljust(width)


def _position(row: Mapping[str, Any]) -> dict[str, str]:
    waits = bool(row.get("pending"))
    names = ("entry", "price", "stop", "target")
    return {
        "id": str(row.get("id", ""))[:ID_SHOWN], "symbol": _coin(str(row.get("symbol", ""))),
        "side": str(row.get("side", "")), "profit": "waiting" if waits else _number(row.get("pnl"), sign=True),
        "R": "" if waits else str(row.get("r", "")), **{name: _number(row.get(name)) for name in names},
        "strategy": str(row.get("strategy", "")),
    }  # fmt: skip


def _coin(symbol: str) -> str:
    return symbol.partition("/")[0] if symbol.endswith("/USDT:USDT") else symbol


def _number(value: Any, *, sign: bool = False) -> str:
    try:
        held = Decimal(str(value))
    except InvalidOperation:
        return "-"
    if not held.is_finite():
        return "-"
    return f"{held:+.2f}" if sign else f"{float(held):.6g}" if abs(held) < ROUND_FROM else f"{held:.0f}"


def _lasted(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
