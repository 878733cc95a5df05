"""Binance, OKX, Bybit, Alpaca, CoinGecko, CryptoCompare, Polygon and Binance's archives on one loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import io
import threading
import time
import zipfile
from collections import Counter
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import numpy as np
from aiohttp import web

from domain.candle import Bars, Series, timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BYBIT = {"1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "240": "4h", "D": "1d"}
DAY = 86_400_000


class Venues:
    """What each venue has, and how it misbehaves.

    ``bars`` maps (venue, series) to its bars. ``spoil`` is asked before every answer about bars: it gets the venue and
    the request, and returns a response to send instead, or None. ``twist`` may change the rows of an answer. ``clock``
    is the time (UTC ms) that the answers are dated with, the host's own where it is None.
    """

    def __init__(self) -> None:
        self.bars: dict[tuple[str, Series], Bars] = {}
        self.listed: dict[tuple[str, str], int] = {}
        self.spoil: Callable[[str, web.Request], web.StreamResponse | None] = lambda _venue, _request: None
        self.twist: Callable[[str, list[list[Any]]], list[list[Any]]] = lambda _venue, rows: rows
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.port = 0
        self.clock: int | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def counts(self) -> Counter[str]:
        return Counter(venue for venue, _ in self.asked)

    def put(self, venue: str, symbol: str, timeframe: str, bars: Bars, listed: int = 0) -> None:
        self.bars[venue, Series(symbol, timeframe)] = bars
        self.listed[venue, symbol] = listed or (int(bars.open_time[0]) if len(bars) else 0)

    def symbols(self, venue: str, perpetual: bool) -> list[str]:
        return sorted({s.symbol for v, s in self.bars if v == venue and (":" in s.symbol) == perpetual})

    def inside(self, venue: str, symbol: str, timeframe: str, start: int, end: int, limit: int) -> list[Any] | None:
        """Rows with start <= time <= end, oldest first, the first so many; None for a market that is not there."""
        if not any(v == venue and s.symbol == symbol for v, s in self.bars):
            return None
        bars = self.bars.get((venue, Series(symbol, timeframe)), Bars.empty())
        which = (bars.open_time >= start) & (bars.open_time <= end)
        return [list(row) for row in Bars(*(column[which] for column in bars.columns())).rows()][:limit]

    def application(self) -> web.Application:
        app = web.Application()
        app.on_response_prepare.append(self._date)
        app.add_routes([
            web.get("/fapi/v1/exchangeInfo", self._binance_markets), web.get("/fapi/v1/klines", self._binance),
            web.get("/api/v3/exchangeInfo", self._binance_markets), web.get("/api/v3/klines", self._binance),
            web.get("/fapi/v1/markPriceKlines", self._binance), web.get("/fapi/v1/fundingRate", self._funding),
            web.get("/v5/market/mark-price-kline", self._bybit), web.get("/v5/market/funding/history", self._funding),
            web.get("/data/{path:.*}", self._archive),
            web.get("/v5/market/instruments-info", self._bybit_markets), web.get("/v5/market/kline", self._bybit),
            web.get("/api/v5/public/instruments", self._okx_markets),
            web.get("/api/v5/market/history-candles", self._okx),
            web.get("/v1beta3/crypto/us/bars", self._alpaca), web.get("/v2/stocks/bars", self._alpaca),
            web.get("/api/v3/coins/markets", self._coins),
            web.get("/api/v3/coins/{coin}/market_chart/range", self._coingecko),
            web.get("/v2/aggs/ticker/{ticker}/range/{count}/{unit}/{start}/{end}", self._polygon),
        ])  # fmt: skip
        app.router.add_get("/data/v2/{unit}", self._cryptocompare)
        return app

    async def _date(self, _: web.Request, answer: web.StreamResponse) -> None:
        if self.clock is not None:
            answer.headers["Date"] = formatdate(self.clock / 1000, usegmt=True)

    def _note(self, venue: str, request: web.Request) -> web.StreamResponse | None:
        self.asked.append((venue, dict(request.query)))
        return self.spoil(venue, request)

    async def _binance_markets(self, request: web.Request) -> web.Response:
        perpetual = request.path.startswith("/fapi")
        symbols = []
        for symbol in self.symbols("binance", perpetual):
            base, quote = symbol.partition(":")[0].split("/")
            symbols.append({
                "symbol": base + quote, "pair": base + quote, "baseAsset": base, "quoteAsset": quote, "status": "TRADING",
                "marginAsset": quote,
                 "pricePrecision": 2, "quantityPrecision": 3,
                "baseAssetPrecision": 8, "quotePrecision": 8, **({"contractType": "PERPETUAL", "deliveryDate": 4133404800000,
                    "onboardDate": self.listed["binance", symbol]} if perpetual else {"permissions": ["SPOT"]}), "isSpotTradingAllowed": True,
                "filters": [{"filterType": "PRICE_FILTER", "maxPrice": "100000", "minPrice": "0.1", "tickSize": "0.1"},
                            {"filterType": "LOT_SIZE", "maxQty": "1000", "minQty": "0.001", "stepSize": "0.001"}],
            })  # fmt: skip
        return web.json_response({"timezone": "UTC", "serverTime": 0, "rateLimits": [], "symbols": symbols})

    async def _binance(self, request: web.Request) -> web.StreamResponse:
        if spoilt := self._note("binance", request):
            return spoilt
        asked, perpetual = request.query, request.path.startswith("/fapi")
        symbol = _unified(asked["symbol"], perpetual)
        rows = self.inside("binance", symbol, asked["interval"], int(asked.get("startTime", 0)),
                           int(asked.get("endTime", 2**60)), min(1000, int(asked.get("limit", 500))))  # fmt: skip
        if rows is None:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        step = timeframe_ms(asked["interval"])
        body = [[r[0], *map(str, r[1:6]), r[0] + step - 1, str(r[6]), 7, "0", "0", "0"] for r in rows]
        return web.json_response(self.twist("binance", body), headers={"X-MBX-USED-WEIGHT-1M": "3"})

    async def _funding(self, request: web.Request) -> web.StreamResponse:
        venue = "binance" if request.path.startswith("/fapi") else "bybit"
        if spoilt := self._note(venue, request):
            return spoilt
        asked, hours = request.query, 8 * 3_600_000
        end = min(int(asked["endTime"]), int(time.time() * 1000))
        times = range(-(-int(asked["startTime"]) // hours) * hours, end + 1, hours)
        if venue == "binance":
            told = [{"symbol": asked["symbol"], "fundingTime": t + 3, "fundingRate": "0.0001"} for t in times]
            return web.json_response(told[: int(asked["limit"])])
        rows = [{"symbol": asked["symbol"], "fundingRate": "0.0001", "fundingRateTimestamp": str(t)} for t in times]
        return web.json_response(_bybit({"category": "linear", "list": rows[::-1][: int(asked["limit"])]}))

    async def _archive(self, request: web.Request) -> web.StreamResponse:
        if spoilt := self._note("archive", request):
            return spoilt
        path = request.match_info["path"]
        name = path.rpartition("/")[2].removesuffix(".CHECKSUM").removesuffix(".zip")
        ticker, timeframe, date = name.split("-", 2)
        symbol = _unified(ticker, "futures" in path)
        unit = "M" if date.count("-") == 1 else "D"
        first = np.datetime64(date, unit)
        start, end = (int(at.astype("datetime64[ms]").astype(np.int64)) for at in (first, first + 1))
        rows = self.inside("archive", symbol, timeframe, start, end - 1, 10**9)
        if not rows:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        out, scale = io.StringIO(), 1000 if "futures" not in path else 1
        writer = csv.writer(out)
        if "futures" in path:
            writer.writerow("open_time open high low close volume close_time quote_volume count a b ignore".split())
        for r in rows:
            writer.writerow([r[0] * scale, *r[1:6], (r[0] + timeframe_ms(timeframe)) * scale - 1, r[6], 7, 0, 0, 0])
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as held:
            held.writestr(zipfile.ZipInfo(f"{name}.csv"), out.getvalue())
        if path.endswith(".CHECKSUM"):
            return web.Response(text=f"{hashlib.sha256(packed.getvalue()).hexdigest()}  {name}.zip\n")
        return web.Response(body=packed.getvalue())

    async def _bybit_markets(self, request: web.Request) -> web.Response:
        perpetual = request.query["category"] == "linear"
        listed = [] if request.query.get("status") == "PreLaunch" else [
            {"symbol": symbol.partition(":")[0].replace("/", ""), "contractType": "LinearPerpetual", "status": "Trading",
             "baseCoin": symbol.split("/")[0], "quoteCoin": symbol.partition(":")[0].split("/")[1],
             "settleCoin": symbol.partition(":")[2], "deliveryTime": "0", "priceScale": "2",
             **({"launchTime": str(self.listed["bybit", symbol])} if perpetual else {}),
             "leverageFilter": {"minLeverage": "1", "maxLeverage": "50", "leverageStep": "0.01"},
             "priceFilter": {"minPrice": "0.1", "maxPrice": "1999999", "tickSize": "0.1"},
             "lotSizeFilter": {"maxOrderQty": "350000", "minOrderQty": "0.1", "qtyStep": "0.1", "basePrecision": "0.1"}}
            for symbol in self.symbols("bybit", perpetual)
        ]  # fmt: skip
        return web.json_response(_bybit({"category": request.query["category"], "list": listed, "nextPageCursor": ""}))

    async def _bybit(self, request: web.Request) -> web.StreamResponse:
        if spoilt := self._note("bybit", request):
            return spoilt
        asked = request.query
        symbol = _unified(asked["symbol"], asked["category"] == "linear")
        start, end = int(asked.get("start", 0)), int(asked.get("end", 2**60))
        rows = self.inside("bybit", symbol, BYBIT[asked["interval"]], start, end, 10**9)
        if rows is None:
            return web.json_response(_bybit({}, 10001, "params error: Symbol Invalid"))
        # the newest so many, newest first
        newest = [[str(value) for value in row] for row in rows[-int(asked.get("limit", 200)) :][::-1]]
        return web.json_response(_bybit({"symbol": asked["symbol"], "list": self.twist("bybit", newest)}))

    async def _okx_markets(self, request: web.Request) -> web.Response:
        swap = request.query["instType"] == "SWAP"
        listed = []
        for symbol in self.symbols("okx", swap):
            base, quote = symbol.partition(":")[0].split("/")
            listed.append({
                "instType": request.query["instType"], "instId": f"{base}-{quote}" + ("-SWAP" if swap else ""),
                "instFamily": f"{base}-{quote}", "uly": f"{base}-{quote}", "baseCcy": "" if swap else base,
                "quoteCcy": "" if swap else quote, "settleCcy": quote if swap else "", "ctType": "linear" if swap else "",
                "ctVal": "0.01" if swap else "", "ctMult": "1" if swap else "", "ctValCcy": base if swap else "",
                "listTime": str(self.listed["okx", symbol]), "expTime": "", "lever": "50", "tickSz": "0.1",
                "lotSz": "1", "minSz": "1", "state": "live", "alias": "", "stk": "", "optType": "",
            })  # fmt: skip
        return web.json_response({"code": "0", "msg": "", "data": listed})

    async def _okx(self, request: web.Request) -> web.StreamResponse:
        if spoilt := self._note("okx", request):
            return spoilt
        asked = request.query
        name = asked["instId"]
        base, quote = name.split("-")[:2]
        symbol = f"{base}/{quote}" + (f":{quote}" if name.endswith("SWAP") else "")
        bar = asked["bar"].removesuffix("utc").lower() if not asked["bar"].endswith("m") else asked["bar"]
        rows = self.inside("okx", symbol, bar, int(asked["before"]) + 1, int(asked["after"]) - 1, 10**9)
        if rows is None:
            return web.json_response({"code": "51001", "msg": "Instrument ID does not exist", "data": []})
        swap = name.endswith("SWAP")
        told = [
            [
                str(r[0]),
                *map(str, r[1:5]),
                str(r[5] * (100 if swap else 1)),
                str(r[5] if swap else r[6]),
                str(r[6]),
                "1",
            ]
            for r in rows[-int(asked.get("limit", 100)) :][::-1]
        ]
        return web.json_response({"code": "0", "msg": "", "data": self.twist("okx", told)})

    async def _alpaca(self, request: web.Request) -> web.StreamResponse:
        if spoilt := self._note("alpaca", request):
            return spoilt
        asked = request.query
        units = {"Min": "m", "Hour": "h", "Day": "d"}
        count = "".join(c for c in asked["timeframe"] if c.isdigit())
        timeframe = count + units[asked["timeframe"].removeprefix(count)]
        start, end = (int(np.datetime64(asked[n].removesuffix("Z"), "ms").astype(np.int64)) for n in ("start", "end"))
        rows = self.inside("alpaca", asked["symbols"], timeframe, start, end, 10_000) or []
        told = [
            {"t": f"{np.datetime64(r[0], 'ms').astype('datetime64[s]')}Z", "o": r[1], "h": r[2], "l": r[3], "c": r[4], "v": r[5], "n": 7,
             "vw": r[6] / r[5] if r[5] else r[4]} for r in rows
        ]  # fmt: skip
        return web.json_response({"bars": {asked["symbols"]: told} if told else {}, "next_page_token": None})

    async def _coins(self, _: web.Request) -> web.Response:
        held = {s.symbol.split("/")[0] for v, s in self.bars if v == "coingecko"}
        return web.json_response([{"id": f"coin-{one.lower()}", "symbol": one.lower(), "name": one} for one in held])

    async def _coingecko(self, request: web.Request) -> web.StreamResponse:
        if spoilt := self._note("coingecko", request):
            return spoilt
        base = request.match_info["coin"].removeprefix("coin-").upper()
        symbol = next(s for v, s in self.bars if v == "coingecko" and s.symbol.startswith(f"{base}/"))
        asked = request.query
        # a point is the price of its moment, which ends a bar
        late = timeframe_ms(symbol.timeframe) + 61_237
        first, last = (int(asked[name]) * 1000 - late for name in ("from", "to"))
        rows = self.inside("coingecko", *symbol, first, last, 10**9) or []
        prices = [[r[0] + late, r[4]] for r in rows]
        return web.json_response({"prices": prices, "market_caps": [], "total_volumes": [[r[0], 1e9] for r in rows]})

    async def _cryptocompare(self, request: web.Request) -> web.StreamResponse:
        if spoilt := self._note("cryptocompare", request):
            return spoilt
        asked = request.query
        timeframe = {"histominute": "1m", "histohour": "1h", "histoday": "1d"}[request.match_info["unit"]]
        step, end = timeframe_ms(timeframe), int(asked["toTs"]) * 1000
        start = end - int(asked["limit"]) * step
        rows = self.inside("cryptocompare", f"{asked['fsym']}/{asked['tsym']}", timeframe, start, end, 10**9)
        if rows is None:
            message = f"There is no data for the symbol {asked['fsym']} ."
            return web.json_response({"Response": "Error", "Message": message, "Type": 2, "Data": {}})
        held = {r[0]: r for r in rows}
        told = [
            {"time": t // 1000, "open": r[1], "high": r[2], "low": r[3], "close": r[4], "volumefrom": r[5], "volumeto": r[6]}
            for t in range(start, end + 1, step) for r in [held.get(t, [t, 0, 0, 0, 0, 0, 0])]
        ]  # fmt: skip
        return web.json_response({"Response": "Success", "Type": 100, "Data": {"TimeFrom": start, "Data": told}})

    async def _polygon(self, request: web.Request) -> web.StreamResponse:
        if spoilt := self._note("polygon", request):
            return spoilt
        at = request.match_info
        timeframe = at["count"] + {"minute": "m", "hour": "h", "day": "d"}[at["unit"]]
        ticker = at["ticker"]
        symbol = ticker if not ticker.startswith("X:") else f"{ticker[2:-3]}/{ticker[-3:]}"
        rows = self.inside("polygon", symbol, timeframe, int(at["start"]), int(at["end"]), 50_000) or []
        told = [
            {
                "t": r[0],
                "o": r[1],
                "h": r[2],
                "l": r[3],
                "c": r[4],
                "v": r[5],
                "vw": r[6] / r[5] if r[5] else r[4],
                "n": 7,
            }
            for r in rows
        ]
        return web.json_response({"status": "OK", "resultsCount": len(told), "results": told})


@contextlib.contextmanager
def served(venues: Venues | None = None) -> Iterator[Venues]:
    """Serve the venues from a thread of their own, so that whole programs can be tried against them."""
    held, loop, ready = venues or Venues(), asyncio.new_event_loop(), threading.Event()
    runners: list[web.AppRunner] = []

    async def start() -> None:
        runner = web.AppRunner(held.application(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        held.port = site._server.sockets[0].getsockname()[1]
        runners.append(runner)
        ready.set()

    thread = threading.Thread(target=lambda: (loop.run_until_complete(start()), loop.run_forever()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield held
    finally:
        asyncio.run_coroutine_threadsafe(runners[0].cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def walk(count: int, start: int, step: int, seed: int = 1, price: float = 100.0) -> Bars:
    """Return a random walk of bars, exact in their decimals."""
    rng = np.random.default_rng(seed)
    close = np.round(price * np.exp(np.cumsum(rng.normal(0, 0.002, count))), 2)
    opened = np.r_[price, close[:-1]]
    high = np.round(np.maximum(opened, close) * (1 + rng.uniform(0, 0.002, count)), 2)
    low = np.round(np.minimum(opened, close) * (1 - rng.uniform(0, 0.002, count)), 2)
    volume = np.round(rng.uniform(1, 100, count), 3)
    times = np.arange(start, start + count * step, step, dtype=np.int64)
    high, low = np.maximum.reduce([opened, high, close]), np.minimum.reduce([opened, low, close])
    return Bars(times, opened, high, low, close, volume, np.round(volume * close, 4))


def _unified(ticker: str, perpetual: bool) -> str:
    quote = next(q for q in ("USDT", "USDC", "BTC") if ticker.endswith(q))
    return f"{ticker.removesuffix(quote)}/{quote}" + (f":{quote}" if perpetual else "")


def _bybit(result: dict[str, Any], code: int = 0, message: str = "OK") -> dict[str, Any]:
    return {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": 0}
