"""An open position as a freqtrade strategy sees it: a ``Trade`` that is made for each question."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from domain.order import Side
from strategies.freqtrade.records import Trade, refuse
from strategies.freqtrade.times import timeframe_to_minutes

if TYPE_CHECKING:
    from domain.holding import Holding


class OpenTrade(Trade):
    """A position of one unit of the base currency, without leverage, whatever size it has: phantoms have none.

    Args:
        position: what is known of the position.
        opened: when the bar of its signal closed (UTC ms).
        fee: fee of a side, as a fraction.
    """

    is_open, has_open_orders = True, False
    leverage = amount_requested = 1.0
    nr_of_successful_entries = nr_of_successful_buys = 1

    def __init__(
        self, position: Holding, opened: int, *, timeframe: str, strategy: str, tag: str | None, fee: float
    ) -> None:
        long = position.side is Side.LONG
        self._sign = position.side.sign
        self.pair, self.strategy, self.timeframe = position.symbol, strategy, timeframe_to_minutes(timeframe)
        names, _, settles = position.symbol.partition(":")
        base, _, quote = names.partition("/")
        self.base_currency = self.safe_base_currency = base
        self.stake_currency = self.quote_currency = self.safe_quote_currency = settles or quote
        self.is_short, self.trade_direction = not long, "long" if long else "short"
        self.entry_side, self.exit_side = ("buy", "sell") if long else ("sell", "buy")
        self.open_rate = self.open_rate_requested = position.entry
        self.open_date = self.open_date_utc = datetime.fromtimestamp(opened / 1000, UTC)
        self.date_entry_fill_utc = self.date_last_filled_utc = self.open_date
        self.amount, self.stake_amount = position.remaining, position.entry * position.remaining
        self.max_stake_amount = position.entry
        self.nr_of_successful_exits = position.parts
        self.max_rate, self.min_rate = sorted((position.best, position.worst), reverse=True)
        self.stop_loss, self.initial_stop_loss = position.stop, position.first_stop
        self.enter_tag = self.buy_tag = tag
        self.fee_open = self.fee_close = fee

    def calc_profit_ratio(self, rate: float, amount: float | None = None, open_rate: float | None = None) -> float:
        """Return what leaving at a price would make of what was spent, after fees, as a fraction."""
        spent, got = self._values(rate, 1.0, open_rate)
        return self._sign * (got - spent) / spent

    def calc_profit(self, rate: float, amount: float | None = None, open_rate: float | None = None) -> float:
        """Return the same in the quote currency, for what is open of one unit."""
        spent, got = self._values(rate, self.amount if amount is None else amount, open_rate)
        return self._sign * (got - spent)

    def _values(self, rate: float, amount: float, open_rate: float | None) -> tuple[float, float]:
        entry = self.open_rate if open_rate is None else open_rate
        return amount * entry * (1 + self._sign * self.fee_open), amount * rate * (1 - self._sign * self.fee_close)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        refuse(f"trade.{name}", "what the interface is told of an open position has no such thing")
