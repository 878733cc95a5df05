"""Builds each part from the settings."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import msgspec
import structlog

from bootstrap.log_setup import configure_logging as configure_logging  # noqa: PLC0414  what commands look at
from bootstrap.log_setup import secrets as secrets  # noqa: PLC0414
from bootstrap.pins import pins_of
from bootstrap.records import database as database  # noqa: PLC0414
from bootstrap.records import journal_folder as journal_folder  # noqa: PLC0414
from bootstrap.records import keyspace as keyspace  # noqa: PLC0414
from bootstrap.records import known_owner as known_owner  # noqa: PLC0414
from bootstrap.records import lived as lived  # noqa: PLC0414
from bootstrap.records import owner_note as owner_note  # noqa: PLC0414
from bootstrap.records import paper_account as paper_account  # noqa: PLC0414
from bootstrap.records import realm as realm  # noqa: PLC0414
from bootstrap.records import tracker as tracker  # noqa: PLC0414
from bootstrap.sources import Budgets, sources
from bootstrap.user_strategies import NotLoaded, built, choices, exits_of, kind_of, origin, runs_on
from broker.bybit.hosts import Hosts, hosts
from domain import informative
from domain.candle import timeframe_ms
from domain.durations import MINUTE_MS
from domain.errors import ConfigError
from domain.exits import ExitPlan
from domain.fills import Costs
from domain.ids import Identity
from domain.instrument import Instrument
from domain.source import Source
from engine import universe
from engine.protections import Protection
from engine.risk import RiskLimits
from engine.trader import Plan
from history.sources.dialects import Bybit
from ml import legacy
from ml.phantom_tracker import PhantomTradeTracker
from persistence.candles import PostgresCandleStorage
from persistence.database import Database
from persistence.files import AtomicFile, refused
from persistence.healing_candles import HealingCandleStorage
from persistence.history import CandleHistory
from persistence.journal import Journal
from persistence.ledger import DatabaseRefuge, LayeredLedger, RedisRefuge, Refuge
from persistence.phantom_trail import PhantomTrail
from persistence.rules import RulesArchive
from persistence.state import RedisState, TableState
from sandbox.child import SandboxProcess
from sandbox.exchange import Terms
from sections import Exits
from settings import Settings
from strategies.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from broker.bybit import BybitBroker
    from broker.bybit.rest import BybitClient
    from domain.phantom import PhantomTrade
    from engine.decisions import Decisions
    from history.port import CandleSource
    from persistence.keyvalue import Redis
    from persistence.state import State

log = structlog.get_logger(__name__)


def candle_storage(settings: Settings, main: Database) -> HealingCandleStorage:
    """Return the candle storage of the configured source, with a spill beside it."""
    spill = Database(f"sqlite:///{settings.data_dir / 'spill.sqlite'}")
    primary = PostgresCandleStorage(main, settings.source, lambda: pins_of(settings, CandleHistory(main).entries()))
    return HealingCandleStorage(primary, PostgresCandleStorage(spill, settings.source))


def keyvalue(settings: Settings) -> Redis | None:
    """Return the Redis server, None when there is none."""
    url = settings.redis_address
    if not url:
        return None
    from persistence.keyvalue import Redis  # noqa: PLC0415  who has none need not load its driver

    return Redis(url)


def ledger_of(settings: Settings, who: Identity, main: Database, redis: Redis | None) -> tuple[Journal, LayeredLedger]:
    """Return the journal of an owner, held from now on, and the ledger over it."""
    journal = Journal(journal_folder(settings, who), who)
    refuges: list[Refuge] = [DatabaseRefuge(main, who)]
    if redis is not None:
        refuges.append(RedisRefuge(redis, who))
    return journal, LayeredLedger(journal, refuges)


def phantom_tracker(
    settings: Settings, who: Identity, used: Mapping[str, Plan], rules: Callable[[str], Instrument | None],
    decisions: Decisions | None = None,
) -> PhantomTradeTracker:  # fmt: skip
    """Return the phantom tracker of an owner; ``decisions`` are what strategies say of positions, where they run."""
    exits = {name: plan.exits for name, plan in used.items()}
    if decisions is None:
        return PhantomTradeTracker(who, exits, rules, costs(settings))
    return PhantomTradeTracker(who, exits, rules, costs(settings), decisions.leaves, decisions.manager)


def phantom_trail(
    settings: Settings, who: Identity, main: Database, kept: State, used: Mapping[str, Plan],
    instruments: Mapping[str, Instrument],
) -> PhantomTrail:  # fmt: skip
    """Return what carries phantoms to the audit, and from there to where their state is kept."""
    strategies = {name: legacy.Strategy(plan.strategy.timeframes[0], plan.exits) for name, plan in used.items()}
    unified = {rules.venue_id: symbol for symbol, rules in instruments.items()} | {name: name for name in instruments}

    def convert(text: bytes) -> tuple[list[PhantomTrade], list[str]]:
        return legacy.convert(text, who, strategies, unified.get, costs(settings))

    # no earlier program has ever kept anything in our own file
    takes_over = convert if isinstance(kept, RedisState) else None
    return PhantomTrail(main, who, journal_folder(settings, who), kept, list(used), takes_over)


def phantom_state(settings: Settings, who: Identity, redis: Redis | None, state: Database) -> State:
    """Return where the state of an owner's phantoms is kept: in Redis, or else in a file here."""
    if redis is None:
        return TableState(state, "/".join(who))
    return RedisState(redis, keyspace(settings))


