"""What Binance, OKX, Bybit and Alpaca call things: requests for bars, and rows in their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from domain.candle import Bars, timeframe_ms
from domain.coverage import TIMEFRAMES
from domain.durations import HOUR_MS
from domain.errors import Unavailable
from domain.source import Source
from history.port import EQUITY, PERPETUAL, SPOT, Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from domain.coverage import Span


@dataclass(frozen=True, slots=True)
class Request:
    """A request through ccxt: the generated method, its parameters, and what it costs of the host's limit."""

    method: str
    params: dict[str, Any]
    cost: float


@dataclass(frozen=True, slots=True)
class Host:
    """A host's limit: so many units of cost in so many seconds."""

    name: str
    limit: float
    window_s: float


class Dialect(Protocol):
    """One exchange's words."""

    source: Source
    venue: str
    terms: Terms
    lists_markets: bool

    def host(self, market: str) -> Host:
        """Return the host that serves a kind of market."""
        ...

    def types(self, market: str) -> list[str]:
        """Return what ccxt calls the kind of market when it loads them."""
        ...

    def request(self, market: str, venue_id: str, timeframe: str, span: Span) -> Request:
        """Return the request for the bars of a span."""
        ...

    def rows(self, market: str, venue_id: str, body: Any) -> Bars:
        """Return the rows of an answer. Raises Unavailable when it is none."""
        ...

    def following(self, body: Any) -> dict[str, Any]:
        """Return what to ask with for the next page of an answer, nothing when it was the last."""
        ...

    def used(self, headers: Mapping[str, str]) -> float | None:
        """Return how much of the limit the host says has been used."""
        ...


class Binance:
    """Binance: USD-M perpetuals and spot. Rows: open time, o, h, l, c, base volume, close time, quote volume, count."""

    source, venue, lists_markets = Source.BINANCE, "binance", True
    terms = Terms(1000, frozenset(TIMEFRAMES), frozenset({SPOT, PERPETUAL}))

    def host(self, market: str) -> Host:
        """Futures and spot have a host and a limit each, in units of weight a minute."""
        if market == PERPETUAL:
            return Host("fapi.binance.com", 2_400, 60)
        return Host("api.binance.com", 6_000, 60)

    def types(self, market: str) -> list[str]:
        """See Dialect."""
        return ["linear" if market == PERPETUAL else "spot"]

    def request(self, market: str, venue_id: str, timeframe: str, span: Span) -> Request:
        """See Dialect; ``endTime`` counts as inside."""
        count = (span.end - span.start) // timeframe_ms(timeframe)
        params = {
            "symbol": venue_id, "interval": timeframe, "startTime": span.start, "endTime": span.end - 1,
            "limit": max(1, min(self.terms.page, count)),
        }  # fmt: skip
        if market == PERPETUAL:
            weight = 1 if count < 100 else 2 if count < 500 else 5  # noqa: PLR2004  Binance's table of weights
            return Request("fapipublic_get_klines", params, weight)
        return Request("public_get_klines", params, 2)

    def rows(self, market: str, venue_id: str, body: Any) -> Bars:  # noqa: ARG002  see Dialect
        """See Dialect."""
        return table(body, lambda row: (row[0], *row[1:6], row[7]))

    def following(self, body: Any) -> dict[str, Any]:  # noqa: ARG002  see Dialect
        """Answers have one page: what is left of a span is asked for by its times."""
        return {}

    def used(self, headers: Mapping[str, str]) -> float | None:
        """See Dialect."""
        return _number(headers.get("x-mbx-used-weight-1m"))


class Bybit:
    """Bybit: linear perpetuals and spot. Rows, newest first: open time, o, h, l, c, base volume, turnover."""

    source, venue, lists_markets = Source.BYBIT, "bybit", True
    terms = Terms(1000, frozenset(TIMEFRAMES) - {"8h"}, frozenset({SPOT, PERPETUAL}))

    def host(self, market: str) -> Host:  # noqa: ARG002  see Dialect
        """600 requests in five seconds and address, whatever they ask."""
        return Host("api.bybit.com", 600, 5)

    def types(self, market: str) -> list[str]:
        """See Dialect."""
        return ["linear" if market == PERPETUAL else "spot"]

    def request(self, market: str, venue_id: str, timeframe: str, span: Span) -> Request:
        """See Dialect; ``end`` counts as inside."""
        minutes = timeframe_ms(timeframe) // 60_000
        params = {
            "category": "linear" if market == PERPETUAL else "spot", "symbol": venue_id, "start": span.start,
            "interval": "D" if timeframe == "1d" else str(minutes), "end": span.end - 1, "limit": self.terms.page,
        }  # fmt: skip
        return Request("public_get_v5_market_kline", params, 1)

    def rows(self, market: str, venue_id: str, body: Any) -> Bars:  # noqa: ARG002  see Dialect
        """See Dialect."""
        return table(_inside(body, "result", "list"), lambda row: tuple(row[:7]))

    def following(self, body: Any) -> dict[str, Any]:  # noqa: ARG002  see Dialect
        """Answers have one page: what is left of a span is asked for by its times."""
        return {}

    def used(self, headers: Mapping[str, str]) -> float | None:  # noqa: ARG002  see Dialect
        """Bybit tells about its limits for accounts, not for addresses."""
        return None


