"""Puts the bot together."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import socket
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from bootstrap.learning import judge_of, school
from bootstrap.parts import (
    InUse,
    Venue,
    candle_storage,
    check_scopes,
    costs,
    database,
    exchange_of,
    in_use,
    journal_folder,
    keep_rules,
    keyvalue,
    ledger_of,
    limits,
    open_venue,
    owner_note,
    paper_account,
    phantom_state,
    phantom_tracker,
    phantom_trail,
    state_database,
    symbols_of,
    tracker,
    windows,
    with_others,
)
from bootstrap.polled import PolledMarket
from bootstrap.universe import first, followed, klines_of, selection_of
from broker.bybit import public_messages
from broker.bybit.api_key import KeyWatch
from broker.bybit.klines import BybitKlines
from broker.bybit.preflight import arm
from broker.paper import PaperBroker
from domain.candle import Series, timeframe_ms
from domain.durations import HOUR_MS
from domain.errors import ConfigError, OutcomeUnknown, Rejected, Unavailable
from domain.ids import Identity
from domain.retention import BOT_TIMEFRAMES
from engine import admission, universe
from engine.delivery import DeliveryTerms
from engine.fence import Fence
from engine.learning import Learning
from engine.operations import Operations
from engine.parts import Parts, Tiers
from engine.phantoms import Phantoms
from engine.reconciliation import Policy, ReconcileTerms
from engine.recovery import CandleRecovery
from engine.reports import Reporter, pulse, snapshot
from engine.runtime import Runtime
from engine.schedule import Schedule
from engine.selection import SelectionWatch, outside
from engine.threads import Tier, beside
from engine.trader import Plan, Trader, TraderTerms
from engine.watchdog import Watchdog
from engine.writer import CandleWriter
from history.jobs import BACKUP, JOBS
from market.feed import Feed
from market.frames import Frames
from market.limits import FeedLimits
from market.polling import PollingFeed, PollLimits
from persistence.backup_file import written
from persistence.files import AtomicFile, durable_folder, make_private, refused
from persistence.healing_candles import HealingCandleStorage
from persistence.latches import Latches
from persistence.lease import Lease
from processes.job_process import JobProcess, job_book
from processes.trainer import TrainingProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from broker.bybit import BybitBroker
    from broker.bybit.rest import BybitClient
    from domain.instrument import Instrument
    from domain.ports import Broker, Klines
    from domain.schedule import Job
    from engine.selection import Selection, Universe
    from ml.judge import Judge
    from ml.school import School
    from persistence.database import Database
    from persistence.state import State
    from settings import Settings

log = structlog.get_logger(__name__)

PATIENCE_S = 2.0
STEP_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Ground:
    """What the bot stands on: its folder (held), database, exchange, and whose account it is."""

    settings: Settings
    stack: contextlib.AsyncExitStack
    main: Database
    venue: Venue
    exchange: BybitBroker | PolledMarket
    instruments: dict[str, Instrument]
    symbols: list[str]
    who: Identity
    known: Mapping[str, Instrument]
    selection: Selection | None = None
    universe: Universe | None = None

    @property
    def blacklist(self) -> list[str]:
        """The symbols of the configured blacklist. Raises ConfigError."""
        return universe.banned(self.known, self.settings.trading.blacklist)


@dataclass(frozen=True, slots=True)
class Bot:
    """The assembled bot."""

    runtime: Runtime
    trader: Trader
    writer: CandleWriter
    reporter: Reporter
    feed: Feed | PollingFeed
    frames: Frames
    schedule: Schedule
    watchdog: Watchdog
    operations: Operations
    parts: Parts
    client: BybitClient | None
    key: KeyWatch | None
    universe: SelectionWatch | None

    def snapshot(self) -> dict[str, Any]:
        """Return the figures of the moment, with what the feed has counted."""
        return {**snapshot(self.runtime, self.trader, self.writer), **self._counted()}

    def pulse(self) -> dict[str, Any]:
        """Return the figures of the moment, as far as they can be had every second."""
        ages = [(*series, age) for series, age in self.feed.ages().items()]
        return {**pulse(self.runtime, self.trader, self.writer), **self._counted(), "feed_ages": ages}

    def _counted(self) -> dict[str, Any]:
        asked = dict(self.client.counts) if self.client is not None else {}
        return {"feed": asdict(self.feed.counters), "frames": asdict(self.frames.counters), "requests": asked,
                "key_days": self.key.days() if self.key is not None else None}  # fmt: skip


async def stand(settings: Settings, stack: contextlib.AsyncExitStack, stopping: asyncio.Event) -> Ground | None:
    """Take the folder and connect to everything; None when told to stop before the exchange has answered.

    Raises:
        ConfigError: when the operator has to change something first.
    """
    make_folder(settings.data_dir)
    take_folder(settings.data_dir, stack)
    main = database(settings)
    stack.callback(main.close)
    if not await _check_database(main, stopping):
        return None
    venue = await open_venue(settings, stack)
    client = venue.client
    exchange = exchange_of(client) if client is not None else PolledMarket(venue.source, settings.trading.symbols)
    instruments = await _patiently(exchange.instruments, stopping)
    if instruments is None:
        return None
    known = keep_rules(settings, instruments)
    symbols = symbols_of(settings, instruments, known)
    selection, chosen = selection_of(settings, venue, instruments, known), None
    if selection is not None:
        chosen = await _patiently(functools.partial(first, selection, instruments), stopping)
        if chosen is None:
            return None
        symbols = followed(selection, chosen, instruments, settings.trading.top)
    if not isinstance(exchange, PolledMarket):
        instruments |= await exchange.learn_tiers(symbols)
        known = keep_rules(settings, instruments)
    who = await _patiently(lambda: _owner(settings, exchange, symbols), stopping)
    if who is None:
        return None
    return Ground(settings, stack, main, venue, exchange, instruments, symbols, who, known, selection, chosen)


def assemble(ground: Ground) -> Bot:
    """Tie all parts together; what has to be closed is left to the ground's stack."""
    settings, stack, venue, who = ground.settings, ground.stack, ground.venue, ground.who
    owner_note(settings).write_bytes(msgspec.json.encode(who.account))
    redis = keyvalue(settings)
    if redis is not None:
        stack.callback(redis.close)
    journal, ledger = ledger_of(settings, who, ground.main, redis)
    stack.callback(journal.close)
    used, others = _strategies(ground)
    looked_at = frozenset(others.values()).difference(ground.symbols)
    wanted = _wanted(settings, [*ground.symbols, *sorted(looked_at)], used.plans, venue.base_ms)
    finest = min((series.timeframe for series in wanted), key=timeframe_ms)
    frames = _frames(ground, wanted)
    # phantoms of symbols that are followed no more are still to be shown their bars
    klines = klines_of(ground.venue, ground.instruments)
    judge = judge_of(settings, used.plans, frames.bars, wanted)
    trader = Trader(_terms(ground, used, others, klines), ground.instruments, frames.bars, judge)
    tiers = _tiers(stack)
    state = state_database(settings)
    stack.callback(state.close)
    fence = Fence(Lease(ground.main, who, f"{socket.gethostname()}:{os.getpid()}"), tiers.lease)
    if venue.client is not None:
        venue.client.guard = fence.check
    storage = candle_storage(settings, ground.main)
    writer = _writer(settings, storage, tiers.candles, frames)
    reporter, watchdog = Reporter(), Watchdog(settings.health.watchdog_s)
    feed = _feed(ground, frames, klines)
    phantoms = _phantoms(ground, used.plans, trader, judge, phantom_state(settings, who, redis, state))
    parts = Parts(
        trader=trader,
        broker=_broker(ground, finest),
        feed=feed,
        windows=frames,
        writer=writer,
        ledger=ledger,
        candles=CandleRecovery(storage, tiers.candles, klines, frames, writer.add),
        trades=tracker(settings, ground.main, ledger, who, trader, redis),
        tiers=tiers,
        wanted=wanted,
        looked_at=looked_at,
        finest=finest,
        fence=fence,
        latches=Latches(ground.main, who),
        phantoms=phantoms,
        learning=_learning(
            settings, school(settings, used.plans, judge, ground.main, state, redis), tiers.learning, phantoms
        ),
        delivery=_delivery_terms(settings),
        reconcile=_reconcile_terms(settings, finest),
        told=reporter.told,
        refused=feed.refused,
        acknowledge=venue.sandbox.acknowledge if venue.sandbox and settings.sandbox.step else None,
    )
    runtime = Runtime(parts)
    schedule = Schedule(_regular(settings), job_book(ground.main), tiers.learning, JobProcess(reporter.told))
    hands, key = Operations(runtime, trader), _key(ground)
    return Bot(runtime, trader, writer, reporter, feed, frames, schedule, watchdog, hands, parts, venue.client, key,
               _universe(ground, parts))  # fmt: skip