def state_database(settings: Settings) -> Database:
    """Return the file of what is kept here whether or not there is a Redis."""
    return Database(f"sqlite:///{settings.data_dir / 'state.sqlite'}")


def keep_rules(settings: Settings, instruments: Mapping[str, Instrument]) -> dict[str, Instrument]:
    """Keep the exchange's trading rules for who asks without a connection; return them.

    Those of contracts that are gone since the last start stay, marked as not traded: they are still what a blacklist
    or a backtest means by them.
    """
    path = settings.data_dir / f"rules-{settings.source}.json"
    before: dict[str, Instrument] = {}
    with contextlib.suppress(ConfigError):
        before = known_rules(settings, settings.source)
    kept = {symbol: replace(rules, trading=False) for symbol, rules in before.items()} | dict(instruments)
    AtomicFile(path).write(msgspec.json.encode(kept))
    if not settings.source.made_up:
        # backtests need to know what was in force when
        with contextlib.suppress(ConfigError):
            reported = {symbol: rules for symbol, rules in instruments.items() if not rules.assumed}
            RulesArchive(settings.data_dir, settings.source).add(reported, int(time.time() * 1000))
    return kept


def known_rules(settings: Settings, source: Source) -> dict[str, Instrument]:
    """Return the trading rules that a bot here was told of last by a source; empty where none was.

    Raises:
        ConfigError: when what is kept cannot be read.
    """
    path = settings.data_dir / f"rules-{source}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Instrument]) if path.exists() else {}
    except OSError as error:
        raise refused(f"{path}: cannot be read", path, error, "look at its disk") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path}: cannot be read ({error}); delete it, a bot that starts writes it anew") from error


class InUse(NamedTuple):
    """The strategies in use, and why others that are enabled could not be loaded."""

    plans: dict[str, Plan]
    unloaded: dict[str, str]


def plans(
    settings: Settings, finest_ms: int = 0, *, source: Source | None = None, wherever: bool = False
) -> dict[str, Plan]:
    """Return the enabled strategies that can be used, see ``in_use``. Raises ConfigError."""
    return in_use(settings, finest_ms, source=source, wherever=wherever).plans


def in_use(settings: Settings, finest_ms: int = 0, *, source: Source | None = None, wherever: bool = False) -> InUse:
    """Return the enabled strategies of a source, by default of the settings' own, or ``wherever`` they run.

    Those that need finer bars than there are, are left out with a warning.

    Raises:
        ConfigError: for an unknown strategy or parameter, or when none can be used.
    """
    found, folder, market = InUse({}, {}), settings.strategies_folder, source or settings.source
    for name, choice in choices(settings).items():
        if name not in TABLE and not origin(folder, name):
            kind_of(folder, name)
        if not choice.enabled or not (wherever or runs_on(choice, market)):
            continue
        try:
            strategy = built(name, kind_of(folder, name), choice)
        except NotLoaded as error:
            found.unloaded[name] = str(error)
            continue
        step = timeframe_ms(strategy.timeframes[0])
        if step < finest_ms:
            log.warning("strategy left out: the candle files are too coarse for it", strategy=name)
            continue
        found.plans[name] = Plan(
            strategy, _exit_plan(exits_of(strategy, choice), step), choice.symbols, choice.blacklist,
            choice.risk_percent, choice.leverage, choice.schedule.read,
        )  # fmt: skip
    if not found.plans:
        told = f"strategies: none is enabled on {market}; enable one in config.yaml (enabled, markets)"
        raise ConfigError("\n".join([told, *found.unloaded.values()]))
    return found


