"""Our accounts against those of others: the same bars and rules, the same money."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from datetime import datetime
from decimal import Decimal as D
from pathlib import Path

import numpy as np
import pytest

from backtest.rules import RulesInForce
from backtest.venue import Venue
from domain.assumed_rules import following
from domain.candle import Bar, Bars
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.ids import Identity, order_id, signal_digest
from domain.instrument import Instrument
from domain.order import Cause, OrderKind, OrderRequest, OrderSide, Side
from domain.records import Fill, Intent, Opening
from domain.source import Source
from engine.positions import Book
from formats import candles
from persistence.rules import RulesArchive
from tests.commands import Commands
from tests.foreign import freqtrade_backtest as freqtrade

KNOWN = Path(__file__).parents[3] / "shared" / "data" / "backtest_known"
pytestmark = pytest.mark.skipif(not KNOWN.exists(), reason="the known backtests are not beside the project")
WHO = Identity("known", "backtest", "backtest")
DAY, HOUR = 86_400_000, 3_600_000


def packed(name: str):
    return json.loads(gzip.decompress((KNOWN / name).read_bytes()))


def test_two_averages_that_cross_make_the_money_that_backtesting_py_tells():
    """SMA 10/30 on GOOG, all equity, long and short, without costs: 66 trades, 414.2299 %."""
    known = packed("sma_10_30_GOOG.json.gz")
    with (KNOWN / "GOOG.csv").open() as file:
        rows = [
            [float(row[name]) for name in ("Open", "High", "Low", "Close", "Volume")] for row in csv.DictReader(file)
        ]
    close = np.array([row[3] for row in rows])
    fast, slow = (np.convolve(close, np.ones(n) / n, "valid") for n in (10, 30))
    fast, slow = np.r_[np.full(9, np.nan), fast], np.r_[np.full(29, np.nan), slow]
    goog = Instrument("GOOG", "GOOG", D("0.001"), D(1), D(1), D(10**9), D("0.01"), D(10))
    venue, fills = Venue(D(10_000), {"GOOG": goog}, Costs(D(0), D(0), D(0), D(0))), []
    venue.set_leverage("GOOG", D(10), 0)
    for i, row in enumerate(rows):
        fills += venue.on_bar("GOOG", Bar(i * DAY, *row, 0.0), (i + 1) * DAY)
        crossed = i and (fast[i - 1] - slow[i - 1]) * (fast[i] - slow[i]) < 0
        # what is open in the end is closed at the last bar's open
        last = i == len(rows) - 2
        if i == len(rows) - 1 or not (crossed or last):
            continue
        held, opens = venue.held("GOOG"), D(repr(rows[i + 1][0]))
        if held:
            out = OrderSide.SELL if held > 0 else OrderSide.BUY
            venue.place(OrderRequest(f"x{i}", "GOOG", out, OrderKind.MARKET, abs(held), reduce_only=True), i * DAY)
        if last:
            continue
        side = OrderSide.BUY if fast[i] > slow[i] else OrderSide.SELL
        # all that will be there when the order fills, in whole shares
        equity = venue.equity + held * (opens - D(repr(row[3])))
        venue.place(OrderRequest(f"e{i}", "GOOG", side, OrderKind.MARKET, equity // opens), i * DAY)
    entries = [fill for fill in fills if fill.order_id.startswith("e")]
    exits = [fill for fill in fills if fill.order_id.startswith("x")]
    assert len(entries) == len(known["trades"]) == 66
    for trade, entry in zip(known["trades"], entries, strict=True):
        assert entry.qty * (1 if entry.side is OrderSide.BUY else -1) == trade["Size"]
        assert float(entry.price) == trade["EntryPrice"]
        assert entry.time == trade["EntryBar"] * DAY
    for trade, entry, leave in zip(known["trades"], entries, exits, strict=True):
        assert float(leave.price) == trade["ExitPrice"]
        made = entry.qty * (leave.price - entry.price) * (1 if entry.side is OrderSide.BUY else -1)
        assert float(made) == pytest.approx(trade["PnL"], abs=1e-9)
    assert float(venue.equity) == pytest.approx(known["stats"]["Equity Final [$]"], abs=1e-6)
    assert float(venue.equity / 100 - 100) == pytest.approx(414.2299, abs=1e-6)


@pytest.mark.parametrize(("name", "count"), [
    ("bybit_futures_2025-12-22_11-12-36.json.gz", 140), ("bybit_futures_2025-12-28_13-10-40.json.gz", 1453),
    ("bybit_spot_2026-05-27_15-25-01.json.gz", 92),
])  # fmt: skip
def test_a_trade_is_worth_what_freqtrade_says(name, count):
    """From amount, rates, fees and funding to the profit, by the same code as live trades."""
    (strategy,) = packed(name)["strategy"].values()
    assert len(strategy["trades"]) == count
    funded = 0
    for number, known in enumerate(strategy["trades"]):
        ours = trade_of(number, known)
        assert float(ours.pnl_usd) == pytest.approx(known["profit_abs"], abs=6e-9)
        funded += ours.funding != 0
    assert bool(funded) == ("futures" in name)


def test_freqtrades_own_reference_has_our_ratios():
    """Its amounts of money leave the fees out, its ratios do not."""
    (strategy,) = packed("freqtrade_backtest-result.json.gz")["strategy"].values()
    for number, known in enumerate(strategy["trades"]):
        ours = trade_of(number, known)
        spent = D(repr(known["amount"])) * ours.entry_price * (1 + D(repr(known["fee_open"])))
        assert float(ours.pnl_usd / spent) == pytest.approx(known["profit_ratio"], abs=2e-8)
    assert len(strategy["trades"]) == 179


MARKETS = {
    # file, cash, stop, target; trades, sums of the bars of entry and exit, winners, equity, by backtesting.py 0.6.6
    "EURUSD": ("backtest_known/EURUSD.csv", 10_000, 0.002, 0.004, 76, 187_495, 188_544, 37, 9_600.0741806),
    "PEPE": ("candles_binance_spot/PEPE_USDT-1h.feather", 10_000, 0.03, 0.06, 166, 816_245, 819_155, 53, 7_327.55616917),
    "BTC": (
        "candles_binance_spot/BTC_USDT-1h.feather", 10_000_000, 0.01, 0.02, 208, 1_304_911, 1_308_257, 72, 8_428_254.32051
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MARKETS)
def test_whatever_a_price_is_worth_trades_end_as_in_backtesting_py(name):
    """SMA 10 over 30, half of the equity, stop and target, 0.1 % a side; prices of 0.00001, 1 and 100,000."""
    file, cash, near, far, count, entered, left, won, equity = MARKETS[name]
    bars = bars_of(KNOWN.parent / file)
    history, mean = following(name, bars, HOUR), [np.convolve(bars.close, np.ones(n) / n, "valid") for n in (10, 30)]
    # coarse prices make averages equal, but for the last digits
    apart = np.round(np.r_[np.full(29, np.nan), mean[0][20:] - mean[1]] / bars.close, 9)
    rules = RulesInForce({name: history}, 0)
    venue, fills, opened = Venue(D(cash), rules.instruments, Costs(D("0.001"), D("0.001"), D(0), D(0))), [], 2**62
    for i, bar in enumerate(bars.rows()):
        fills += [(i, fill) for fill in venue.on_bar(name, bar, bar.open_time + HOUR)]
        busy = venue.held(name)
        if rules.changes(name):
            rules.move(name, bar.open_time + HOUR, opened if busy else bar.open_time + HOUR)
        if i < 30 or busy or not apart[i - 1] < 0 < apart[i]:
            continue
        qty = rules.instruments[name].floor_qty(D(int(float(venue.equity) * 0.5 / bar.close)))
        stop, target = (D(f"{bar.close * (1 + part):.5g}") for part in (-near, far))
        opened = bar.open_time + HOUR
        venue.place(OrderRequest(f"e{i}", name, OrderSide.BUY, OrderKind.MARKET, qty, stop=stop, target=target), opened)
    entries, exits = ([i for i, fill in fills if (fill.side is OrderSide.BUY) is buys] for buys in (True, False))
    gains = [
        out.qty * (out.price - into.price) - into.fee - out.fee
        for (_, into), (_, out) in zip(fills[::2], fills[1::2], strict=False)
    ]
    assert (len(exits), sum(entries[:count]), sum(exits)) == (count, entered, left)
    assert sum(gain > 0 for gain in gains) == won
    assert float(venue.equity) == pytest.approx(equity, rel=2e-4)


SPOT = {
    # tick and step of Binance; trades, sums of the hours of entry and exit, winners, sum of profit ratios, by freqtrade
    # 2026.9 with tests/foreign/mean_reversion_strategy.py
    "BTC": ("0.01", "0.00001", 108, 52_632_240, 52_634_080, 30, -0.235586),
    "DOGE": ("0.00001", "1", 200, 97_367_442, 97_369_754, 56, -0.679636),
    "PEPE": ("0.00000001", "1", 204, 99_343_629, 99_345_956, 62, -0.652335),
}  # fmt: skip
PAIRS = [f"{name}/USDT" for name in SPOT]
FREE = """
source: synthetic
risk: {percent: 1, max_open_trades: 3, daily_loss_percent: 100, max_exposure: 100, max_position: 0.1, max_cost_r: 0}
paper: {wallet: 1000000, taker_fee: 0.001, maker_fee: 0.001, half_spread: 0, slippage: 0}
strategies:
  mean_reversion: {enabled: true, parameters: {timeframe: 1h, width_max: 0.3}}
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Commands:
    """Three spot markets and their rules in a store."""
    folder = tmp_path_factory.mktemp("spot")
    held = Commands(folder, f"sqlite:///{folder / 'revenant.sqlite'}", "http://127.0.0.1:9")
    assert held.run("migrate")[0] == 0
    files = [str(KNOWN.parent / "candles_binance_spot" / f"{name}_USDT-1h.feather") for name in SPOT]
    assert held.run("data", "import", "-s", "binance", *files)[0] == 0
    rules = {
        f"{name}/USDT": Instrument(
            f"{name}/USDT", f"{name}USDT", D(tick), D(step), D(step), D(10**15), D(1), D(1), shortable=False
        ) for name, (tick, step, *_) in SPOT.items()
    }  # fmt: skip
    RulesArchive(folder, Source.BINANCE).add(rules, 0)
    (folder / "free.yaml").write_text(FREE)
    return held


