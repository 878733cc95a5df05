"""Strategies written for freqtrade, traded by freqtrade and by us on the same candles, trade by trade.

``make freqtrade-strategies``; freqtrade is installed outside the project on first use. Candles are those beside the
project. The table goes to docs/freqtrade.md; the exit code is 1 when a difference is left that no rule explains.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pandas as pd

from bootstrap.user_strategies import built, kind_of
from domain.candle import Bars
from domain.source import Source
from formats import candles
from sections import StrategyChoice
from tests.commands import Commands
from tests.documents import DOCS, ROOT
from tests.foreign import agreement, freqtrade_backtest
from tests.foreign.agreement import Found, Trade
from tests.foreign.freqtrade_live import HERE, environment

DATA = ROOT.parent / "shared" / "data"
STRATEGIES = HERE / "strategies"
FEE = 0.00055
PERPETUAL, SPOT, OTHER = "BTC/USDT:USDT", "BTC/USDT", "ETH/USDT"
BEGIN, MARK = "<!-- made by make freqtrade-strategies -->", "<!-- until here -->"


@dataclass(frozen=True, slots=True)
class Case:
    """A strategy, the market it trades on, its timeframe, and days as freqtrade and we are told them.

    ``secured`` is the gain from which on its own method sets the stop to another, ``parts`` says that positions
    are left in parts, which freqtrade must be able to halve without rounding.
    """

    name: str
    pair: str = PERPETUAL
    timeframe: str = "1h"
    since: str = "2024-02-01"
    until: str = "2025-02-01"
    secured: tuple[float, float] | None = None
    parts: bool = False

    @property
    def source(self) -> str:
        return Source.BYBIT.value if self.pair == PERPETUAL else Source.BINANCE.value


CASES = [
    Case("Averages"), Case("BothSides"), Case("OneGain", timeframe="15m"), Case("Gains"), Case("Trailing"),
    Case("TrailingLater"), Case("TrailingTwice"), Case("Longer"), Case("Merged", timeframe="15m"), Case("InProfit"),
    Case("Chosen"), Case("Confirmed"), Case("Reversing"), Case("OwnStop"), Case("Secured", secured=(0.02, 0.01)), Case("OwnExit"),
    Case("Refusing"), Case("Staying"), Case("Halves", parts=True),
    Case("Neighbour", OTHER, "1h", "2024-11-15", "2025-09-15"),
    Case("SampleStrategy", SPOT, "5m", "2025-01-15", "2026-01-15"),
]  # fmt: skip
SETTINGS = """
source: synthetic
risk: {{percent: 1, max_open_trades: 3, daily_loss_percent: 100, max_exposure: 100, max_position: 0.1, max_cost_r: 0}}
paper: {{wallet: 1000000, taker_fee: {fee}, maker_fee: {fee}, half_spread: 0, slippage: 0}}
strategies: {{folder: {folder}, freqtrade: [{names}]}}
"""


def stored(folder: Path, program: Path) -> Commands:
    """Return a store with the candles, and write them out for freqtrade; strategies lie in ``strategies``."""
    held = Commands(folder, f"sqlite:///{folder / 'revenant.sqlite'}", "http://127.0.0.1:9")
    _done(held, "migrate")
    for file in sorted((DATA / "candles_bybit_perp").glob("BTC_*.feather")):
        _done(held, "data", "import", "-s", "bybit", str(file))
    _done(held, "data", "import", "-s", "binance", str(DATA / "candles_binance_spot" / "BTC_USDT-5m.feather"))
    for base in ("BTC", "ETH"):
        days = DATA / "candles_long" / f"binance_spot_{base}_USDT-1d_2020_2025.feather"
        _done(held, "data", "import", "-s", "binance", "-p", f"{base}/USDT", "-t", "1d", str(days))
        _done(held, "data", "import", "-s", "binance", str(DATA / "candles_binance_spot" / f"{base}_USDT-1h.feather"))
    out = ("--out", str(folder / "out"))
    span = ("--since", "2023-12-18", "--until", "2025-02-03")
    _done(held, "data", "export", "-s", "bybit", "-p", PERPETUAL, "--trading-mode", "futures", *span, *out)
    _done(held, "data", "export", "-s", "binance", "-p", SPOT, "-t", "5m", *out)
    for timeframe in ("1h", "1d"):
        span = ("--since", "2024-09-15", "--until", "2025-09-17")
        _done(held, "data", "export", "-s", "binance", "-p", f"{SPOT},{OTHER}", "-t", timeframe, *span, *out)
    _without_funding(folder / "out" / "bybit" / "futures" / "BTC_USDT_USDT-1h-funding_rate.feather")
    shutil.copytree(STRATEGIES, folder / "strategies", ignore=shutil.ignore_patterns("__pycache__"))
    # its text is freqtrade's: read where it is installed, and never kept
    (sample,) = (program.parent.parent / "lib").glob("python*/site-packages/freqtrade/templates/sample_strategy.py")
    shutil.copy(sample, folder / "strategies" / "sample_strategy.py")
    text = SETTINGS.format(fee=FEE, folder=folder / "strategies", names=", ".join(case.name for case in CASES))
    (folder / "config.yaml").write_text(text)
    return held


def _without_funding(path: Path) -> None:
    """Set all payments to nothing: freqtrade counts them in a gain, ours are booked beside it."""
    held = pd.read_feather(path)
    held[[name for name in held.columns if name != "date"]] = 0.0
    held.to_feather(path)


def _done(commands: Commands, *arguments: str) -> None:
    code, _, said = commands.run(*arguments)
    if code:
        raise SystemExit(f"{' '.join(arguments)}: {said}")


def theirs(case: Case, folder: Path, program: Path) -> list[Trade]:
    """Return freqtrade's trades."""
    home = folder / "theirs" / case.name
    shutil.copytree(folder / "strategies", home / "strategies")
    futures = {"trading_mode": "futures", "margin_mode": "isolated"} if case.pair == PERPETUAL else {}
    markets = (
        [freqtrade_backtest.perpetual("BTC")] if futures else [freqtrade_backtest.spot(one) for one in ("BTC", "ETH")]
    )
    if case.parts:
        markets[0]["lotSizeFilter"] |= {"minOrderQty": "0.00000001", "qtyStep": "0.00000001"}
    days = f"{case.since}-{case.until}".replace("-", "")
    found = freqtrade_backtest.backtest(
        home, folder / "out" / case.source, case.name, markets, [case.pair], f"{days[:8]}-{days[8:]}", program,
        fee=FEE, max_open_trades=1, **futures,
    )  # fmt: skip
    return [
        Trade(
            one["open_timestamp"], one["close_timestamp"], one["is_short"], one["open_rate"], _left_at(one),
            one["exit_reason"],
        ) for one in found["trades"] if one["exit_reason"] != "force_exit"
    ]  # fmt: skip


