"""What the engine needs from the outside, each as small as it can be; contract tests hold the implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from domain.candle import MAIN_TIMEFRAME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from decimal import Decimal

    from domain.candle import Bars, Series
    from domain.coverage import Span
    from domain.instrument import Instrument
    from domain.order import (
        Balance,
        ClosedPart,
        OpenOrder,
        OrderReport,
        OrderRequest,
        PositionReport,
        StreamStatus,
    )
    from domain.records import Fill, Receipt, Record, Unread

    Told = Fill | OrderReport | PositionReport


class CandleStore(Protocol):
    """Keeps closed bars of one source. Synchronous; raises Unavailable when it cannot answer now."""

    def save_all_frames(self, frames: Mapping[Any, Any]) -> int:
        """Store bars keyed by symbol or (symbol, timeframe); return the rows handed in. Idempotent."""
        ...

    def load_candles(self, symbol: str, limit: int = 1_000, *, timeframe: str = MAIN_TIMEFRAME) -> Bars:
        """Return the newest ``limit`` bars, oldest first."""
        ...

    def load_frames(self, wanted: Mapping[Series, int]) -> dict[Series, Bars]:
        """Return the newest so many bars of each series, oldest first; none of those without any."""
        ...

    def get_stats(self) -> dict[str, Any]:
        """Return symbols, total_candles, db_size_mb and database_type."""
        ...


class Ledger(Protocol):
    """Keeps intents and facts. Synchronous; an append is durable before it returns JOURNALED or better."""

    def append(self, record: Record) -> Receipt:
        """Keep a record and say where it rests."""
        ...

    def replay(self) -> Iterable[Record]:
        """Return every record kept, oldest first, one after the other as they are asked for."""
        ...

    @property
    def durable(self) -> bool:
        """Whether a new intent would come to rest on disk."""
        ...

    @property
    def missing(self) -> int:
        """How many records are gone (as of the replay)."""
        ...

    @property
    def doubtful_since(self) -> int | None:
        """Market time of the last record before the first that is missing, None when none is (as of the replay)."""
        ...

    @property
    def begins(self) -> int:
        """Number of the first record that it holds; more than 1 when earlier ones were put away (as of the replay)."""
        ...

    def set_aside(self, record: Record) -> None:
        """Keep a copy of a record that its replay could make no use of, and count it as missing."""
        ...

    def archive(self, live: Sequence[Record]) -> int:
        """Put away what no longer matters, keeping the given records; return how many files went."""
        ...

    def report(self) -> dict[str, Any]:
        """Return how the ledger stands, for people."""
        ...

    def heal(self) -> list[Record]:
        """Bring home what came to rest elsewhere; return what of it is of earlier lives and nobody has taken yet."""
        ...


class Lists(Protocol):
    """Tells what there is on the exchange. Every call raises Unavailable when it was not told."""

    async def positions(self) -> list[PositionReport]:
        """Return all open positions; an empty list means that the exchange said there are none."""
        ...

    async def flat(self, symbol: str) -> bool:
        """Say whether the exchange says in so many words that there is no position; silence is not that."""
        ...

    async def order(self, symbol: str, order_id: str) -> OrderReport:
        """Look an order up by our id, in open orders, history and executions."""
        ...

    async def fills_since(self, time: int, until: int, symbol: str = "") -> list[Fill]:
        """Return every execution with a market time in [time, until] (UTC ms), oldest first."""
        ...

    async def closed_since(self, time: int, until: int, symbol: str) -> list[ClosedPart]:
        """Return what the exchange has booked as closed in [time, until] (UTC ms), oldest first."""
        ...

    async def open_orders(self) -> list[OpenOrder]:
        """Return every working order that carries an id of ours."""
        ...


class Broker(Lists, Protocol):
    """Sends orders and reports facts, for one account.

    Every call raises Unavailable when nothing was concluded. ``place`` and ``close`` raise OutcomeUnknown when the
    order may or may not have arrived, Rejected when it certainly did not.
    """

    async def instruments(self) -> dict[str, Instrument]:
        """Return the trading rules of every symbol, by unified name."""
        ...

    async def balance(self) -> Balance:
        """Return the account's money."""
        ...

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Set the leverage; setting it to what it is already is no error."""
        ...

    async def place(self, request: OrderRequest) -> None:
        """Send an order; returns once the exchange has accepted it."""
        ...

    async def cancel(self, symbol: str, order_id: str) -> None:
        """Cancel an order; one that is already gone is no error."""
        ...

    async def set_stop(self, symbol: str, stop: Decimal, target: Decimal | None, *, index: int = 0) -> None:
        """Move the protective stop, and the target when given, of an open position; ``index`` names a hedge leg."""
        ...

    def stream(self) -> AsyncIterator[Sequence[Told]]:
        """Yield what the exchange reports as it happens; an empty sequence means: connected anew, ask for the rest.

        Executions, orders of ours that changed (``OrderReport``) and positions that changed (``PositionReport``).
        """
        ...

    @property
    def private_stream(self) -> StreamStatus:
        """How the stream of executions is doing."""
        ...

    def obstacles(self) -> list[str]:
        """Return what keeps the account from being traded at this moment, in words for the operator."""
        ...

    def barred(self) -> str:
        """Return why no entry may be sent (key refused, address banned); empty when entries may be."""
        ...

    def unread(self) -> list[Unread]:
        """Return, once, what could not be interpreted since this was last called."""
        ...

    def on_bars(self, symbol: str, bars: Bars) -> None:
        """Take newly closed bars of the finest timeframe; only simulated brokers use them."""
        ...

    def on_price(self, symbol: str, price: float, time: int) -> None:
        """Take the last traded price; only simulated brokers use it."""
        ...


class Klines(Protocol):
    """Fetches closed bars. Raises Unavailable when it cannot answer now, Rejected for an unknown symbol."""

    async def closed(self, series: Series, start: int, end: int) -> Bars:
        """Return the closed bars with open times in [start, end), oldest first; bars that never were are absent."""
        ...

    async def latest(self, series: Series, count: int) -> Bars:
        """Return the newest ``count`` closed bars, oldest first; the unfinished bar is left out."""
        ...

    def resting(self, series: Series, span: Span) -> Sequence[Span]:
        """Return the stretches of a span, on the grid, in which the market is closed and no bar is missing."""
        ...
