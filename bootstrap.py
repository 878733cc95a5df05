"""The composition root: the only module that names concrete classes and ties them together."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

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
from strategies import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from domain.instrument import Instrument
    from settings import Settings

log = structlog.get_logger(__name__)

STOP_S = 2.0
SUMMARY_S = 10.0
PATIENCE_S = 2.0
CLOCK_WARN_S = 0.5
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
    choices = settings.strategies or {name: None for name in TABLE}
    for name, choice in choices.items():
        if name not in TABLE:
            raise ConfigError(f"strategies.{name}: no such strategy; there are {', '.join(sorted(TABLE))}")
        if choice is not None and not choice.enabled:
            continue
        kind = TABLE[name]
        try:
            parameters = msgspec.convert(choice.parameters if choice else {}, kind.Parameters)
        except msgspec.ValidationError as error:
            raise ConfigError(f"strategies.{name}.parameters: {error}") from error
        strategy = kind(parameters)
        step = timeframe_ms(strategy.timeframes[0])
        if step < finest_ms:
            log.warning("strategy left out: the candle files are too coarse for it", strategy=name)
            continue
        exits = choice.exits.model_dump() if choice else {}
        bars = exits.pop("timeout_bars", 0)
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


def choose_symbols(settings: Settings, instruments: Mapping[str, Instrument]) -> list[str]:
    """Return the symbols to trade: those listed, or the ones with the most turnover, less the blacklist.

    Raises:
        ConfigError: when none is left.
    """
    by_venue_id = {held.venue_id: held.symbol for held in instruments.values()}
    blacklist = {by_venue_id.get(name, name) for name in settings.trading.blacklist}
    if settings.trading.symbols:
        chosen = []
        for name in settings.trading.symbols:
            symbol = by_venue_id.get(name, name)
            if symbol not in instruments:
                log.error("symbol left out: the exchange has none of that name", symbol=name, way_out="trading.symbols")
            elif not instruments[symbol].trading:
                log.error("symbol left out: the exchange does not trade it any more", symbol=name)
            elif symbol not in blacklist:
                chosen.append(symbol)
    else:
        ranked = sorted(instruments.values(), key=lambda held: (-held.turnover_24h, held.symbol))
        chosen = [held.symbol for held in ranked if held.trading and held.symbol not in blacklist]
        chosen = chosen[: settings.trading.top]
    if not chosen:
        raise ConfigError("trading.symbols: none of them can be traded; list symbols such as BTC/USDT:USDT, or set top")
    return list(dict.fromkeys(chosen))


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


async def arm(settings: Settings, broker: BybitBroker, symbols: list[str]) -> str:
    """Check that live trading is meant and safe, and return the account's uid.

    Raises:
        ConfigError: naming everything that stands against it.
    """
    facts = await broker.account_facts()
    against = []
    if settings.live_confirm != facts["uid"]:
        against.append("LIVE_CONFIRM is not the account's uid: set it to the uid to say that real money is meant")
    if any("withdraw" in str(right).lower() for rights in facts["permissions"].values() for right in rights):
        against.append("the API key may withdraw: make one that may trade only")
    if facts["read_only"]:
        against.append("the API key is read-only: it cannot trade")
    if not facts["permissions"].get("ContractTrade"):
        against.append("the API key lacks the contract trading right")
    if facts["margin_mode"] not in {"REGULAR_MARGIN", "ISOLATED_MARGIN"}:
        against.append(f"margin mode is {facts['margin_mode']}: set cross (REGULAR) or ISOLATED margin")
    if not against:
        for symbol in symbols:
            await broker.set_leverage(symbol, settings.trading.leverage)
        for symbol, (index, leverage) in (await broker.position_modes(symbols)).items():
            if index:
                against.append(f"{symbol} is in hedge mode: switch the account to one-way mode")
            elif leverage != settings.trading.leverage:
                against.append(f"{symbol} reads back leverage {leverage}, wanted {settings.trading.leverage}")
    if against:
        raise ConfigError("live trading is not armed:\n  - " + "\n  - ".join(against))
    return str(facts["uid"])


async def live(settings: Settings) -> int:
    """Run the bot until SIGTERM or SIGINT; return the exit code."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        return await _live(settings, stack, stopping)