def _left_at(trade: dict[str, Any]) -> float:
    """Return freqtrade's price of leaving: the mean, where a position was left in parts."""
    parts = [(one["amount"], one["safe_price"]) for one in trade["orders"] if not one["ft_is_entry"]]
    if len(parts) < 2:
        return float(trade["close_rate"])
    return float(sum(amount * price for amount, price in parts) / sum(amount for amount, _ in parts))


def ours(case: Case, folder: Path, commands: Commands) -> list[Trade]:
    """Return our trades."""
    result = commands.json(
        "backtest", "run", "-c", str(folder / "config.yaml"), "-s", case.source, "-p", case.pair, "--strategy", case.name,
        "--since", case.since, "--until", case.until,
    )  # fmt: skip
    return [
        Trade(
            _ms(one["entry_time"]), _ms(one["exit_time"]), one["side"] == "short", float(D(one["entry_price"])),
            float(D(one["exit_price"])), one["exit_reason"],
        ) for one in result["trades"]
    ]  # fmt: skip


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def bars(case: Case) -> Bars:
    """Return the bars that a strategy decides on."""
    if case.pair != PERPETUAL:
        return candles.read(DATA / "candles_binance_spot" / f"{case.pair.replace('/', '_')}-{case.timeframe}.feather")
    return candles.read(DATA / "candles_bybit_perp" / f"BTC_USDT_USDT-{case.timeframe}-futures.feather")


