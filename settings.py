"""All settings: config.yaml, .env and the environment, read once, checked, frozen."""

from __future__ import annotations

import difflib
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from domain.candle import timeframe_ms
from domain.coverage import known_timeframe
from domain.errors import BadData, ConfigError
from domain.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX = "REVENANT__"
CONFIG_BYTES_MAX = 64 * 1024
MODEL_KEY_BYTES = 32

ENVIRONMENT = {
    "DATA_SOURCE": ("source",),
    "DATABASE_URL": ("database_url",),
    "REDIS_URL": ("redis_url",),
    "MODEL_KEY": ("model_key",),
    "BYBIT_API_KEY": ("bybit", "api_key"),
    "BYBIT_API_SECRET": ("bybit", "api_secret"),
    "LIVE_CONFIRM": ("live_confirm",),
    "PORT": ("health", "port"),
    "RISK_PERCENT": ("risk", "percent"),
}
"""Names that people and hosts know, and the keys they stand for; anything else is REVENANT__SECTION__KEY."""


class Section(BaseModel):
    """Base of every section: frozen, and no key that is not listed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Trading(Section):
    """What is traded, and how.

    Attributes:
        mode: ``paper`` fills in the process from the live feed, ``live`` sends orders (needs LIVE_CONFIRM).
        symbols: symbols to trade; empty means the ``top`` ones by turnover.
        top: how many symbols to take by turnover of 24 hours.
        blacklist: symbols never traded.
        leverage: leverage set for every symbol.
        history_bars: bars kept in memory per series.
        entry_order: ``market``, or ``limit`` at the signal's price.
        unfilled_timeout_s: market seconds after which an entry order that has not filled is cancelled.
        unknown_positions: what is done about positions on the account that are not the bot's: ``ignore`` (alert
            only), ``protect`` (give them a stop), ``flatten`` (close them) or ``adopt`` (manage them as its own).
        protect_percent: distance of a stop that the bot has to choose by itself, in percent of the price.
    """

    mode: Literal["paper", "live"] = "paper"
    symbols: tuple[str, ...] = ()
    top: int = Field(20, ge=1, le=500)
    blacklist: tuple[str, ...] = ()
    leverage: Decimal = Field(Decimal(5), ge=1, le=100)
    history_bars: int = Field(1000, ge=100, le=5000)
    entry_order: Literal["market", "limit"] = "market"
    unfilled_timeout_s: int = Field(1800, ge=10)
    unknown_positions: Literal["ignore", "protect", "flatten", "adopt"] = "ignore"
    protect_percent: Decimal = Field(Decimal(5), gt=0, lt=50)


class Protection(Section):
    """One protection, in freqtrade's terms; times in market minutes.

    Attributes:
        method: StoplossGuard, MaxDrawdown, LowProfitPairs or CooldownPeriod.
        lookback_period: how far back closed trades count.
        trade_limit: trades (for StoplossGuard: stop losses) needed to trigger.
        stop_duration: how long entries stay blocked.
        only_per_pair: block the symbol only, instead of everything.
        required_profit: LowProfitPairs: least sum of profits in percent of entry value.
        max_allowed_drawdown: MaxDrawdown: largest drop from the best running sum, as a fraction of the equity.
    """

    method: Literal["StoplossGuard", "MaxDrawdown", "LowProfitPairs", "CooldownPeriod"]
    lookback_period: int = Field(60, ge=1)
    trade_limit: int = Field(4, ge=1)
    stop_duration: int = Field(60, ge=1)
    only_per_pair: bool = False
    required_profit: float = 0.0
    max_allowed_drawdown: float = Field(0.1, gt=0, le=1)


class Risk(Section):
    """How much may be lost.

    Attributes:
        percent: money lost at the stop, fees included, in percent of the equity.
        max_open_trades: positions at a time.
        max_exposure: value of all positions as a multiple of the equity.
        max_position: value of one position as a multiple of the equity.
        daily_loss_percent: loss of a UTC day, open positions included, after which no entry is made.
        protections: further reasons to make no entry.
    """

    percent: Decimal = Field(Decimal(1), gt=0, le=10)
    max_open_trades: int = Field(8, ge=1, le=200)
    max_exposure: Decimal = Field(Decimal(4), gt=0, le=100)
    max_position: Decimal = Field(Decimal(1), gt=0, le=100)
    daily_loss_percent: Decimal = Field(Decimal(6), gt=0, le=100)
    protections: tuple[Protection, ...] = ()


class Exits(Section):
    """How positions are managed; distances in R, the distance from entry to first stop.

    Attributes:
        partial_r: partial target, 0 for none.
        partial_fraction: share taken off there.
        break_even: move the stop to the entry afterwards.
        trail_start_r: favourable move after which the stop trails, 0 for never.
        trail_distance_r: distance of the trailing stop.
        timeout_bars: bars of the strategy's timeframe after which the position is closed, 0 for never.
    """

    partial_r: float = Field(0.0, ge=0, le=20)
    partial_fraction: float = Field(0.5, gt=0, lt=1)
    break_even: bool = True
    trail_start_r: float = Field(0.0, ge=0, le=20)
    trail_distance_r: float = Field(1.0, gt=0, le=20)
    timeout_bars: int = Field(0, ge=0)


class StrategyChoice(Section):
    """One strategy: whether it runs, its own parameters, its exits."""

    enabled: bool = True
    parameters: dict[str, Any] = {}
    exits: Exits = Exits()


class Bybit(Section):
    """Bybit's addresses and our key there; the stream addresses are tried in turn."""

    rest: str = "https://api.bybit.com"
    streams: tuple[str, ...] = ("wss://stream.bybit.com", "wss://stream.bytick.com")
    testnet_rest: str = "https://api-testnet.bybit.com"
    testnet_streams: tuple[str, ...] = ("wss://stream-testnet.bybit.com",)
    api_key: SecretStr = SecretStr("")
    api_secret: SecretStr = SecretStr("")


