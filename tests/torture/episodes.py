"""Thousands of short lives against an exchange that errs in every way, on virtual time, judged against its true books."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import structlog

from domain import reports
from domain.candle import Bar, Bars, ClosedBar, Series
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.ids import Identity
from domain.instrument import Instrument
from domain.judgement import Judgement
from domain.records import Close, Level, SwitchState, Touched
from domain.trade import Leg, Trade
from domain.trade_page import Wanted, page_of
from domain.trade_sums import TradeSums
from engine.fence import Fence
from engine.intake import FUNDING_WAIT_S
from engine.leverage import Releveraged
from engine.parts import Parts, Tiers
from engine.phantoms import Phantoms
from engine.reconciliation import Policy, ReconcileTerms
from engine.recovery import CandleReport
from engine.refusals import StopRefused
from engine.risk import RiskLimits
from engine.runtime import Runtime
from engine.tasks import Tasks
from engine.trader import Plan, Trader, TraderTerms
from engine.writer import CandleWriter
from ml.phantom_tracker import PhantomTradeTracker
from persistence.journal import Journal
from persistence.lease import Holder
from persistence.ledger import ARCHIVE_BYTES, LayeredLedger
from tests.nothing import NoTrail, no_learning
from tests.torture.churn import Churn
from tests.torture.judge import check
from tests.torture.venue import FlakyBroker, Venue
from tests.torture.virtual import VirtualLoop, run_virtually
from tests.torture.watch import Watch, spread

WHO = Identity("synthetic", "synthetic", "1")
STEP = 180_000
BAR_S = 3.0
UNOWNED_MAX_S = 5.0
"""For longer nothing on the exchange may be nobody's, whatever it does wrong."""
SYMBOLS = ("A/USDT:USDT", "B/USDT:USDT")
BEGIN = 1_800_000_000_000 - 1_800_000_000_000 % 28_800_000 + 7 * 3_600_000 + 30 * 60_000


def rules(symbol: str) -> Instrument:
    return Instrument(symbol, symbol[0] + "USDT", D("0.1"), D("0.01"), D("0.01"), D(100_000), D(5), D(50))


class Inline:
    """A tier that is called at once: threads and virtual time do not go together."""

    async def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args, **kwargs)

    async def within(self, seconds: float, function: Any, *args: Any) -> Any:
        return await self.call(function, *args)

    def close(self) -> None:
        pass


class Nobody:
    """The right to send orders, never contested."""

    def take(self) -> Holder:
        return Holder(1, "me")

    holder = take

    def renew(self, epoch: int) -> Holder:
        return Holder(epoch, "me")


class NoLatches:
    """Nothing apart from the journal."""

    def keep(self, record: Any) -> None:
        pass

    def load(self) -> list[Any]:
        return []


class Shelf:
    """Finished trades, kept by id, also over lives; one that is recorded twice is an error."""

    unsettled, complete = 0, True

    def __init__(self, ledger: LayeredLedger, held: dict[str, Trade]) -> None:
        self.ledger, self.held = ledger, held

    def load(self, journaled: Iterable[Trade] = ()) -> int:
        return len(self.held)

    def restore(self, trades: Iterable[Trade]) -> None:
        for trade in trades:
            if trade.trade_id not in self.held or self.held[trade.trade_id].version < trade.version:
                self.held[trade.trade_id] = trade

    def trades(self) -> list[Trade]:
        return sorted(self.held.values(), key=lambda trade: trade.exit_time)

    def add_trade(self, trade: Trade) -> Level:
        there = self.held.get(trade.trade_id)
        assert there is None or there.version < trade.version, f"{trade.trade_id} was recorded twice"
        self.held[trade.trade_id] = trade
        return self.ledger.append(Close(time=int(trade.exit_time.timestamp() * 1000), trade=trade)).level

    def __len__(self) -> int:
        return len(self.held)

    def every(self, since: datetime | None = None) -> Iterator[Trade]:
        return iter(reports.since(self.trades(), since))

    def sums(self, since: datetime | None = None) -> TradeSums:
        return TradeSums(self.every(since))

    def page(self, wanted: Wanted, since: datetime | None, offset: int, limit: int) -> dict[str, Any]:
        return page_of(list(self.every(since)), wanted, offset, limit)

    def named(self, begin: str) -> list[Trade]:
        return [trade for name, trade in self.held.items() if name.startswith(begin)]

    def exits(self) -> dict[str, int]:
        return {name: round(trade.exit_time.timestamp() * 1000) for name, trade in self.held.items()}

    def copies(self) -> dict[str, int]:
        return {}

    def legs(self, trade_id: str) -> list[Leg]:
        return list(self.held[trade_id].legs)

    def tiers(self) -> dict[str, Any]:
        return {}

    def start(self) -> None:
        pass

    def settle(self, seconds: float) -> int:
        return 0

    def close(self, seconds: float) -> None:
        pass


