"""What the page and the API need of those who know: the running bot, and what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from domain.candle import Bars
    from domain.equity_curve import RunningProfit
    from domain.phantom import PhantomTrade
    from domain.picture import Mark
    from domain.portion import Portion
    from domain.records import SwitchState
    from domain.reports import Group, Period, Result
    from domain.statistics import Statistics
    from domain.trade import Trade
    from domain.trade_page import Wanted
    from engine.operations import ExitOutcome
    from engine.protections import Lock


class Desk(Protocol):
    """A bot, running or at rest. Calls raise BadData for what cannot be, Unavailable for what cannot be now."""

    @property
    def mode(self) -> str:
        """SYNTHETIC, PAPER or LIVE."""
        ...

    @property
    def market_time(self) -> datetime:
        """The newest time that the market has told."""
        ...

    @property
    def started(self) -> datetime:
        """When the process that answers was started."""
        ...

    @property
    def running(self) -> bool:
        """Whether a bot is behind it; without one, nothing can be done, and only what is stored can be shown."""
        ...

    def reasons(self) -> list[str]:
        """Return why no entry can be made now; nothing when it can."""
        ...

    def notes(self) -> list[str]:
        """Return what keeps entries from some symbols while the others can be traded."""
        ...

    def pulse(self) -> dict[str, Any]:
        """Return what changes by the second: money, positions with their prices, tiers, feed."""
        ...

    def status(self) -> dict[str, Any]:
        """Return all figures of the moment."""
        ...

    async def statistics(self, days: int | None) -> Statistics:
        """Return the figures of closed trades."""
        ...

    async def trades(self, days: int | None = None) -> list[Trade]:
        """Return the closed trades in the order of their exits."""
        ...

    async def page(self, wanted: Wanted, days: int | None, offset: int, limit: int) -> dict[str, Any]:
        """Return a page of the closed trades that are asked for, as ``domain.trade_page`` tells it."""
        ...

    async def curve(self, days: int | None = None) -> RunningProfit:
        """Return the running profit, a thousand points at most, and how deep it fell."""
        ...

    async def results(self, period: Period, count: int) -> list[Result]:
        """Return what the last periods made."""
        ...

    async def groups(self, group: Group, days: int | None = None) -> list[Result]:
        """Return what each symbol, strategy or kind of exit made."""
        ...

    async def order(self, name: str) -> dict[str, Any]:
        """Return a position or trade with its executions."""
        ...

    async def balance(self) -> dict[str, Any]:
        """Return the account's money, asked of the exchange now."""
        ...

    async def locks(self) -> Sequence[Lock]:
        """Return which protections forbid entries."""
        ...

    async def unlock(self, symbol: str, reason: str) -> None:
        """Lift the protections of a symbol, or of all."""
        ...

    def banned(self) -> list[str]:
        """Return the symbols that take no new entries."""
        ...

    def meant(self, names: Sequence[str]) -> list[str]:
        """Return every symbol that somebody means; names may be patterns."""
        ...

    async def ban(self, names: Sequence[str], reason: str) -> list[str]:
        """Let no new entries into symbols; return them."""
        ...

    async def unban(self, names: Sequence[str], reason: str) -> list[str]:
        """Let entries into symbols again; return them."""
        ...

    async def changes(self) -> tuple[Any, list[str], list[str]]:
        """Read the configuration anew; return it, what can be taken on at once, and what needs a restart."""
        ...

    async def reload(self, fresh: Any, reason: str) -> None:
        """Take on what can be taken on of a new configuration."""
        ...

    def symbols(self) -> list[str]:
        """Return the symbols that are followed."""
        ...

    def symbol(self, text: str) -> str:
        """Return the symbol that somebody means."""
        ...

    def timeframes(self) -> list[str]:
        """Return the timeframes of which bars are at hand."""
        ...

    def strategies(self) -> list[str]:
        """Return the strategies that are in use."""
        ...

    def phantom_stats(self, symbol: str | None = None, strategy: str | None = None) -> dict[str, Any]:
        """Return what became of every signal."""
        ...

    def phantoms(self) -> Iterable[PhantomTrade]:
        """Return the phantoms that are kept, ended and open, oldest first."""
        ...

    def ml_stats(self) -> dict[str, Any]:
        """Return how each strategy's model stands."""
        ...

    def judging(self) -> dict[str, Any]:
        """Return the thresholds that scores are held against."""
        ...

    async def bars(self, symbol: str, timeframe: str, count: int) -> Bars:
        """Return the newest closed bars."""
        ...

    async def marks(self, symbol: str, since: int) -> list[Mark]:
        """Return what was done on a symbol since a time (UTC ms): trades, the open position, phantoms."""
        ...

    def prices(self) -> Mapping[str, tuple[float, int]]:
        """Return the last price of each symbol with its market time (UTC ms)."""
        ...

    def config(self) -> dict[str, Any]:
        """Return the settings in force, secrets masked."""
        ...

    def logs(self, count: int) -> list[str]:
        """Return the newest lines of the log."""
        ...

    def version(self) -> dict[str, str]:
        """Return which program this is."""
        ...

    async def switch(self, state: SwitchState, reason: str) -> None:
        """Let new entries in, or stop them."""
        ...

    async def force_exit(self, what: str, reason: str) -> list[ExitOutcome]:
        """Close positions at the market; return what became of each, some seconds later."""
        ...

    async def reduce(self, what: str, portion: Portion, reason: str) -> list[ExitOutcome]:
        """Close a part of a position at the market; return what became of it, some seconds later."""
        ...

    async def panic(self, reason: str, *, foreign: bool = False) -> list[ExitOutcome]:
        """Stop trading and close everything; return what became of each position."""
        ...

    async def train(self, strategy: str) -> dict[str, Any]:
        """Train a strategy's model now; return how it stands."""
        ...

    async def reconcile(self, since: int | None = None) -> dict[str, Any]:
        """Compare with the exchange, anew since a market time (UTC ms); return what was found."""
        ...