def _universe(ground: Ground, parts: Parts) -> SelectionWatch | None:
    """Return what keeps the symbols up to date: nothing where no pairlists choose them."""
    if ground.selection is None or ground.universe is None:
        return None
    exchange, trader = ground.exchange, parts.trader
    trader.situation.outside = outside(ground.universe, ground.symbols)

    async def learn(symbols: Sequence[str]) -> None:
        if not isinstance(exchange, PolledMarket):
            ground.instruments.update(await exchange.learn_tiers(symbols))

    return SelectionWatch(ground.selection, ground.universe, trader, parts.broker.instruments, learn)


def _learning(settings: Settings, models: School, tier: Tier, phantoms: Phantoms) -> Learning:
    return Learning(
        models,
        tier,
        TrainingProcess(settings.ml.train_s),
        every=settings.ml.retrain_every,
        enabled=settings.ml.enabled,
        ended=lambda: phantoms.ended,
    )


def _key(ground: Ground) -> KeyWatch | None:
    """Return what watches the key: nothing where none is used."""
    used = ground.settings.source.practice or ground.settings.mode == "live"
    return KeyWatch(ground.exchange.account_facts) if used and not isinstance(ground.exchange, PolledMarket) else None


def _phantoms(ground: Ground, used: Mapping[str, Plan], trader: Trader, judge: Judge, state: State) -> Phantoms:
    settings, who = ground.settings, ground.who
    trail = phantom_trail(settings, who, ground.main, state, used, ground.instruments)
    tracker = phantom_tracker(settings, who, used, trader.rules, trader.decisions)
    return Phantoms(tracker, judge, trail)