class Okx:
    """OKX: linear swaps and spot. Rows, newest first: time, o, h, l, c, contracts, base, quote volume, confirm."""

    source, venue, lists_markets = Source.OKX, "okx", True
    terms = Terms(100, frozenset(TIMEFRAMES) - {"8h"}, frozenset({SPOT, PERPETUAL}))

    def host(self, market: str) -> Host:  # noqa: ARG002  see Dialect
        """20 requests for history in two seconds and address."""
        return Host("www.okx.com", 20, 2)

    def types(self, market: str) -> list[str]:
        """See Dialect."""
        return ["swap" if market == PERPETUAL else "spot"]

    def request(self, market: str, venue_id: str, timeframe: str, span: Span) -> Request:  # noqa: ARG002  see Dialect
        """See Dialect; bars after ``before`` and before ``after``, both outside."""
        long = timeframe_ms(timeframe) >= 6 * HOUR_MS
        bar = timeframe if timeframe.endswith("m") else timeframe.upper()
        params = {
            "instId": venue_id, "bar": f"{bar}utc" if long else bar, "before": span.start - 1, "after": span.end,
            "limit": self.terms.page,
        }  # fmt: skip
        return Request("public_get_market_history_candles", params, 1)

    def rows(self, market: str, venue_id: str, body: Any) -> Bars:  # noqa: ARG002  see Dialect
        """See Dialect; rows that OKX has not confirmed yet are left out."""
        complete = [row for row in _inside(body, "data") if not (isinstance(row, list) and str(row[-1]) == "0")]
        # spot has its volume in base units where swaps have contracts
        return table(complete, lambda row: (*row[:5], row[6] if market == PERPETUAL else row[5], row[7]))

    def following(self, body: Any) -> dict[str, Any]:  # noqa: ARG002  see Dialect
        """Answers have one page: what is left of a span is asked for by its times."""
        return {}

    def used(self, headers: Mapping[str, str]) -> float | None:  # noqa: ARG002  see Dialect
        """OKX does not tell."""
        return None


class BinanceMarks(Binance):
    """Binance's mark prices of perpetuals; they have no volume."""

    terms = Terms(1000, frozenset(TIMEFRAMES), frozenset({PERPETUAL}))

    def request(self, market: str, venue_id: str, timeframe: str, span: Span) -> Request:
        """See Dialect."""
        asked = super().request(market, venue_id, timeframe, span)
        return Request("fapipublic_get_markpriceklines", asked.params, asked.cost)

    def rows(self, market: str, venue_id: str, body: Any) -> Bars:  # noqa: ARG002  see Dialect
        """See Dialect."""
        return table(body, lambda row: (*row[:5], 0.0, 0.0))


class BybitMarks(Bybit):
    """Bybit's mark prices of perpetuals; they have no volume."""

    terms = Terms(1000, Bybit.terms.timeframes, frozenset({PERPETUAL}))

    def request(self, market: str, venue_id: str, timeframe: str, span: Span) -> Request:
        """See Dialect."""
        asked = super().request(market, venue_id, timeframe, span)
        return Request("public_get_v5_market_mark_price_kline", asked.params, asked.cost)

    def rows(self, market: str, venue_id: str, body: Any) -> Bars:  # noqa: ARG002  see Dialect
        """See Dialect."""
        return table(_inside(body, "result", "list"), lambda row: (*row[:5], 0.0, 0.0))


class OkxMarks(Okx):
    """OKX's mark prices of swaps; they have no volume."""

    terms = Terms(100, Okx.terms.timeframes, frozenset({PERPETUAL}))

    def request(self, market: str, venue_id: str, timeframe: str, span: Span) -> Request:
        """See Dialect."""
        asked = super().request(market, venue_id, timeframe, span)
        return Request("public_get_market_history_mark_price_candles", asked.params, asked.cost)

    def rows(self, market: str, venue_id: str, body: Any) -> Bars:  # noqa: ARG002  see Dialect
        """See Dialect."""
        complete = [row for row in _inside(body, "data") if not (isinstance(row, list) and str(row[-1]) == "0")]
        return table(complete, lambda row: (*row[:5], 0.0, 0.0))


@dataclass(frozen=True, slots=True)
class FundingTerms:
    """How funding is asked for: ccxt's method, most payments in one answer, and the names of its parameters."""

    method: str
    page: int
    start: str
    end: str
    fixed: Mapping[str, str]


