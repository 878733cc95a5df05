"""freqtrade itself reads what was exported for it, and trades on it; its program is named by FREQTRADE."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from domain.candle import Series
from domain.coverage import Span
from domain.errors import Rejected
from history import export
from tests.venues import walk

START, HOUR = 1_704_067_200_000, 3_600_000
BTC = Series("BTC/USDT:USDT", "1h")
BARS = walk(2_000, START, HOUR)
WINDOW = Span(START, START + 2_000 * HOUR)
FUNDING = (np.arange(START, WINDOW.end, 8 * HOUR, dtype=np.int64), np.full(250, 0.0001))

STRATEGY = """
from freqtrade.strategy import IStrategy


class EveryDay(IStrategy):
    timeframe, stoploss, minimal_roi, can_short, startup_candle_count = "1h", -0.05, {"0": 0.01}, False, 1

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["date"].dt.hour == 3, "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[dataframe["date"].dt.hour == 20, "exit_long"] = 1
        return dataframe
"""


def material(**changes) -> export.Material:
    held = {"series": BTC, "window": WINDOW, "bars": BARS, "absent": (), "mark": BARS, "funding": FUNDING}
    return export.Material(**(held | changes))


def test_an_export_is_whole_and_the_same_bytes_every_time(tmp_path):
    first = export.export([material()], tmp_path / "a", "feather", "futures")
    again = export.export([material()], tmp_path / "b", "feather", "futures")
    assert [one.sha256 for one in first] == [one.sha256 for one in again]
    assert sorted(one.file for one in first) == [
        "futures/BTC_USDT_USDT-1h-funding_rate.feather", "futures/BTC_USDT_USDT-1h-futures.feather",
        "futures/BTC_USDT_USDT-1h-mark.feather",
    ]  # fmt: skip
    assert (tmp_path / "a" / export.MANIFEST).read_bytes() == (tmp_path / "b" / export.MANIFEST).read_bytes()
    assert export.verify(tmp_path / "a") == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bars": BARS[:1_990]}, "10 bars are missing in 1 ranges"), ({"mark": BARS[10:]}, "mark prices are missing"),
        ({"mark": None}, "neither mark prices nor funding"), ({"funding": (FUNDING[0][:9], FUNDING[1][:9])}, "funding is missing"),
        ({"series": Series("BTC/USDT", "1h")}, "no perpetual market"),
    ],
)  # fmt: skip
def test_what_is_incomplete_is_refused_and_nothing_is_written(tmp_path, changes, says):
    with pytest.raises(Rejected, match=says):
        export.export([material(), material(**changes)], tmp_path, "feather", "futures")
    assert list(tmp_path.iterdir()) == []


def test_gaps_are_exported_when_that_is_asked_for_and_told_in_the_manifest(tmp_path):
    (futures, *_) = export.export([material(bars=BARS[:1_990])], tmp_path, "feather", "futures", allow_gaps=True)
    assert futures.missing == 10
    (futures, *_) = export.export(
        [material(bars=BARS[:1_990], absent=[Span(START + 1_990 * HOUR, WINDOW.end)])], tmp_path, "feather", "futures"
    )
    assert (futures.missing, futures.absent) == (0, 10)


def test_an_export_that_was_changed_or_lost_is_told_and_cleaning_takes_only_its_own(tmp_path):
    export.export([material()], tmp_path, "parquet", "futures")
    (tmp_path / "futures" / "mine.feather").write_text("not the export's")
    (tmp_path / "futures" / "BTC_USDT_USDT-1h-mark.parquet").write_text("changed")
    (tmp_path / "futures" / "BTC_USDT_USDT-1h-futures.parquet").unlink()
    assert len(export.verify(tmp_path)) == 2
    assert export.clean(tmp_path) == 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.feather"]


def test_a_second_export_adds_to_the_manifest(tmp_path):
    export.export([material()], tmp_path, "feather", "futures")
    export.export([material(series=Series("ETH/USDT:USDT", "1h"))], tmp_path, "feather", "futures")
    assert len(export.read_manifest(tmp_path)) == 6
    assert export.verify(tmp_path) == []


@pytest.mark.skipif(not os.environ.get("FREQTRADE"), reason="FREQTRADE does not name freqtrade's program")
@pytest.mark.parametrize("funded", [True, False])
def test_freqtrade_lists_our_files_and_trades_on_them(tmp_path, funded):
    data = tmp_path / "data" / "bybit"
    export.export(
        [material() if funded else material(funding=(FUNDING[0], FUNDING[1] * 0))], data, "feather", "futures"
    )
    program = os.environ["FREQTRADE"]
    listed = subprocess.run(
        [program, "list-data", "--userdir", tmp_path, "--exchange", "bybit", "--trading-mode", "futures", "--show-timerange"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"},
    ).stdout  # fmt: skip
    assert re.search(r"BTC/USDT:USDT .* 1h .* futures .* 2024-01-01 00:00:00 .* 2024-03-24 07:00:00 .* 2000", listed)
    (tmp_path / "strategies").mkdir(exist_ok=True)
    (tmp_path / "strategies" / "every_day.py").write_text(STRATEGY)
    with rules() as address:
        result = backtest(program, tmp_path, address)
    assert result["total_trades"] > 50
    fees = sum(trade["funding_fees"] for trade in result["trades"])
    assert (fees != 0) is funded


def backtest(program: str, folder: Path, address: str) -> dict:
    urls = dict.fromkeys(("public", "private", "spot", "futures", "v2"), address)
    config = {
        "stake_currency": "USDT", "stake_amount": 100, "dry_run": True, "dry_run_wallet": 1000, "max_open_trades": 1,
        "trading_mode": "futures", "margin_mode": "isolated", "entry_pricing": {"price_side": "other"},
        "exit_pricing": {"price_side": "other"}, "pairlists": [{"method": "StaticPairList"}],
        "exchange": {"name": "bybit", "pair_whitelist": ["BTC/USDT:USDT"], "ccxt_config": {
            "urls": {"api": urls}, "options": {"fetchMarkets": {"types": ["linear"]}}}},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [program, "backtesting", "--userdir", folder, "-c", folder / "config.json", "--strategy", "EveryDay", "--cache",
         "none", "--export", "trades", "--timerange", "20240102-20240320"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    import zipfile

    (packed,) = (folder / "backtest_results").glob("*.zip")
    with zipfile.ZipFile(packed) as held:
        name = next(n for n in held.namelist() if re.fullmatch(r"backtest-result-[\d_-]+\.json", n))
        return json.loads(held.read(name))["strategy"]["EveryDay"]


class rules:  # noqa: N801  reads as a word
    """Serves what freqtrade asks of Bybit before a backtest: the rules of one market."""

    def __enter__(self) -> str:
        market = {
            "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC",
            "quoteCoin": "USDT", "settleCoin": "USDT", "launchTime": "1584230400000", "deliveryTime": "0",
            "priceScale": "2", "leverageFilter": {"minLeverage": "1", "maxLeverage": "100", "leverageStep": "0.01"},
            "priceFilter": {"minPrice": "0.01", "maxPrice": "1999999", "tickSize": "0.01"}, "fundingInterval": 480,
            "lotSizeFilter": {"maxOrderQty": "1190", "minOrderQty": "0.001", "qtyStep": "0.001", "minNotionalValue": "5"},
        }  # fmt: skip
        limit = {"id": 1, "symbol": "BTCUSDT", "riskLimitValue": "2000000", "maintenanceMargin": "0.005",
                 "initialMargin": "0.01", "isLowestRisk": 1, "maxLeverage": "100.00", "mmDeduction": ""}  # fmt: skip

        async def answer(request: web.Request) -> web.Response:
            listed = (
                [limit]
                if "risk-limit" in request.path
                else [market]
                if request.query.get("status") != "PreLaunch"
                else []
            )
            result = {"category": "linear", "list": listed, "nextPageCursor": ""}
            return web.json_response({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": 0})

        self.loop, ready, found = asyncio.new_event_loop(), threading.Event(), []

        async def start() -> None:
            app = web.Application()
            app.router.add_get("/{path:.*}", answer)
            self.runner = web.AppRunner(app)
            await self.runner.setup()
            site = web.TCPSite(self.runner, "127.0.0.1", 0)
            await site.start()
            found.append(site._server.sockets[0].getsockname()[1])
            ready.set()

        threading.Thread(
            target=lambda: (self.loop.run_until_complete(start()), self.loop.run_forever()), daemon=True
        ).start()
        assert ready.wait(10)
        return f"http://127.0.0.1:{found[0]}"

    def __exit__(self, *_) -> None:
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
