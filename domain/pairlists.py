"""Which symbols are traded: filters under freqtrade's names, each of which keeps some symbols and says why not others.

Pure functions of facts. The formulas are those that freqtrade documents; where its own facts differ from ours, the
docstring of the filter says so.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domain.durations import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from domain.candle import Bars
    from domain.instrument import Instrument
    from domain.trade import Trade

DAILY = "1d"
ZERO = Decimal(0)
STOP_GAP = Decimal("0.99")
NO_PRICE, NO_BARS = "no last price is known", "no daily candles are known"


@dataclass(frozen=True, slots=True)
class Facts:
    """What filters look at.

    Attributes:
        now: the market time (UTC ms).
        rules: the trading rules of every symbol, with its turnover and quote.
        daily: closed daily candles of the symbols of which a filter asked for some, oldest first.
        closed: our own closed trades.
    """

    now: int
    rules: Mapping[str, Instrument]
    daily: Mapping[str, Bars] = field(default_factory=dict)
    closed: Sequence[Trade] = ()

    def price(self, symbol: str) -> Decimal | None:
        """Return the last price: as the exchange quotes it, or the last daily close, None where neither is known."""
        quote, daily = self.rules[symbol].quote, self.daily.get(symbol)
        if quote is not None and quote.last > 0:
            return quote.last
        return Decimal(repr(daily.close.item(-1))) if daily is not None and len(daily) else None

    def bars(self, symbol: str, days: int) -> Bars | None:
        """Return the newest so many daily candles, fewer where there are no more, None where there are none."""
        daily = self.daily.get(symbol)
        return daily[-days:] if daily is not None and len(daily) else None


class Sifted(NamedTuple):
    """What a filter keeps, in its order, and why it removes the others."""

    kept: list[str]
    removed: dict[str, str]


@dataclass(frozen=True, slots=True)
class Pairlist:
    """Base of the filters: keeps what it has no objection to, in the order given."""

    @property
    def holds_s(self) -> int | None:
        """Seconds after which it wants fresh facts, None where it goes along with the others."""
        return getattr(self, "refresh_period", None)

    def days_of(self, rules: Instrument) -> int:  # noqa: ARG002  most need none, whatever the symbol
        """Return how many daily candles it needs of a symbol."""
        return 0

    def objection(self, symbol: str, facts: Facts) -> str:  # noqa: ARG002
        """Return why a symbol is removed, empty when it is not."""
        return ""

    def sift(self, symbols: Sequence[str], facts: Facts) -> Sifted:
        """Return what is kept of symbols, and why the others are not."""
        objections = {symbol: self.objection(symbol, facts) for symbol in symbols}
        removed = {symbol: reason for symbol, reason in objections.items() if reason}
        return Sifted([symbol for symbol in symbols if symbol not in removed], removed)


@dataclass(frozen=True, slots=True)
class StaticPairList(Pairlist):
    """The symbols of ``trading.symbols``, patterns too: it keeps what it is given."""


@dataclass(frozen=True, slots=True)
class VolumePairList(Pairlist):
    """The ``number_assets`` symbols of the highest turnover: of 24 hours, or of the last ``lookback_days`` days."""

    number_assets: int
    sort_key: str = "quoteVolume"
    min_value: float = 0.0
    max_value: float | None = None
    refresh_period: int = 1_800
    lookback_days: int = 0

    def days_of(self, rules: Instrument) -> int:  # noqa: ARG002
        """Return how many daily candles it adds up."""
        return self.lookback_days

    def objection(self, symbol: str, facts: Facts) -> str:
        """Return why its turnover is out of bounds."""
        turnover = self._turnover(symbol, facts)
        if self.min_value and turnover <= self.min_value:
            return f"turnover {turnover:.0f}, more than {self.min_value:.0f} is wanted"
        if self.max_value is not None and turnover >= self.max_value:
            return f"turnover {turnover:.0f}, less than {self.max_value:.0f} is wanted"
        return ""

    def sift(self, symbols: Sequence[str], facts: Facts) -> Sifted:
        """Keep the first ``number_assets`` by turnover."""
        kept, removed = Pairlist.sift(self, symbols, facts)
        ranked = sorted(kept, key=lambda symbol: -self._turnover(symbol, facts))
        for place, symbol in enumerate(ranked[self.number_assets :], self.number_assets + 1):
            removed[symbol] = f"place {place} by turnover, the first {self.number_assets} are kept"
        return Sifted(ranked[: self.number_assets], removed)

    def _turnover(self, symbol: str, facts: Facts) -> float:
        if not self.lookback_days:
            return float(facts.rules[symbol].turnover_24h)
        bars = facts.bars(symbol, self.lookback_days)
        # a young contract has no turnover over a time that it has not been there for
        return float(bars.turnover.sum()) if bars is not None and len(bars) == self.lookback_days else 0.0


@dataclass(frozen=True, slots=True)
class AgeFilter(Pairlist):
    """Symbols that have been listed for so many days: since the exchange says, or by their daily candles."""

    min_days_listed: int = 10
    max_days_listed: int | None = None

    def days_of(self, rules: Instrument) -> int:
        """Return how many daily candles tell its age, where the exchange does not say since when it is listed."""
        return 0 if rules.listed_at else (self.max_days_listed or self.min_days_listed) + 1

    def objection(self, symbol: str, facts: Facts) -> str:
        """Return why it is too young or too old."""
        since, daily = facts.rules[symbol].listed_at, facts.daily.get(symbol)
        days = facts.now // DAY_MS - since // DAY_MS if since else len(daily) if daily is not None else 0
        if days < self.min_days_listed:
            return f"listed for {days} days, {self.min_days_listed} at least are wanted"
        if self.max_days_listed and days > self.max_days_listed:
            return f"listed for more than {self.max_days_listed} days"
        return ""


@dataclass(frozen=True, slots=True)
class Priced(Pairlist):
    """Base of the filters that look at the last price."""

    def days_of(self, rules: Instrument) -> int:
        """Return 1 where nobody quotes a price: then the last daily close is taken."""
        return 0 if rules.quote is not None and rules.quote.last > 0 else 1


@dataclass(frozen=True, slots=True)
class PrecisionFilter(Priced):
    """Symbols whose ticks are fine enough for a stop: at ``stoploss``, and 1 % below it, the prices must differ."""

    stoploss: float = -0.05

    def objection(self, symbol: str, facts: Facts) -> str:
        """Return why its ticks are too coarse."""
        price, rules = facts.price(symbol), facts.rules[symbol]
        if price is None:
            return NO_PRICE
        stop = price * (1 - abs(Decimal(repr(self.stoploss))))
        if rules.price_up(stop) <= rules.price_up(stop * STOP_GAP):
            return f"a stop at {stop:f} and one 1 % lower are the same: the tick is {rules.tick:f}"
        return ""


@dataclass(frozen=True, slots=True)
class PriceFilter(Priced):
    """Symbols whose price, tick (as a fraction of it) and step (by its value) are within bounds; 0 is no bound."""

    low_price_ratio: float = 0.0
    min_price: float = 0.0
    max_price: float = 0.0
    max_value: float = 0.0

    def objection(self, symbol: str, facts: Facts) -> str:
        """Return which of them is not."""
        price, rules = facts.price(symbol), facts.rules[symbol]
        if price is None:
            return NO_PRICE
        tick, step = rules.tick / price, rules.step * price
        if self.low_price_ratio and float(tick) > self.low_price_ratio:
            return f"a tick is {tick:.3%} of the price, above {self.low_price_ratio:.3%}"
        if self.max_value and float(step) > self.max_value:
            return f"a step of the quantity is worth {step:f}, above {self.max_value:g}"
        if self.min_price and float(price) < self.min_price:
            return f"price {price:f} is below {self.min_price:g}"
        if self.max_price and float(price) > self.max_price:
            return f"price {price:f} is above {self.max_price:g}"
        return ""


@dataclass(frozen=True, slots=True)
class SpreadFilter(Pairlist):
    """Symbols whose bid is not too far below the ask."""

    max_spread_ratio: float = 0.005

    def objection(self, symbol: str, facts: Facts) -> str:
        """Return why its spread is too wide."""
        quote = facts.rules[symbol].quote
        if quote is None or quote.bid <= 0 or quote.ask <= 0:
            return "no bid and ask are known"
        spread = 1 - quote.bid / quote.ask
        if float(spread) > self.max_spread_ratio:
            return f"spread {spread:.3%}, above {self.max_spread_ratio:.3%}"
        return ""


@dataclass(frozen=True, slots=True)
class Ranged(Pairlist):
    """Base of the filters that look at one figure of the last ``lookback_days`` daily candles, and may sort by it."""

    lookback_days: int = 10
    sort_direction: str | None = None

    def days_of(self, rules: Instrument) -> int:  # noqa: ARG002
        """Return how many daily candles it looks back at."""
        return self.lookback_days

    def figure(self, symbol: str, facts: Facts) -> float | None:
        """Return the figure, None where there are no candles, NaN where there are too few."""
        raise NotImplementedError

    def sift(self, symbols: Sequence[str], facts: Facts) -> Sifted:
        """Keep what lies within the bounds, sorted where that is asked for."""
        kept, removed = Pairlist.sift(self, symbols, facts)
        if self.sort_direction is not None:
            sign = -1 if self.sort_direction == "desc" else 1
            kept.sort(key=lambda symbol: sign * (self.figure(symbol, facts) or 0.0))
        return Sifted(kept, removed)


@dataclass(frozen=True, slots=True)
class RangeStabilityFilter(Ranged):
    """Symbols whose highest price of the days is so far above the lowest, as a fraction of it."""

    min_rate_of_change: float = 0.01
    max_rate_of_change: float | None = None
    refresh_period: int = 86_400

    def figure(self, symbol: str, facts: Facts) -> float | None:
        """Return the rate of change."""
        bars = facts.bars(symbol, self.lookback_days)
        if bars is None:
            return None
        lowest = bars.low.min().item()
        return (bars.high.max().item() - lowest) / lowest if lowest > 0 else 0.0

    def objection(self, symbol: str, facts: Facts) -> str:
        """Return why it moves too little or too much."""
        rate = self.figure(symbol, facts)
        if rate is None:
            return NO_BARS
        if rate < self.min_rate_of_change:
            return f"rate of change {rate:.4f} over {self.lookback_days} days, below {self.min_rate_of_change:g}"
        if self.max_rate_of_change and rate > self.max_rate_of_change:
            return f"rate of change {rate:.4f} over {self.lookback_days} days, above {self.max_rate_of_change:g}"
        return ""


@dataclass(frozen=True, slots=True)
class VolatilityFilter(Ranged):
    """Symbols whose daily logarithmic returns deviate so much, scaled to the days looked back at.

    The first of the days has no return, and counts as one of zero.
    """

    min_volatility: float = 0.0
    max_volatility: float | None = None
    refresh_period: int = 1_440

    def figure(self, symbol: str, facts: Facts) -> float | None:
        """Return the volatility; NaN where there are fewer days than are looked back at."""
        bars = facts.bars(symbol, self.lookback_days)
        if bars is None:
            return None
        if len(bars) < self.lookback_days:
            return math.nan
        returns = np.diff(np.log(bars.close), prepend=np.log(bars.close[0]))
        return float(np.std(returns, ddof=1)) * math.sqrt(self.lookback_days)

    def objection(self, symbol: str, facts: Facts) -> str:
        """Return why it is too calm or too wild."""
        volatility = self.figure(symbol, facts)
        if volatility is None:
            return NO_BARS
        if math.isnan(volatility):
            return f"fewer than {self.lookback_days} daily candles are known"
        if volatility < self.min_volatility:
            return f"volatility {volatility:.4f} over {self.lookback_days} days, below {self.min_volatility:g}"
        if self.max_volatility is not None and volatility > self.max_volatility:
            return f"volatility {volatility:.4f} over {self.lookback_days} days, above {self.max_volatility:g}"
        return ""


@dataclass(frozen=True, slots=True)
class PerformanceFilter(Pairlist):
    """Sorts by what our own closed trades of the last ``minutes`` have made of what was staked, 0 for all of them.

    Among equals those with fewer trades come first, then those that came first before; symbols without any count as 0.
    Without any trade at all nothing is sorted or removed.
    """

    minutes: int = 0
    min_profit: float | None = None

    def sift(self, symbols: Sequence[str], facts: Facts) -> Sifted:
        """Keep what has made ``min_profit`` at least, the best first."""
        made = self._made(facts)
        if not made:
            return Sifted(list(symbols), {})
        ranked = sorted(symbols, key=lambda symbol: (-made.get(symbol, (0.0, 0))[0], made.get(symbol, (0.0, 0))[1]))
        ratios = {symbol: made.get(symbol, (0.0, 0))[0] for symbol in ranked}
        removed = {
            symbol: f"profit {ratio:.4f}, below {self.min_profit:g}"
            for symbol, ratio in ratios.items() if self.min_profit is not None and ratio < self.min_profit
        }  # fmt: skip
        return Sifted([symbol for symbol in ranked if symbol not in removed], removed)

    def _made(self, facts: Facts) -> dict[str, tuple[float, int]]:
        """Return the profit of each symbol as a fraction of its stakes, and how many trades made it."""
        since = datetime.fromtimestamp(facts.now / 1000, UTC) - timedelta(minutes=self.minutes)
        sums: dict[str, tuple[Decimal, Decimal, int]] = {}
        for trade in facts.closed:
            if not self.minutes or trade.exit_time >= since:
                profit, staked, count = sums.get(trade.symbol, (ZERO, ZERO, 0))
                stake = trade.entry_price * trade.quantity / trade.leverage
                sums[trade.symbol] = profit + trade.pnl_usd, staked + stake, count + 1
        return {
            symbol: (float(profit / staked) if staked else 0.0, count)
            for symbol, (profit, staked, count) in sums.items()
        }


@dataclass(frozen=True, slots=True)
class ShuffleFilter(Pairlist):
    """Mixes the symbols: with a ``seed`` always in the same way, without one in another way at each refresh."""

    seed: int | None = None

    def sift(self, symbols: Sequence[str], facts: Facts) -> Sifted:
        """Return all of them in another order."""
        seed = facts.now if self.seed is None else self.seed
        return Sifted(sorted(symbols, key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest()), {})


@dataclass(frozen=True, slots=True)
class OffsetFilter(Pairlist):
    """Leaves out the first ``offset`` symbols, and all after the next ``number_assets``, 0 for all."""

    offset: int = 0
    number_assets: int = 0

    def sift(self, symbols: Sequence[str], facts: Facts) -> Sifted:  # noqa: ARG002
        """Keep those in between."""
        end = self.offset + self.number_assets if self.number_assets else len(symbols)
        kept = list(symbols[self.offset : end])
        places = {symbol: place for place, symbol in enumerate(symbols, 1)}
        removed = {symbol: f"place {places[symbol]} of the list" for symbol in symbols if symbol not in set(kept)}
        return Sifted(kept, removed)


METHODS: dict[str, type[Pairlist]] = {
    kind.__name__: kind
    for kind in (
        StaticPairList, VolumePairList, AgeFilter, PrecisionFilter, PriceFilter, SpreadFilter, RangeStabilityFilter,
        VolatilityFilter, PerformanceFilter, ShuffleFilter, OffsetFilter,
    )
}  # fmt: skip
"""The filters by the names that the configuration has for them."""