class Market:
    """Random walks, one bar for each symbol every three virtual seconds; plays feed, windows and candle recovery."""

    def __init__(self, draw: random.Random, venue: Venue) -> None:
        self.draw, self.venue = draw, venue
        self.rows: dict[str, list[Bar]] = {symbol: [] for symbol in SYMBOLS}
        self.now = BEGIN
        self.prices: dict[str, tuple[float, int]] = {}
        for _ in range(8):
            self.step()

    def step(self) -> list[ClosedBar]:
        batch = []
        for symbol, rows in self.rows.items():
            start = rows[-1].close / float(self.venue.ratios.pop(symbol, 1)) if rows else 100.0
            moves = [start * (1 + self.draw.gauss(0, 0.0015)) for _ in range(3)]
            path = [round(one, 1) for one in (start, *moves)]
            bar = Bar(self.now, path[0], max(path), min(path), path[-1], 20_000.0, 2_000_000.0)
            rows.append(bar)
            self.venue.bar(symbol, bar, self.now + STEP)
            batch.append(ClosedBar(Series(symbol, "3m"), bar))
        self.now += STEP
        return batch

    def bars(self, series: Series) -> Bars:
        return Bars.of(self.rows[series.symbol])

    def seed(self, series: Series, bars: Bars) -> None:
        pass

    def follow(self, series: Any) -> None:
        pass

    def stale(self) -> list[Series]:
        return []

    def connected(self) -> bool:
        return True

    def refused(self) -> dict[Series, str]:
        return {}

    async def run(self, deliver: Any) -> None:
        self.deliver = deliver
        await asyncio.Event().wait()


class Candles:
    """Candle recovery that finds everything in place."""

    async def run(self, wanted: Any) -> CandleReport:
        return CandleReport()


class Storage:
    waiting = False

    def save_all_frames(self, frames: Any) -> int:
        return len(frames)

    def drain(self) -> int:
        return 0

    def get_stats(self) -> dict[str, Any]:
        return {"total_candles": 0, "symbols": 0, "db_size_mb": 0, "database_type": "none"}

    def cleanup_old_candles(self, days: int) -> int:
        return 0


