"""The composition root: the only module that names concrete classes and ties them together."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from broker.arming import arm
from broker.bybit import BybitBroker
from broker.client import BybitClient, Endpoint
from broker.paper import PaperBroker
from dashboard import logs
from dashboard.health import Health
from domain.candle import Series, timeframe_ms
from domain.errors import ConfigError, Rejected, Unavailable
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.finding import Finding, State
from domain.ids import Identity
from domain.source import Source
from engine import universe
from engine.protections import MINUTE_MS, Protection
from engine.recovery import CandleRecovery
from engine.reports import Reporter, snapshot
from engine.risk import RiskLimits
from engine.runtime import Parts, Runtime, Tiers
from engine.tasks import Tasks
from engine.threads import Tier
from engine.trader import Plan, Trader, TraderTerms
from engine.writer import CandleWriter
from market.feed import Feed, FeedLimits
from market.frames import Frames
from market.klines import BybitKlines
from persistence.candles import HealingCandleStorage, PostgresCandleStorage
from persistence.checkup import check_database, check_folder, check_redis
from persistence.database import Database
from persistence.journal import Journal
from persistence.trades import TradeTrackerPostgres
from sandbox.child import SandboxProcess
from sandbox.exchange import Terms
from settings import Settings, StrategyChoice
from strategies.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from domain.instrument import Instrument

log = structlog.get_logger(__name__)

STOP_S = 2.0
SUMMARY_S = 10.0
PATIENCE_S = 2.0
CLOCK_WARN_S = 0.5
STEP_GRACE_S = 60.0
ALWAYS = ("3m", "15m")


def configure_logging(settings: Settings) -> None:
    """Set logging up as the settings say."""
    logs.configure(settings.log_format, settings.log_level, settings.mode, secrets(settings))


def secrets(settings: Settings) -> list[str]:
    """Return every text that must never be shown."""
    held = [settings.bybit.api_key, settings.bybit.api_secret, settings.database_url, settings.redis_url]
    texts = [one.get_secret_value() for one in held]
    passwords = [text.partition("://")[2].rpartition("@")[0].partition(":")[2] for text in texts[2:]]
    return [text for text in (*texts, *passwords) if text]


def database(settings: Settings) -> Database:
    """Return the database: DATABASE_URL, or an SQLite file in the data folder."""
    return Database(settings.database_url.get_secret_value() or f"sqlite:///{settings.data_dir / 'revenant.sqlite'}")


def candle_storage(settings: Settings, main: Database) -> HealingCandleStorage:
    """Return the candle storage of the configured source, with a spill beside it."""
    spill = Database(f"sqlite:///{settings.data_dir / 'spill.sqlite'}")
    return HealingCandleStorage(
        PostgresCandleStorage(main, settings.source), PostgresCandleStorage(spill, settings.source)
    )


def journal_folder(settings: Settings, who: Identity) -> Path:
    """Return where the journal of an owner lies."""
    return settings.data_dir / "journal" / "-".join(who)


def tracker(main: Database, ledger: Journal | None, who: Identity, trader: Trader | None) -> TradeTrackerPostgres:
    """Return the trade tracker; periods end at the market's time, where there is a market."""

    def now() -> datetime:
        market = trader.situation.market_time if trader is not None else 0
        return datetime.fromtimestamp(market / 1000, UTC) if market else datetime.now(UTC)

    return TradeTrackerPostgres(main, ledger, who, now)


def known_owner(settings: Settings) -> Identity:
    """Return whose records a command without an exchange connection looks at: the one met last, or a guess."""
    note = settings.data_dir / f"owner-{settings.source}-{settings.mode}.json"
    account = Terms().uid if settings.source.practice else "paper"
    if note.exists():
        account = msgspec.json.decode(note.read_bytes(), type=str)
    return Identity(settings.source.value, settings.mode, account)


def plans(settings: Settings, finest_ms: int = 0) -> dict[str, Plan]:
    """Return the enabled strategies; those that need finer bars than there are, are left out with a warning.

    Raises:
        ConfigError: for an unknown strategy or parameter.
    """
    held = {}
    choices = settings.strategies or {name: StrategyChoice() for name in TABLE}
    for name, choice in choices.items():
        if name not in TABLE:
            raise ConfigError(f"strategies.{name}: no such strategy; there are {', '.join(sorted(TABLE))}")
        if not choice.enabled:
            continue
        kind = TABLE[name]
        try:
            parameters = msgspec.convert(choice.parameters, kind.Parameters)
        except msgspec.ValidationError as error:
            raise ConfigError(f"strategies.{name}.parameters: {error}") from error
        strategy = kind(parameters)
        step = timeframe_ms(strategy.timeframes[0])
        if step < finest_ms:
            log.warning("strategy left out: the candle files are too coarse for it", strategy=name)
            continue
        exits = choice.exits.model_dump()
        bars = exits.pop("timeout_bars")
        held[name] = Plan(strategy, ExitPlan(**exits, timeout_ms=bars * step))
    if not held:
        raise ConfigError("strategies: none is enabled; enable one in config.yaml")
    return held


