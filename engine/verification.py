"""Compares everything that is kept about trades, tier by tier, with the exchange's own record."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from domain import ids
from domain.order import Cause
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from domain.trade import Trade
    from engine.rebuild import Run

CENT = Decimal("1e-8")


@dataclass(slots=True)
class Kept:
    """What the tiers hold: trades by where they lie, and of the database which execution belongs to which trade.

    ``mirror`` and ``snapshot`` are None when there is no such tier, or it cannot be read.
    """

    journal: list[Trade]
    table: list[Trade]
    fills: list[tuple[str, str]]
    mirror: set[str] | None = None
    snapshot: set[str] | None = None
    conflicts: int = 0
    newest_kept: int = 10_000


@dataclass(slots=True)
class Verdict:
    """What was found; the bot's promise is that lost, doubled, missing and differing are 0.

    Attributes:
        checked: trades looked at, over all tiers.
        exchange_checked: closed positions in the exchange's record that were compared.
        lost: acknowledged in the journal, but not in the database.
        doubled: executions counted in more than one trade.
        missing: positions of ours that the exchange closed and that no trade tells of.
        differing: trades whose profit is not the one that the exchange's executions give.
        conflicts: second tellings of a trade that contradicted the first.
        awaiting: closed on the exchange after the bot's last sign of life, or of the running bot still to be recorded.
        redis_missing: trades that the copy in Redis lacks.
        snapshot_missing: trades that trade_history.json lacks.
        details: up to fifty lines that name what is wrong.
    """

    checked: int = 0
    exchange_checked: int = 0
    lost: int = 0
    doubled: int = 0
    missing: int = 0
    differing: int = 0
    conflicts: int = 0
    awaiting: int = 0
    redis_missing: int = 0
    snapshot_missing: int = 0
    quarantined: int = 0
    details: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is lost, doubled, missing or different."""
        return not (self.lost or self.doubled or self.missing or self.differing or self.conflicts)

    def tell(self, text: str) -> None:
        """Name something that is wrong."""
        if len(self.details) < 50:  # noqa: PLR2004  as the class says
            self.details.append(text)


def verify(kept: Kept, runs: Iterable[Run], alive_until: int, held: Collection[str] = ()) -> Verdict:
    """Compare tiers and exchange.

    Args:
        kept: what the tiers hold.
        runs: positions as the exchange's executions made them.
        alive_until: the bot's last sign of life (UTC ms); what was closed later is only awaited.
        held: digests of positions that the running bot has: it will record them once it knows that they are closed.
    """
    found = Verdict(conflicts=kept.conflicts)
    table = {trade.trade_id: trade for trade in kept.table}
    known = table | {trade.trade_id: trade for trade in kept.journal}
    found.checked = len(known)
    for key in sorted({trade.trade_id for trade in kept.journal} - set(table)):
        found.lost += 1
        found.tell(f"trade {key} on {known[key].symbol} is in the journal and not in the database")
    _look_for_doubles(kept.fills, found)
    _compare_with_exchange(runs, known, (alive_until, held), found)
    newest = sorted(known.values(), key=lambda trade: trade.exit_time)[-kept.newest_kept :]
    wanted = {trade.trade_id for trade in newest}
    found.redis_missing = len(wanted - kept.mirror) if kept.mirror is not None else 0
    found.snapshot_missing = len(wanted - kept.snapshot) if kept.snapshot is not None else 0
    return found


def profit(run: Run) -> Decimal:
    """Return what a closed position has made, after fees and funding, as its executions tell."""
    traded = [fill for fill in run.fills if fill.cause is not Cause.FUNDING]
    cash = sum((-fill.side.sign * fill.qty * fill.price for fill in traded), ZERO)
    return cash - sum((fill.fee for fill in run.fills), ZERO)


def _look_for_doubles(fills: Sequence[tuple[str, str]], found: Verdict) -> None:
    owners = Counter(exec_id for exec_id, _ in set(fills))
    for exec_id, count in sorted(owners.items()):
        if count > 1:
            found.doubled += 1
            found.tell(f"execution {exec_id} is counted in {count} trades")


def _compare_with_exchange(
    runs: Iterable[Run], known: dict[str, Trade], bot: tuple[int, Collection[str]], found: Verdict
) -> None:
    alive_until, held = bot
    by_first = {(trade.symbol, int(trade.entry_time.timestamp() * 1000)): trade for trade in known.values()}
    for group in _positions(runs):
        run, first, last = group[0], group[0].fills[0], group[-1].fills[-1]
        trade = known.get(ids.trade_id(run.digest)) if run.digest else by_first.get((run.symbol, first.time))
        if trade is None:
            if not run.digest:
                continue
            if last.time > alive_until or run.digest in held:
                found.awaiting += 1
                continue
            found.missing += 1
            found.tell(
                f"{run.symbol} closed on the exchange at {last.time} (order {first.order_id}): no trade tells of it"
            )
            continue
        found.exchange_checked += 1
        made = sum(map(profit, group), ZERO)
        if abs(trade.pnl_usd - made) > CENT:
            found.differing += 1
            found.tell(f"trade {trade.trade_id} on {trade.symbol}: {trade.pnl_usd}, the exchange says {made}")


def _positions(runs: Iterable[Run]) -> list[list[Run]]:
    """Return closed positions, each with its executions from flat to flat.

    While an entry of ours goes on filling, its position may be flat more than once; it is one trade all the same.
    """
    groups: dict[str, list[Run]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(run.digest or str(number), []).append(run)
    return [group for group in groups.values() if not any(run.qty for run in group)]
