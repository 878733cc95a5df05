"""What people ask of a running bot, and have it do: one desk behind the chat, the page and the commands."""

from __future__ import annotations

import platform
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import settings as settings_module
from app import charting
from bootstrap import inspection, parts
from domain import ids, trade_page
from domain.candle import Bars, Series, timeframe_ms
from domain.errors import BadData
from domain.picture import Chart, Curve
from domain.records import SwitchState
from domain.symbols import Symbols, nearest
from domain.version import VERSION
from engine import universe
from engine.adjustments import EVERYTHING
from engine.threads import Tier
from processes.drawer import DrawingProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal

    from bootstrap.assembly import Bot, Ground
    from dashboard.logs import Recent
    from domain.equity_curve import RunningProfit
    from domain.notice import Loudness, Notice
    from domain.phantom import PhantomTrade
    from domain.picture import Mark
    from domain.portion import Portion
    from domain.reports import Group, Period, Result, Slump
    from domain.statistics import Statistics
    from domain.trade import Trade
    from domain.trade_page import Wanted
    from domain.trade_sums import TradeSums
    from engine.operations import ExitOutcome
    from engine.parts import Trades
    from engine.position import Position
    from engine.protections import Lock
    from settings import Settings

ASK_S = 20.0
CHART_BARS = 120
ID_LEAST = 6
LIVE = ("risk.", "trading.blacklist", "telegram.notices")
"""Settings that a running bot takes on; all others count from the next start."""


