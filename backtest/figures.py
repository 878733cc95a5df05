"""The figures of a backtest."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from backtest.curve import Curve
from backtest.outcome import OpenPosition
from domain.durations import DAY_MS
from domain.trade import ZERO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from backtest.outcome import Outcome
    from domain.candle import Floats
    from domain.trade import Trade

YEAR_DAYS = 365


@dataclass(frozen=True, slots=True)
class Group:
    """Results of some of the trades; ``win_rate`` in percent, ``mean_r`` in R after costs."""

    trades: int
    wins: int
    win_rate: float
    pnl: Decimal
    mean_r: float


@dataclass(frozen=True, slots=True)
class Drawdown:
    """The deepest fall of the equity from a peak: in quote units, in percent of the peak, and when (UTC ms)."""

    money: Decimal
    percent: float
    peak_at: int
    trough_at: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Results of a backtest; ratios are of daily returns and a year of 365 days, None where they say nothing.

    Attributes:
        profit: change of the equity, open positions included, and in percent of the beginning.
        cagr: yearly growth in percent, had it gone on like that.
        sharpe: mean over standard deviation of daily returns, times sqrt(365); no riskless rate is taken off.
        sortino: the same over the standard deviation of losing days alone, all days counted (Sortino and Price, 1994).
        calmar: yearly growth over the deepest drawdown.
        profit_factor: gains over losses of the trades.
        expectancy: mean profit of a trade in quote units, and in R.
        drawdown: at every bar close.
        exposure: share of the time in percent in which at least one position was open.
        buy_and_hold: percent that equal shares of all symbols would have made.
        fees, funding: of positions that were still open at the end as well.
        refused: signals that were not taken, by gate, and orders of positions that the exchange did not accept.
        open_positions: what was still open at the end.
        liquidated_at: when the equity was used up (UTC ms), 0 if never.
    """

    profit: Decimal
    profit_percent: float
    cagr: float | None
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    drawdown: Drawdown
    profit_factor: float | None
    expectancy: Decimal
    expectancy_r: float
    exposure: float
    buy_and_hold: float
    total: Group
    fees: Decimal
    funding: Decimal
    by_symbol: dict[str, Group]
    by_strategy: dict[str, Group]
    by_reason: dict[str, Group]
    signals: int
    refused: dict[str, int]
    open_at_end: list[str]
    open_positions: list[OpenPosition]
    liquidated_at: int

    def merit(self, objective: str) -> float:
        """Return how good it was by one of its ratios.

        A ratio that says nothing because nothing was ever lost is the best there is; without a profit, or once the
        account was liquidated, it is the worst.
        """
        if not self.total.trades or self.liquidated_at:
            return -math.inf
        found = getattr(self, objective)
        return float(found) if found is not None else math.inf if self.profit > 0 else -math.inf


def figures(
    outcome: Outcome, closes: Mapping[str, Floats], since: int, until: int, equity: Curve | None = None
) -> Figures:
    """Compute the figures of an outcome.

    ``closes`` are the closes of each symbol over the time, ``equity`` is the equity at every bar close, without it what
    the outcome has noted.
    """
    trades, (begin, end) = outcome.trades, (outcome.equity[0][1], outcome.equity[-1][1])
    days = max((until - since) / DAY_MS, 1e-9)
    returns = daily_returns(outcome.equity, since, until)
    fall = deepest(equity) if equity is not None else drawdown(outcome.equity)
    growth = float(end / begin) if begin else 0.0
    cagr = 100 * (growth ** (YEAR_DAYS / days) - 1) if growth >= 0 and days >= 1 else None
    if cagr is not None and not math.isfinite(cagr):
        cagr = None
    gains = sum((t.pnl_usd for t in trades if t.pnl_usd > 0), ZERO)
    losses = -sum((t.pnl_usd for t in trades if t.pnl_usd <= 0), ZERO)
    total, refused = _group(trades), Counter[str](outcome.rejected)
    for decision in outcome.decisions:
        if decision.gate:
            refused[decision.gate] += 1
    held = [100 * (float(values[-1]) / float(values[0]) - 1) for values in closes.values() if len(values)]
    return Figures(
        profit=end - begin, profit_percent=100 * (growth - 1), cagr=cagr, sharpe=_ratio(returns, returns),
        sortino=_ratio(returns, np.minimum(returns, 0), around=0.0),
        calmar=cagr / fall.percent if cagr is not None and fall.percent else None, drawdown=fall,
        profit_factor=float(gains / losses) if losses else None,
        expectancy=total.pnl / total.trades if total.trades else ZERO, expectancy_r=total.mean_r,
        exposure=_exposure(outcome, since, until), buy_and_hold=float(np.mean(held)) if held else 0.0, total=total,
        fees=sum([t.fees for t in trades] + [t.fees for t in outcome.open], ZERO),
        funding=sum([t.funding for t in trades] + [t.funding for t in outcome.open], ZERO),
        by_symbol=_groups(trades, lambda t: t.symbol), by_strategy=_groups(trades, lambda t: t.strategy_name),
        by_reason=_groups(trades, lambda t: t.exit_reason), signals=len(outcome.decisions),
        refused=dict(sorted(refused.items())), open_at_end=[one.symbol for one in outcome.open],
        open_positions=outcome.open, liquidated_at=outcome.liquidated_at,
    )  # fmt: skip


