"""Exchanges through ccxt: it signs, addresses and classifies; the rows are taken as the exchange sent them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np

from domain.answers import MEGABYTE, limited
from domain.assumed_rules import NEVER_MS, STEPS_MAX, assumed
from domain.candle import Series
from domain.coverage import Span, parts
from domain.durations import DAY_MS, HOUR_MS
from domain.errors import Rejected, RevenantError, Unavailable
from domain.instrument import Instrument
from domain.reach import unreachable
from history.port import PERPETUAL, Throttled, by_page, hidden, joined, market_of, on_days, over_by
from history.sources.dialects import FUNDING, payments
from history.symbols import Market

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from domain.candle import Bars
    from history.port import Budget
    from history.sources.dialects import Dialect, Host

TIMEOUT_MS = 20_000
PAGES_MAX = 1_000
ANSWER_BYTES_MAX = 32 * MEGABYTE
"""The longest answers are lists of all markets."""
PATIENCE_S = 60.0
BANNED_S = 600.0
EIGHT_HOURS_MS = 8 * HOUR_MS
PRICE_DAYS = 10
"""So many days back a price is looked for: stocks rest over holidays."""
BEGINNING_MS = 1_420_070_400_000
"""No market here is older than 2015."""

TOO_MANY, BANNED, REFUSED = 429, 418, {403, 451}


def _ccxt() -> Any:
    """Return ccxt, which takes a second to load that only those who ask an exchange need to pay."""
    import ccxt.async_support  # noqa: PLC0415  see above

    return ccxt.async_support


class ExchangeSource:
    """The candles of one exchange.

    Args:
        dialect: what the exchange calls things.
        budgets: gives the shared budget of a host.
        keys: ccxt's names for an account's key, where the exchange wants one.
        address: where the exchange is, instead of where ccxt knows it; scheme and host only.
    """

    def __init__(
        self,
        dialect: Dialect,
        budgets: Callable[[Host], Budget],
        keys: Mapping[str, str] | None = None,
        address: str = "",
    ) -> None:
        self.source, self.terms = dialect.source, dialect.terms
        self._dialect, self._budgets, self._address = dialect, budgets, address
        self._keys = dict(keys or {})
        self._clients: dict[str, Any] = {}
        self._first_days: dict[str, int | None] = {}

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()

    async def life(self, symbol: str) -> tuple[int | None, int | None]:
        """Return when the market was listed: as the exchange says, or the day of its first daily bar."""
        market = await self._market(symbol)
        listed = market.get("created")
        delisted = market.get("expiry") if market.get("active") is False else None
        return (int(listed) if listed else await self._first_day(symbol)), delisted

    async def markets(self, kind: str) -> list[Market]:
        """Return every market of a kind that the exchange lists."""
        client = await self._listed(kind)
        return [
            Market(row["symbol"], _time(row.get("created")), _time(row.get("expiry")), row.get("active") is not False)
            for row in client.markets.values()
            if market_of(row["symbol"]) == kind and not row.get("option")
        ]

    @property
    def lists_markets(self) -> bool:
        """Whether the exchange reports markets and their trading rules."""
        return self._dialect.lists_markets

    async def rules(self, symbol: str) -> Instrument:
        """Return the trading rules of a symbol, quantities in base units; what is not reported follows the price.

        Raises:
            Rejected: when the exchange has no such market, or no price of it.
        """
        market = await self._market(symbol)
        precision, limits = market.get("precision") or {}, market.get("limits") or {}
        # contracts are so many units of the coin
        size, perpetual = Decimal(str(market.get("contractSize") or 1)), market_of(symbol) == PERPETUAL
        amount, tick, step = limits.get("amount") or {}, _exact(precision.get("price")), _exact(precision.get("amount"))
        if not (tick and step):
            guess = assumed(symbol, await self._last_price(symbol))
            tick, step = tick or guess.tick, step or guess.step / size
        return Instrument(
            symbol, market["id"], tick, step * size, (_exact(amount.get("min")) or step) * size,
            (_exact(amount.get("max")) or step * STEPS_MAX) * size,
            _exact((limits.get("cost") or {}).get("min")) or Decimal(1),
            (_exact((limits.get("leverage") or {}).get("max")) or Decimal(100)) if perpetual else Decimal(1),
            trading=market.get("active") is not False, shortable=perpetual,
            funding_interval_ms=_funding_interval(market) if perpetual else NEVER_MS,
        )  # fmt: skip

    async def _last_price(self, symbol: str) -> float:
        now = self._client(market_of(symbol)).milliseconds()
        days = await self.bars(Series(symbol, "1d"), Span(now - PRICE_DAYS * DAY_MS, now))
        if not len(days):
            raise Rejected(f"{self.source}: no price of {symbol} is known")
        return float(days.close[np.argmax(days.open_time)])

    def parts(self, series: Series, span: Span) -> Iterator[Span]:
        """Cut a span into pages."""
        return by_page(self.terms, series, span)

    async def bars(self, series: Series, span: Span) -> Bars:
        """Return the rows told for a span, as they came."""
        kind, venue_id = market_of(series.symbol), (await self._market(series.symbol))["id"]
        asked = self._dialect.request(kind, venue_id, series.timeframe, span)
        pages, more = [], dict[str, Any]()
        for _ in range(PAGES_MAX):
            body = await self._call(kind, asked.method, asked.params | more, asked.cost)
            date = _header(self._client(kind), "date")
            pages.append(over_by(on_days(self._rows(kind, venue_id, body, series), series), series, date))
            following = self._dialect.following(body)
            if not following or following == more:
                return joined(pages)
            more = following
        raise Unavailable(f"{self.source}: {series.symbol} {series.timeframe}: its pages have no end")

    def _rows(self, kind: str, venue_id: str, body: Any, series: Series) -> Bars:
        try:
            return self._dialect.rows(kind, venue_id, body)
        except Unavailable as error:
            whole = str(body).encode()
            message = str(error) if hidden(whole, self._keys.values()) == whole else "an answer with our key in it"
            # what it was raised from has the answer in it
            raise Unavailable(f"{self.source}: {series.symbol} {series.timeframe}: {message}") from None

    async def funding(self, symbol: str, span: Span) -> AsyncIterator[list[tuple[int, float]]]:
        """Yield the funding payments in a span, page by page, oldest first: (UTC ms, rate).

        Raises:
            Rejected: when the exchange has none to tell.
        """
        terms = FUNDING.get(self.source)
        if terms is None or market_of(symbol) != PERPETUAL:
            raise Rejected(f"{self.source}: tells no funding history of {symbol}")
        venue_id = (await self._market(symbol))["id"]
        # nobody pays more often than every hour
        for part in parts(span, terms.page * HOUR_MS):
            params = {
                "symbol": venue_id, **terms.fixed, terms.start: part.start, terms.end: part.end - 1, "limit": terms.page
            }  # fmt: skip
            yield payments(self.source, await self._call(PERPETUAL, terms.method, params, 1))

    async def _first_day(self, symbol: str) -> int | None:
        if symbol in self._first_days:
            return self._first_days[symbol]
        client = self._client(market_of(symbol))
        for start in range(BEGINNING_MS, client.milliseconds(), self.terms.page * DAY_MS):
            days = await self.bars(Series(symbol, "1d"), Span(start, start + self.terms.page * DAY_MS))
            if len(days):
                self._first_days[symbol] = int(days.open_time.min())
                break
        return self._first_days.setdefault(symbol, None)

    async def _market(self, symbol: str) -> dict[str, Any]:
        if not self._dialect.lists_markets:
            return {"id": symbol}
        kind = market_of(symbol)
        client = await self._listed(kind)
        listed: dict[str, Any] | None = client.markets.get(symbol)
        if listed is None or market_of(listed["symbol"]) != kind:
            raise Rejected(f"{self.source}: has no {kind} market {symbol}; write it like {next(iter(client.markets))}")
        return listed

    async def _listed(self, kind: str) -> Any:
        """Return the client for a kind of market, its markets loaded."""
        client = self._client(kind)
        if not client.markets:
            await self._budget(kind).take(20)
            try:
                await client.load_markets()
            except _ccxt().BaseError as error:
                raise self._translated(error, kind, "its list of markets") from error
        return client

    async def _call(self, kind: str, method: str, params: dict[str, Any], cost: float) -> Any:
        client, budget = self._client(kind), self._budget(kind)
        await budget.take(cost)
        try:
            body = await getattr(client, method)(params)
        except (_ccxt().BaseError, RecursionError) as error:
            raise self._translated(error, kind, str(params.get("symbol", method))) from error
        used = self._dialect.used({k.lower(): v for k, v in (client.last_response_headers or {}).items()})
        if used is not None:
            budget.told(used)
        return body

    def _budget(self, kind: str) -> Budget:
        return self._budgets(self._dialect.host(kind))

    def _client(self, kind: str) -> Any:
        if kind not in self._clients:
            client = _bounded(getattr(_ccxt(), self._dialect.venue))({
                **self._keys, "timeout": TIMEOUT_MS, "enableRateLimit": False,
                "options": {"fetchMarkets": {"types": self._dialect.types(kind)}, "fetchCurrencies": False},
            })  # fmt: skip
            client.has["fetchCurrencies"] = False
            if self._address:
                client.urls["api"] = _moved(client.urls["api"], self._address)
            self._clients[kind] = client
        return self._clients[kind]

    def _translated(self, error: Exception, kind: str, what: str) -> RevenantError:
        ccxt, text = _ccxt(), hidden(" ".join(str(error).split()).encode(), self._keys.values()).decode()
        match = re.search(r"https?://\S+ (\d{3}) ", f"{text} ")
        status = int(match[1]) if match else 0
        message = f"{self.source}: {what}: {unreachable(error) or text[-200:]}"
        client = self._client(kind)
        headers = {name.lower(): value for name, value in (client.last_response_headers or {}).items()}
        if status in {BANNED, TOO_MANY} or isinstance(error, (ccxt.RateLimitExceeded, ccxt.DDoSProtection)):
            seconds = _seconds(headers.get("retry-after"), BANNED_S if status in {BANNED, *REFUSED} else PATIENCE_S)
            self._budget(kind).ban(seconds)
            return Throttled(
                f"{self.source}: asks us to wait {seconds:.0f} s ({status or type(error).__name__})", seconds
            )
        if status in REFUSED or isinstance(error, ccxt.PermissionDenied):
            return Rejected(f"{self.source}: refuses this address ({status or 'denied'}); ask from another region")
        if isinstance(error, (ccxt.BadSymbol, ccxt.BadRequest, ccxt.AuthenticationError, ccxt.NotSupported)):
            return Rejected(message)
        return Unavailable(message)


def _bounded(venue: Any) -> Any:
    """Return ccxt's class for a venue, its answers of bounded size."""
    answer = limited(aiohttp.ClientResponse, ANSWER_BYTES_MAX)

    class Bounded(venue):  # type: ignore[misc]  # the class is given
        def open(self, lazy: bool = False) -> None:  # noqa: FBT001, FBT002  as ccxt calls it
            super().open(lazy)
            if self.session is not None:
                # ccxt makes the session itself
                self.session._response_class = answer  # noqa: SLF001

    Bounded.__name__ = venue.__name__
    return Bounded


def _exact(told: Any) -> Decimal | None:
    """Return a number as it was reported, None where there is none."""
    return Decimal(str(told)) if told else None


def _funding_interval(market: Mapping[str, Any]) -> int:
    """Return what Bybit says in minutes (v5 instruments-info, fundingInterval); others do not say it there."""
    minutes = str((market.get("info") or {}).get("fundingInterval") or "")
    return int(minutes) * 60_000 if minutes.isdecimal() and int(minutes) else EIGHT_HOURS_MS


def _time(told: Any) -> int | None:
    return int(told) if told else None


def _header(client: Any, name: str) -> str | None:
    headers = {key.lower(): value for key, value in (client.last_response_headers or {}).items()}
    return headers.get(name)


def _seconds(text: str | None, otherwise: float) -> float:
    try:
        return min(3_600.0, max(1.0, float(text or "")))
    except ValueError:
        return otherwise


def _moved(urls: Any, address: str) -> Any:
    if isinstance(urls, dict):
        return {name: _moved(part, address) for name, part in urls.items()}
    return re.sub(r"^https?://[^/]+", address, urls) if isinstance(urls, str) else urls