def _strategies(ground: Ground) -> tuple[InUse, dict[str, str]]:
    """Return the strategies in use, and what the symbols are called that they look at. Raises ConfigError."""
    used, others = with_others(in_use(ground.settings, ground.venue.base_ms), ground.instruments)
    check_scopes(used.plans, {**ground.known, **ground.instruments}, ground.symbols)
    return used, others


def _terms(ground: Ground, used: InUse, others: Mapping[str, str], klines: Klines) -> TraderTerms:
    settings = ground.settings
    return TraderTerms(
        ground.who,
        limits(settings),
        used.plans,
        paper=settings.mode == "paper",
        unfilled_timeout_ms=settings.trading.unfilled_timeout_s * 1000,
        limit_entries=settings.trading.entry_order == "limit",
        completeness_min=settings.history.completeness_min,
        resting=klines.resting,
        blacklist=frozenset(ground.blacklist),
        admission=functools.partial(admission.refusal, allow=settings.trading.allow),
        unloaded=used.unloaded,
        step_s=settings.health.strategy_s,
        others=others,
    )


def _regular(settings: Settings) -> tuple[Job, ...]:
    return (*(JOBS if settings.history.jobs else ()), *((BACKUP,) if settings.backup.daily else ()))


def _tiers(stack: contextlib.AsyncExitStack) -> Tiers:
    tiers = Tiers(
        Tier("journal", 3), Tier("candles", 60), Tier("trades", 10), Tier("lease", 2), Tier("phantoms", 10),
        Tier("learning", 10), Tier("refuges", 10),
    )  # fmt: skip
    for tier in tiers.all():
        stack.callback(tier.close)
    return tiers


def _writer(settings: Settings, storage: HealingCandleStorage, tier: Tier, frames: Frames) -> CandleWriter:
    return CandleWriter(
        storage,
        tier,
        lambda series: frames.bars(series).copy(),
        pending_max=settings.storage.pending_max,
        summary_s=settings.storage.summary_s,
        keep_days=settings.storage.candle_days,
    )


def _reconcile_terms(settings: Settings, finest: str) -> ReconcileTerms:
    trading = settings.trading
    return ReconcileTerms(
        Policy(trading.unknown_positions), trading.protect_percent / 100, finest, paper=settings.mode == "paper"
    )


def _delivery_terms(settings: Settings) -> DeliveryTerms:
    trading = settings.trading
    return DeliveryTerms(trading.before_delivery == "close", int(trading.before_delivery_h * HOUR_MS))


async def _owner(settings: Settings, exchange: BybitBroker | PolledMarket, symbols: list[str]) -> Identity:
    if isinstance(exchange, PolledMarket):
        return Identity(settings.source.value, settings.mode, paper_account(settings))
    account = paper_account(settings)
    if settings.source.practice:
        account = (await exchange.account_facts())["uid"]
    elif settings.mode == "live":
        account = await arm(exchange, settings.live_confirm, symbols, settings.trading.leverage)
    return Identity(settings.source.value, settings.mode, account)