class Told:
    """What people are told of hands and refusals, with its kind."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Touched | Releveraged | StopRefused]] = []

    def __call__(self, kind: str, what: object) -> None:
        if isinstance(what, Touched | Releveraged | StopRefused):
            self.events.append((kind, what))

    def of(self, kind: str) -> list[Any]:
        """Return what was told of a kind, oldest first."""
        return [what for one, what in self.events if one == kind]


class Life:
    """One life of the bot; with ``archives`` its start puts the journal of the earlier ones away."""

    def __init__(
        self, folder: Path, venue: Venue, market: Market, held: dict[str, Trade], *, archives: bool = False,
        limited: bool = False, shelf: type[Shelf] = Shelf,
    ) -> None:  # fmt: skip
        self.journal = Journal(folder, WHO, reserve_bytes=1)
        ledger = LayeredLedger(self.journal, archive_bytes=1 if archives else ARCHIVE_BYTES)
        self.trades = shelf(ledger, held)
        limits = RiskLimits(D("0.1"), 5, D(10), D(10), D(99), D(5), D("0.0006"), D(0))
        plan = Plan(Churn(Churn.Parameters(reach=0.004)), ExitPlan(partial_r=0.5, timeout_ms=4 * STEP))
        terms = TraderTerms(
            WHO, limits, {"churn": plan}, paper=False, unfilled_timeout_ms=2 * STEP, limit_entries=limited
        )
        self.trader = Trader(terms, {symbol: rules(symbol) for symbol in SYMBOLS}, market.bars)
        known = {symbol: rules(symbol) for symbol in SYMBOLS}
        self.tracker = PhantomTradeTracker(WHO, {"churn": plan.exits}, known.get, Costs())
        self.trail, self.told = NoTrail(), Told()
        phantoms = Phantoms(self.tracker, lambda _: Judgement(features={"nothing": 1.0}), self.trail)
        tier: Any = Inline()
        wanted = {Series(symbol, "3m"): 100 for symbol in SYMBOLS}
        parts = Parts(
            trader=self.trader, broker=FlakyBroker(venue), feed=market, candles=Candles(), windows=market,
            writer=CandleWriter(Storage(), tier, market.bars, pending_max=10_000, summary_s=1e9), ledger=ledger,
            trades=self.trades, tiers=Tiers(*(tier,) * 6), wanted=wanted, finest="3m",
            fence=Fence(Nobody(), tier), latches=NoLatches(), phantoms=phantoms, learning=no_learning(tier),
            reconcile=ReconcileTerms(Policy.IGNORE, D("0.05"), "3m"), told=self.told,
        )  # fmt: skip
        self.runtime = Runtime(parts)

    def seed(self, seed: int) -> None:
        """Have everything that spreads its requests do so in the same way each time."""
        runtime = self.runtime
        spread = (
            runtime.orders,
            runtime.exits,
            runtime.rounds,
            runtime.lookout,
            runtime.lists,
            runtime.reconciler.guard,
        )
        for one in spread:
            one._jitter.seed(seed)


async def episode(loop: VirtualLoop, seed: int, folder: Path, watch: Watch) -> dict[str, int]:
    """Live through some bars with faults and deaths; then let everything calm down and compare the books."""
    draw = random.Random(seed)
    venue = Venue(draw, {symbol: rules(symbol) for symbol in SYMBOLS}, trouble=draw.choice([0.0, 0.02, 0.05, 0.1]))
    market = Market(draw, venue)
    lives, bars, handy = draw.randint(1, 3), 0, draw.random() < 0.4
    held: dict[str, Trade] = {}
    limited = draw.random() < 0.4
    all_lives = [Life(folder, venue, market, held, limited=limited)]
    for number in range(lives):
        last = number == lives - 1
        if number:
            all_lives.append(Life(folder, venue, market, held, archives=draw.random() < 0.5, limited=limited))
        life = all_lives[-1]
        life.seed(seed)
        async with Tasks() as tasks:
            tasks._jitter.seed(seed)
            await life.runtime.recover_with_patience()
            life.runtime.start(tasks)
            tasks.start("watch", lambda life=life: watch.run(life, venue))  # type: ignore[misc]
            for _ in range(draw.randint(3, 10)):
                bars += 1
                await life.runtime._events.put(market.step())
                await asyncio.sleep(BAR_S * draw.random() if not last else BAR_S)
                if handy and draw.random() < 0.3:
                    venue.hand.act()
                if draw.random() < 0.02:
                    loop.jump(draw.choice([30.0, 3600.0]))
            if last:
                await calm_down(life, venue, market)
                check(all_lives, venue, market)
        life.journal.close()
        # while nobody lives, the market moves on
        for _ in range(draw.randint(0, 3) if not last else 0):
            market.step()
    return {
        "lives": lives,
        "bars": bars,
        "trades": len(life.trades.held),
        "adopted": life.runtime.reconciler.found.adopted,
        "deeds": venue.hand.deeds,
    }


async def calm_down(life: Life, venue: Venue, market: Market) -> None:
    """No more faults; no more entries; sixty virtual seconds for everything to be found out."""
    venue.trouble = 0.0
    life.trader.situation.switch = SwitchState.STOPPED
    for number in range(20):
        # a few more bars, for entries that rest to be withdrawn in time
        await life.runtime._events.put(market.step() if number < 5 else [])
        await asyncio.sleep(BAR_S)
    await life.runtime.catch_up()
    await life.runtime.reconciler.compare()
    if life.runtime.reconciler.locked():
        # what no execution explains, its operator settles by the command that the note names
        await life.runtime.rebuild(BEGIN)
        await asyncio.sleep(FUNDING_WAIT_S + BAR_S)
    await asyncio.sleep(BAR_S)
    await life.runtime.orders.settled()
    life.runtime._nudged.set()
    await asyncio.sleep(15)
    await life.runtime.settle(1)


def run(count: int, seed: int, told: Any = None) -> dict[str, Any]:
    """Live through so many episodes; return the figures, with the seeds that failed.

    They are clean when no book differs in the end. Those in which something was nobody's for more than UNOWNED_MAX_S are
    told under ``slow``.
    """
    unexpected: list[str] = []

    def listen(_: Any, __: str, event: Any) -> Any:
        if event.get("exc_info"):
            unexpected.append(traceback.format_exc())
        raise structlog.DropEvent

    structlog.configure(processors=[listen], cache_logger_on_first_use=False)
    watch = Watch()
    slow: list[tuple[int, float]] = []
    began, failed, totals = time.monotonic(), [], {"lives": 0, "bars": 0, "trades": 0, "adopted": 0, "deeds": 0}
    base = Path(tempfile.mkdtemp(prefix="revenant-episodes-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        for number in range(seed, seed + count):
            folder, before = base / str(number), len(watch.unowned)
            try:
                figures = run_virtually(lambda loop, n=number, f=folder: episode(loop, n, f, watch))
                assert not unexpected, unexpected.pop()
                totals = {name: totals[name] + figures[name] for name in totals}
            except Exception as error:
                unexpected.clear()
                failed.append((number, f"{error!r} at {traceback.extract_tb(error.__traceback__)[-1].lineno}"[:300]))
                if len(failed) <= 3:
                    traceback.print_exc()
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            slow += [(number, one) for one in watch.unowned[before:] if one > UNOWNED_MAX_S]
            if told is not None:
                told(number - seed + 1)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return {
        "seed": seed, "episodes": count, **totals, "failed": len(failed), "seeds": failed[:10],
        "slow": slow[:10], "clean": not failed,
        "unowned_s": spread(watch.unowned), "naked_s": spread(watch.naked), "passed_s": spread(watch.passed),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
