"""What the runtime is made of, and where its start stands."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

from domain.candle import ClosedBar, Series
from engine.delivery import DeliveryTerms
from engine.lag import Lags, LoopLag
from engine.reconciliation import ReconcileTerms

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from domain.ports import Broker, Ledger
    from domain.records import Level, Record
    from domain.statistics import Statistics
    from domain.trade import Leg, Trade
    from domain.trade_page import Wanted
    from domain.trade_sums import TradeSums
    from engine import recovery
    from engine.fence import Fence
    from engine.learning import Learning
    from engine.phantoms import Phantoms
    from engine.threads import Tier
    from engine.trader import Trader
    from engine.writer import CandleWriter


class Trades(Protocol):
    """The trade tracker, as far as the runtime needs it."""

    @property
    def unsettled(self) -> int:
        """Trades not yet in the database."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the trades of earlier lives have been read from the database."""
        ...

    def load(self, journaled: Iterable[Trade] = ()) -> int:
        """Read the trades of earlier lives; those that the journal tells of need not be read again."""
        ...

    def restore(self, trades: Iterable[Trade]) -> None:
        """Take trades that the journal holds."""
        ...

    def __len__(self) -> int:
        """Return how many trades there are."""
        ...

    def trades(self) -> list[Trade]:
        """Return the newest trades, more than anybody here looks back at, in the order of their exits."""
        ...

    def named(self, begin: str) -> list[Trade]:
        """Return the trades whose id begins so, however old."""
        ...

    def every(self, since: datetime | None = None) -> Iterator[Trade]:
        """Yield all trades that ended at a time or later, however old, in the order of their exits."""
        ...

    def sums(self, since: datetime | None = None) -> TradeSums:
        """Return the sums over all trades, or over those that ended at a time or later."""
        ...

    def page(self, wanted: Wanted, since: datetime | None, offset: int, limit: int) -> dict[str, Any]:
        """Return some of the trades that are asked for, as ``domain.trade_page`` tells them."""
        ...

    def exits(self) -> dict[str, int]:
        """Return when each trade ended (UTC ms), by id, however old."""
        ...

    def add_trade(self, trade: Trade) -> Level:
        """Record a trade."""
        ...

    def legs(self, trade_id: str) -> list[Leg]:
        """Return the executions of a trade that has reached the database."""
        ...

    def get_statistics(self, days: int | None = None) -> Statistics:
        """Return the figures of all trades, or of the last days."""
        ...

    def copies(self) -> dict[str, int]:
        """Return when each trade ended of which there is a copy outside of journal and database (UTC ms), by id."""
        ...

    def tiers(self) -> dict[str, dict[str, Any]]:
        """Return the state of each tier that trades are carried to."""
        ...

    def settle(self, seconds: float) -> int:
        """Wait so long for the database to take what is unsettled; return how many trades still are not in it."""
        ...

    def start(self) -> None:
        """Begin to carry trades to the tiers."""
        ...

    def close(self, seconds: float) -> None:
        """Carry what can be carried in so many seconds, then stop."""
        ...


class MarketFeed(Protocol):
    """The live feed, as far as the runtime needs it."""

    prices: dict[str, tuple[float, int]]

    async def run(self, deliver: Callable[[list[ClosedBar]], Awaitable[None]]) -> None:
        """Stream until cancelled."""
        ...

    def follow(self, series: Sequence[Series]) -> None:
        """Stream more series."""
        ...

    def stale(self) -> list[Series]:
        """Return the series that have fallen silent."""
        ...

    def connected(self) -> bool:
        """Return whether every stream is subscribed, or refused."""
        ...


class Latches(Protocol):
    """Keeps the switch and the day's beginning apart from the journal."""

    def keep(self, record: Record) -> None:
        """Keep a record in place of the last of its kind."""
        ...

    def load(self) -> list[Record]:
        """Return what is kept."""
        ...


@dataclass(slots=True)
class Tiers:
    """One thread for each blocking thing; without ``refuges`` the journal's thread asks them."""

    journal: Tier
    candles: Tier
    trades: Tier
    lease: Tier
    phantoms: Tier
    learning: Tier
    refuges: Tier | None = None

    def took(self) -> dict[str, dict[str, float]]:
        """Return of each thread how long calls on it took, in milliseconds."""
        return {field.name: tier.took.report() for field in fields(self) if (tier := getattr(self, field.name))}

    def all(self) -> list[Tier]:
        """Return them."""
        return [tier for field in fields(self) if (tier := getattr(self, field.name))]


@dataclass(slots=True)
class Parts:
    """What the runtime is made of; ``acknowledge`` tells a stepping market that a batch has been handled.

    ``refused`` are the streams that the exchange does not give, with its words; ``looked_at`` the symbols that are
    followed for strategies and not traded.
    """

    trader: Trader
    broker: Broker
    feed: MarketFeed
    candles: recovery.CandleRecovery
    windows: recovery.Windows
    writer: CandleWriter
    ledger: Ledger
    trades: Trades
    tiers: Tiers
    wanted: dict[Series, int]
    finest: str
    fence: Fence
    latches: Latches
    phantoms: Phantoms
    learning: Learning
    reconcile: ReconcileTerms = field(default_factory=ReconcileTerms)
    delivery: DeliveryTerms = field(default_factory=DeliveryTerms)
    acknowledge: Callable[[int], Awaitable[None]] | None = None
    told: Callable[[str, object], None] = lambda _kind, _what: None
    refused: Callable[[], Mapping[Series, str]] = dict
    looked_at: frozenset[str] = frozenset()


@dataclass(slots=True)
class Progress:
    """Where the start stands, and what went wrong last; ``/readyz`` is made of it.

    ``failing`` says which tasks keep dying, in words.
    """

    recovered: bool = False
    recovery_s: float = 0.0
    records: int = 0
    stored: int = 0
    fetched: int = 0
    missed_signals: int = 0
    broker_error: str = "not asked yet"
    durable: bool = True
    batches: int = 0
    lag: LoopLag = field(default_factory=LoopLag)
    recording: Lags = field(default_factory=Lags)
    failing: Callable[[], list[str]] = list