class Sandbox(Section):
    """The practice exchange.

    Attributes:
        speed: market seconds per second.
        seed: made-up markets with the same seed are the same.
        symbols: how many made-up markets there are.
        wallet: USDT to begin with.
        replay: candle files to play instead (PATH or SYMBOL=PATH), for the sources mock and test.
        step: send the next bars only after the bot has handled the last.
        idle_exit_s: leave when nobody has asked anything for so long.
    """

    speed: float = Field(120.0, gt=0, le=10_000)
    seed: int = 1
    symbols: int = Field(20, ge=1, le=1000)
    wallet: Decimal = Field(Decimal(10_000), gt=0)
    replay: tuple[str, ...] = ()
    step: bool = False
    idle_exit_s: float = Field(900, ge=10)


class Paper(Section):
    """Costs of simulated fills, as fractions of the price, and the paper money to begin with."""

    wallet: Decimal = Field(Decimal(10_000), gt=0)
    taker_fee: Decimal = Field(Decimal("0.00055"), ge=0, lt=Decimal("0.1"))
    maker_fee: Decimal = Field(Decimal("0.0002"), ge=0, lt=Decimal("0.1"))
    half_spread: Decimal = Field(Decimal("0.0001"), ge=0, lt=Decimal("0.1"))
    slippage: Decimal = Field(Decimal("0.0002"), ge=0, lt=Decimal("0.1"))


class Feed(Section):
    """Limits of the live feed, in seconds of the host's clock.

    Attributes:
        stale_s: a stream with no frame for so long is asked about over REST and blocks entries.
        grace_s: how long bars that close together are waited for.
        topics_per_connection: streams that share a socket.
    """

    stale_s: float = Field(75, ge=2)
    grace_s: float = Field(1.5, gt=0, le=30)
    topics_per_connection: int = Field(200, ge=1, le=1000)


class Storage(Section):
    """How candles are kept.

    Attributes:
        summary_s: time between two summaries, at which also everything unsaved is saved.
        candle_days: how many days of candles ``cleanup`` keeps, 0 for all.
        pending_max: bars waiting to be saved.
    """

    summary_s: float = Field(900, ge=1)
    candle_days: int = Field(0, ge=0)
    pending_max: int = Field(50_000, ge=100)


class Health(Section):
    """Whether the bot is well.

    Attributes:
        host: where /healthz, /readyz and /status answer.
        port: the port; 0 takes any free one, and is written to health.json.
        watchdog_s: the process ends itself, to be started afresh, when its event loop has stood still for so long.
    """

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    watchdog_s: float = Field(60.0, ge=1)