class Desk:
    """Answers as plain values; what blocks is asked on a thread of its own."""

    def __init__(self, ground: Ground, bot: Bot, recent: Recent) -> None:
        self._ground, self._bot, self._recent = ground, bot, recent
        self._tier, self._draw = Tier("reports", ASK_S), DrawingProcess()
        self._started = datetime.now(UTC)
        self.settings = ground.settings
        self.reloaded: list[Callable[[Settings], None]] = []
        self.told_report: Callable[[], dict[str, Any]] = lambda: {"telegram": {}, "recipients": {}}

    @property
    def running(self) -> bool:
        """Whether a bot is behind it: always."""
        return True

    @property
    def mode(self) -> str:
        """What every message is marked with: SYNTHETIC, PAPER or LIVE."""
        return self._ground.who.mode.upper()

    @property
    def market_time(self) -> datetime:
        """The newest time that the market has told."""
        return datetime.fromtimestamp(self._bot.runtime.market_time() / 1000, UTC)

    @property
    def started(self) -> datetime:
        """When the bot was started."""
        return self._started

    @property
    def loudness(self) -> dict[Notice, Loudness]:
        """How each kind of event is told."""
        return self.settings.telegram.loudness

    def close(self) -> None:
        """Let the thread end."""
        self._tier.close()

    def status(self) -> dict[str, Any]:
        """Return the figures of the moment, with every position."""
        who = self._ground.who
        limit = self._bot.trader.adjustments.limits.max_open_trades
        return {"source": who.source, "mode": self.mode, "account": who.account, "max_open_trades": limit,
                **self._bot.snapshot(), **self.told_report()}  # fmt: skip

    def pulse(self) -> dict[str, Any]:
        """Return what changes by the second."""
        return {"mode": self.mode, **self._bot.pulse(), "prices": self.prices(), **self.told_report()}

    def reasons(self) -> list[str]:
        """Return why no entry can be made now."""
        return self._bot.runtime.reasons()

    def notes(self) -> list[str]:
        """Return what keeps entries from some symbols while the others can be traded."""
        return self._bot.runtime.notes()

    def prices(self) -> dict[str, tuple[float, int]]:
        """Return the last price of each symbol with its market time (UTC ms)."""
        return self._bot.feed.prices

    async def statistics(self, days: int | None) -> Statistics:
        """Return the figures of closed trades. Raises BadData, Unavailable."""
        return await self._tier.call(self._bot.parts.trades.get_statistics, days)

    async def trades(self, days: int | None = None) -> list[Trade]:
        """Return the closed trades, of all time or of the last days, oldest exit first. Raises Unavailable."""
        return await self._tier.call(lambda: list(self._closed.every(self._since(days))))

    async def newest(self, count: int) -> list[Trade]:
        """Return the trades that closed last, the newest last."""
        return self._closed.trades()[-count:]

    async def page(self, wanted: Wanted, days: int | None, offset: int, limit: int) -> dict[str, Any]:
        """Return a page of the closed trades that are asked for. Raises BadData, Unavailable."""
        return await self._tier.call(self._page, wanted, self._since(days), offset, limit)

    def _page(self, wanted: Wanted, since: datetime | None, offset: int, limit: int) -> dict[str, Any]:
        found = self._closed.page(wanted, since, offset, limit)
        trade_page.known(wanted, found["symbols"], self.symbols())
        return found

    async def results(self, period: Period, count: int) -> list[Result]:
        """Return what the last days, weeks or months made. Raises Unavailable."""
        return (await self.sums(None)).by_period(period, count, self.market_time)

    async def groups(self, group: Group, days: int | None = None) -> list[Result]:
        """Return what each symbol, strategy or kind of exit made. Raises Unavailable."""
        return (await self.sums(days)).by_group(group)

    async def curve(self, days: int | None = None) -> RunningProfit:
        """Return the running profit, and how deep it fell. Raises Unavailable."""
        return (await self.sums(days)).curve()

    async def sums(self, days: int | None) -> TradeSums:
        """Return the sums over closed trades, of all time or of the last days. Raises Unavailable."""
        return await self._tier.call(self._closed.sums, self._since(days))

    @property
    def _closed(self) -> Trades:
        return self._bot.parts.trades

    def _since(self, days: int | None) -> datetime | None:
        return self.market_time - timedelta(days=days) if days else None

    async def slump(self, days: int | None) -> Slump:
        """Return the deepest fall of the running profit."""
        return (await self.curve(days)).slump

    async def order(self, name: str) -> dict[str, Any]:
        """Return a position or trade by its id, or the beginning of it, with its executions.

        Raises:
            BadData: when there is none, or more than one.
            Unavailable: when the database has the executions and does not answer.
        """
        if len(name) < ID_LEAST:
            raise BadData(f"{name!r}: give at least {ID_LEAST} characters of the id, as /status and /trades show it")
        held = [one for one in self._bot.trader.book.positions() if _begins(one.digest, name)]
        ended = await self._tier.call(self._closed.named, name.lower())
        if len(held) + len(ended) != 1:
            found = "nothing" if not held + ended else f"{len(held) + len(ended)} trades"
            raise BadData(f"{found} begins with {name!r}; /status and /trades show the ids")
        if held:
            return self._position(held[0])
        trade = ended[0]
        legs = list(trade.legs) or await self._tier.call(self._bot.parts.trades.legs, trade.trade_id)
        rows = [(one.time, one.cause, one.qty, one.price, one.fee) for one in legs]
        return {"id": trade.trade_id, "trade": trade, "fills": rows}

    async def balance(self) -> dict[str, Any]:
        """Return the account's money. Raises Unavailable, Rejected."""
        money, trader = await self._bot.parts.broker.balance(), self._bot.trader
        return {
            "equity": money.equity, "wallet": money.wallet, "available": money.available,
            "open_pnl": trader.open_pnl(), "day_pnl": trader.day_pnl(), "positions": self.status()["positions"],
        }  # fmt: skip

    async def locks(self) -> list[Lock]:
        """Return which protections forbid entries now. Raises Unavailable."""
        trader = self._bot.trader
        closed, seen = trader.closed.copy(), trader.situation
        found = trader.adjustments.locks
        return await self._tier.call(found, closed, self.symbols(), seen.market_time, seen.equity)

    async def unlock(self, symbol: str, reason: str) -> None:
        """Lift the protections of a symbol, or of all ("all"). Raises BadData."""
        where = EVERYTHING if symbol == "all" else self.symbol(symbol)
        await self._adjust(self._bot.trader.adjustments.with_unlocked(where, self._now()), reason)

    def symbols(self) -> list[str]:
        """Return the symbols that are followed: those of the start, then those taken on since."""
        first = self._ground.symbols
        return [*first, *(one for one in self._bot.runtime.following.chosen if one not in first)]

    def universe(self) -> dict[str, Any]:
        """Return what the pairlists keep and why not the rest, nothing where there are none."""
        return self._bot.universe.report() if self._bot.universe is not None else {}

    def timeframes(self) -> list[str]:
        """Return the timeframes of which bars are at hand."""
        return sorted({series.timeframe for series in self._bot.parts.wanted}, key=timeframe_ms)

    def strategies(self) -> list[str]:
        """Return the strategies that are in use."""
        return self._bot.runtime.learning.strategies

    def banned(self) -> list[str]:
        """Return the symbols that take no new entries."""
        return self._bot.trader.adjustments.banned

    async def ban(self, names: Sequence[str], reason: str) -> list[str]:
        """Let no new entries into symbols, written in any way; return them. Raises BadData."""
        symbols = self.meant(names)
        await self._adjust(self._bot.trader.adjustments.with_banned(symbols, self._now()), reason)
        return symbols

    async def unban(self, names: Sequence[str], reason: str) -> list[str]:
        """Let entries into symbols again; return them. Raises BadData."""
        symbols = self.meant(names)
        await self._adjust(self._bot.trader.adjustments.without_banned(symbols, self._now()), reason)
        return symbols

    def risk(self) -> dict[str, Any]:
        """Return how much a trade may lose, and what is configured."""
        trader = self._bot.trader
        percent = trader.adjustments.limits.percent
        return {
            "percent": percent, "configured": trader.adjustments.configured_percent,
            "equity": trader.situation.equity, "money": trader.situation.equity * percent / 100,
            "max_open_trades": trader.adjustments.limits.max_open_trades,
            "daily_loss_percent": trader.adjustments.limits.daily_loss_percent,
        }  # fmt: skip

    async def set_risk(self, percent: Decimal | None, reason: str) -> None:
        """Set how much a trade may lose, in percent of the equity; None for what is configured. Raises BadData."""
        await self._adjust(self._bot.trader.adjustments.with_risk(percent, self._now()), reason)

    async def db_stats(self) -> dict[str, Any]:
        """Return every tier: its state, what it holds, what waits. Raises Unavailable."""
        return await self._tier.call(self._db_stats, self._bot.snapshot())

    def _db_stats(self, seen: dict[str, Any]) -> dict[str, Any]:
        return inspection.db_stats(self.settings, self.known(), seen)

    def known(self) -> inspection.Known:
        """Return what is known of the trades."""
        held = self._bot.parts.trades
        return inspection.Known(len(held), held.unsettled)

    def phantom_stats(self, symbol: str | None = None, strategy: str | None = None) -> dict[str, Any]:
        """Return what became of every signal. Raises BadData."""
        return self._bot.runtime.phantoms.report(symbol, strategy)

    def phantoms(self) -> Iterator[PhantomTrade]:
        """Yield the phantoms that are kept, ended and open."""
        return self._bot.runtime.phantoms.kept()

    def ml_stats(self) -> dict[str, Any]:
        """Return how each strategy's model stands."""
        return self._bot.runtime.learning.get_retrain_info()

    def judging(self) -> dict[str, Any]:
        """Return the thresholds that scores are held against."""
        ml = self.settings.ml
        return {"enabled": ml.enabled, "margin_r": ml.margin_r, "floor": ml.floor, "rule_floor": ml.rule_floor}

    async def train(self, strategy: str) -> dict[str, Any]:
        """Train a strategy's model now; return how it stands. Raises BadData, Unavailable."""
        return dict((await self._bot.operations.train(strategy))[strategy])

    async def coverage(self, symbol: str | None) -> list[dict[str, Any]]:
        """Return how complete the stored candles are. Raises BadData, Unavailable."""
        wanted = self.symbol(symbol) if symbol else None
        return await self._tier.call(inspection.coverage, self.settings, wanted)

    def config(self) -> dict[str, Any]:
        """Return the settings in force, secrets masked."""
        return settings_module.shown(self.settings)

    def logs(self, count: int) -> list[str]:
        """Return the newest lines of the log."""
        return self._recent.lines(count)

    def version(self) -> dict[str, str]:
        """Return which program this is, on what, since when."""
        up = timedelta(seconds=int((datetime.now(UTC) - self._started).total_seconds()))
        return {
            "revenant": VERSION, "python": platform.python_version(), "up": str(up),
            "database": self._ground.main.kind,
        }  # fmt: skip

    async def switch(self, state: SwitchState, reason: str) -> None:
        """Let new entries in, or stop them."""
        await self._bot.operations.switch(state, reason)

    async def force_exit(self, what: str, reason: str) -> list[ExitOutcome]:
        """Close a position at the market, or all; return what became of each."""
        return await self._bot.operations.force_exit(what, reason)

    async def reduce(self, what: str, portion: Portion, reason: str) -> list[ExitOutcome]:
        """Close a part of a position at the market; return what became of it."""
        return await self._bot.operations.reduce(what, portion, reason)

    async def panic(self, reason: str, *, foreign: bool = False) -> list[ExitOutcome]:
        """Stop trading and close everything; return what became of each position."""
        return await self._bot.operations.panic(reason, foreign=foreign)

    async def reconcile(self, since: int | None = None) -> dict[str, Any]:
        """Compare with the exchange, anew since a market time; return what was found. Raises Unavailable."""
        return await self._bot.operations.reconcile_now(since)

    async def changes(self) -> tuple[Settings, list[str], list[str]]:
        """Read the configuration anew; return it, what of it can be taken on at once, and what needs a restart.

        Raises:
            ConfigError: when it is wrong; what is in force stays.
        """
        fresh = await self._tier.call(settings_module.load)
        universe.banned(self._ground.known, fresh.trading.blacklist)
        now: list[str] = []
        later: list[str] = []
        old, new = _flat(self.settings.model_dump()), _flat(fresh.model_dump())
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                line = f"{key}: {old.get(key)} → {new.get(key)}"
                (now if key.startswith(LIVE) else later).append(line)
        return fresh, now, later

    async def reload(self, fresh: Settings, reason: str) -> None:
        """Take on what can be taken on of a new configuration; its risk counts again, whatever was said since."""
        trading = self.settings.trading.model_copy(update={"blacklist": fresh.trading.blacklist})
        telegram = self.settings.telegram.model_copy(update={"notices": fresh.telegram.notices})
        self.settings = self.settings.model_copy(update={"risk": fresh.risk, "trading": trading, "telegram": telegram})
        adjustments = self._bot.trader.adjustments
        blacklist = universe.banned(self._ground.known, self.settings.trading.blacklist)
        adjustments.configure(parts.limits(self.settings), blacklist)
        await self._adjust(adjustments.with_risk(None, self._now()), reason)
        for told in self.reloaded:
            told(self.settings)

    async def bars(self, symbol: str, timeframe: str, count: int) -> Bars:
        """Return the newest closed bars: what is at hand, else what is stored. Raises BadData, Unavailable."""
        series = Series(self.symbol(symbol), timeframe)
        held = self._bot.frames.bars(series)[-count:].copy() if series in self._bot.parts.wanted else Bars.empty()
        if len(held) >= count:
            return held
        stored = await self._tier.call(inspection.newest_bars, self.settings, series, count)
        return stored if len(stored) > len(held) else held

    async def marks(self, symbol: str, since: int) -> list[Mark]:
        """Return what was done on a symbol since a time (UTC ms). Raises Unavailable."""
        begun = datetime.fromtimestamp(since / 1000, UTC)
        ended = await self._tier.call(lambda: list(self._closed.every(begun)))
        found = charting.marks(ended, self.phantoms(), symbol, since)
        held = self._bot.trader.book.of_symbol(symbol)
        if held is not None and not held.pending:
            price = self._bot.trader.situation.prices.get(symbol, held.entry_price)
            found.append(charting.open_mark(held, price, since))
        return found

    async def chart(self, symbol: str, timeframe: str) -> bytes:
        """Return a picture of a series with what was done on it. Raises BadData, Unavailable."""
        if timeframe not in self.timeframes():
            raise BadData(f"no bars of {timeframe!r} are at hand; there are {', '.join(self.timeframes())}")
        series = Series(self.symbol(symbol), timeframe)
        bars = self._bot.frames.bars(series)[-CHART_BARS:].copy()
        rows = [(one.open_time, one.open, one.high, one.low, one.close, one.volume) for one in bars.rows()]
        marks = await self.marks(series.symbol, rows[0][0] if rows else 0)
        return await self._draw(
            Chart(f"{series.symbol} {timeframe} · {self.mode}", timeframe_ms(timeframe), rows, marks)
        )

    async def equity(self, days: int | None = None) -> bytes:
        """Return a picture of the running profit. Raises Unavailable."""
        points = [(_ms(time), float(total)) for _, time, total in (await self.curve(days)).points]
        when = f"last {days} days" if days else "all time"
        return await self._draw(Curve(f"Net profit, {when} · {self.mode}", points))

    def symbol(self, text: str) -> str:
        """Return the symbol that somebody means by BTC, btc/usdt, BTCUSDT or its whole name.

        Raises:
            BadData: when it is not followed.
        """
        return nearest(text, self.symbols())

    def meant(self, names: Sequence[str]) -> list[str]:
        """Return every symbol, followed or banned, that somebody means; names may be patterns. Raises BadData."""
        known = list(dict.fromkeys((*self.symbols(), *self.banned())))
        found = Symbols(known)
        return list(dict.fromkeys(one for name in names for one in found.matches(name) or [nearest(name, known)]))

    def _position(self, held: Position) -> dict[str, Any]:
        row = next(one for one in self.status()["positions"] if one["id"] == held.digest)
        rows = [
            (datetime.fromtimestamp(one.time / 1000, UTC), one.cause.value, one.qty, one.price, one.fee)
            for one in sorted(held.fills.values(), key=lambda one: one.time)
        ]
        return {"id": held.digest, "position": row, "fills": rows}

    async def _adjust(self, made: Any, reason: str) -> None:
        await self._bot.operations.adjust(made, reason)

    def _now(self) -> int:
        return self._bot.runtime.market_time()


def _begins(digest: str, name: str) -> bool:
    return digest.startswith(name.upper()) or ids.trade_id(digest).startswith(name.lower())


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _flat(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{path}{key}"
        if isinstance(value, dict):
            found |= _flat(value, f"{name}.")
        else:
            found[name] = value
    return found
