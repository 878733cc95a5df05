"""Answers the page where no bot runs, from what is stored, and changes nothing."""

from __future__ import annotations

import asyncio
import platform
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

import settings as settings_module
from app import charting
from app.stored import Watched
from bootstrap import inspection
from bootstrap.parts import database, journal_folder, known_owner, phantom_tracker, plans
from daemon.page import Page
from domain import reports, trade_page
from domain.candle import timeframe_ms
from domain.equity_curve import EquityCurve, RunningProfit
from domain.errors import BadData, Rejected, Unavailable
from domain.order import StreamStatus
from domain.records import Followed, finished
from domain.statistics import Statistics, summarise
from domain.symbols import nearest
from domain.trade import newest
from domain.version import VERSION
from engine.tasks import Tasks
from engine.threads import Tier
from persistence.history import CandleHistory
from persistence.journal import read_records
from persistence.trade_table import TradeTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.candle import Bars, Series
    from domain.phantom import PhantomTrade
    from domain.picture import Mark
    from domain.portion import Portion
    from domain.records import SwitchState
    from domain.reports import Group, Period, Result
    from domain.trade import Trade
    from domain.trade_page import Wanted
    from engine.operations import ExitOutcome
    from engine.protections import Lock
    from settings import Settings

log = structlog.get_logger(__name__)

ASK_S = 30.0
AT_REST = "no bot runs behind this page: it shows what is stored"
NOTHING = {"p50": 0, "p99": 0, "max": 0.0}


