"""What history needs from the outside: sources of candles, a store, a rate budget."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np

from domain.candle import Bars, timeframe_ms
from domain.coverage import parts
from domain.durations import DAY_MS
from domain.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from domain.candle import Series, Times
    from domain.coverage import Span
    from domain.sifting import Refused
    from domain.source import Source

SPOT, PERPETUAL, EQUITY = "spot", "perpetual", "equity"
KEY_LEAST = 8


class Throttled(Unavailable):
    """The host asks for patience; ``seconds`` is how long it says, or a guess."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Terms:
    """What a source gives.

    Attributes:
        page: most bars in one answer.
        timeframes: timeframes that it has.
        markets: kinds of markets that it has: spot, perpetual, equity.
        lacks: what its bars lack compared with an exchange's own, in words; "" when nothing.
        reach_ms: how far back from now it goes, 0 for without limit.
        authority: whether its silence means that there is no bar; an archive's does not.
        trades_only: whether bars in which nothing was traded are not told.
    """

    page: int
    timeframes: frozenset[str]
    markets: frozenset[str]
    lacks: str = ""
    reach_ms: int = 0
    authority: bool = True
    trades_only: bool = False


class CandleSource(Protocol):
    """Fetches bars of one source.

    Raises Unavailable when it cannot answer now, Throttled when it asks for patience, Rejected when it never will.
    """

    source: Source
    terms: Terms

    async def life(self, symbol: str) -> tuple[int | None, int | None]:
        """Return when the market was listed and delisted, in UTC ms, as far as it tells; Rejected when unknown."""
        ...

    def parts(self, series: Series, span: Span) -> Iterator[Span]:
        """Cut a span into what can be asked for at once, oldest first; what is better asked elsewhere is left out."""
        ...

    async def bars(self, series: Series, span: Span) -> Bars:
        """Return the rows told for a span of at most ``terms.page`` bars, as they came: in any order, unchecked."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class Budget(Protocol):
    """Shares a host's rate limit with everybody on this machine."""

    async def take(self, cost: float) -> None:
        """Wait until a request of that cost may go out. Raises Unavailable when that takes too long."""
        ...

    def told(self, used: float) -> None:
        """Take the host's own word on how much has been used."""
        ...

    def ban(self, seconds: float) -> None:
        """Let nothing out for so long: the host said so."""
        ...


class Store(Protocol):
    """Keeps candles and the books about them. Synchronous; raises Unavailable while it cannot."""

    def save(self, source: Source, series: Series, bars: Bars) -> tuple[int, int, int]:
        """Store checked bars; return how many there were, were new, and changed one that was there."""
        ...

    def times(self, source: Source, series: Series, span: Span) -> Times:
        """Return the stored open times of a span, ascending."""
        ...

    def absent(self, source: Source, series: Series) -> list[Span]:
        """Return the spans that the source was confirmed not to have."""
        ...

    def confirm_absent(self, source: Source, series: Series, spans: Iterable[Span]) -> None:
        """Keep that the source itself has no bars there."""
        ...

    def quarantine(self, source: Source, series: Series, refused: Sequence[Refused]) -> None:
        """Keep rows that were refused, with the reason."""
        ...

    def note_life(self, source: Source, series: Series, listed: int | None, delisted: int | None) -> None:
        """Keep when a market began and ended."""
        ...


def by_page(terms: Terms, series: Series, span: Span) -> Iterator[Span]:
    """Cut a span into pages."""
    return parts(span, terms.page * timeframe_ms(series.timeframe))


def joined(pages: Sequence[Bars]) -> Bars:
    """Return the rows of several answers one after the other, as they came."""
    if len(pages) == 1:
        return pages[0]
    return Bars(*(np.concatenate(columns) for columns in zip(*(page.columns() for page in pages), strict=True)))


def over_by(bars: Bars, series: Series, said: str | None, late_ms: int = 0) -> Bars:
    """Return the rows without those that were not over by the host's own clock, as its answer's Date header tells it.

    A clock here that runs ahead would take them for finished. Without a readable header all are returned. What is
    told of a bar may change for ``late_ms`` after its end.
    """
    try:
        now = int(parsedate_to_datetime(said or "").timestamp() * 1000)
    except (ValueError, OverflowError):
        return bars
    return bars.where(bars.open_time + timeframe_ms(series.timeframe) + late_ms <= now)


def on_days(bars: Bars, series: Series) -> Bars:
    """Return daily bars of stocks, which begin at midnight in New York, under the UTC midnight of their date."""
    if market_of(series.symbol) != EQUITY or series.timeframe != "1d":
        return bars
    step = timeframe_ms(series.timeframe)
    return Bars(np.where(bars.open_time >= 0, bars.open_time // step * step, -1), *bars.columns()[1:])


def market_of(symbol: str) -> str:
    """Return the kind of market that a unified symbol names: ``BTC/USDT:USDT``, ``BTC/USDT``, ``AAPL``."""
    if ":" in symbol:
        return PERPETUAL
    return SPOT if "/" in symbol else EQUITY


def why_not(source: CandleSource, series: Series, now: int, span: Span) -> str:
    """Return why a source need not be asked for a span of a series, "" when it can be."""
    terms, name = source.terms, source.source.value
    market = market_of(series.symbol)
    if market not in terms.markets:
        return f"{name} has no {market} markets"
    if series.timeframe not in terms.timeframes:
        return f"{name} has no bars of {series.timeframe}"
    if terms.reach_ms and span.end <= now - terms.reach_ms:
        return f"{name} goes back {terms.reach_ms // DAY_MS} days only"
    return ""


def hidden(said: bytes, keys: Iterable[str]) -> bytes:
    """Return what a host says without our keys: some repeat the one that they refuse, and what they say is kept."""
    for key in keys:
        # what goes before it in a header is no secret; what is shorter is no key, but may well be a number or a word
        secret = key.rpartition(" ")[2].encode()
        said = said.replace(secret, b"***") if len(secret) >= KEY_LEAST else said
    return said
