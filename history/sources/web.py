"""Sources over plain HTTP: CoinGecko, CryptoCompare, Polygon, and Binance's public archives."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import time
import zipfile
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import numpy as np

from domain.candle import Bars, join, timeframe_ms
from domain.coverage import TIMEFRAMES, Span, parts
from domain.durations import DAY_MS
from domain.errors import BadData, Rejected, Unavailable
from domain.reach import unreachable
from domain.source import Source
from formats import candles
from history.port import (
    EQUITY,
    PERPETUAL,
    SPOT,
    Terms,
    Throttled,
    by_page,
    hidden,
    joined,
    market_of,
    on_days,
    over_by,
)  # fmt: skip
from history.sources.dialects import Host, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from domain.candle import Series
    from history.port import Budget

TIMEOUT_S = 30.0
PATIENCE_S = 60.0
ANSWER_BYTES_MAX = MEMBER_BYTES_MAX = 256 * 1024**2
JSON_BYTES_MAX = 32 * 1024**2
"""Decoded, it takes fifty times as much memory."""

BAN_S_MAX = 3_600.0
IDS_S = 86_400.0
MONTH_DAYS_MIN, DAY_BARS_MIN = 10, 288
"""A month's archive is worth fetching for so many days of it, a day's for so many bars."""
MONTH_LATE_MS = 10 * DAY_MS
"""A month's archive is there a few days after its end; when it is not then, its days are not either."""
BANNED = 418
PAGES_MAX = 1_000
NEAR_MS = 1_800_000
"""Points of every hour come up to so much from it."""
MINUTES = 50_000
"""Minutes that Polygon makes one answer of."""


class Answer(NamedTuple):
    """The body of an answer, None when there is no such thing, and when the host says that it was given."""

    body: bytes | None
    date: str | None


class Web:
    """One host over HTTP, within its budget; errors in our own terms."""

    def __init__(self, host: Host, budgets: Callable[[Host], Budget], address: str, headers: dict[str, str]) -> None:
        self._host, self._budgets, self._headers = host, budgets, headers
        self._address = address or f"https://{host.name}"
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def get(
        self, path: str, params: dict[str, Any] | None = None, cost: float = 1.0, bytes_max: int = ANSWER_BYTES_MAX
    ) -> bytes | None:
        """Return the body of an answer, None when there is no such thing there (404).

        Raises:
            Unavailable: no answer, or one that says nothing. Throttled: asked to be patient. Rejected: never.
        """
        return (await self._asked(path, params, cost, bytes_max)).body

    async def _asked(self, path: str, params: dict[str, Any] | None, cost: float, bytes_max: int) -> Answer:
        budget = self._budgets(self._host)
        await budget.take(cost)
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        try:
            async with self._session.get(f"{self._address}{path}", params=params) as answer:
                body = bytearray()
                while len(body) <= bytes_max and (more := await answer.content.readany()):
                    body += more
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            message = unreachable(error, self._address) or f"{self._host.name}: no answer ({type(error).__name__})"
            raise Unavailable(message) from error
        if len(body) > bytes_max:
            raise Rejected(f"{self._host.name}: sends more than {bytes_max} bytes for {path}")
        shown = hidden(bytes(body), self._headers.values())
        judged = self._judged(answer.status, answer.headers.get("Retry-After"), shown, path)
        return Answer(judged, answer.headers.get("Date"))

    async def json(self, path: str, params: dict[str, Any] | None = None, cost: float = 1.0) -> Any:
        """Return the decoded body of an answer; raises as ``get`` does, Rejected when there is none."""
        return (await self.dated_json(path, params, cost))[0]

    async def dated_json(
        self, path: str, params: dict[str, Any] | None = None, cost: float = 1.0
    ) -> tuple[Any, str | None]:
        """Return the decoded body of an answer and its Date header; raises as ``json`` does."""
        answer = await self._asked(path, params, cost, JSON_BYTES_MAX)
        return self._decoded(answer.body, path), answer.date

    def _decoded(self, body: bytes | None, path: str) -> Any:
        if body is None:
            raise Rejected(f"{self._host.name}: knows nothing of {path}")
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Unavailable(f"{self._host.name}: unreadable answer {body[:80]!r}") from error

    def _judged(self, status: int, retry_after: str | None, body: bytes, path: str) -> bytes | None:
        if status == HTTPStatus.OK:
            return body
        message = f"{self._host.name}: {path}: {status} {body[:120].decode(errors='replace')}"
        if status in {HTTPStatus.TOO_MANY_REQUESTS, BANNED}:
            numeric = retry_after and retry_after.isdecimal()
            seconds = min(BAN_S_MAX, float(retry_after)) if numeric and retry_after else PATIENCE_S
            self._budgets(self._host).ban(seconds)
            raise Throttled(f"{self._host.name}: asks us to wait {seconds:.0f} s ({status})", seconds)
        if status == HTTPStatus.NOT_FOUND:
            return None
        if 400 <= status < 500:  # noqa: PLR2004  the client's fault, by HTTP
            raise Rejected(message)
        raise Unavailable(message)


