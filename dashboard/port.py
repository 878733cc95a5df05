"""What the page and the API need of those who know: the running bot, and what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from engine.desk import CommonDesk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from domain.candle import Bars
    from domain.equity_curve import RunningProfit
    from domain.phantom import PhantomTrade
    from domain.picture import Mark
    from domain.trade import Trade
    from domain.trade_page import Wanted


class Desk(CommonDesk, Protocol):
    """A bot, running or at rest. Calls raise BadData for what cannot be, Unavailable for what cannot be now."""

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

    def universe(self) -> dict[str, Any]:
        """Return what the pairlists keep and why not the rest; nothing where there are none."""
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

    def phantoms(self) -> Iterable[PhantomTrade]:
        """Return the phantoms that are kept, ended and open, oldest first."""
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

    async def backtests(self) -> list[dict[str, Any]]:
        """Return the kept backtests with what was asked and their figures, the newest first."""
        ...

    async def backtest(self, name: str) -> dict[str, Any]:
        """Return a kept backtest, see ``models.Backtest``."""
        ...

    async def backtest_trades(self, name: str, symbol: str, offset: int, limit: int) -> dict[str, Any]:
        """Return a page of a kept backtest's trades, the newest first, of one symbol or ("") of all."""
        ...

    async def backtests_compared(self, names: list[str]) -> dict[str, list[Any]]:
        """Return in what kept backtests were asked differently: by dotted name, a value for each."""
        ...

    async def backtest_file(self, name: str, kind: str) -> bytes:
        """Return a file of a kept backtest: report.html, trades.csv or result.json."""
        ...

    async def backtest_chart(self, name: str, symbol: str, timeframe: str, before: int, count: int) -> dict[str, Any]:
        """Return the newest bars of a kept backtest before a time (UTC ms), see ``models.BacktestChart``."""
        ...

    async def backtest_asked(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is asked of a backtest, its names in full. Raises Rejected for what is wrong."""
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
        """Begin a download, fill-gaps, export, job or (checked) backtest.

        Raises BadData, and Unavailable when too many wait.
        """
        ...

    def all(self) -> Sequence[Mapping[str, Any]]:
        """Return the works, newest first, with their state and last words."""
        ...

    async def end(self, number: int) -> dict[str, Any]:
        """End a work. Raises BadData when there is none of that number."""
        ...
