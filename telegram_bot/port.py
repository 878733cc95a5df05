"""What the chat needs of the running bot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from domain.notice import Loudness, Notice
    from domain.portion import Portion
    from domain.records import SwitchState
    from domain.reports import Group, Period, Result, Slump
    from domain.statistics import Statistics
    from domain.trade import Trade
    from domain.trade_sums import TradeSums
    from engine.operations import ExitOutcome


class Desk(Protocol):
    """Answers and acts. Calls raise BadData for what cannot be, Unavailable for what cannot be now."""

    @property
    def mode(self) -> str:
        """SYNTHETIC, PAPER or LIVE."""
        ...

    @property
    def market_time(self) -> datetime:
        """The newest time that the market has told."""
        ...

    @property
    def loudness(self) -> Mapping[Notice, Loudness]:
        """How each kind of event is told."""
        ...

    def status(self) -> dict[str, Any]:
        """Return the figures of the moment."""
        ...

    async def statistics(self, days: int | None) -> Statistics:
        """Return the figures of closed trades."""
        ...

    async def newest(self, count: int) -> list[Trade]:
        """Return the trades that closed last, the newest last."""
        ...

    async def sums(self, days: int | None) -> TradeSums:
        """Return the sums over closed trades."""
        ...

    async def results(self, period: Period, count: int) -> list[Result]:
        """Return what the last periods made."""
        ...

    async def groups(self, group: Group, days: int | None = None) -> list[Result]:
        """Return what each symbol, strategy or kind of exit made."""
        ...

    async def slump(self, days: int | None) -> Slump:
        """Return the deepest fall of the running profit."""
        ...

    async def order(self, name: str) -> dict[str, Any]:
        """Return a position or trade with its executions."""
        ...

    async def balance(self) -> dict[str, Any]:
        """Return the account's money."""
        ...

    async def locks(self) -> Sequence[Any]:
        """Return which protections forbid entries: (symbol, method, until in UTC ms)."""
        ...

    async def unlock(self, symbol: str, reason: str) -> None:
        """Lift the protections of a symbol, or of all."""
        ...

    def symbols(self) -> list[str]:
        """Return the symbols that are followed."""
        ...

    def symbol(self, text: str) -> str:
        """Return the symbol that somebody means."""
        ...

    def meant(self, names: Sequence[str]) -> list[str]:
        """Return every symbol, followed or banned, that somebody means; names may be patterns. Raises BadData."""
        ...

    def timeframes(self) -> list[str]:
        """Return the timeframes of which bars are at hand."""
        ...

    def strategies(self) -> list[str]:
        """Return the strategies that are in use."""
        ...

    def banned(self) -> list[str]:
        """Return the symbols that take no new entries."""
        ...

    async def ban(self, names: Sequence[str], reason: str) -> list[str]:
        """Let no new entries into symbols."""
        ...

    async def unban(self, names: Sequence[str], reason: str) -> list[str]:
        """Let entries into symbols again."""
        ...

    def risk(self) -> dict[str, Any]:
        """Return how much a trade may lose."""
        ...

    async def set_risk(self, percent: Decimal | None, reason: str) -> None:
        """Set how much a trade may lose, None for what is configured."""
        ...

    async def db_stats(self) -> dict[str, Any]:
        """Return every tier."""
        ...

    def phantom_stats(self, symbol: str | None = None, strategy: str | None = None) -> dict[str, Any]:
        """Return what became of every signal."""
        ...

    def ml_stats(self) -> dict[str, Any]:
        """Return how each strategy's model stands."""
        ...

    def judging(self) -> dict[str, Any]:
        """Return the thresholds that scores are held against."""
        ...

    async def train(self, strategy: str) -> dict[str, Any]:
        """Train a strategy's model now."""
        ...

    async def coverage(self, symbol: str | None) -> list[dict[str, Any]]:
        """Return how complete the stored candles are."""
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

    async def panic(self, reason: str) -> list[ExitOutcome]:
        """Stop trading and close everything; return what became of each position."""
        ...

    async def changes(self) -> tuple[Any, list[str], list[str]]:
        """Read the configuration anew: it, what can be taken on at once, what needs a restart. Raises ConfigError."""
        ...

    async def reload(self, fresh: Any, reason: str) -> None:
        """Take on what can be taken on of a new configuration."""
        ...

    async def chart(self, symbol: str, timeframe: str) -> bytes:
        """Return a picture of a series with what was done on it."""
        ...

    async def equity(self, days: int | None = None) -> bytes:
        """Return a picture of the running profit."""
        ...