def daily_returns(equity: Sequence[tuple[int, Decimal]], since: int, until: int) -> Floats:
    """Return the returns from midnight to midnight, UTC, the first and the last day being cut where the time is."""
    times = np.array([time for time, _ in equity], np.int64)
    values = np.array([float(value) for _, value in equity])
    marks = np.unique([since, *range(-(-since // DAY_MS) * DAY_MS, until, DAY_MS), until])
    seen = values[np.searchsorted(times, marks, side="right") - 1]
    # what is used up does not come back
    return np.asarray(np.divide(np.diff(seen), seen[:-1], out=np.zeros(len(seen) - 1), where=seen[:-1] > 0))


def monthly(equity: Sequence[tuple[int, Decimal]]) -> dict[str, float]:
    """Return the change of every month in percent, by its name (``2024-03``); the first and the last may be cut."""
    times = np.array([time for time, _ in equity], np.int64)
    values = np.array([float(value) for _, value in equity])
    # what ends at midnight is of the month before
    ends_at = max(int(times[0]), int(times[-1]) - 1)
    first, last_month = (np.datetime64(time, "ms").astype("datetime64[M]") for time in (int(times[0]), ends_at))
    months = np.arange(first, last_month + 1)
    turns = months[1:].astype("datetime64[ms]").astype(np.int64)
    ends = np.r_[np.searchsorted(times, turns, side="right"), len(times)]
    last = values[ends - 1]
    return {
        str(month): float(100 * (now / before - 1))
        for month, before, now in zip(months, np.r_[values[0], last[:-1]], last, strict=True)
    }


def drawdown(equity: Sequence[tuple[int, Decimal]]) -> Drawdown:
    """Return the deepest fall of an equity curve, as a share of the peak before it."""
    return deepest(Curve(np.array([time for time, _ in equity]), np.array([float(value) for _, value in equity])))


def deepest(equity: Curve) -> Drawdown:
    """Return the same of a curve."""
    values = equity.values
    peaks = np.maximum.accumulate(values)
    falls = (peaks - values) / peaks
    low = int(np.argmax(falls))
    high = int(np.argmax(values[: low + 1] == peaks[low]))
    money = Decimal(repr(round(float(values[high] - values[low]), 8)))
    return Drawdown(money, 100 * float(falls[low]), int(equity.times[high]), int(equity.times[low]))


def _ratio(returns: Floats, spread: Floats, around: float | None = None) -> float | None:
    if len(returns) < 2:  # noqa: PLR2004  nothing varies
        return None
    deviation = float(np.std(spread, ddof=1)) if around is None else float(np.sqrt(np.mean((spread - around) ** 2)))
    return float(np.mean(returns)) / deviation * math.sqrt(YEAR_DAYS) if deviation > 0 else None


def _groups(trades: Iterable[Trade], key: Callable[[Trade], str]) -> dict[str, Group]:
    held: dict[str, list[Trade]] = defaultdict(list)
    for trade in trades:
        held[key(trade)].append(trade)
    return {name: _group(group) for name, group in sorted(held.items())}


def _group(trades: Sequence[Trade]) -> Group:
    wins, count = sum(t.pnl_usd > 0 for t in trades), len(trades)
    return Group(
        count, wins, 100 * wins / count if count else 0.0, sum((t.pnl_usd for t in trades), ZERO),
        float(np.mean([float(t.r_multiple) for t in trades])) if count else 0.0,
    )  # fmt: skip


def _exposure(outcome: Outcome, since: int, until: int) -> float:
    """Return the share of the time that the positions' own times cover together, in percent."""
    covered, reached, over = 0.0, float(since), outcome.liquidated_at or until
    spans = [(t.entry_time.timestamp() * 1000, t.exit_time.timestamp() * 1000) for t in outcome.trades]
    spans += [(float(one.entry_time), float(over)) for one in outcome.open]
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return 100 * covered / (until - since) if until > since else 0.0