@pytest.fixture(scope="module")
def ours(stored) -> dict[tuple[str, int], tuple[int, D, D, float]]:
    """Our trades by pair and hour of entry: hour of exit, rates of both, profit as a share of what was spent."""
    result = stored.json(
        "backtest", "run", "-c", str(Path(stored.environment["REVENANT__DATA_DIR"]) / "free.yaml"), "-s", "binance",
        "-p", ",".join(PAIRS), "--strategy", "mr", "--since", "2025-01-05", "--until", "2026-02-01",
    )  # fmt: skip
    assert set(result["figures"]["refused"]) == {"not_shortable", "position_open"}
    found = {}
    for trade in result["trades"]:
        entry, leave, qty = (D(trade[name]) for name in ("entry_price", "exit_price", "quantity"))
        begin, end = (int(datetime.fromisoformat(trade[f"{n}_time"]).timestamp()) // 3_600 for n in ("entry", "exit"))
        found[trade["symbol"], begin] = (end, entry, leave, float(D(trade["pnl_usd"]) / (qty * entry * D("1.001"))))
    return found


@pytest.mark.parametrize("name", SPOT)
def test_mean_reversion_on_spot_makes_the_trades_that_freqtrade_makes(ours, name):
    """The whole product, from the file to the trades, beside the same rule in freqtrade: 0.1 % a side."""
    *_, count, entered, left, won, made = SPOT[name]
    held = {begin: trade for (pair, begin), trade in ours.items() if pair == f"{name}/USDT"}
    assert (len(held), sum(held), sum(end for end, *_ in held.values())) == (count, entered, left)
    assert sum(ratio > 0 for *_, ratio in held.values()) == won
    assert sum(ratio for *_, ratio in held.values()) == pytest.approx(made, abs=1e-4)


@freqtrade.needed
def test_freqtrade_itself_makes_our_trades_of_what_we_export(stored, ours, tmp_path):
    """Same hours, same rates, same ratios, to what freqtrade's least tick (1e-10) and its 8 digits of a ratio leave."""
    assert (
        stored.run("data", "export", "-s", "binance", "-p", ",".join(PAIRS), "-t", "1h", "--out", str(tmp_path))[0] == 0
    )
    (tmp_path / "strategies").mkdir()
    shutil.copy(Path(__file__).parents[1] / "foreign" / "mean_reversion_strategy.py", tmp_path / "strategies")
    told = freqtrade.backtest(
        tmp_path, tmp_path / "binance", "MeanReversionStrategy", [freqtrade.spot(name) for name in SPOT], PAIRS,
        "20250105-20260201", fee=0.001,
    )["trades"]  # fmt: skip
    theirs = {(one["pair"], one["open_timestamp"] // HOUR): one for one in told if one["exit_reason"] != "force_exit"}
    assert theirs.keys() == ours.keys()
    for key, (end, entry, leave, ratio) in ours.items():
        known = theirs[key]
        assert known["close_timestamp"] // HOUR == end, key
        assert float(entry) == pytest.approx(known["open_rate"], rel=1e-9), key
        assert float(leave) == pytest.approx(known["close_rate"], abs=2e-10, rel=1e-7), key
        assert ratio == pytest.approx(known["profit_ratio"], abs=2e-10 / float(entry) + 1e-7), key
    for name, (*_, count, entered, left, won, made) in SPOT.items():
        of_pair = {begin: one for (pair, begin), one in theirs.items() if pair == f"{name}/USDT"}
        ends = [one["close_timestamp"] // HOUR for one in of_pair.values()]
        ratios = [one["profit_ratio"] for one in of_pair.values()]
        assert (len(ends), sum(of_pair), sum(ends)) == (count, entered, left)
        assert (sum(one > 0 for one in ratios), round(sum(ratios), 6)) == (won, made)


def bars_of(path: Path) -> Bars:
    if path.suffix == ".csv":
        with path.open() as file:
            rows = [[float(row[n]) for n in ("Open", "High", "Low", "Close", "Volume")] for row in csv.DictReader(file)]
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        return Bars(np.arange(len(rows)) * HOUR, *columns, columns[-1] * columns[-2])
    return candles.read(path)


def trade_of(number: int, known: dict):
    symbol, side = known["pair"], Side.SHORT if known["is_short"] else Side.LONG
    rates, fees = (
        [D(repr(known[name])) for name in names] for names in (("open_rate", "close_rate"), ("fee_open", "fee_close"))
    )
    qty, begin, end = D(repr(known["amount"])), int(known["open_timestamp"]), int(known["close_timestamp"])
    digest = signal_digest(WHO, "known", symbol, "15m", number)
    stop = rates[0] - side.sign * rates[0] / 100
    opening = Opening("known", "15m", begin, side, rates[0], stop, rates[0] + side.sign * rates[0], ExitPlan(), D(1))
    book, names = Book(), [order_id(digest, leg, 0, paper=True) for leg in ("e", "x")]
    book.apply(Intent(begin, names[0], symbol, side.entry, OrderKind.MARKET, qty, opening=opening))
    for leg, time, where, cause in (
        (0, begin, side.entry, Cause.ENTRY),
        (1, max(end, begin + 1), side.exit, Cause.UNKNOWN),
    ):
        book.apply(Fill(
            time=time, exec_id=f"{number}-{leg}", order_id=names[leg], venue_order_id="", symbol=symbol, side=where, qty=qty,
            price=rates[leg], fee=qty * rates[leg] * fees[leg], closed_qty=qty * leg, cause=cause,
        ))  # fmt: skip
        if not leg and known.get("funding_fees"):
            paid = -D(repr(known["funding_fees"]))
            book.apply(Fill(
                time=begin + 1, exec_id=f"{number}-f", order_id="", venue_order_id="", symbol=symbol, side=where, qty=qty,
                price=rates[0], fee=paid, closed_qty=D(0), cause=Cause.FUNDING,
            ))  # fmt: skip
    held = book.find(digest)
    assert held is not None
    assert held.flat
    return held.to_trade(WHO)
