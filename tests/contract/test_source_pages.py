"""Whatever pages a host has, wherever its days begin and whatever clock is here: what is stored is what it told."""

from __future__ import annotations

import numpy as np
import pytest
from aiohttp import web

from domain.candle import Bars, Series, resample, timeframe_ms
from domain.coverage import Span
from history.chain import Chain
from history.pages import Pages
from history.sources import dialects
from history.sources.web import CoinGecko, CryptoCompare, Polygon
from persistence.database import Database
from persistence.history import CandleHistory
from tests.contract.test_sources import Budgets, exchange
from tests.venues import Venues, served, walk

HOUR, DAY, START = 3_600_000, 86_400_000, 1_704_067_200_000
COUNT = 1_000
BARS = walk(COUNT, START, HOUR)
CASES = {
    "binance": (exchange(dialects.Binance()), "BTC/USDT:USDT"), "bybit": (exchange(dialects.Bybit()), "BTC/USDT:USDT"),
    "okx": (exchange(dialects.Okx()), "BTC/USDT"), "alpaca": (exchange(dialects.Alpaca()), "BTC/USD"),
    "polygon": (Polygon, "BTC/USD"), "cryptocompare": (CryptoCompare, "BTC/USDT"),
}  # fmt: skip


@pytest.fixture
def venues():
    with served() as held:
        yield held


@pytest.fixture
def store(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'held.sqlite'}")
    yield CandleHistory(database)
    database.close()


async def filled(source, store, series: Series, span: Span, now=lambda: START + 10**11):
    chain = Chain([source], store, lambda *_: None, now=now)
    try:
        return await chain.fill(series, span)
    finally:
        await chain.close()


class Paged:
    """Answers with pages of a host's own length: the oldest so many, the newest so many, or with a cursor."""

    def __init__(self, venues: Venues, page: int) -> None:
        self.venues, self.page = venues, page
        self.tokens = 0

    def cut(self, venue: str, rows: list) -> list:
        # Bybit and OKX tell the newest first
        return rows[: self.page] if venue != "cryptocompare" else rows[-self.page :]

    def answer(self, venue: str, request: web.Request) -> web.StreamResponse | None:
        asked, first = request.query, int(request.query.get("page_token", request.query.get("cursor", 0)))
        if venue == "alpaca":
            start, end = (
                int(np.datetime64(asked[name].removesuffix("Z"), "ms").astype(np.int64)) for name in ("start", "end")
            )
            rows = self.venues.inside(venue, asked["symbols"], "1h", start, end, 10**9)
            told = [
                {"t": f"{np.datetime64(r[0], 'ms').astype('datetime64[s]')}Z", "o": r[1], "h": r[2], "l": r[3],
                 "c": r[4], "v": r[5], "n": 7, "vw": r[6] / r[5]} for r in rows[first : first + self.page]
            ]  # fmt: skip
            body = {"bars": {asked["symbols"]: told}, "next_page_token": self._next(first, rows)}
            return web.json_response(body)
        if venue == "polygon":
            at = request.match_info
            rows = self.venues.inside(venue, "BTC/USD", "1h", int(at["start"]), int(at["end"]), 10**9)
            told = [dict(zip("tohlcv", r, strict=False)) | {"vw": r[6] / r[5]} for r in rows[first : first + self.page]]
            following = self._next(first, rows)
            url = {"next_url": f"https://api.polygon.io{request.path}?cursor={following}"} if following else {}
            return web.json_response({"status": "OK", "results": told, **url})
        return None

    def _next(self, first: int, rows: list) -> str | None:
        self.tokens += first > 0
        return str(first + self.page) if first + self.page < len(rows) else None


@pytest.mark.parametrize("page", [3, 170, 999])
@pytest.mark.parametrize("name", CASES)
async def test_all_pages_are_asked_for_whatever_their_length(venues, store, name, page):
    make, symbol = CASES[name]
    count = min(COUNT, page * 60)
    bars = BARS[:count]
    venues.put(name, symbol, "1h", bars)
    pages = Paged(venues, page)
    venues.spoil, venues.twist = pages.answer, pages.cut
    if name == "cryptocompare":
        venues.spoil = lambda venue, request: short(venues, request, page)
    found = await filled(
        make(Budgets(), venues.address), store, Series(symbol, "1h"), Span(START, START + count * HOUR)
    )
    assert (found.added, found.lacking, found.absent) == (count, [], 0)
    assert pages.tokens > 0 or name not in {"alpaca", "polygon"} or page > 800