def _frames(ground: Ground, wanted: Mapping[Series, int]) -> Frames:
    client = ground.venue.client
    listed = {symbol: rules.listed_at for symbol, rules in ground.known.items()}
    if client is None or not client.endpoint.rest.startswith("https:"):
        # the market of a practice exchange may go any number of times faster than clocks
        return Frames(wanted, now=lambda: int(time.time() * 1000), listed=listed)
    return Frames(wanted, HOUR_MS, client.clock_ms, listed)


def _feed(ground: Ground, frames: Frames, klines: Klines) -> Feed | PollingFeed:
    feed = ground.settings.feed
    if ground.venue.client is None:
        return PollingFeed(frames, klines, PollLimits(stale_s=feed.stale_s, grace_s=feed.grace_s))
    assert isinstance(klines, BybitKlines)
    venue_ids = {symbol: rules.venue_id for symbol, rules in ground.instruments.items()}
    return Feed(ground.venue.streams, venue_ids, frames, klines, _feed_limits(ground.settings), public_messages)


def _broker(ground: Ground, finest: str) -> Broker:
    if ground.settings.mode == "paper":
        return _paper_broker(ground, finest)
    assert not isinstance(ground.exchange, PolledMarket)
    return ground.exchange


def _paper_broker(ground: Ground, finest: str) -> PaperBroker:
    settings = ground.settings
    file = AtomicFile(journal_folder(settings, ground.who) / "paper-account.json")
    return PaperBroker(
        file, f"paper:{file.path.parent.name}", settings.paper.wallet, costs(settings), finest,
        ground.exchange.instruments, ground.instruments, slices=settings.paper.slices,
    )  # fmt: skip


def _feed_limits(settings: Settings) -> FeedLimits:
    feed = settings.feed
    # a stepping market stands still until a batch is handled: then there is no reason to go on without the whole of it
    grace_s = STEP_GRACE_S if settings.sandbox.step else feed.grace_s
    return FeedLimits(stale_s=feed.stale_s, grace_s=grace_s, topics_per_connection=feed.topics_per_connection)


def _wanted(settings: Settings, symbols: list[str], used: Mapping[str, Plan], base_ms: int) -> dict[Series, int]:
    needs = windows(settings, used, [name for name in BOT_TIMEFRAMES if timeframe_ms(name) >= base_ms])
    return {Series(symbol, timeframe): bars for symbol in symbols for timeframe, bars in needs.items()}


def make_folder(path: Path) -> None:
    """Make a data folder. Raises ConfigError or Unavailable when it cannot be written, for good or for now."""
    try:
        durable_folder(path)
        probe = path / ".writable"
        probe.write_text("")
        probe.unlink()
        make_private(path, lambda name: written(f"data/{name}"))
    except OSError as error:
        raise refused(f"data_dir: {path}", path, error, "give a folder that can be written") from error


def take_folder(path: Path, stack: contextlib.ExitStack | contextlib.AsyncExitStack) -> None:
    """Hold a data folder until the stack is left, before anything else in it is touched.

    Raises:
        ConfigError: when somebody else holds it, or it is not ours to hold.
        Unavailable: when the disk does not let us, for now.
    """
    held = path / "bot.lock"
    try:
        lock = stack.enter_context(held.open("a+"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
    except BlockingIOError:
        raise ConfigError(
            f"data_dir: another bot is running on {path}; stop it, or give this one its own folder"
        ) from None
    except OSError as error:
        raise refused(f"data_dir: {held}", held, error, "give a folder that can be written") from error


async def _check_database(main: Database, stopping: asyncio.Event) -> bool:
    """Connect, and bring the schema up to date; False when told to stop before that was done."""
    checking, stop = beside(main.check), asyncio.ensure_future(stopping.wait())
    waited: set[asyncio.Future[Any]] = {checking, stop}
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not checking.done():
            # whatever it waits for, the next start does it
            checking.cancel()
            return False
        checking.result()
    except Unavailable as error:
        log.warning("database unreachable: candles go to the spill, trades to the journal", reason=str(error))
    except Rejected as error:
        raise ConfigError(f"database: {error}") from error
    finally:
        stop.cancel()
    return True


async def _patiently(call: Any, stopping: asyncio.Event) -> Any:
    said = ""
    while not stopping.is_set():
        try:
            return await call()
        except (Unavailable, OutcomeUnknown) as error:
            # an address may be shut out for ten minutes: that is said once
            if said != str(error):
                log.warning("start waits for the exchange", reason=str(error))
            said = str(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await stopping.wait()
        except Rejected as error:
            raise ConfigError(f"exchange refused us: {error}") from error
    return None