def with_others(used: InUse, symbols: Iterable[str]) -> tuple[InUse, dict[str, str]]:
    """Return the strategies whose other symbols a market has, and what those are called there.

    The others are told with those that could not be loaded. Raises ConfigError when none is left.
    """
    others = informative.meant([plan.strategy for plan in used.plans.values()], symbols)
    lacking = {name: informative.lacking(plan.strategy, others) for name, plan in used.plans.items()}
    unloaded = {
        name: f"strategies.{name}: it looks at {one}, and the exchange has no such symbol"
        for name, one in lacking.items() if one
    }  # fmt: skip
    found = InUse(
        {name: plan for name, plan in used.plans.items() if name not in unloaded}, {**used.unloaded, **unloaded}
    )
    if not found.plans:
        raise ConfigError("\n".join(found.unloaded.values()))
    return found, {one: others[one] for plan in found.plans.values() for one in informative.written(plan.strategy)}


def check_scopes(used: Mapping[str, Plan], known: Mapping[str, Instrument], traded: Sequence[str]) -> None:
    """Look at which of the traded symbols strategies take. Raises ConfigError for an entry that matches nothing."""
    for name, plan in used.items():
        universe.banned(known, plan.symbols, f"strategies.{name}.symbols")
        universe.banned(known, plan.blacklist, f"strategies.{name}.blacklist")
        if not any(map(plan.takes, traded)):
            log.warning("a strategy takes none of the traded symbols", strategy=name,
                        way_out=f"strategies.{name}.symbols and blacklist, or trading.symbols")  # fmt: skip


def _exit_plan(exits: Exits, step: int) -> ExitPlan:
    held = exits.model_dump()
    bars, table = held.pop("timeout_bars"), held.pop("minimal_roi")
    roi = tuple((minutes * MINUTE_MS, fraction) for minutes, fraction in sorted(table.items()))
    trailing = tuple(sorted(held.pop("trailing").items()))
    return ExitPlan(**held, timeout_ms=bars * step, roi=roi, trailing=trailing)


def windows(settings: Settings, used: Mapping[str, Plan], always: Sequence[str]) -> dict[str, int]:
    """Return how many bars are kept at hand, by timeframe: of those always wanted, and those of the strategies."""
    needs = dict.fromkeys(always, settings.trading.history_bars)
    for plan in used.values():
        for timeframe, bars in plan.strategy.warmup_bars.items():
            needs[timeframe] = max(needs.get(timeframe, settings.trading.history_bars), bars + 1)
    return needs


def limits(settings: Settings, source: Source | None = None) -> RiskLimits:
    """Return the risk limits in the engine's own terms, on the bars of the settings' source or of another."""
    risk, practice = settings.risk, (source or settings.source).practice
    return RiskLimits(
        percent=risk.percent, max_open_trades=risk.max_open_trades, max_exposure=risk.max_exposure,
        max_position=risk.max_position, max_order_value=risk.max_order_value,
        max_orders_per_minute=risk.max_orders_per_minute, max_equity_step=risk.max_equity_step,
        max_equity=risk.max_equity, max_cost_r=settings.sandbox.max_cost_r if practice else risk.max_cost_r,
        daily_loss_percent=risk.daily_loss_percent, leverage=settings.trading.leverage,
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
        "--uid", paper_account(settings),
        "--speed", str(held.speed), "--seed", str(held.seed), "--symbols", str(held.symbols), "--wallet",
        str(held.wallet), "--idle-exit", str(held.idle_exit_s), *(["--step"] if held.step else []),
        *([] if held.slices else ["--no-slices"]),
    ]  # fmt: skip
    for path in held.replay:
        arguments += ["--replay", path]
    for contract in held.marked:
        arguments += ["--mark", contract]
    arguments += [*(["--quiet", str(held.quiet)] if held.quiet else []), *(["--now"] if held.now else [])]
    return SandboxProcess(settings.data_dir / f"practice-{settings.source}", arguments)


