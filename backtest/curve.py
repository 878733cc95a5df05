"""The equity at every bar close, and the end of an account that has used it up."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from backtest.outcome import OpenPosition
from domain.trade import ZERO, rounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backtest.outcome import Holdings, Outcome
    from domain.candle import Floats, Times
    from domain.trade import Trade


class Closes(NamedTuple):
    """When the bars of a symbol closed (UTC ms, ascending), and at which prices."""

    times: Times
    prices: Floats

    def at(self, times: Times) -> Floats:
        """Return the newest close by each time."""
        return np.asarray(self.prices[np.searchsorted(self.times, times, side="right") - 1])


class Curve(NamedTuple):
    """The equity in quote units by time (UTC ms)."""

    times: Times
    values: Floats


def curve(holdings: Sequence[Holdings], closes: Mapping[str, Closes], until: int) -> Curve:
    """Return the equity at every change of what was held, and at every bar close while something was."""
    times, values = [], []
    ends = [one.time for one in holdings[1:]] + [until + 1]
    for one, end in zip(holdings, ends, strict=True):
        if one.time >= end:
            continue
        grids = [closes[symbol].times for symbol in one.held]
        inside = [grid[slice(*np.searchsorted(grid, (one.time + 1, end)))] for grid in grids]
        at = np.unique(np.concatenate([np.array([one.time], np.int64), *inside]))
        value = np.full(len(at), one.wallet)
        for symbol, (qty, price) in one.held.items():
            value += qty * (closes[symbol].at(at) - price)
        times.append(at)
        values.append(value)
    return Curve(np.concatenate(times), np.concatenate(values))


def until_used_up(outcome: Outcome, found: Curve, closes: Mapping[str, Closes]) -> tuple[Outcome, Curve]:
    """Return what counts: all of it, or what was until the equity was used up; nobody loses more than the wallet."""
    spent = np.flatnonzero(found.values <= 0)
    if not len(spent):
        return outcome, found
    end = int(found.times[spent[0]])
    last = [one for one in outcome.holdings if one.time <= end][-1]
    lost = {
        symbol: qty * (float(closes[symbol].at(np.array([end]))[0]) - price)
        for symbol, (qty, price) in last.held.items()
    }
    # what is lost at the end is what was there
    share = max(0.0, last.wallet) / -sum(lost.values()) if sum(lost.values()) < 0 else 0.0
    opened = [one for one in outcome.trades if _ms(one) > end and int(one.entry_time.timestamp() * 1000) <= end]
    cut = replace(
        outcome,
        trades=_bounded([one for one in outcome.trades if _ms(one) <= end], min(0.0, last.wallet)),
        decisions=[one for one in outcome.decisions if one.signal.time <= end],
        equity=[*(one for one in outcome.equity if one[0] < end), (end, ZERO)],
        open=[
            *(_cut(one, end, lost[one.symbol] * share) for one in opened if one.symbol in lost),
            *(
                replace(one, unrealised=_money(lost[one.symbol] * share)) for one in outcome.open
                if one.entry_time <= end and one.symbol in lost
            ),
        ],
        liquidated_at=end,
    )  # fmt: skip
    before = spent[0]
    return cut, Curve(found.times[: before + 1], np.r_[found.values[:before], 0.0])


def _bounded(trades: list[Trade], owed: float) -> list[Trade]:
    """Return the trades, the last of them without what the wallet could not pay."""
    if not trades or owed >= 0:
        return trades
    last, unpaid = trades[-1], _money(-owed)
    share = (last.pnl_usd + unpaid) / last.pnl_usd
    bounded = msgspec.structs.replace(
        last, pnl_usd=last.pnl_usd + unpaid, gross_pnl=last.gross_pnl + unpaid,
        pnl_percent=rounded(last.pnl_percent * share, 8), r_multiple=rounded(last.r_multiple * share, 6),
    )  # fmt: skip
    return [*trades[:-1], bounded]


def _cut(trade: Trade, end: int, lost: float) -> OpenPosition:
    """Return a trade that ended later as it was open at a time."""
    legs = [one for one in trade.legs if one.time.timestamp() * 1000 <= end]
    funding = sum((one.fee for one in legs if one.cause == "funding"), ZERO)
    qty = sum((one.qty if not one.closing else -one.qty for one in legs if one.cause != "funding"), ZERO)
    return OpenPosition(
        trade.symbol, trade.side, int(trade.entry_time.timestamp() * 1000), trade.entry_price, qty,
        sum((one.fee for one in legs), ZERO) - funding, funding, _money(lost),
    )  # fmt: skip


def _money(value: float) -> Decimal:
    return Decimal(repr(round(value, 8)))


def _ms(trade: Trade) -> int:
    return int(trade.exit_time.timestamp() * 1000)