class Ml(Section):
    """How signals are scored and models trained (docs/learning.md).

    Attributes:
        enabled: whether scores refuse signals, and models are trained; without it signals are scored only.
        margin_r: least expected gain in R after fees that a model must see in a signal.
        floor: least score, 100 times the probability of a gain.
        rule_floor: least points by the rule that judges while there is no model.
        untrained: what becomes of signals of a strategy without a model in live trading: ``phantom`` follows them only,
            ``rule`` trades what passes the rule. Paper and practice always trade by the rule.
        executed_min: executed trades that training begins at; a phantom counts as much of one as phantom_share says.
        phantom_weight: weight of a phantom beside an executed trade in training.
        retrain_every: lessons more than last time after which a strategy is trained again.
        lessons_max: newest lessons that are learned from.
        train_s: longest that a training run may take.
    """

    enabled: bool = True
    margin_r: float = Field(0.0, ge=-1, le=5)
    floor: float = Field(30.0, ge=0, le=100)
    rule_floor: float = Field(50.0, ge=0, le=100)
    untrained: Literal["phantom", "rule"] = "phantom"
    executed_min: int = Field(30, ge=10, le=100_000)
    phantom_share: float = Field(0.3, gt=0, le=1)
    phantom_weight: float = Field(0.8, gt=0, le=1)
    retrain_every: int = Field(50, ge=5, le=100_000)
    lessons_max: int = Field(20_000, ge=100, le=1_000_000)
    train_s: float = Field(900.0, ge=10)