def short(venues: Venues, request: web.Request, page: int) -> web.StreamResponse:
    """CryptoCompare's newest so many hours up to the one that is asked for."""
    end = int(request.query["toTs"]) * 1000
    start = max(end - int(request.query["limit"]) * HOUR, end - (page - 1) * HOUR)
    rows = venues.inside("cryptocompare", "BTC/USDT", "1h", start, end, 10**9)
    names = ("time", "open", "high", "low", "close", "volumefrom", "volumeto")
    told = [dict(zip(names, [r[0] // 1000, *r[1:]], strict=True)) for r in rows]
    return web.json_response({"Response": "Success", "Data": {"Data": told}})


@pytest.mark.parametrize("page", [7, 170])
@pytest.mark.parametrize("name", ["binance", "bybit", "alpaca"])
async def test_pages_never_make_a_hole_that_is_told_as_absent(venues, store, name, page):
    """Of a market with silences and a listing in the middle, what is confirmed absent is what is absent."""
    make, symbol = CASES[name]
    gone = np.unique(np.random.default_rng(page).integers(200, COUNT - 1, 300))
    keep = np.ones(COUNT, bool)
    keep[gone] = False
    keep[:150] = False
    venues.put(name, symbol, "1h", BARS.where(keep), listed=START)
    pages = Paged(venues, page)
    venues.spoil, venues.twist = pages.answer, pages.cut
    found = await filled(
        make(Budgets(), venues.address), store, Series(symbol, "1h"), Span(START, START + COUNT * HOUR)
    )
    assert found.added == keep.sum()
    believed = store.absent(found_source(name), Series(symbol, "1h"))
    assert not [time for time in BARS.open_time[keep] if any(span.start <= time < span.end for span in believed)]
    # with pages as short as that not every silence is confirmed in one go
    assert found.lacking == [] or page == 7


@pytest.mark.parametrize(("name", "symbol"), [("alpaca", "BTC/USD"), ("polygon", "BTC/USD")])
@pytest.mark.parametrize("timeframe", ["1d", "12h"])
async def test_days_that_begin_elsewhere_are_made_of_hours(venues, store, name, symbol, timeframe):
    """A host of Chicago's midnight: its days open at 05:00 or 06:00 UTC; hours without a trade are not told."""
    step = timeframe_ms(timeframe)
    keep = np.random.default_rng(3).random(COUNT) > 0.2
    hours = BARS.where(keep)[:760]
    shifted = Bars(hours.open_time - 5 * HOUR, *hours.columns()[1:])
    elsewhere = resample(shifted, step, HOUR, [(START - DAY, START + 40 * DAY)])
    venues.put(name, symbol, "1h", hours)
    venues.put(name, symbol, timeframe, Bars(elsewhere.open_time + 5 * HOUR, *elsewhere.columns()[1:]))
    make, _ = CASES[name]
    found = await filled(
        make(Budgets(), venues.address), store, Series(symbol, timeframe), Span(START, START + 30 * DAY)
    )
    frame = hours.to_frame().resample(f"{step // HOUR}h").agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    )  # fmt: skip
    got = store.load(found_source(name), Series(symbol, timeframe), Span(START, START + 30 * DAY)).to_frame()
    assert found.lacking == []
    assert len(got) == 30 * DAY // step
    assert np.allclose(got[list(frame)], frame[: len(got)], rtol=1e-12)


def found_source(name: str):
    return CASES[name][0](Budgets(), "").source


async def test_days_that_begin_elsewhere_and_have_no_hours_are_refused_with_that_reason(venues, store):
    days = walk(30, START, DAY)
    venues.put("binance", "BTC/USDT", "1d", Bars(days.open_time + 5 * HOUR, *days.columns()[1:]), listed=START)
    source = exchange(dialects.Binance())(Budgets(), venues.address)
    found = await filled(source, store, Series("BTC/USDT", "1d"), Span(START, START + 30 * DAY))
    assert "begin 300 minutes after ours" in found.errors[0]
    assert found.added == 0


async def test_points_mean_the_moment_that_they_stand_for_however_they_are_asked_for(venues, store):
    """CoinGecko tells a point a day of long requests, a point an hour of short ones: each day has one close."""
    hours = walk(200 * 24, START, HOUR)
    closes = hours.close.reshape(-1, 24)[:, -1]
    venues.put("coingecko", "BTC/USD", "1h", hours)

    def points(_venue: str, request: web.Request) -> web.StreamResponse:
        first, last = (int(request.query[name]) * 1000 for name in ("from", "to"))
        step = DAY if last - first > 90 * DAY else HOUR
        times = np.arange(-(-first // step) * step, min(last, START + 199 * DAY) + 1, step)
        told = [
            [int(time) + (4_000 if step == HOUR else 0), float(hours.close[(time - START) // HOUR - 1])]
            for time in times if time > START
        ]  # fmt: skip
        return web.json_response({"prices": told})

    venues.spoil = points
    source, series = CoinGecko(Budgets(), venues.address), Series("BTC/USD", "1d")
    for first, last in ((0, 120), (120, 150), (150, 152), (152, 199)):
        rows = await Pages(source).ask(series, Span(START + first * DAY, START + last * DAY))
        assert ((rows.open_time - START) // DAY).tolist() == list(range(first, last))
        assert np.array_equal(rows.close, closes[first:last])
    rows = await Pages(source).ask(Series("BTC/USD", "1h"), Span(START + DAY, START + 40 * DAY))
    assert np.array_equal(rows.close, hours.close[24 : 40 * 24])
    await source.close()


@pytest.mark.parametrize("name", CASES)
async def test_a_clock_that_runs_ahead_here_stores_no_bar_that_is_not_finished(venues, store, name):
    """The host's answers say what time it is there; the newest bar of them is still open."""
    make, symbol = CASES[name]
    venues.put(name, symbol, "1h", BARS[:48])
    there = START + 47 * HOUR + HOUR // 2
    venues.clock = there
    ahead = START + 60 * HOUR
    span = Span(START, START + 48 * HOUR)
    found = await filled(make(Budgets(), venues.address), store, Series(symbol, "1h"), span, now=lambda: ahead)
    got = store.times(found_source(name), Series(symbol, "1h"), span)
    assert got.tolist() == BARS.open_time[:47].tolist()
    assert found.absent == 0


@pytest.mark.parametrize("name", ["binance", "bybit", "okx"])
@pytest.mark.parametrize(("timeframe", "begins"), [("15m", 3), ("1h", 37), ("1d", 1_027)])
async def test_the_bar_in_which_a_market_was_listed_is_its_first(venues, store, name, timeframe, begins):
    """Listed at 08:17: the bar of 08:15 is told by the host, and is stored; what is before it is not missing."""
    make, symbol = CASES[name]
    symbol = "BTC/USDT:USDT"
    step = timeframe_ms(timeframe)
    listed = START + begins * 60_000 + 12_345
    bars = walk(50, listed // step * step, step)
    venues.put(name, symbol, timeframe, bars, listed=listed)
    span = Span(START - DAY, int(bars.open_time[-1]) + step)
    found = await filled(make(Budgets(), venues.address), store, Series(symbol, timeframe), span)
    assert (found.added, found.lacking) == (50, [])
    assert store.times(found_source(name), Series(symbol, timeframe), span)[0] == listed // step * step


@pytest.mark.parametrize(("name", "adjusted", "raw"), [("alpaca", "split", "raw"), ("polygon", "true", "false")])
async def test_stocks_are_asked_for_adjusted_unless_told_otherwise(venues, name, adjusted, raw):
    venues.put(name, "AAPL", "1d", walk(30, START, DAY))
    for wish, said in ((True, adjusted), (False, raw)):
        budgets = Budgets()
        source = (
            Polygon(budgets, venues.address, adjusted=wish) if name == "polygon"
            else exchange(dialects.Alpaca(adjusted=wish))(budgets, venues.address)
        )  # fmt: skip
        venues.asked.clear()
        assert len(await Pages(source).ask(Series("AAPL", "1d"), Span(START, START + 30 * DAY))) == 30
        await source.close()
        assert {asked.get("adjustment") or asked.get("adjusted") for _, asked in venues.asked} == {said}
