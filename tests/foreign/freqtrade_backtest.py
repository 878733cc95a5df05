"""Runs freqtrade's own backtest on files that we exported; FREQTRADE names its program."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROGRAM = os.environ.get("FREQTRADE", "")
needed = pytest.mark.skipif(not PROGRAM, reason="FREQTRADE does not name freqtrade's program")
Market = dict[str, Any]


def backtest(
    folder: Path, data: Path, strategy: str, markets: Sequence[Market], pairs: Sequence[str], timerange: str,
    program: Path | str = PROGRAM, **settings: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return what freqtrade tells of a strategy, whose file is in ``folder/strategies``, on the files in ``data``."""
    with Rules(markets) as address:
        config = {
            "stake_currency": "USDT", "stake_amount": 100, "dry_run": True, "dry_run_wallet": 1000,
            "max_open_trades": len(pairs), "entry_pricing": {"price_side": "other"},
            "exit_pricing": {"price_side": "other"}, "pairlists": [{"method": "StaticPairList"}],
            "exchange": {"name": "bybit", "pair_whitelist": list(pairs), "ccxt_config": {
                "urls": {"api": dict.fromkeys(("public", "private", "spot", "futures", "v2"), address)},
                "options": {"fetchMarkets": {"types": ["linear", "spot"]}}}},
        } | settings  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        done = subprocess.run(
            [program, "backtesting", "--userdir", folder, "-c", folder / "config.json", "--datadir", data, "--strategy",
             strategy, "--cache", "none", "--export", "trades", "--timerange", timerange],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (packed,) = (folder / "backtest_results").glob("*.zip")
    with zipfile.ZipFile(packed) as held:
        name = next(n for n in held.namelist() if re.fullmatch(r"backtest-result-[\d_-]+\.json", n))
        return json.loads(held.read(name))["strategy"][strategy]


def perpetual(base: str) -> Market:
    """Return the rules of a perpetual, as Bybit tells them."""
    return {
        "symbol": f"{base}USDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": base,
        "quoteCoin": "USDT", "settleCoin": "USDT", "launchTime": "1584230400000", "deliveryTime": "0",
        "priceScale": "2", "leverageFilter": {"minLeverage": "1", "maxLeverage": "100", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": "0.01", "maxPrice": "1999999", "tickSize": "0.01"}, "fundingInterval": 480,
        "lotSizeFilter": {"maxOrderQty": "1190", "minOrderQty": "0.001", "qtyStep": "0.001", "minNotionalValue": "5"},
    }  # fmt: skip


def spot(base: str) -> Market:
    """Return the rules of a spot market whose ticks are finer than any price: nothing is rounded by them."""
    return {
        "symbol": f"{base}USDT", "status": "Trading", "baseCoin": base, "quoteCoin": "USDT", "marginTrading": "none",
        "lotSizeFilter": {"basePrecision": "0.00000001", "quotePrecision": "0.00000001", "minOrderQty": "0.00000001",
                          "maxOrderQty": "1e15", "minOrderAmt": "1", "maxOrderAmt": "1e15"},
        "priceFilter": {"tickSize": "0.0000000001"},
    }  # fmt: skip


class Rules:
    """Serves what freqtrade asks of Bybit before a backtest: the rules of some markets."""

    def __init__(self, markets: Sequence[Market]) -> None:
        self._markets, self._loop = markets, asyncio.new_event_loop()

    def __enter__(self) -> str:
        ready, found = threading.Event(), []

        async def start() -> None:
            app = web.Application()
            app.router.add_get("/{path:.*}", self._answer)
            self._runner = web.AppRunner(app)
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", 0)
            await site.start()
            found.append(self._runner.addresses[0][1])
            ready.set()

        threading.Thread(
            target=lambda: (self._loop.run_until_complete(start()), self._loop.run_forever()), daemon=True
        ).start()
        assert ready.wait(10)
        return f"http://127.0.0.1:{found[0]}"

    async def _answer(self, request: web.Request) -> web.Response:
        kind = request.query.get("category", "linear")
        limit = {"id": 1, "symbol": "BTCUSDT", "riskLimitValue": "2000000", "maintenanceMargin": "0.005",
                 "initialMargin": "0.01", "isLowestRisk": 1, "maxLeverage": "100.00", "mmDeduction": ""}  # fmt: skip
        listed = [one for one in self._markets if ("contractType" in one) == (kind == "linear")]
        if "risk-limit" in request.path:
            listed = [limit]
        elif request.query.get("status") == "PreLaunch":
            listed = []
        result = {"category": kind, "list": listed, "nextPageCursor": ""}
        return web.json_response({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": 0})

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