@dataclass(slots=True)
class Venue:
    """The exchange as the bot meets it: through a client with streams, or a source that is polled for paper trading."""

    client: BybitClient | None
    streams: list[str]
    sandbox: SandboxProcess | None
    polled: CandleSource | None = None

    @property
    def source(self) -> CandleSource:
        """The source that is polled; there must be one."""
        assert self.polled is not None
        return self.polled

    @property
    def base_ms(self) -> int:
        """Length of the finest bars there are, 0 when there is no limit."""
        return int(self.sandbox.status.get("base_ms", 0)) if self.sandbox else 0


def bybit_hosts(settings: Settings) -> Hosts:
    """Return Bybit's addresses for the source and region; what the settings name themselves comes first."""
    held, source = settings.bybit, settings.source
    testnet, demo = source is Source.BYBIT_TESTNET, source is Source.BYBIT_DEMO
    found = hosts(held.region, testnet=testnet, demo=demo)
    if demo:
        # prices are the main site's, and an address of that must never become one that orders go to
        return Hosts(held.demo_rest or found.rest, held.streams or found.public, held.demo_streams or found.private)
    rest, streams = (held.testnet_rest, held.testnet_streams) if testnet else (held.rest, held.streams)
    return Hosts(rest or found.rest, streams or found.public, streams or found.private)


async def open_venue(settings: Settings, stack: contextlib.AsyncExitStack, *, beside: bool = False) -> Venue:
    """Connect to the configured exchange, starting the practice exchange when that is the one.

    ``beside`` a running bot, its practice exchange is left running in the end.
    """
    from broker.bybit.rest import EXITS_RESERVE, BybitClient, Endpoint  # noqa: PLC0415  ccxt takes a second, and many commands ask no exchange

    if settings.source.polled:
        # of several ways to a source the last is the one that knows the newest bars
        budgets = Budgets(settings, EXITS_RESERVE)
        stack.callback(budgets.close)
        *_, polled = sources(settings, [settings.source], budgets)
        stack.push_async_callback(polled.close)
        return Venue(None, [], None, polled)
    if settings.source.practice:
        sandbox = sandbox_process(settings)
        address = await sandbox.start()
        if sandbox.spawned or not beside:
            stack.push_async_callback(sandbox.stop)
        terms = Terms()
        endpoint = Endpoint(address.rest, address.stream, terms.key, terms.secret, loopback=True)
        streams = [address.stream]
    else:
        sandbox, found = None, bybit_hosts(settings)
        streams = list(found.public)
        key, secret = (held.get_secret_value() for held in (settings.bybit.api_key, settings.bybit.api_secret))
        endpoint = Endpoint(found.rest, streams[0], key, secret, private=found.private)
    client = BybitClient(endpoint)
    stack.push_async_callback(client.close)
    if not endpoint.loopback:
        # Bybit's limit is one of the address: the bot shares it with downloads, whatever machine they run on
        budgets = Budgets(settings, reserve=0.0)
        stack.callback(budgets.close)
        budget = budgets(replace(Bybit().host(""), name=urlsplit(endpoint.rest).hostname or "bybit"))
        client.pace = budget.take
        client.access.share, client.access.shared = budget.ban, budget.banned_s
    return Venue(client, [f"{stream}/v5/public/linear" for stream in streams], sandbox)


def exchange_of(client: BybitClient) -> BybitBroker:
    """Return the orders, positions and executions behind a client."""
    from broker.bybit import BybitBroker  # noqa: PLC0415  see above

    return BybitBroker(client)


def symbols_of(
    settings: Settings, instruments: Mapping[str, Instrument], known: Mapping[str, Instrument] | None = None
) -> list[str]:
    """Return the symbols that the settings choose; ``known`` are those that the exchange had before.

    Raises:
        ConfigError: when none can be traded, or an entry of a list matches nothing.
    """
    chosen, known = settings.trading, known or {}
    blacklist = universe.banned({**known, **instruments}, chosen.blacklist)
    return universe.choose(instruments, chosen.symbols, blacklist, chosen.top, chosen.allow, known)
