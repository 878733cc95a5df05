"""Every source of candles keeps the same promises, against servers that answer as the real ones do."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from domain.candle import Bars, Series, join
from domain.coverage import Span
from domain.errors import Rejected, RevenantError, Unavailable
from domain.sifting import sift
from history.port import Throttled
from history.sources import dialects
from history.sources.dialects import Host
from history.sources.exchange import ExchangeSource
from history.sources.web import BinanceArchive, CoinGecko, CryptoCompare, Polygon, on_grid
from persistence.files import AtomicFile
from tests.venues import Venues, served, walk

HOUR, DAY, START = 3_600_000, 86_400_000, 1_704_067_200_000
BARS = walk(3_000, START, HOUR)
PERPETUAL, SPOT, DOLLARS, STOCK = "BTC/USDT:USDT", "BTC/USDT", "BTC/USD", "AAPL"
DATA = Path(__file__).parents[3] / "shared" / "data"


class FreeBudget:
    """A budget without a limit that remembers what happened to it."""

    def __init__(self) -> None:
        self.taken, self.used, self.banned = 0.0, 0.0, 0.0

    async def take(self, cost: float) -> None:
        self.taken += cost

    def told(self, used: float) -> None:
        self.used = used

    def ban(self, seconds: float) -> None:
        self.banned = seconds


class Budgets(dict):
    def __call__(self, host: Host) -> FreeBudget:
        return self.setdefault(host.name, FreeBudget())


def exchange(dialect):
    # what is public is asked without a key
    keys = {"apiKey": "k", "secret": "s"} if isinstance(dialect, dialects.Alpaca) else {}
    return lambda budgets, address: ExchangeSource(dialect, budgets, keys, address)


CASES = {
    "binance futures": (exchange(dialects.Binance()), "binance", PERPETUAL),
    "binance spot": (exchange(dialects.Binance()), "binance", SPOT),
    "bybit futures": (exchange(dialects.Bybit()), "bybit", PERPETUAL),
    "bybit spot": (exchange(dialects.Bybit()), "bybit", SPOT),
    "okx futures": (exchange(dialects.Okx()), "okx", PERPETUAL),
    "okx spot": (exchange(dialects.Okx()), "okx", SPOT),
    "alpaca crypto": (exchange(dialects.Alpaca()), "alpaca", DOLLARS),
    "alpaca stocks": (exchange(dialects.Alpaca()), "alpaca", STOCK),
    "archive futures": (BinanceArchive, "archive", PERPETUAL),
    "archive spot": (BinanceArchive, "archive", SPOT),
    "cryptocompare": (CryptoCompare, "cryptocompare", SPOT),
    "polygon crypto": (Polygon, "polygon", DOLLARS),
    "polygon stocks": (Polygon, "polygon", STOCK),
}


@pytest.fixture(scope="module")
def venues():
    with served() as held:
        for _, venue, symbol in CASES.values():
            held.put(venue, symbol, "1h", BARS)
            held.put(venue, symbol, "1d", walk(125, START, DAY))
        held.put("coingecko", SPOT, "1h", BARS)
        yield held


@pytest.fixture
def tame(venues: Venues):
    venues.asked.clear()
    yield venues
    venues.spoil, venues.twist = (lambda _venue, _request: None), (lambda _venue, rows: rows)


@pytest.fixture(params=CASES)
async def case(request, tame):
    make, venue, symbol = CASES[request.param]
    budgets = Budgets()
    source = make(budgets, tame.address)
    yield source, venue, symbol, budgets
    await source.close()


async def everything(source, series, span) -> Bars:
    told = [await source.bars(series, part) for part in source.parts(series, span)]
    return join(told) if told else Bars.empty()


async def test_bars_come_as_they_were_made(case):
    source, _, symbol, _ = case
    told = await everything(source, Series(symbol, "1h"), Span(START, START + 3_000 * HOUR))
    got = sift(told, HOUR, START + 4_000 * HOUR).bars
    whole = BARS if source.__class__ is not BinanceArchive else BARS[: len(got)]
    assert len(got) >= 2_900 if source.__class__ is BinanceArchive else len(got) == 3_000
    for name in ("open_time", "open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(got, name), getattr(whole, name)), name
    assert np.allclose(got.turnover, whole.turnover, rtol=1e-12)


async def test_no_request_asks_for_more_than_a_page_and_every_one_is_budgeted(case, tame):
    source, venue, symbol, budgets = case
    await everything(source, Series(symbol, "1h"), Span(START, START + 3_000 * HOUR))
    asked = [one for one, _ in tame.asked if one == venue]
    assert len(asked) >= 3_000 / source.terms.page
    assert sum(budget.taken for budget in budgets.values()) >= len(asked)


async def test_what_lies_outside_of_the_range_is_not_told(case):
    source, _, symbol, _ = case
    span = Span(START + 24 * HOUR, START + 48 * HOUR)
    got = await source.bars(Series(symbol, "1h"), span)
    assert len(got) == 24
    assert got.open_time.min() == span.start
    assert got.open_time.max() == span.end - HOUR


async def test_where_nothing_was_traded_there_is_nothing(case):
    source, _, symbol, _ = case
    assert len(await source.bars(Series(symbol, "1h"), Span(START - 48 * HOUR, START - 24 * HOUR))) == 0


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (429, {"Retry-After": "7"}, Throttled), (418, {"Retry-After": "9"}, Throttled), (503, {}, Unavailable),
        (502, {}, Unavailable),
    ],
)  # fmt: skip
async def test_refusals_for_now_say_how_long(case, tame, status, headers, kind):
    source, venue, symbol, budgets = case
    await source.life(symbol)
    tame.spoil = lambda one, _request: (
        web.Response(status=status, headers=headers, text="busy") if one == venue else None
    )
    with pytest.raises(kind) as caught:
        await source.bars(Series(symbol, "1h"), Span(START, START + 24 * HOUR))
    if kind is Throttled:
        assert caught.value.seconds == float(headers["Retry-After"])
        assert max(budget.banned for budget in budgets.values()) == caught.value.seconds


async def test_html_with_a_good_status_says_nothing(case, tame):
    source, venue, symbol, _ = case
    await source.life(symbol)
    page = "<html><body>Maintenance</body></html>"
    tame.spoil = lambda one, _request: web.Response(text=page, content_type="text/html") if one == venue else None
    with pytest.raises(Unavailable):
        await source.bars(Series(symbol, "1h"), Span(START, START + 24 * HOUR))


async def test_a_host_that_refuses_this_address_is_not_asked_on_and_on(case, tame):
    source, venue, symbol, _ = case
    await source.life(symbol)
    tame.spoil = lambda one, _request: web.Response(status=403, text="Forbidden") if one == venue else None
    with pytest.raises((Rejected, Throttled)):
        await source.bars(Series(symbol, "1h"), Span(START, START + 24 * HOUR))


@pytest.mark.parametrize("name", ["binance futures", "binance spot", "bybit futures", "okx futures", "okx spot"])
async def test_an_unknown_symbol_is_refused_by_name(tame, name):
    make, _, symbol = CASES[name]
    source = make(Budgets(), tame.address)
    with pytest.raises(Rejected, match="XYZ"):
        await source.life(symbol.replace("BTC", "XYZ"))
    await source.close()


@pytest.mark.parametrize("name", ["binance futures", "bybit futures", "bybit spot", "okx futures", "okx spot"])
async def test_an_exchange_tells_since_when_a_market_is_listed(tame, name):
    make, _, symbol = CASES[name]
    source = make(Budgets(), tame.address)
    assert (await source.life(symbol))[0] == START
    await source.close()


async def test_the_hosts_own_count_of_used_weight_is_taken(tame):
    budgets = Budgets()
    source = exchange(dialects.Binance())(budgets, tame.address)
    await source.bars(Series(PERPETUAL, "1h"), Span(START, START + 24 * HOUR))
    assert budgets["fapi.binance.com"].used == 3.0
    await source.close()


async def test_a_dead_host_is_unavailable():
    source = exchange(dialects.Bybit())(Budgets(), "http://127.0.0.1:9")
    with pytest.raises(Unavailable):
        await source.life(PERPETUAL)
    await source.close()


async def test_an_archive_with_a_wrong_checksum_is_not_believed(tame):
    source = BinanceArchive(Budgets(), tame.address)
    wrong = web.Response(text="0" * 64)
    tame.spoil = lambda _venue, request: wrong if request.path.endswith("CHECKSUM") else None
    with pytest.raises(Unavailable, match="checksum"):
        await source.bars(Series(SPOT, "1h"), Span(START, START + 31 * DAY))
    await source.close()


def test_archives_are_asked_for_what_is_worth_a_file_only():
    source = BinanceArchive(Budgets())
    minutes, hours = Series(SPOT, "1m"), Series(SPOT, "1h")
    february = START + 31 * DAY
    assert list(source.parts(hours, Span(START, february + 20 * DAY))) == [
        Span(START, february), Span(february, february + 20 * DAY)
    ]  # fmt: skip
    assert list(source.parts(hours, Span(START, START + 5 * DAY))) == []
    assert list(source.parts(minutes, Span(START + 1, START + 3 * DAY))) == [
        Span(START + DAY, START + 2 * DAY), Span(START + 2 * DAY, START + 3 * DAY)
    ]  # fmt: skip


@pytest.mark.parametrize(("days_after", "files"), [
    (11, ["2024-01"]), (9, ["2024-01", "2024-01-01"]), (-16, ["2024-01", "2024-01-01"]),
])  # fmt: skip
async def test_what_is_not_archived_is_not_asked_for_day_by_day(tame, days_after, files):
    source, paths = BinanceArchive(Budgets(), tame.address, now=lambda: START + (31 + days_after) * DAY), []
    tame.spoil = lambda _venue, request: paths.append(request.path)
    assert not len(await source.bars(Series("NOTHING/USDT", "1m"), Span(START, START + 31 * DAY)))
    assert [path.partition("-1m-")[2].removesuffix(".zip") for path in paths] == files
    await source.close()


async def test_a_month_that_is_not_over_is_read_day_by_day(tame):
    source = BinanceArchive(Budgets(), tame.address, now=lambda: START + 20 * DAY)
    tame.spoil = lambda _venue, request: web.Response(status=404) if "/monthly/" in request.path else None
    got = await source.bars(Series(SPOT, "1h"), Span(START, START + 15 * DAY))
    assert got.open_time.tolist() == BARS.open_time[: 15 * 24].tolist()
    await source.close()


async def test_points_become_bars_of_one_price_on_the_grid(tame):
    source = CoinGecko(Budgets(), tame.address)
    got = await source.bars(Series(SPOT, "1h"), Span(START, START + 48 * HOUR))
    assert got.open_time.tolist() == BARS.open_time[:48].tolist()
    assert np.array_equal(got.close, BARS.close[:48])
    assert np.array_equal(got.open, got.close)
    assert "points, not bars" in source.terms.lacks
    with pytest.raises(Rejected, match="XYZ/USDT"):
        await source.life("XYZ/USDT")
    await source.close()


@pytest.mark.parametrize("spoilt", [None, b"{", b'{"at": 99999999999, "coins": []}', b'{"at": 0, "coins": []}', b"[1]"])
async def test_the_coins_are_asked_for_once_a_day_by_all_processes(tame, tmp_path, spoilt):
    cache, budgets = AtomicFile(tmp_path / "coins.json"), Budgets()
    first = CoinGecko(budgets, tame.address, cache=cache)
    ranks = await first.ranks()
    await first.ranks()
    assert ranks["BTC"] == 1
    assert budgets[CoinGecko.host.name].taken == 1
    if spoilt is not None:
        cache.write(spoilt)
    second = CoinGecko(budgets, tame.address, cache=cache)
    assert await second.ranks() == ranks
    assert budgets[CoinGecko.host.name].taken == (1 if spoilt is None else 2)
    await first.close()
    await second.close()


recorded = pytest.mark.skipif(not DATA.exists(), reason="the recorded bodies are not beside the project")


@recorded
def test_recorded_answers_of_binance():
    routes = json.loads(gzip.decompress((DATA / "rest_binance/gct_binance_market_routes.json.gz").read_bytes()))[
        "routes"
    ]
    counts = {}
    for route in ("/api/v3/klines", "/fapi/v1/klines"):
        for answer in routes[route]["GET"]:
            got = dialects.Binance().rows("spot", "X", answer["data"])
            interval = answer["queryString"].partition("interval=")[2].partition("&")[0]
            step = {"1m": 60_000, "5m": 300_000, "1h": HOUR, "1d": DAY}[interval]
            sifted = sift(got, step, int(time.time() * 1000))
            assert len(sifted.bars) == len(answer["data"])
            assert sifted.refused == []
            vwap = sifted.bars.turnover[sifted.bars.volume > 0] / sifted.bars.volume[sifted.bars.volume > 0]
            assert (vwap <= sifted.bars.high[sifted.bars.volume > 0] * 1.001).all()
            counts[route] = counts.get(route, 0) + len(got)
    assert counts == {"/api/v3/klines": 3396, "/fapi/v1/klines": 1133}


@recorded
def test_recorded_answers_of_bybit_leave_out_no_row():
    body = json.loads(
        gzip.decompress(
            (DATA / "rest_bybit_v5_kline_raw/AVAXUSDT__3__1760710785974__1765894785974.json.gz").read_bytes()
        )
    )
    got = dialects.Bybit().rows("perpetual", "AVAXUSDT", {"result": {"list": body["rows"]}})
    asked_at = 1_765_894_785_974
    sifted = sift(got, 180_000, asked_at)
    assert (len(sifted.bars), sifted.unfinished, sifted.refused) == (28_999, 1, [])


@recorded
def test_recorded_answers_of_okx_and_what_is_not_confirmed_there():
    folder = DATA / "rest_okx/nautilus_fixtures"
    full = json.loads((folder / "http_get_candlesticks_full.json").read_text())
    swap, spot = (dialects.Okx().rows(kind, "X", full) for kind in ("perpetual", "spot"))
    assert len(swap) == len(full["data"])
    assert swap.volume[0] == pytest.approx(10.4037)
    assert spot.volume[0] == pytest.approx(1040.37)
    assert swap.turnover[0] == pytest.approx(1_069_603.34883)
    assert (
        len(dialects.Okx().rows("perpetual", "X", json.loads((folder / "http_get_candlesticks.json").read_text()))) == 0
    )


@recorded
def test_recorded_answers_of_cryptocompare_in_their_older_form():
    hours = CryptoCompare.rows(json.loads((DATA / "rest_cryptocompare/arkscan_histohour.json").read_text()))
    days = CryptoCompare.rows(
        json.loads(gzip.decompress((DATA / "rest_cryptocompare/arkscan_historical.json.gz").read_bytes()))
    )
    # its open is often the last close of another mix of exchanges, outside of high and low: such bars are set aside
    of_hours, of_days = sift(hours, HOUR, 2**52), sift(days, DAY, 2**52)
    assert (len(of_hours.bars), len(of_hours.refused)) == (16, 8)
    assert (len(of_days.bars), len(of_days.refused)) == (880, 430)
    assert {one.reason for one in of_days.refused} == {"high and low do not enclose open and close"}


@recorded
def test_recorded_points_of_coingecko_are_put_on_the_grid_without_inventing_any():
    import yaml

    told = yaml.safe_load((DATA / "rest_coingecko/hourly_historical_prices_for_one_coin.yml").read_text())
    body = json.loads(told["http_interactions"][0]["response"]["body"]["string"])
    points = dialects.table(body["prices"], lambda point: (point[0], *[point[1]] * 4, 0.0, 0.0))
    bars = sift(on_grid(points, HOUR), HOUR, 2**52).bars
    # 722 points, of which some are the second nearest to the end of their bar
    assert len(points) == 722
    ends = {int(at + HOUR // 2) // HOUR * HOUR for at in points.open_time}
    assert (bars.open_time + HOUR).tolist() == sorted(ends)
    for end, close in zip((bars.open_time + HOUR).tolist(), bars.close.tolist(), strict=True):
        assert close == points.close[np.abs(points.open_time - end).argmin()]
    assert (bars.open == bars.close).all()


def test_polygon_is_asked_for_as_many_minutes_as_it_counts():
    source = Polygon(Budgets())
    longest = {
        timeframe: max(
            (part.end - part.start) for part in source.parts(Series(DOLLARS, timeframe), Span(START, START + 400 * DAY))
        )
        for timeframe in ("1m", "1h", "4h", "1d")
    }
    assert longest == {"1m": 5_000 * 60_000, "1h": 833 * HOUR, "4h": 208 * 4 * HOUR, "1d": 400 * DAY}


KEY = "SECRETKEY12345"
KEYED = {
    "coingecko": (lambda budgets, address: CoinGecko(budgets, address, KEY), SPOT),
    "cryptocompare": (lambda budgets, address: CryptoCompare(budgets, address, KEY), SPOT),
    "polygon": (lambda budgets, address: Polygon(budgets, address, KEY), STOCK),
    "alpaca": (
        lambda budgets, address: ExchangeSource(dialects.Alpaca(), budgets, {"apiKey": KEY, "secret": KEY}, address),
        STOCK,
    ),
}


@pytest.mark.parametrize("status", [200, 400, 401, 500])
@pytest.mark.parametrize("form", ['{{"Response": "Error", "Message": "Unknown key {key}"}}', "<p>{key}</p>", '"{key}"'])
@pytest.mark.parametrize("name", KEYED)
async def test_a_key_that_a_host_repeats_is_in_no_error(tame, name, form, status):
    """What a source said goes to the log, to reports and into the database."""
    make, symbol = KEYED[name]
    source = make(Budgets(), tame.address)
    tame.spoil = lambda _venue, _request: web.Response(status=status, text=form.format(key=KEY))
    series = Series(symbol, "1h")
    try:
        with pytest.raises(RevenantError) as told:
            await source.bars(series, next(iter(source.parts(series, Span(START, START + 10 * HOUR)))))
    finally:
        await source.close()
    assert KEY not in str(told.value)
    assert KEY[4:] not in str(told.value)