def limits(settings: Settings) -> RiskLimits:
    """Return the risk limits in the engine's own terms."""
    risk = settings.risk
    return RiskLimits(
        percent=risk.percent, max_open_trades=risk.max_open_trades, max_exposure=risk.max_exposure,
        max_position=risk.max_position, daily_loss_percent=risk.daily_loss_percent, leverage=settings.trading.leverage,
        fee=settings.paper.taker_fee, slippage=settings.paper.slippage + settings.paper.half_spread,
        protections=tuple(
            Protection(
                one.method, one.lookback_period * MINUTE_MS, one.trade_limit, one.stop_duration * MINUTE_MS,
                one.only_per_pair, Decimal(str(one.required_profit)), Decimal(str(one.max_allowed_drawdown)),
            )
            for one in risk.protections
        ),
    )  # fmt: skip


def costs(settings: Settings) -> Costs:
    """Return the costs of simulated fills."""
    paper = settings.paper
    return Costs(paper.taker_fee, paper.maker_fee, paper.half_spread, paper.slippage)


def sandbox_process(settings: Settings) -> SandboxProcess:
    """Return the practice exchange as the settings want it."""
    held = settings.sandbox
    arguments = [
        "--speed", str(held.speed), "--seed", str(held.seed), "--symbols", str(held.symbols), "--wallet",
        str(held.wallet), "--idle-exit", str(held.idle_exit_s), *(["--step"] if held.step else []),
    ]  # fmt: skip
    for path in held.replay:
        arguments += ["--replay", path]
    return SandboxProcess(settings.data_dir / f"practice-{settings.source}", arguments)


@dataclass(slots=True)
class Venue:
    """The exchange as the bot meets it."""

    client: BybitClient
    streams: list[str]
    sandbox: SandboxProcess | None

    @property
    def base_ms(self) -> int:
        """Length of the finest bars there are, 0 when there is no limit."""
        return int(self.sandbox.status.get("base_ms", 0)) if self.sandbox else 0


async def open_venue(settings: Settings, stack: contextlib.AsyncExitStack) -> Venue:
    """Connect to the configured exchange, starting the practice exchange when that is the one."""
    if settings.source.practice:
        sandbox = sandbox_process(settings)
        address = await sandbox.start()
        stack.push_async_callback(sandbox.stop)
        terms = Terms()
        endpoint = Endpoint(address.rest, address.stream, terms.key, terms.secret, loopback=True)
        streams = [address.stream]
    else:
        sandbox, bybit = None, settings.bybit
        test = settings.source is Source.BYBIT_TESTNET
        streams = list(bybit.testnet_streams if test else bybit.streams)
        key, secret = bybit.api_key.get_secret_value(), bybit.api_secret.get_secret_value()
        endpoint = Endpoint(bybit.testnet_rest if test else bybit.rest, streams[0], key, secret)
    client = BybitClient(endpoint)
    stack.push_async_callback(client.close)
    return Venue(client, [f"{stream}/v5/public/linear" for stream in streams], sandbox)