class History(Section):
    """Where history comes from (docs/data.md).

    Attributes:
        chain: sources in the order in which they are asked; the first is the one whose table is filled.
        archives: whether Binance's public archives are asked first for whole months and days.
        timeframes: timeframes downloaded when none is named.
        months: how far back a download goes when nothing is said.
        addresses: where a source is, instead of its own address: {binance: "http://127.0.0.1:9000"}.
        completeness_min: completeness in percent below which a symbol is told as degraded.
        coingecko_key: key for CoinGecko; optional, as the next.
        cryptocompare_key: key for CryptoCompare.
        polygon_key: key for Polygon, which answers nobody without one.
        alpaca_key: key for Alpaca's stocks, with alpaca_secret; its crypto needs none.
        alpaca_secret: the key's secret.
    """

    chain: tuple[Source, ...] = Field(
        (Source.BINANCE, Source.COINGECKO, Source.CRYPTOCOMPARE, Source.OKX, Source.BYBIT), min_length=1
    )
    archives: bool = True
    timeframes: tuple[str, ...] = ("3m", "15m", "1h", "4h", "1d")
    months: int = Field(24, ge=1, le=240)
    addresses: dict[Source, str] = {}
    completeness_min: float = Field(99.0, ge=0, le=100)
    coingecko_key: SecretStr = SecretStr("")
    cryptocompare_key: SecretStr = SecretStr("")
    polygon_key: SecretStr = SecretStr("")
    alpaca_key: SecretStr = SecretStr("")
    alpaca_secret: SecretStr = SecretStr("")

    @field_validator("chain")
    @classmethod
    def _can_be_asked(cls, value: tuple[Source, ...]) -> tuple[Source, ...]:
        for source in value:
            if source.made_up:
                raise ValueError(f"{source} has no history to ask for; name real sources")
        return value

    @field_validator("timeframes")
    @classmethod
    def _kept(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for timeframe in value:
            try:
                known_timeframe(timeframe)
            except BadData as error:
                raise ValueError(str(error)) from error
        return value


class Settings(Section):
    """Everything."""

    source: Source = Source.SYNTHETIC
    data_dir: Path = Path("data")
    database_url: SecretStr = SecretStr("")
    redis_url: SecretStr = SecretStr("")
    model_key: SecretStr = SecretStr("")
    live_confirm: str = ""
    trading: Trading = Trading()
    risk: Risk = Risk()
    strategies: dict[str, StrategyChoice] = {}
    bybit: Bybit = Bybit()
    sandbox: Sandbox = Sandbox()
    paper: Paper = Paper()
    feed: Feed = Feed()
    storage: Storage = Storage()
    ml: Ml = Ml()
    history: History = History()
    health: Health = Health()
    log_format: Literal["auto", "text", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def mode(self) -> str:
        """What every record and message is marked with: synthetic, paper or live."""
        return "synthetic" if self.source.practice else self.trading.mode

    @field_validator("model_key")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and len(value.get_secret_value().encode()) < MODEL_KEY_BYTES:
            raise ValueError(f"MODEL_KEY: give it {MODEL_KEY_BYTES} characters or more, or none to have one made")
        return value

    @field_validator("live_confirm", mode="before")
    @classmethod
    def _digits_are_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if self.trading.mode == "live" and self.source.practice:
            raise ValueError(f"trading.mode: live does not go with source {self.source}; use bybit or bybit_testnet")
        if self.source not in {Source.BYBIT, Source.BYBIT_TESTNET} and not self.source.practice:
            raise ValueError(
                f"source: {self.source} has history only so far; the live bot runs on "
                "synthetic, mock, test, bybit or bybit_testnet"
            )
        if self.source in {Source.MOCK, Source.TEST} and not self.sandbox.replay:
            raise ValueError(f"sandbox.replay: source {self.source} needs candle files to play")
        if self.source is Source.SYNTHETIC and self.sandbox.replay:
            raise ValueError("sandbox.replay: source synthetic makes its prices up; use source mock or test")
        if self.trading.mode == "live" and not self.bybit.api_key.get_secret_value():
            raise ValueError("trading.mode: live needs BYBIT_API_KEY and BYBIT_API_SECRET")
        if self.risk.max_position > self.risk.max_exposure:
            raise ValueError(
                f"risk.max_position: {self.risk.max_position} is above risk.max_exposure {self.risk.max_exposure}"
            )
        return self


def load(config: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration; the environment beats .env, which beats the file, which beats the defaults.

    Args:
        config: the YAML file; without it ``config.yaml`` of the working folder, if there is one.
        environment: variables to use instead of the process's own and .env.

    Raises:
        ConfigError: one line per problem, each with the key's path, the value and what is allowed.
    """
    path = config or Path(os.environ.get("REVENANT_CONFIG", "config.yaml"))
    tree = _from_file(path, needed=config is not None)
    if environment is None:
        from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
        environment = {**from_file, **os.environ}
    _overlay(tree, environment)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_problems(error))) from None
    _check_names(settings)
    return settings


def shown(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values, secrets masked."""
    return settings.model_dump(mode="json")


def _from_file(path: Path, *, needed: bool) -> dict[str, Any]:
    if not path.exists():
        if needed:
            raise ConfigError(f"{path}: no such file; give the path of a config.yaml")
        return {}
    try:
        text = path.read_text()
        if len(text) > CONFIG_BYTES_MAX:
            raise ConfigError(f"{path}: larger than {CONFIG_BYTES_MAX} bytes")
        if re.search(r"(^|[\s:\[,-])[&*]\w", text):
            raise ConfigError(f"{path}: YAML anchors and aliases are not allowed; write the values out")
        tree = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}: is no valid YAML{where}: {getattr(error, 'problem', None) or error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must be a table of sections such as 'risk:', found {type(tree).__name__}")
    return tree


def _overlay(tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name, keys in ENVIRONMENT.items():
        if environment.get(name):
            _set(tree, keys, environment[name], name)
    for name in sorted(environment):
        if name.startswith(PREFIX):
            keys = tuple(part.lower() for part in name.removeprefix(PREFIX).split("__"))
            value = environment[name]
            _set(tree, keys, _parsed(value) if re.match(r"\s*[\[{]", value) else value, name)


def _set(tree: dict[str, Any], keys: tuple[str, ...], value: Any, name: str) -> None:
    held = tree
    for key in keys[:-1]:
        inner = held.setdefault(key, {})
        if inner is None:
            inner = held[key] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{name}: {key} in the configuration is no section")
        held = inner
    held[keys[-1]] = value


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        where = ".".join(path)
        if problem["type"] == "extra_forbidden":
            allowed = sorted(_keys_at(path[:-1]))
            close = difflib.get_close_matches(path[-1], allowed, 1)
            hint = f"did you mean {close[0]}?" if close else f"allowed are {', '.join(allowed)}"
            yield f"{where}: no such setting; {hint}"
        elif not path:
            yield str(problem["msg"]).removeprefix("Value error, ")
        else:
            yield f"{where}: {_masked(path, problem.get('input'))}: {problem['msg'].removeprefix('Value error, ')}"


def _masked(path: list[str], value: Any) -> str:
    secret = {"api_key", "api_secret", "database_url", "redis_url"}
    secret |= {name for name in History.model_fields if name.endswith(("_key", "_secret"))}
    return "***" if secret & set(path) else repr(value)[:80]


def _keys_at(path: list[str]) -> list[str]:
    kind: Any = Settings
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            annotation = kind.model_fields[part].annotation if part in kind.model_fields else None
            kind = annotation
        inner = [arg for arg in getattr(kind, "__args__", ()) if isinstance(arg, type) and issubclass(arg, BaseModel)]
        if inner and (part.isdecimal() or part not in getattr(kind, "model_fields", {})):
            kind = inner[0]
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _check_names(settings: Settings) -> None:
    for name, value in settings.model_dump(include={"strategies"})["strategies"].items():
        for key in ("timeframe", "context", "trigger"):
            if key in value["parameters"]:
                try:
                    timeframe_ms(str(value["parameters"][key]))
                except BadData as error:
                    raise ConfigError(f"strategies.{name}.parameters.{key}: {error}") from error