class Stored(Protocol):
    """What the database holds. Calls raise BadData, and Unavailable while the database is away."""

    async def tiers(self) -> dict[str, Any]:
        """Return what every tier holds and what waits for it."""
        ...

    async def series(self) -> list[dict[str, Any]]:
        """Return every stored series: source, symbol, timeframe, bars, span, missing, completeness."""
        ...

    async def gaps(self, source: str, symbol: str, timeframe: str) -> dict[str, Any]:
        """Return how complete a series is, exactly, with its gaps."""
        ...

    async def compared(self, symbol: str, timeframe: str) -> list[dict[str, Any]]:
        """Return the sources that hold a series side by side."""
        ...

    async def bars(self, source: str, symbol: str, timeframe: str, count: int) -> tuple[str, Bars]:
        """Return the whole name of a stored symbol, and its newest bars; of any source where none is named."""
        ...

    async def timeframes(self, symbol: str) -> list[str]:
        """Return the timeframes of which the bot's source has bars of a symbol."""
        ...

    async def older(self, symbol: str, timeframe: str, before: int, count: int) -> Bars:
        """Return the newest bars that open before a time (UTC ms); none where history begins."""
        ...

    async def columns(self, symbol: str, timeframe: str, before: int, count: int) -> list[dict[str, Any]]:
        """Return what strategies computed of the newest bars before a time (UTC ms), see ``models.StrategyColumns``."""
        ...

    async def strategy(self, name: str) -> dict[str, str]:
        """Return a strategy in use: name, timeframe that it decides on, and its code."""
        ...

    async def workers(self) -> dict[str, Any]:
        """Return who works through Celery and what waits for them, see ``models.Workers``."""
        ...

    async def jobs(self) -> list[dict[str, Any]]:
        """Return the regular jobs with their last and next runs."""
        ...

    async def runs(self) -> list[dict[str, Any]]:
        """Return the newest training runs, newest first."""
        ...

    async def summary(self) -> dict[str, Any]:
        """Return what metrics tell of the database: coverage, jobs, workers, verdicts, syncs, size in bytes."""
        ...

    async def deeds(self, count: int) -> list[dict[str, Any]]:
        """Return what people had done lately, newest first."""
        ...


class Works(Protocol):
    """Long work on stored data, in processes of its own."""

    def begin(self, kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a download, fill-gaps, export or job. Raises BadData, and Unavailable when too many wait."""
        ...

    def all(self) -> Sequence[Mapping[str, Any]]:
        """Return the works, newest first, with their state and last words."""
        ...

    async def end(self, number: int) -> dict[str, Any]:
        """End a work. Raises BadData when there is none of that number."""
        ...
