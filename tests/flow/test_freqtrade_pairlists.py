"""Our filters of symbols keep what freqtrade's own keep, in the same order, on the same facts."""

from __future__ import annotations

import json
import random
import subprocess
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from domain.candle import Bars
from domain.durations import DAY_MS
from domain.instrument import Instrument, Quote
from domain.pairlists import METHODS, Facts
from tests.foreign.freqtrade_backtest import PROGRAM, needed
from tests.unit.test_pairlists import trade

PROGRAM_OF_OURS = Path(__file__).parents[1] / "foreign" / "freqtrade_pairlists.py"
STOPLOSS = -0.08
PAIRS = [f"C{i}/USDT:USDT" for i in range(80)]
PAIRLISTS = [
    {"method": "VolumePairList", "number_assets": 30, "min_value": 2_000, "max_value": 90_000},
    {"method": "VolumePairList", "number_assets": 80},
    {"method": "AgeFilter", "min_days_listed": 8},
    {"method": "AgeFilter", "min_days_listed": 3, "max_days_listed": 11},
    {"method": "PrecisionFilter"},
    {"method": "PriceFilter", "low_price_ratio": 0.02},
    {"method": "PriceFilter", "max_value": 5.0},
    {"method": "PriceFilter", "min_price": 0.5, "max_price": 50.0},
    {"method": "SpreadFilter", "max_spread_ratio": 0.003},
    {"method": "RangeStabilityFilter", "lookback_days": 5, "min_rate_of_change": 0.1, "max_rate_of_change": 0.3},
    {"method": "RangeStabilityFilter", "lookback_days": 3, "sort_direction": "desc"},
    {"method": "VolatilityFilter", "lookback_days": 6, "min_volatility": 0.04, "max_volatility": 0.15},
    {"method": "VolatilityFilter", "lookback_days": 4, "sort_direction": "asc"},
    {"method": "PerformanceFilter", "minutes": 600, "min_profit": -0.02},
    {"method": "PerformanceFilter", "minutes": 100_000},
    {"method": "OffsetFilter", "offset": 7, "number_assets": 20},
]


class Market:
    """Eighty symbols with rules, quotes, days and trades drawn at random."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        self.rules, self.daily, self.trades = {}, {}, []
        now = int(time.time() * 1000)
        for pair in PAIRS:
            last = Decimal(repr(round(draw.choice([0.003, 0.2, 3, 70]) * draw.uniform(0.5, 1.5), 6)))
            ask = round(last * Decimal(repr(round(draw.uniform(1, 1.006), 5))), 8)
            quote = draw.choice([None, Quote(last), *[Quote(last, last, ask)] * 8])
            tick = Decimal(draw.choice(["0.000001", "0.0001", "0.01", "1"]))
            step = Decimal(draw.choice(["0.001", "0.1", "1"]))
            turnover = Decimal(draw.randrange(100_000))
            self.rules[pair] = Instrument(
                pair,
                pair,
                tick,
                step,
                step,
                Decimal(10**6),
                Decimal(5),
                Decimal(20),
                turnover_24h=turnover,
                quote=quote,
            )
            days, price, rows = draw.randrange(14), float(last), []
            for day in range(days):
                close = price * draw.uniform(0.94, 1.06)
                rows.append((now // DAY_MS * DAY_MS + (day - days) * DAY_MS, price, max(price, close) * 1.01,
                             min(price, close) * 0.99, close, 1.0, close))  # fmt: skip
                price = close
            if days:
                self.daily[pair] = Bars.of(rows)
            for _ in range(draw.choice([0, 0, 1, 3])):
                self.trades.append((pair, draw.randrange(-9, 9), draw.randrange(1_000), 100, draw.choice([1, 5])))
        self.facts = Facts(now, self.rules, self.daily, [self._trade(now, *one) for one in self.trades])

    @staticmethod
    def _trade(now: int, pair: str, profit: float, ago: float, stake: float, leverage: int) -> SimpleNamespace:
        held = trade(pair, profit, 0, stake, leverage)
        held.exit_time = datetime.fromtimestamp(now / 1000, UTC) - timedelta(minutes=ago)
        return held

    def told(self, pairlists) -> str:
        """Return the facts as freqtrade's program is given them."""
        tickers = {
            pair: {"symbol": pair, "quoteVolume": float(one.turnover_24h), "last": quoted(one, "last"),
                   "bid": quoted(one, "bid"), "ask": quoted(one, "ask")}
            for pair, one in self.rules.items()
        }  # fmt: skip
        return json.dumps({
            "pairs": PAIRS, "pairlists": pairlists, "tickers": tickers, "stoploss": STOPLOSS, "trades": self.trades,
            "rules": {pair: {"tick": float(one.tick), "step": float(one.step)} for pair, one in self.rules.items()},
            "daily": {pair: [row[1:6] for row in bars.rows()] for pair, bars in self.daily.items()},
        })  # fmt: skip


def quoted(rules: Instrument, name: str) -> float | None:
    value = getattr(rules.quote, name) if rules.quote is not None else Decimal(0)
    return float(value) if value else None


@needed
@pytest.mark.parametrize("seed", range(3))
def test_the_filters_keep_what_freqtrades_own_keep(seed):
    market = Market(seed)
    # a price that nobody quotes is a daily close here, and none there: that is ours alone
    quoted_pairs = {pair for pair, one in market.rules.items() if one.quote is not None}
    done = subprocess.run(
        [Path(PROGRAM).parent / "python", PROGRAM_OF_OURS], input=market.told(PAIRLISTS), capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    removed = 0
    for told, theirs in zip(PAIRLISTS, json.loads(done.stdout), strict=True):
        given = {key: value for key, value in told.items() if key != "method"}
        given |= {"stoploss": STOPLOSS} if told["method"] == "PrecisionFilter" else {}
        ours = METHODS[told["method"]](**given).sift(PAIRS, market.facts).kept
        if told["method"] in {"PriceFilter", "PrecisionFilter"}:
            ours = [pair for pair in ours if pair in quoted_pairs]
        assert ours == theirs, told
        removed += len(PAIRS) - len(ours)
    assert removed > 100