class Cache(Protocol):
    """Keeps some bytes between processes."""

    def read(self) -> bytes | None:
        """Return what is kept, None when nothing is."""
        ...

    def write(self, content: bytes) -> None:
        """Replace what is kept. Raises OSError."""
        ...


class Coin(NamedTuple):
    """A coin as CoinGecko names it."""

    ticker: str
    id: str


class CoinGecko:
    """CoinGecko's market charts: points of price, not bars; put on the grid as bars with one price.

    A bar closes with the point nearest to the moment of its end, at most half an hour from it: so the point of a
    day's midnight closes the day before, and the same bar comes of hourly points and of daily ones. Its volume is not
    told and is left at 0. Bars without such a point stay missing.
    """

    source = Source.COINGECKO
    terms = Terms(
        2_000, frozenset({"1h", "1d"}), frozenset({SPOT}),
        "points, not bars: open, high, low and close are one price of the hour, volume unknown", 365 * DAY_MS,
    )  # fmt: skip
    host = Host("api.coingecko.com", 10, 60)

    def __init__(
        self, budgets: Callable[[Host], Budget], address: str = "", key: str = "", cache: Cache | None = None
    ) -> None:
        self._web = Web(self.host, budgets, address, {"x-cg-demo-api-key": key} if key else {})
        self._cache = cache
        self._coins: list[Coin] = []
        self._coins_at = 0.0

    async def close(self) -> None:
        """Close all connections."""
        await self._web.close()

    async def life(self, symbol: str) -> tuple[int | None, int | None]:
        """Say that nothing is known, once the coin is."""
        await self._id(symbol)
        return None, None

    def parts(self, series: Series, span: Span) -> Iterator[Span]:
        """Cut a span into pages."""
        return by_page(self.terms, series, span)

    async def bars(self, series: Series, span: Span) -> Bars:
        """Return one row per point, on the grid."""
        step, coin = timeframe_ms(series.timeframe), await self._id(series.symbol)
        body, date = await self._web.dated_json(
            f"/api/v3/coins/{coin}/market_chart/range",
            {"vs_currency": "usd", "from": (span.start + step - NEAR_MS) // 1000, "to": (span.end + NEAR_MS) // 1000},
        )
        points = body.get("prices") if isinstance(body, dict) else None
        if not isinstance(points, list):
            raise Unavailable(f"coingecko: {series.symbol}: unreadable answer {str(body)[:120]}")
        rows = table(points, lambda point: (point[0], *[point[1]] * 4, 0.0, 0.0))
        # a nearer point may still come
        return over_by(on_grid(rows, step), series, date, NEAR_MS)

    async def ranks(self) -> dict[str, int]:
        """Return the 250 largest coins by market value: ticker -> rank, from 1; kept for a day."""
        ranks: dict[str, int] = {}
        for rank, coin in enumerate(await self._known(), start=1):
            # of several coins of one ticker the largest counts
            ranks.setdefault(coin.ticker, rank)
        return ranks

    async def _id(self, symbol: str) -> str:
        base, _, quote = symbol.partition("/")
        known = await self._known()
        coin_id = next((coin.id for coin in known if coin.ticker == base), None)
        if coin_id is None or quote not in {"USD", "USDT", "USDC"}:
            raise Rejected(f"coingecko: has no coin {symbol} among the 250 largest, against dollars")
        return coin_id

    async def _known(self) -> list[Coin]:
        """Return the largest coins, the largest first: those that were told within a day, to whichever process."""
        if time.time() - self._coins_at > IDS_S and self._cache is not None:
            self._coins_at, self._coins = _of_cache(await asyncio.to_thread(self._cache.read))
        if time.time() - self._coins_at <= IDS_S:
            return self._coins
        listed = await self._web.json(
            "/api/v3/coins/markets", {"vs_currency": "usd", "per_page": 250, "page": 1, "order": "market_cap_desc"}
        )
        if not isinstance(listed, list) or not all(isinstance(coin, dict) for coin in listed):
            raise Unavailable(f"coingecko: unreadable list of coins {str(listed)[:120]}")
        self._coins = [Coin(str(coin.get("symbol")).upper(), str(coin.get("id"))) for coin in listed]
        self._coins_at = time.time()
        if self._cache is not None:
            kept = json.dumps({"at": self._coins_at, "coins": self._coins}).encode()
            with contextlib.suppress(OSError):
                # it is asked again by the next process then
                await asyncio.to_thread(self._cache.write, kept)
        return self._coins


class CryptoCompare:
    """CryptoCompare's aggregated bars over exchanges. Rows: time in s, o, h, l, c, volumefrom, volumeto."""

    source = Source.CRYPTOCOMPARE
    terms = Terms(
        2_000,
        frozenset({"1m", "1h", "1d"}),
        frozenset({SPOT}),
        "aggregated over exchanges, no market's own; opens outside of high and low are common, such rows are set aside",
    )
    host = Host("min-api.cryptocompare.com", 50, 10)

    def __init__(self, budgets: Callable[[Host], Budget], address: str = "", key: str = "") -> None:
        self._web = Web(self.host, budgets, address, {"authorization": f"Apikey {key}"} if key else {})

    async def close(self) -> None:
        """Close all connections."""
        await self._web.close()

    async def life(self, symbol: str) -> tuple[int | None, int | None]:  # noqa: ARG002  see CandleSource
        """Say that nothing is known."""
        return None, None

    def parts(self, series: Series, span: Span) -> Iterator[Span]:
        """Cut a span into pages."""
        return by_page(self.terms, series, span)

    async def bars(self, series: Series, span: Span) -> Bars:
        """Return the rows told; those before a market's first are told as zeros, and are not rows."""
        step, (base, _, quote) = timeframe_ms(series.timeframe), series.symbol.partition("/")
        unit = {"m": "histominute", "h": "histohour", "d": "histoday"}[series.timeframe[-1]]
        body, date = await self._web.dated_json(f"/data/v2/{unit}", {
            "fsym": base, "tsym": quote, "toTs": (span.end - step) // 1000,
            "limit": max(1, (span.end - span.start) // step - 1),
        })  # fmt: skip
        if isinstance(body, dict) and body.get("Response") == "Error":
            message = str(body.get("Message"))[:150]
            if "rate limit" in message.lower():
                raise Throttled(f"cryptocompare: {message}", PATIENCE_S)
            raise Rejected(f"cryptocompare: {series.symbol}: {message}")
        return over_by(self.rows(body), series, date)

    @staticmethod
    def rows(body: Any) -> Bars:
        """Return the rows of an answer, of its present or its older form."""
        data = body.get("Data") if isinstance(body, dict) else None
        listed = data.get("Data") if isinstance(data, dict) else data
        if not isinstance(listed, list):
            raise Unavailable(f"cryptocompare: unreadable answer {str(body)[:120]}")
        complete = [row for row in listed if isinstance(row, dict) and (row.get("close") or row.get("volumeto"))]
        names = ("open", "high", "low", "close", "volumefrom", "volumeto")
        return table(complete, lambda row: (int(row["time"]) * 1000, *(row[name] for name in names)))


class Polygon:
    """Polygon's aggregates: stocks, and crypto against dollars. Rows: t, o, h, l, c, v, vw, n.

    ``adjusted`` says whether stocks are asked for as if every split had always been.
    """

    source = Source.POLYGON
    terms = Terms(
        5_000, frozenset(TIMEFRAMES), frozenset({SPOT, EQUITY}), "bars in which nothing was traded are not told",
        trades_only=True,
    )  # fmt: skip
    host = Host("api.polygon.io", 5, 60)

    def __init__(
        self, budgets: Callable[[Host], Budget], address: str = "", key: str = "", *, adjusted: bool = True
    ) -> None:
        self._web = Web(self.host, budgets, address, {"Authorization": f"Bearer {key}"} if key else {})
        self._adjusted = str(adjusted).lower()

    async def close(self) -> None:
        """Close all connections."""
        await self._web.close()

    async def life(self, symbol: str) -> tuple[int | None, int | None]:  # noqa: ARG002  see CandleSource
        """Say that nothing is known."""
        return None, None

    def parts(self, series: Series, span: Span) -> Iterator[Span]:
        """Cut a span into pages; bars of less than a day are made of minutes there, and those are what is limited."""
        step = timeframe_ms(series.timeframe)
        return parts(
            span, self.terms.page * step if step >= DAY_MS else min(self.terms.page, MINUTES * 60_000 // step) * step
        )

    async def bars(self, series: Series, span: Span) -> Bars:
        """Return the rows told."""
        unit = {"m": "minute", "h": "hour", "d": "day"}[series.timeframe[-1]]
        ticker = f"X:{series.symbol.replace('/', '')}" if market_of(series.symbol) == SPOT else series.symbol
        path = f"/v2/aggs/ticker/{ticker}/range/{series.timeframe[:-1]}/{unit}/{span.start}/{span.end - 1}"
        params, pages = {"adjusted": self._adjusted, "sort": "asc", "limit": "50000"}, list[Bars]()
        for _ in range(PAGES_MAX):
            body, date = await self._web.dated_json(path, params)
            if not isinstance(body, dict) or body.get("status") not in {"OK", "DELAYED"}:
                raise Unavailable(f"polygon: {series.symbol}: unreadable answer {str(body)[:120]}")
            rows = table(body.get("results") or [], _polygon_bar)
            pages.append(over_by(on_days(rows, series), series, date))
            # it is followed on the host that we ask, which alone is shown our key
            following = urlsplit(str(body.get("next_url") or ""))
            next_page = following.path, dict(parse_qsl(following.query))
            if not following.path or next_page == (path, params):
                return joined(pages)
            path, params = next_page
        raise Unavailable(f"polygon: {series.symbol}: its pages have no end")


class BinanceArchive:
    """Binance's public archives: a zip per month, and per day of a month that is not over, each with its checksum."""

    source = Source.BINANCE
    terms = Terms(50_000, frozenset(TIMEFRAMES), frozenset({SPOT, PERPETUAL}), authority=False)
    host = Host("data.binance.vision", 100, 10)

    def __init__(
        self,
        budgets: Callable[[Host], Budget],
        address: str = "",
        now: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._web, self._now = Web(self.host, budgets, address, {}), now

    async def close(self) -> None:
        """Close all connections."""
        await self._web.close()

    async def life(self, symbol: str) -> tuple[int | None, int | None]:  # noqa: ARG002  see CandleSource
        """Say that nothing is known."""
        return None, None

    def parts(self, series: Series, span: Span) -> Iterator[Span]:
        """Cut a span into months, and into days where only days of a month are asked for; less is not worth a file."""
        day_bars = DAY_MS // timeframe_ms(series.timeframe)
        for month in _months(span):
            part = Span(max(span.start, _ms(month)), min(span.end, _ms(month + 1)))
            if part.end - part.start >= MONTH_DAYS_MIN * DAY_MS:
                yield part
            elif day_bars >= DAY_BARS_MIN:
                yield from (
                    Span(day, day + DAY_MS)
                    for day in range(-(-part.start // DAY_MS) * DAY_MS, part.end - DAY_MS + 1, DAY_MS)
                )

    async def bars(self, series: Series, span: Span) -> Bars:
        """Return the rows of every archive that the span touches; what is not archived is left out."""
        parts = [Bars.empty()]
        for month in _months(span):
            part = Span(max(span.start, _ms(month)), min(span.end, _ms(month + 1)))
            whole = await self._file(series, "monthly", str(month)) if span.end - span.start > DAY_MS else None
            if whole is not None:
                parts.append(whole)
            elif span.end - span.start <= DAY_MS or self._now() < _ms(month + 1) + MONTH_LATE_MS:
                parts += await self._days(series, part)
        rows = join(parts)
        inside = (rows.open_time >= span.start) & (rows.open_time < span.end)
        return Bars(*(column[inside] for column in rows.columns()))

    async def _days(self, series: Series, span: Span) -> list[Bars]:
        """Return the rows of every day's archive up to the first that is not there: after it there are none either."""
        days: list[Bars] = []
        for day in range(span.start // DAY_MS, -(-span.end // DAY_MS)):
            of_day = await self._file(series, "daily", str(np.datetime64(day, "D")))
            if of_day is None:
                break
            days.append(of_day)
        return days

    async def _file(self, series: Series, period: str, date: str) -> Bars | None:
        market = "futures/um" if market_of(series.symbol) == PERPETUAL else "spot"
        ticker = series.symbol.partition(":")[0].replace("/", "")
        name = f"{ticker}-{series.timeframe}-{date}.zip"
        path = f"/data/{market}/{period}/klines/{ticker}/{series.timeframe}/{name}"
        packed = await self._web.get(path)
        if packed is None:
            return None
        checksum = await self._web.get(f"{path}.CHECKSUM")
        expected = checksum.decode(errors="replace").split()[0].lower() if checksum else ""
        if hashlib.sha256(packed).hexdigest() != expected:
            raise Unavailable(f"binance archive {name}: does not have its checksum; it is not used")
        return await asyncio.to_thread(_unzipped, packed, name)


def _of_cache(kept: bytes | None) -> tuple[float, list[Coin]]:
    """Return when coins were told and which, nothing and long ago when that cannot be read."""
    try:
        body = json.loads(kept or b"")
        at, coins = float(body["at"]), [Coin(str(ticker), str(name)) for ticker, name in body["coins"]]
    except (ValueError, TypeError, KeyError):
        return 0.0, []
    # a time to come is another clock's
    return (at, coins) if at <= time.time() else (0.0, [])


def _polygon_bar(row: dict[str, Any]) -> tuple[Any, ...]:
    mean = row.get("vw") or row["c"]
    return (row["t"], row["o"], row["h"], row["l"], row["c"], row["v"], mean * row["v"])


def on_grid(points: Bars, step: int) -> Bars:
    """Return points as bars, each closed by the one nearest to its end; rows with impossible times stay."""
    ends = (points.open_time + step // 2) // step * step
    away = np.abs(points.open_time - ends)
    good = (points.open_time >= 0) & (away <= NEAR_MS)
    grid, times, away = points.where(good), ends[good] - step, away[good]
    order = np.lexsort((away, times))
    first = np.r_[True, np.diff(times[order]) != 0] if len(times) else np.zeros(0, bool)
    bars = Bars(times[order][first], *(column[order][first] for column in grid.columns()[1:]))
    return joined([bars, points.where(points.open_time < 0)])


def _months(span: Span) -> np.ndarray:
    first, last = (np.datetime64(at, "ms").astype("datetime64[M]") for at in (span.start, span.end - 1))
    return np.arange(first, last + 1)


def _ms(month: np.datetime64) -> int:
    return int(month.astype("datetime64[ms]").astype(np.int64))


def _unzipped(packed: bytes, name: str) -> Bars:
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            first = next(iter(archive.infolist()))
            # zipfile unpacks no more of a member than it says that it has
            if first.file_size <= MEMBER_BYTES_MAX:
                return candles.of_csv(archive.read(first))
    except (zipfile.BadZipFile, StopIteration, BadData, ValueError) as error:
        raise Unavailable(f"binance archive {name}: {error}") from error
    raise Unavailable(f"binance archive {name}: unpacks to more than {MEMBER_BYTES_MAX} bytes")