def trial(case: Case, folder: Path, program: Path, commands: Commands) -> Found:
    """Trade a strategy twice and compare."""
    print(f"{case.name}: freqtrade", flush=True)
    known = theirs(case, folder, program)
    print(f"{case.name}: {len(known)} trades; ours", flush=True)
    made = ours(case, folder, commands)
    found = agreement.compare(known, made, bars(case), exits_of(case, folder), FEE)
    print(f"{case.name}: {found.line()}", flush=True)
    for one in found.unexplained:
        print(f"  not explained: {one}", flush=True)
    return found


def exits_of(case: Case, folder: Path) -> agreement.Exits:
    """Return how a strategy leaves, as the adapter reads it."""
    choice = StrategyChoice(parameters={"fee": FEE})
    strategy = built(case.name, kind_of(folder / "strategies", case.name), choice)
    gains, ignored = strategy.exits["minimal_roi"], frozenset[int]()
    resting = not strategy.theirs.ignore_roi_if_entry_signal
    if not resting:
        paid = (1 - FEE) / (1 + FEE)
        gains = {int(minute): (1 + gain) / paid - 1 for minute, gain in strategy.theirs.minimal_roi.items()}
        columns = strategy.columns_of(case.pair, {case.timeframe: bars(case)})
        ignored = frozenset(columns["enter_long"].nonzero()[0].tolist())
    return agreement.Exits(
        -strategy.stoploss, sorted(strategy.exits.get("trailing", {}).items()),
        sorted((minutes * 60_000, gain) for minutes, gain in gains.items()), strategy.exits.get("least_gain"),
        case.secured, resting, ignored, strategy.theirs.use_custom_stoploss,
    )  # fmt: skip


def table(results: dict[Case, Found], version: str) -> str:
    """Return the table, and the rules that it counts by."""
    short = {rule: str(number) for number, rule in enumerate(agreement.RULES, 1)}
    lines = [
        BEGIN, "", f"freqtrade {version} beside this program, fee {FEE:.3%} a side, funding left out, one position at a time:", "",
        "| strategy | candles | trades: freqtrade | ours | alike | " + " | ".join(f"rule {n}" for n in short.values())
        + " | not explained | sum of ratios: freqtrade | ours |",
        "|---|---|" + "---|" * (6 + len(short)),
    ]  # fmt: skip
    for case, found in results.items():
        market = f"{'Bybit' if case.pair == PERPETUAL else 'Binance spot'} {case.pair[:3]}"
        where = f"{market} {case.timeframe}, {case.since} to {case.until}"
        counts = " | ".join(str(found.rules[rule]) for rule in short)
        lines.append(
            f"| `{case.name}` | {where} | {found.theirs} | {found.ours} | {found.alike} | {counts} | "
            f"{len(found.unexplained)} | {found.sums[0]:+.4f} | {found.sums[1]:+.4f} |"
        )
    worst = max((one.worst for one in results.values()), default=0.0)
    lines += [
        "", f"Trades are alike when they enter and leave on the same bars, on the same side, at prices that differ by no more than "
        f"rounding to a tick ({agreement.TICKS:.0e}); their profit ratios differ by {worst:.1e} at most. The rules:", "",
        *(f"{short[rule]}. {why[0].upper()}{why[1:]}." for rule, why in agreement.RULES.items()), "", MARK,
    ]  # fmt: skip
    return "\n".join(lines)


def written(text: str) -> None:
    """Put the table into the document."""
    path = DOCS / "freqtrade.md"
    before, _, rest = path.read_text().partition(BEGIN)
    path.write_text(f"{before}{text}{rest.partition(MARK)[2]}")


def main() -> int:
    """Return 0 when every difference is explained."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("names", nargs="*", help="strategies; all without, and only then the table is written")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = (HERE / "freqtrade.txt").read_text().split("==")[1].strip()
    asked.add_argument("--environment", type=Path, default=cache / "revenant" / f"freqtrade-{version}")
    chosen = asked.parse_args()
    if not DATA.exists():
        print(f"the candles are not there: {DATA}", file=sys.stderr)
        return 1
    program = environment(chosen.environment)
    with tempfile.TemporaryDirectory(prefix="freqtrade-strategies-") as made:
        folder = Path(made)
        commands = stored(folder, program)
        results = {
            case: trial(case, folder, program, commands) for case in CASES if not chosen.names or case.name in chosen.names
        }  # fmt: skip
    if not chosen.names:
        written(table(results, version))
    return 1 if any(one.unexplained for one in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
