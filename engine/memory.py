"""What of our own doings the records do not tell of: found by what others remember, and by executions of nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.ids import parse_order_id, trade_id
from domain.order import Cause

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from domain.records import Fill
    from engine.position import Position
    from engine.trader import Trader


def lost_since(
    journaled: Collection[str], elsewhere: Mapping[str, int], begun: int, until: int, open_here: Iterable[Position],
) -> int | None:  # fmt: skip
    """Return from which market time on the journal has forgotten what others remember, None when it has not.

    Args:
        journaled: ids of the trades that it tells of.
        elsewhere: of the trades that database, Redis and snapshot tell of, when each ended (UTC ms).
        begun: market time of its first record when nothing was ever put away from it, 0 when something was: what
            others know from before that is no sign of loss then.
        until: market time of its newest record, 0 when it has none.
        open_here: the positions that are open as far as it tells.
    """
    unknown = {name: ended for name, ended in elsewhere.items() if name not in journaled}
    signs = [held.intended_at for held in open_here if trade_id(held.digest) in unknown]
    if any(ended > until for ended in unknown.values()):
        # its tail is gone, or the whole of it: then everything before the newest that others know is known
        signs.append(until or max(unknown.values()))
    before = [ended for ended in unknown.values() if ended < begun]
    if before:
        signs.append(max(before))
    return min(signs, default=None)


def forgotten(trader: Trader, symbol: str) -> list[Fill]:
    """Return the executions of entries of ours in a symbol that no record tells of, oldest first."""
    return unremembered(trader, trader.book.strays(symbol))


def unremembered(trader: Trader, fills: Iterable[Fill]) -> list[Fill]:
    """Return those executions that entries of ours made and that no record tells of."""
    found = []
    for fill in fills:
        name = parse_order_id(fill.order_id) if fill.cause is not Cause.FUNDING else None
        if name is not None and name.leg == "e" and not trader.knows(name.digest):
            found.append(fill)
    return found
