"""Run by freqtrade's own Python: its filters of symbols on facts from stdin; what they keep, in order, to stdout."""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import pandas as pd
from freqtrade.enums import CandleType, RunMode
from freqtrade.exchange import price_to_precision
from freqtrade.persistence import Order, Trade, init_db
from freqtrade.resolvers import PairListResolver
from freqtrade.util import dt_now

TICK_SIZE = 4


class Exchange:
    """What freqtrade's filters ask of an exchange, answered from the facts."""

    name, precisionMode = "bybit", TICK_SIZE  # noqa: N815  freqtrade asks for it so

    def __init__(self, facts) -> None:
        self.tickers = facts["tickers"]
        self.markets = {
            pair: {
                "symbol": pair, "active": True, "contractSize": 1.0, "limits": {"amount": {"min": one["step"]}},
                "precision": {"price": one["tick"], "amount": one["step"]},
            } for pair, one in facts["rules"].items()
        }  # fmt: skip
        self.candles = {
            pair: pd.DataFrame(rows, columns=["open", "high", "low", "close", "volume"])
            for pair, rows in facts["daily"].items()
        }

    def exchange_has(self, _):
        return True

    def get_option(self, name):
        return "base" if name == "ohlcv_volume_currency" else True

    def market_is_tradable(self, _):
        return True

    def get_pair_quote_currency(self, _):
        return "USDT"

    def ohlcv_candle_limit(self, *_, **__):
        return 1_000

    def price_to_precision(self, pair, price, *, rounding_mode):
        return price_to_precision(
            price, self.markets[pair]["precision"]["price"], self.precisionMode, rounding_mode=rounding_mode
        )

    def price_get_one_pip(self, pair, _):
        return self.markets[pair]["precision"]["price"]

    def refresh_latest_ohlcv(self, wanted, **_):
        return {key: self.candles[key[0]] for key in wanted if key[0] in self.candles}

    def refresh_ohlcv_with_cache(self, wanted, *, lookback_period):
        return {key: self.candles[key[0]].tail(lookback_period) for key in wanted if key[0] in self.candles}


def trade(number: int, pair: str, profit: float, ago_minutes: float, stake: float, leverage: float) -> None:
    ended, amount = dt_now() - timedelta(minutes=ago_minutes), stake * leverage
    held = Trade(
        exchange="bybit", pair=pair, fee_open=0.0, fee_close=0.0, stake_amount=stake, amount=amount, open_rate=1.0,
        close_rate=1.0, is_open=False, leverage=leverage, open_date=ended - timedelta(minutes=1), close_date=ended,
        close_profit=profit / stake, close_profit_abs=profit, is_short=False,
    )  # fmt: skip
    held.orders = [Order(
        ft_order_side="buy", ft_pair=pair, ft_is_open=False, ft_amount=amount, ft_price=1.0, order_id=str(number),
        status="closed", symbol=pair, order_type="market", side="buy", price=1.0, average=1.0, amount=amount, filled=amount,
        remaining=0.0, cost=amount, order_date=held.open_date,
    )]  # fmt: skip
    Trade.session.add(held)


def main() -> None:
    facts = json.load(sys.stdin)
    init_db("sqlite://")
    for number, one in enumerate(facts["trades"]):
        trade(number, *one)
    Trade.commit()
    exchange = Exchange(facts)
    config = {
        "stake_currency": "USDT", "stoploss": facts["stoploss"], "candle_type_def": CandleType.FUTURES,
        "runmode": RunMode.DRY_RUN, "exchange": {"pair_whitelist": facts["pairs"]},
    }  # fmt: skip
    kept = []
    for place, one in enumerate(facts["pairlists"]):
        handler = PairListResolver.load_pairlist(one["method"], exchange, Blacklist(), config, one, place + 1)
        kept.append(handler.filter_pairlist(list(facts["pairs"]), exchange.tickers))
    json.dump(kept, sys.stdout)


class Blacklist:
    """Of the manager of the filters, what they ask: nothing is on its blacklist."""

    def verify_blacklist(self, pairlist, logmethod):
        return pairlist


if __name__ == "__main__":
    main()