class StoredDesk:
    """Reads everything once; candles when they are asked for."""

    running = False

    def __init__(self, settings: Settings) -> None:
        self._settings, self._tier = settings, Tier("reports", ASK_S)
        self._started = datetime.now(UTC)
        self._models: dict[str, Any] = {}
        self._trades: list[Trade] = []
        self._curve = EquityCurve()
        self._series: list[Series] = []
        self._tracker = phantom_tracker(settings, known_owner(settings), plans(settings), lambda _: None)

    async def open(self) -> None:
        """Read trades, phantoms and models. Raises Unavailable."""
        self._trades, self._series = await self._tier.call(self._read)
        self._models = await inspection.learning(self._settings)

    def close(self) -> None:
        """Let the thread end."""
        self._tier.close()

    @property
    def mode(self) -> str:
        """What is shown: the source's records."""
        return self._settings.mode.upper()

    @property
    def market_time(self) -> datetime:
        """When the last trade ended."""
        return self._now()

    @property
    def started(self) -> datetime:
        """When this was started."""
        return self._started

    @property
    def recorded(self) -> list[Trade]:
        """Every closed trade."""
        return self._trades

    def reasons(self) -> list[str]:
        """Return why no entry can be made."""
        return [AT_REST]

    def notes(self) -> list[str]:
        """Return nothing: no symbol is traded."""
        return []

    def pulse(self) -> dict[str, Any]:
        """Return a pulse that stands still."""
        return {
            "mode": self.mode, "ready": False, "reasons": self.reasons(), "notes": [], "switch": "stopped",
            "positions": [],
            "equity": None, "open_pnl": None, "day_pnl": None, "open": 0, "pending": 0, "opened": 0, "signals": 0,
            "taken": 0, "closed": len(self._trades), "bars": 0, "refused": {}, "touched": {},
            "connected": False, "stale": [],
            "durable": False, "market_time": int(self._now().timestamp() * 1000), "prices": {}, "feed": {},
            "frames": {},
            "feed_ages": [], "requests": {}, "tiers": {}, "threads": {}, "telegram": {}, "naked": [], "unsettled": 0,
            "ledger": {"state": "at rest", "records": 0, "memory_only": 0, "reason": ""}, "foreign_positions": [],
            "candles_saved": 0, "candles_waiting": 0, "candle_failures": 0, "loop_lag_p99_ms": 0,
            "loop_lag_max_ms": 0.0,
            "bar_to_order_ms": NOTHING, "add_trade_ms": NOTHING, "naked_seconds": {"positions": 0, **NOTHING},
            "orders_placed": 0, "unknown_orders": 0, "recovery_s": 0.0, "records_read": 0,
            "private_stream": StreamStatus(reason="no bot runs").report(0.0),
        }  # fmt: skip

    def status(self) -> dict[str, Any]:
        """Return the same, with whose records they are."""
        return {**known_owner(self._settings)._asdict(), **self.pulse()}

    async def statistics(self, days: int | None) -> Statistics:
        """Return the figures of closed trades."""
        return await self._tier.call(summarise, await self.trades(days))

    async def trades(self, days: int | None = None) -> list[Trade]:
        """Return the closed trades in the order of their exits."""
        since = self._now() - timedelta(days=days) if days else None
        return reports.since(self._trades, since)

    async def page(self, wanted: Wanted, days: int | None, offset: int, limit: int) -> dict[str, Any]:
        """Return a page of the closed trades that are asked for. Raises BadData."""
        held = await self.trades(days)
        trade_page.known(wanted, (one.symbol for one in held), self.symbols())
        return await self._tier.call(trade_page.page_of, held, wanted, offset, limit)

    async def results(self, period: Period, count: int) -> list[Result]:
        """Return what the last periods made."""
        return await self._tier.call(reports.by_period, self._trades, period, count, self._now())

    async def groups(self, group: Group, days: int | None = None) -> list[Result]:
        """Return what each symbol, strategy or kind of exit made."""
        return await self._tier.call(reports.by_group, await self.trades(days), group)

    async def curve(self, days: int | None = None) -> RunningProfit:
        """Return the running profit, and how deep it fell."""
        held = await self.trades(days)
        return await self._tier.call((EquityCurve() if days else self._curve).follow, held)

    async def order(self, name: str) -> dict[str, Any]:
        """Return a trade by its id, or the beginning of it, with its executions. Raises BadData, Unavailable."""
        found = [one for one in self._trades if len(name) >= 6 and one.trade_id.startswith(name.lower())]  # noqa: PLR2004
        if len(found) != 1:
            raise BadData(f"{len(found)} trades begin with {name[:40]!r}; give more of the id, six characters at least")
        legs = list(found[0].legs) or await self._tier.call(self._legs, found[0].trade_id)
        rows = [(one.time, one.cause, one.qty, one.price, one.fee) for one in legs]
        return {"id": found[0].trade_id, "trade": found[0], "fills": rows}

    async def locks(self) -> list[Lock]:
        """Return no locks: nothing is traded."""
        return []

    def banned(self) -> list[str]:
        """Return no symbols: nothing is traded."""
        return []

    def meant(self, names: Sequence[str]) -> list[str]:
        """Return every symbol that somebody means. Raises BadData."""
        return [self.symbol(name) for name in names]

    def symbols(self) -> list[str]:
        """Return the symbols of which bars are stored."""
        return sorted({symbol for symbol, _ in self._series})

    def universe(self) -> dict[str, Any]:
        """Return nothing: nothing is traded."""
        return {}

    def symbol(self, text: str) -> str:
        """Return the symbol that somebody means. Raises BadData."""
        return nearest(text, self.symbols())

    def timeframes(self) -> list[str]:
        """Return the timeframes of which bars are stored."""
        return sorted({timeframe for _, timeframe in self._series}, key=timeframe_ms)

    def strategies(self) -> list[str]:
        """Return the strategies that are in use."""
        return list(self._models)

    def phantom_stats(self, symbol: str | None = None, strategy: str | None = None) -> dict[str, Any]:
        """Return what became of every signal. Raises BadData."""
        return self._tracker.get_phantom_stats(symbol, strategy)

    def phantoms(self) -> list[PhantomTrade]:
        """Return the phantoms that are kept."""
        return [*self._tracker.completed, *self._tracker.active()]

    def ml_stats(self) -> dict[str, Any]:
        """Return how each strategy's model stands."""
        return self._models

    def judging(self) -> dict[str, Any]:
        """Return the thresholds that scores are held against."""
        ml = self._settings.ml
        return {"enabled": ml.enabled, "margin_r": ml.margin_r, "floor": ml.floor, "rule_floor": ml.rule_floor}

    async def bars(self, symbol: str, timeframe: str, count: int) -> Bars:
        """Return the newest stored bars. Raises Unavailable."""
        series = next((one for one in self._series if one == (symbol, timeframe)), None)
        if series is None:
            raise BadData(f"nothing is stored of {symbol} {timeframe}; there are {', '.join(self.timeframes())}")
        return await self._tier.call(inspection.newest_bars, self._settings, series, count)

    async def marks(self, symbol: str, since: int) -> list[Mark]:
        """Return what was done on a symbol since a time (UTC ms)."""
        return charting.marks(self._trades, self.phantoms(), symbol, since)

    def prices(self) -> dict[str, tuple[float, int]]:
        """Return no prices: nobody tells any."""
        return {}

    def config(self) -> dict[str, Any]:
        """Return the settings in force, secrets masked."""
        return settings_module.shown(self._settings)

    def logs(self, _: int) -> list[str]:
        """Return no lines: nothing happens."""
        return []

    def version(self) -> dict[str, str]:
        """Return which program this is."""
        up = timedelta(seconds=int((datetime.now(UTC) - self._started).total_seconds()))
        return {"revenant": VERSION, "python": platform.python_version(), "up": str(up), "database": "read only"}

    async def switch(self, state: SwitchState, reason: str) -> None:
        """Refuse, as all that follows."""
        self._refuse(state, reason)

    async def force_exit(self, what: str, reason: str) -> list[ExitOutcome]:
        """Refuse."""
        self._refuse(what, reason)

    async def reduce(self, what: str, portion: Portion, reason: str) -> list[ExitOutcome]:
        """Refuse."""
        self._refuse(what, portion, reason)

    async def panic(self, reason: str, *, foreign: bool = False) -> list[ExitOutcome]:
        """Refuse."""
        self._refuse(reason, foreign)

    async def train(self, strategy: str) -> dict[str, Any]:
        """Refuse."""
        self._refuse(strategy)

    async def reconcile(self, since: int | None = None) -> dict[str, Any]:
        """Refuse."""
        self._refuse(since)

    async def balance(self) -> dict[str, Any]:
        """Refuse."""
        self._refuse()

    async def unlock(self, symbol: str, reason: str) -> None:
        """Refuse."""
        self._refuse(symbol, reason)

    async def ban(self, names: Sequence[str], reason: str) -> list[str]:
        """Refuse."""
        self._refuse(names, reason)

    async def unban(self, names: Sequence[str], reason: str) -> list[str]:
        """Refuse."""
        self._refuse(names, reason)

    async def changes(self) -> tuple[Any, list[str], list[str]]:
        """Refuse."""
        self._refuse()

    async def reload(self, fresh: Any, reason: str) -> None:
        """Refuse."""
        self._refuse(fresh, reason)

    def _refuse(self, *_: object) -> NoReturn:
        raise Rejected(AT_REST)

    def _now(self) -> datetime:
        return self._trades[-1].exit_time if self._trades else datetime.now(UTC)

    def _read(self) -> tuple[list[Trade], list[Series]]:
        settings, who = self._settings, known_owner(self._settings)
        folder, main = journal_folder(settings, who), database(settings)
        try:
            held = {one.trade_id: one for one in TradeTable(main, who).load()}
            series = [one.series for one in CandleHistory(main).entries(settings.source) if one.rows]
        finally:
            main.close()
        held = newest([*held.values(), *finished(read_records(folder))])
        records = read_records(folder)
        self._tracker.restore(one.phantom for one in records if isinstance(one, Followed))
        return sorted(held.values(), key=lambda one: (one.exit_time, one.trade_id)), series

    def _legs(self, name: str) -> list[Any]:
        main = database(self._settings)
        try:
            return TradeTable(main, known_owner(self._settings)).legs(name)
        finally:
            main.close()


async def serve(settings: Settings) -> None:
    """Serve the page on what is stored until SIGTERM or SIGINT. Raises ConfigError, Unavailable."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    desk = StoredDesk(settings)
    page = None
    try:
        await desk.open()
        page = Page(settings, desk, Watched(lambda: inspection.Known(len(desk.recorded), 0)))
        log.info("serving what is stored", source=settings.source.value, page=await page.start())
        async with Tasks() as tasks:
            page.run(tasks)
            await stopping.wait()
    except Unavailable as error:
        raise Unavailable(f"the page cannot be served: {error}") from error
    finally:
        if page is not None:
            await page.close()
        desk.close()
