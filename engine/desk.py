"""What page and chat both ask of a bot, running or at rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from domain.portion import Portion
    from domain.records import SwitchState
    from domain.reports import Group, Period, Result
    from domain.statistics import Statistics
    from engine.operations import ExitOutcome
    from engine.protections import Lock


class CommonDesk(Protocol):
    """Answers and acts. Calls raise BadData for what cannot be, Unavailable for what cannot be now."""

    @property
    def mode(self) -> str:
        """SYNTHETIC, PAPER or LIVE."""
        ...

    @property
    def market_time(self) -> datetime:
        """The newest time that the market has told."""
        ...

    def status(self) -> dict[str, Any]:
        """Return all figures of the moment."""
        ...

    async def statistics(self, days: int | None) -> Statistics:
        """Return the figures of closed trades."""
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

    def ml_stats(self) -> dict[str, Any]:
        """Return how each strategy's model stands."""
        ...

    def judging(self) -> dict[str, Any]:
        """Return the thresholds that scores are held against."""
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

    async def train(self, strategy: str) -> dict[str, Any]:
        """Train a strategy's model now; return how it stands."""
        ...

    async def panic(self, reason: str, *, foreign: bool = False) -> list[ExitOutcome]:
        """Stop trading and close everything; return what became of each position."""
        ...