FUNDING = {
    Source.BINANCE: FundingTerms("fapipublic_get_fundingrate", 1000, "startTime", "endTime", {}),
    Source.BYBIT: FundingTerms(
        "public_get_v5_market_funding_history", 200, "startTime", "endTime", {"category": "linear"}
    ),
}
"""OKX tells the last three months only, which no export can use."""


def payments(source: Source, body: Any) -> list[tuple[int, float]]:
    """Return the funding payments of an answer: (UTC ms, rate), ascending. Raises Unavailable when it is none."""
    listed = body if source is Source.BINANCE else _inside(body, "result", "list")
    if not isinstance(listed, list):
        raise Unavailable(f"unreadable answer {str(body)[:120]}")
    time_name, rate_name = (
        ("fundingTime", "fundingRate") if source is Source.BINANCE else ("fundingRateTimestamp", "fundingRate")
    )
    try:
        # hosts tell payments some milliseconds after the minute that they belong to
        payments = [(int(row[time_name]) // 60_000 * 60_000, float(row[rate_name])) for row in listed]
    except (LookupError, TypeError, ValueError) as error:
        raise Unavailable(f"unreadable answer {str(body)[:120]}") from error
    return sorted(payments)


class Alpaca:
    """Alpaca: crypto against dollars, and stocks with a key. Rows: t, o, h, l, c, v, n, vw.

    ``adjusted`` says whether stocks are asked for as if every split had always been.
    """

    source, venue, lists_markets = Source.ALPACA, "alpaca", False
    terms = Terms(
        1000, frozenset(TIMEFRAMES), frozenset({SPOT, EQUITY}), "bars in which nothing was traded are not told",
        trades_only=True,
    )  # fmt: skip

    def __init__(self, *, adjusted: bool = True) -> None:
        self._adjustment = "split" if adjusted else "raw"

    def host(self, market: str) -> Host:  # noqa: ARG002  see Dialect
        """200 requests a minute."""
        return Host("data.alpaca.markets", 200, 60)

    def types(self, market: str) -> list[str]:
        """See Dialect."""
        return [market]

    def request(self, market: str, venue_id: str, timeframe: str, span: Span) -> Request:
        """See Dialect; ``end`` counts as inside."""
        names = {"m": "Min", "h": "Hour", "d": "Day"}
        params = {
            "symbols": venue_id, "timeframe": f"{timeframe[:-1]}{names[timeframe[-1]]}", "start": _iso(span.start),
            "end": _iso(span.end - 1), "limit": 10_000,
        }  # fmt: skip
        if market == EQUITY:
            return Request("market_private_get_v2_stocks_bars", params | {"adjustment": self._adjustment}, 1)
        return Request("market_public_get_v1beta3_crypto_loc_bars", params | {"loc": "us"}, 1)

    def rows(self, market: str, venue_id: str, body: Any) -> Bars:  # noqa: ARG002  see Dialect
        """See Dialect."""
        # a page without a row says null
        if not isinstance(body, dict) or not isinstance(body.get("bars") or {}, dict) or "bars" not in body:
            raise Unavailable(f"unreadable answer {str(body)[:120]}")
        return table((body["bars"] or {}).get(venue_id) or [], _alpaca_bar)

    def following(self, body: Any) -> dict[str, Any]:
        """See Dialect; pages are as long as Alpaca likes, whatever ``limit`` says."""
        token = body.get("next_page_token") if isinstance(body, dict) else None
        return {"page_token": token} if token else {}

    def used(self, headers: Mapping[str, str]) -> float | None:
        """See Dialect."""
        left = _number(headers.get("x-ratelimit-remaining"))
        return None if left is None else 200 - left


def table(body: Any, pick: Callable[[Any], Sequence[Any]]) -> Bars:
    """Return rows as bars; a value that is no number becomes NaN, a time that is none -1.

    Raises:
        Unavailable: when it is no list of rows: such an answer says nothing, least of all that there is nothing.
    """
    if not isinstance(body, list):
        raise Unavailable(f"unreadable answer {str(body)[:120]}")
    rows = []
    for row in body:
        try:
            time, *values = pick(row)
        except (LookupError, TypeError, ValueError):
            time, values = -1, [float("nan")] * 6
        rows.append([_whole(time), *(_float(value) for value in values)])
    return Bars.of(rows)


def _inside(body: Any, *path: str) -> Any:
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None
    if not isinstance(body, list):
        raise Unavailable(f"unreadable answer {str(body)[:120]}")
    return body


def _whole(value: Any) -> int:
    try:
        time = int(value)
    except (TypeError, ValueError, OverflowError):
        return -1
    return time if abs(time) < 2**62 else -1


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _alpaca_bar(bar: dict[str, Any]) -> tuple[Any, ...]:
    mean = bar.get("vw") or bar["c"]
    return (_time(bar["t"]), bar["o"], bar["h"], bar["l"], bar["c"], bar["v"], mean * bar["v"])


def _iso(time: int) -> str:
    return f"{np.datetime64(time, 'ms')}Z"


def _time(text: str) -> int:
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))