async def live(settings: Settings) -> int:
    """Run the bot until SIGTERM or SIGINT; return the exit code."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        return await _live(settings, stack, stopping)


async def _live(settings: Settings, stack: contextlib.AsyncExitStack, stopping: asyncio.Event) -> int:
    plans(settings)
    _make_folder(settings.data_dir)
    _take_folder(settings.data_dir, stack)
    main = database(settings)
    stack.callback(main.close)
    _check_database(main)
    venue = await open_venue(settings, stack)
    exchange = BybitBroker(venue.client)
    instruments = await _patiently(exchange.instruments, stopping)
    if instruments is None:
        return 0
    symbols = symbols_of(settings, instruments)
    who = await _patiently(lambda: _owner(settings, exchange, symbols), stopping)
    if who is None:
        return 0
    bot = _assemble(settings, stack, main, venue, exchange, instruments, symbols, who)
    health = Health(
        (settings.health.host, settings.health.port),
        settings.data_dir / "health.json",
        bot.runtime.reasons,
        lambda: {"source": who.source, "mode": who.mode.upper(), "account": who.account, **bot.snapshot()},
        bot.runtime.switch,
    )
    port = await health.start()
    stack.push_async_callback(health.stop)
    address = f"http://{settings.health.host}:{port}/readyz"
    log.info(
        "starting", source=who.source, account=who.account, symbols=len(symbols), database=main.kind, health=address
    )
    async with Tasks() as tasks:
        if venue.sandbox is not None:
            tasks.start("practice exchange", venue.sandbox.watch)
        tasks.start("recovery", bot.runtime.recover_with_patience)
        code = await _trade(bot, tasks, stopping)
        log.info("stopping: no new entries; positions keep their stops on the exchange")
        await bot.runtime.stop(STOP_S)
    figures = bot.snapshot()
    log.info("stopped", **{name: figures[name] for name in ("bars", "opened", "closed", "open")})
    return code


@dataclass(frozen=True, slots=True)
class Bot:
    """The assembled bot."""

    runtime: Runtime
    trader: Trader
    writer: CandleWriter
    reporter: Reporter
    feed: Feed
    frames: Frames

    def snapshot(self) -> dict[str, Any]:
        """Return the figures of the moment, with what the feed has counted."""
        counted = {"feed": asdict(self.feed.counters), "frames": asdict(self.frames.counters)}
        return {**snapshot(self.runtime, self.trader, self.writer), **counted}


async def _owner(settings: Settings, exchange: BybitBroker, symbols: list[str]) -> Identity:
    account = "paper"
    if settings.source.practice:
        account = (await exchange.account_facts())["uid"]
    elif settings.mode == "live":
        account = await arm(exchange, settings.live_confirm, symbols, settings.trading.leverage)
    note = settings.data_dir / f"owner-{settings.source}-{settings.mode}.json"
    note.write_bytes(msgspec.json.encode(account))
    return Identity(settings.source.value, settings.mode, account)


def _assemble(
    settings: Settings,
    stack: contextlib.AsyncExitStack,
    main: Database,
    venue: Venue,
    exchange: BybitBroker,
    instruments: dict[str, Instrument],
    symbols: list[str],
    who: Identity,
) -> Bot:
    ledger = Journal(journal_folder(settings, who), who)
    stack.callback(ledger.close)
    strategy_plans = plans(settings, venue.base_ms)
    wanted = _wanted(settings, symbols, strategy_plans, venue.base_ms)
    finest = min((series.timeframe for series in wanted), key=timeframe_ms)
    frames = Frames(wanted)
    venue_ids = {symbol: instruments[symbol].venue_id for symbol in symbols}
    klines = BybitKlines(venue.client, venue_ids)
    paper = settings.mode == "paper"
    terms = TraderTerms(
        who,
        limits(settings),
        strategy_plans,
        paper=paper,
        unfilled_timeout_ms=settings.trading.unfilled_timeout_s * 1000,
        limit_entries=settings.trading.entry_order == "limit",
    )
    trader = Trader(terms, instruments, frames.bars)
    broker = _paper_broker(settings, who, finest, exchange, instruments) if paper else exchange
    tiers = Tiers(Tier("journal", 10), Tier("candles", 60), Tier("trades", 10))
    for tier in (tiers.journal, tiers.candles, tiers.trades):
        stack.callback(tier.close)
    storage = candle_storage(settings, main)
    writer = CandleWriter(
        storage,
        tiers.candles,
        lambda series: frames.bars(series).copy(),
        pending_max=settings.storage.pending_max,
        summary_s=settings.storage.summary_s,
        keep_days=settings.storage.candle_days,
    )
    reporter = Reporter()
    feed = Feed(venue.streams, venue_ids, frames, klines, _feed_limits(settings))
    parts = Parts(
        trader=trader,
        broker=broker,
        feed=feed,
        windows=frames,
        writer=writer,
        ledger=ledger,
        candles=CandleRecovery(storage, tiers.candles, klines, frames, writer.add),
        trades=tracker(main, ledger, who, trader),
        tiers=tiers,
        wanted=wanted,
        finest=finest,
        told=reporter.told,
        acknowledge=venue.sandbox.acknowledge if venue.sandbox and settings.sandbox.step else None,
    )
    return Bot(Runtime(parts), trader, writer, reporter, feed, frames)


def symbols_of(settings: Settings, instruments: Mapping[str, Instrument]) -> list[str]:
    """Return the symbols that the settings choose; raises ConfigError when none can be traded."""
    chosen = settings.trading
    return universe.choose(instruments, chosen.symbols, chosen.blacklist, chosen.top)


def _paper_broker(
    settings: Settings, who: Identity, finest: str, exchange: BybitBroker, instruments: dict[str, Instrument]
) -> PaperBroker:
    path = journal_folder(settings, who) / "paper-account.json"
    return PaperBroker(path, settings.paper.wallet, costs(settings), finest, exchange.instruments, instruments)


def _feed_limits(settings: Settings) -> FeedLimits:
    feed = settings.feed
    # a stepping market stands still until a batch is handled: then there is no reason to go on without the whole of it
    grace_s = STEP_GRACE_S if settings.sandbox.step else feed.grace_s
    return FeedLimits(stale_s=feed.stale_s, grace_s=grace_s, topics_per_connection=feed.topics_per_connection)


async def _trade(bot: Bot, tasks: Tasks, stopping: asyncio.Event) -> int:
    stop: asyncio.Future[Any] = asyncio.ensure_future(stopping.wait())
    try:
        while not bot.runtime.progress.recovered:
            done, _ = await asyncio.wait([stop, tasks.failed], timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return 0 if stop in done else 70
        bot.runtime.start(tasks)
        tasks.start("summary", lambda: bot.reporter.summarise(bot.runtime, bot.trader, bot.writer, SUMMARY_S))
        done, _ = await asyncio.wait([stop, tasks.failed], return_when=asyncio.FIRST_COMPLETED)
        if tasks.failed in done:
            log.critical(
                "a task could not be kept running: leaving, so that a fresh start can recover",
                task=tasks.failed.result(),
            )
            return 70
        return 0
    finally:
        stop.cancel()


def _wanted(settings: Settings, symbols: list[str], used: Mapping[str, Plan], base_ms: int) -> dict[Series, int]:
    needs: dict[str, int] = {name: settings.trading.history_bars for name in ALWAYS if timeframe_ms(name) >= base_ms}
    for plan in used.values():
        for timeframe, bars in plan.strategy.warmup_bars.items():
            needs[timeframe] = max(needs.get(timeframe, settings.trading.history_bars), bars + 1)
    return {Series(symbol, timeframe): bars for symbol in symbols for timeframe, bars in needs.items()}


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"data_dir: {path}: {error.strerror}; give a folder that can be written") from error


def _take_folder(path: Path, stack: contextlib.AsyncExitStack) -> None:
    # before anything else is touched: a second bot must not disturb the first one's exchange
    lock = stack.enter_context((path / "bot.lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigError(
            f"data_dir: another bot is running on {path}; stop it, or give this one its own folder"
        ) from None


def _check_database(main: Database) -> None:
    try:
        main.check()
    except Unavailable as error:
        log.warning("database unreachable: candles go to the spill, trades to the journal", reason=str(error))
    except Rejected as error:
        raise ConfigError(f"database: {error}") from error


async def _patiently(call: Any, stopping: asyncio.Event) -> Any:
    while not stopping.is_set():
        try:
            return await call()
        except Unavailable as error:
            log.warning("start waits for the exchange", reason=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await stopping.wait()
        except Rejected as error:
            raise ConfigError(f"exchange refused us: {error}") from error
    return None


async def checkup(settings: Settings, *, live_too: bool) -> list[Finding]:
    """Return what a doctor finds: folders, database, Redis, exchange, clock, and with ``live_too`` the arming."""
    findings = check_folder(settings.data_dir)
    try:
        findings += await asyncio.to_thread(lambda: check_database(database(settings)))
    except ConfigError as error:
        findings.append(Finding("database", State.FAIL, str(error)))
    findings.append(await asyncio.to_thread(check_redis, settings.redis_url.get_secret_value()))
    try:
        findings.append(Finding("strategies", State.OK, ", ".join(plans(settings))))
    except ConfigError as error:
        findings.append(Finding("strategies", State.FAIL, str(error)))
    if settings.source.practice:
        return [*findings, Finding("exchange", State.OK, "practice exchange, started with the bot")]
    return findings + await _check_exchange(settings, live_too=live_too)


async def _check_exchange(settings: Settings, *, live_too: bool) -> list[Finding]:
    async with contextlib.AsyncExitStack() as stack:
        venue = await open_venue(settings, stack)
        exchange = BybitBroker(venue.client)
        try:
            before = time.time()
            answer = await venue.client.get("v5/market/time", {})
            offset = int(answer["timeNano"]) / 1e9 - (before + time.time()) / 2
            state = State.OK if abs(offset) < CLOCK_WARN_S else State.WARN
            findings = [Finding("clock", state, f"{offset * 1000:+.0f} ms against the exchange")]
            symbols = symbols_of(settings, await exchange.instruments())
            findings.append(Finding("exchange", State.OK, f"{len(symbols)} symbols can be traded"))
            if live_too or settings.mode == "live":
                leverage = settings.trading.leverage
                uid = await arm(exchange, settings.live_confirm, symbols, leverage)
                findings.append(Finding("live", State.OK, f"armed for account {uid}"))
        except ConfigError as error:
            return [*findings, Finding("live", State.FAIL, str(error))]
        except (Unavailable, Rejected) as error:
            return [Finding("exchange", State.FAIL, str(error))]
        return findings