async def _live(settings: Settings, stack: contextlib.AsyncExitStack, stopping: asyncio.Event) -> int:
    strategy_plans = plans(settings)
    _make_folder(settings.data_dir)
    main = database(settings)
    stack.callback(main.close)
    _check_database(main)
    venue = await open_venue(settings, stack)
    exchange = BybitBroker(venue.client)
    instruments = await _patiently(exchange.instruments, stopping)
    if instruments is None:
        return 0
    symbols = choose_symbols(settings, instruments)
    base_ms = int(venue.sandbox.status.get("base_ms", 0)) if venue.sandbox else 0
    if base_ms > timeframe_ms(ALWAYS[0]):
        strategy_plans = plans(settings, base_ms)
    account = "paper"
    if settings.source.practice:
        account = (await exchange.account_facts())["uid"]
    elif settings.mode == "live":
        account = await arm(settings, exchange, symbols)
    who = Identity(settings.source.value, settings.mode, account)
    note = settings.data_dir / f"owner-{settings.source}-{settings.mode}.json"
    note.write_bytes(msgspec.json.encode(account))
    ledger = Journal(journal_folder(settings, who), who)
    stack.callback(ledger.close)

    wanted = _wanted(settings, symbols, strategy_plans, base_ms)
    frames = Frames(wanted)
    venue_ids = {symbol: instruments[symbol].venue_id for symbol in symbols}
    klines = BybitKlines(venue.client, venue_ids)
    feed_limits = FeedLimits(
        stale_s=settings.feed.stale_s, grace_s=settings.feed.grace_s,
        topics_per_connection=settings.feed.topics_per_connection,
    )  # fmt: skip
    feed = Feed(venue.streams, venue_ids, frames, klines, feed_limits)
    paper = settings.mode == "paper"
    terms = TraderTerms(
        who, limits(settings), strategy_plans, paper=paper, unfilled_timeout_ms=settings.trading.unfilled_timeout_s * 1000
    )
    trader = Trader(terms, instruments, frames.bars)
    finest = min((series.timeframe for series in wanted), key=timeframe_ms)
    broker: Any = exchange
    if paper:
        broker = PaperBroker(
            paper_account_file(settings, who), settings.paper.wallet, costs(settings), finest, exchange.instruments
        )
        await broker.instruments()
    tiers = Tiers(Tier("journal", 10), Tier("candles", 60), Tier("trades", 10))
    for tier in (tiers.journal, tiers.candles, tiers.trades):
        stack.callback(tier.close)
    storage = candle_storage(settings, main)
    writer = CandleWriter(
        storage, tiers.candles, lambda series: frames.bars(series).copy(), pending_max=settings.storage.pending_max,
        summary_s=settings.storage.summary_s,
    )  # fmt: skip
    reporter = Reporter()
    parts = Parts(
        trader=trader, broker=broker, feed=feed, klines=klines, windows=frames, writer=writer, ledger=ledger,
        candles=CandleRecovery(storage, tiers.candles, klines, frames, writer.add),
        trades=tracker(main, ledger, who, trader), tiers=tiers, wanted=wanted, finest=finest, told=reporter.told,
        acknowledge=venue.sandbox.acknowledge if venue.sandbox and settings.sandbox.step else None,
    )  # fmt: skip
    runtime = Runtime(parts)
    health = Health(
        settings.health.host, settings.health.port, settings.data_dir / "health.json", runtime.reasons,
        lambda: {**snapshot(runtime, trader, writer), "source": who.source, "mode": who.mode.upper(), "account": who.account},
    )  # fmt: skip
    port = await health.start()
    stack.push_async_callback(health.stop)
    log.info(
        "starting", source=who.source, account=who.account, symbols=len(symbols), database=main.kind,
        strategies=",".join(strategy_plans), health=f"http://{settings.health.host}:{port}/readyz",
    )  # fmt: skip
    async with Tasks() as tasks:
        if venue.sandbox is not None:
            tasks.start("practice exchange", venue.sandbox.watch)
        tasks.start("recovery", runtime.recover_with_patience)
        code = await _trade(runtime, tasks, stopping, lambda: reporter.summarise(runtime, trader, writer, SUMMARY_S))
        log.info("stopping: no new entries; positions keep their stops on the exchange")
        await runtime.stop(STOP_S)
    log.info("stopped", **{name: snapshot(runtime, trader, writer)[name] for name in ("bars", "opened", "closed", "open")})
    return code


async def _trade(runtime: Runtime, tasks: Tasks, stopping: asyncio.Event, summarise: Any) -> int:
    stop = asyncio.ensure_future(stopping.wait())
    try:
        while not runtime.progress.recovered:
            done, _ = await asyncio.wait({stop, tasks.failed}, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return 0 if stop in done else 70
        runtime.start(tasks)
        tasks.start("summary", summarise)
        done, _ = await asyncio.wait({stop, tasks.failed}, return_when=asyncio.FIRST_COMPLETED)
        if tasks.failed in done:
            log.critical("a task could not be kept running: leaving, so that a fresh start can recover", task=tasks.failed.result())
            return 70
        return 0
    finally:
        stop.cancel()


def paper_account_file(settings: Settings, who: Identity) -> Path:
    """Return where the paper account of an owner rests."""
    return journal_folder(settings, who) / "paper-account.json"


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


def _check_database(main: Database) -> None:
    try:
        main.check()
    except Unavailable as error:
        log.error("database unreachable: starting without it, candles go to the spill, trades to the journal", reason=str(error))
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
            symbols = choose_symbols(settings, await exchange.instruments())
            findings.append(Finding("exchange", State.OK, f"{len(symbols)} symbols can be traded"))
            if live_too or settings.mode == "live":
                findings.append(Finding("live", State.OK, f"armed for account {await arm(settings, exchange, symbols)}"))
        except ConfigError as error:
            return [*findings, Finding("live", State.FAIL, str(error))]
        except (Unavailable, Rejected) as error:
            return [Finding("exchange", State.FAIL, str(error))]
        return findings
