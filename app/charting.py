"""What was done on a chart, as marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.picture import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from decimal import Decimal

    from domain.phantom import PhantomTrade
    from domain.trade import Trade
    from engine.position import Position


def marks(trades: Iterable[Trade], phantoms: Iterable[PhantomTrade], symbol: str, since: int) -> list[Mark]:
    """Return the refused signals of a symbol, then its closed trades, that began at ``since`` (UTC ms) or later."""
    refused = [one for one in phantoms if one.symbol == symbol and one.gate and one.signal_time >= since]
    ended = [one for one in trades if one.symbol == symbol and _ms(one.entry_time) >= since]
    return [*map(_phantom_mark, refused), *map(_trade_mark, ended)]


def open_mark(held: Position, price: Decimal, since: int) -> Mark:
    """Return the mark of an open position."""
    made, size = held.realised() + held.unrealised(price), held.bracket.risk * held.opened
    return Mark(
        "open", held.opening.side.sign > 0, (max(since, held.bracket.opened_at), float(held.entry_price)), None,
        float(held.bracket.stop), float(held.bracket.target), made > 0, f"{made / size:+.1f}R" if size else "",
    )  # fmt: skip


def _trade_mark(trade: Trade) -> Mark:
    return Mark(
        "trade", trade.side == "long", (_ms(trade.entry_time), float(trade.entry_price)),
        (_ms(trade.exit_time), float(trade.exit_price)), good=trade.pnl_usd > 0, label=f"{trade.r_multiple:+.1f}R",
    )  # fmt: skip


def _phantom_mark(one: PhantomTrade) -> Mark:
    bracket = one.bracket
    ended = (one.exit_time, float(one.exit_price)) if one.outcome else None
    return Mark(
        "phantom", one.side.sign > 0, (one.signal_time, float(bracket.entry)), ended, float(bracket.stop),
        float(bracket.target), one.made > 0, one.gate,
    )  # fmt: skip


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)
