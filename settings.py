"""All settings: config.yaml, .env and the environment, read once, checked, frozen."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, get_args

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator

from chat_section import Telegram
from domain.candle import timeframe_ms
from domain.errors import BadData, ConfigError, of_system
from domain.source import Source
from history_section import History
from notice_sections import Email, Webhook
from page_section import Dashboard
from sections import (
    Backup,
    Bybit,
    Feed,
    Health,
    Heartbeat,
    Ml,
    Paper,
    Risk,
    Sandbox,
    Section,
    Storage,
    StrategyChoice,
    Trading,
    listed,
)
from universe_section import Pairlist

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

PREFIX = "REVENANT__"
NOT_SETTINGS = frozenset({"REVENANT_CONFIG"})
"""Variables of that beginning that say where settings are."""
CONFIG_BYTES_MAX = 64 * 1024
SEAL_KEY_BYTES = 32

ENVIRONMENT = {
    "DATA_SOURCE": ("source",),
    "DATABASE_URL": ("database_url",),
    "REDIS_URL": ("redis_url",),
    "REDIS_VERIFY": ("redis_verify",),
    "OUTGOING_ADDRESS": ("outgoing_address",),
    "MODEL_KEY": ("model_key",),
    "BACKUP_KEY": ("backup_key",),
    "BYBIT_API_KEY": ("bybit", "api_key"),
    "BYBIT_API_SECRET": ("bybit", "api_secret"),
    "LIVE_CONFIRM": ("live_confirm",),
    "PORT": ("dashboard", "port"),
    "DASHBOARD_HOST": ("dashboard", "host"),
    "DASHBOARD_PASSWORD": ("dashboard", "password"),
    "DASHBOARD_VIEWER_PASSWORD": ("dashboard", "viewer_password"),
    "HEARTBEAT_URL": ("heartbeat", "url"),
    "RAILWAY_VOLUME_MOUNT_PATH": ("data_dir",),
    "RISK_PERCENT": ("risk", "percent"),
    "TELEGRAM_BOT_TOKEN": ("telegram", "token"),
    "TELEGRAM_CHAT_ID": ("telegram", "chat_ids"),
}
"""Names that people and hosts know, and the keys they stand for; anything else is REVENANT__SECTION__KEY."""


class Settings(Section):
    """Everything."""

    source: Source = Source.SYNTHETIC
    data_dir: Path = Path("data")
    database_url: SecretStr = SecretStr("")
    redis_url: SecretStr = SecretStr("")
    redis_verify: bool = True
    outgoing_address: str = Field("default", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    model_key: SecretStr = SecretStr("")
    backup_key: SecretStr = SecretStr("")
    live_confirm: str = ""
    trading: Trading = Trading()
    pairlists: tuple[Pairlist, ...] = ()
    risk: Risk = Risk()
    strategies: dict[str, StrategyChoice] = Field(default_factory=dict)
    strategies_folder: Path = Path("user/strategies")
    bybit: Bybit = Bybit()
    sandbox: Sandbox = Sandbox()
    paper: Paper = Paper()
    feed: Feed = Feed()
    storage: Storage = Storage()
    ml: Ml = Ml()
    history: History = History()
    health: Health = Health()
    heartbeat: Heartbeat = Heartbeat()
    backup: Backup = Backup()
    dashboard: Dashboard = Dashboard()
    telegram: Telegram = Telegram()
    webhooks: tuple[Webhook, ...] = ()
    email: Email = Email()
    log_format: Literal["auto", "text", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("webhooks")
    @classmethod
    def _different_names(cls, value: tuple[Webhook, ...]) -> tuple[Webhook, ...]:
        names = [one.name for one in value]
        twice = next((name for name in names if names.count(name) > 1), "")
        if twice:
            raise ValueError(f"two are called {twice}: give each a name of its own")
        return value

    @field_validator("pairlists")
    @classmethod
    def _begins_with_a_list(cls, value: tuple[Pairlist, ...]) -> tuple[Pairlist, ...]:
        if value and value[0].method not in {"StaticPairList", "VolumePairList"}:
            raise ValueError(f"the first is {value[0].method}: begin with StaticPairList or VolumePairList")
        return value

    @property
    def redis_address(self) -> str:
        """Where Redis is, with what is asked of its certificate: Celery does not connect by TLS without that."""
        url = self.redis_url.get_secret_value()
        if not url.startswith("rediss://") or "ssl_cert_reqs=" in url:
            return url
        return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs={'required' if self.redis_verify else 'none'}"

    @property
    def mode(self) -> str:
        """What every record and message is marked with: synthetic, paper or live."""
        return "synthetic" if self.source.practice else self.trading.mode

    @property
    def backups(self) -> Path:
        """Where backups lie."""
        return Path(self.backup.folder) if self.backup.folder else self.data_dir / "backups"

    @property
    def note(self) -> Path:
        """Where a running bot notes address and token of its page, for programs of its owner."""
        return self.data_dir / "dashboard.json"

    @property
    def control(self) -> Path:
        """The socket over which manage.py steers a running bot."""
        return self.data_dir / "bot.sock"

    @field_validator("source", mode="before")
    @classmethod
    def _as_it_is_written(cls, value: Any) -> Any:
        # what passes a line of .env on whole passes its comment on too
        return value.partition("#")[0].strip().lower() if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _keys_among_strategies(cls, tree: Any) -> Any:
        # people write them beside their strategies, which are named freely otherwise
        held = tree.get("strategies") if isinstance(tree, dict) else None
        if not isinstance(held, dict):
            return tree
        rest = {name: value for name, value in held.items() if name not in {"folder", "freqtrade"}}
        moved = {"strategies_folder": held["folder"]} if "folder" in held else {}
        return {**tree, "strategies": {**_by_themselves(held.get("freqtrade")), **rest}, **moved}

    @field_validator("model_key", "backup_key")
    @classmethod
    def _long_enough(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if value.get_secret_value() and len(value.get_secret_value().encode()) < SEAL_KEY_BYTES:
            name = str(info.field_name).upper()
            raise ValueError(f"{name}: give it {SEAL_KEY_BYTES} characters or more, or none to have one made")
        return value

    @field_validator("live_confirm", mode="before")
    @classmethod
    def _digits_are_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _can_trade(self, info: ValidationInfo) -> Settings:
        # who only reads or fills the store needs nothing of what a bot does
        if (info.context or {}).get("trading", True) is False:
            return self
        if self.trading.mode == "live" and self.source.practice:
            raise ValueError(
                f"trading.mode: live does not go with source {self.source}; use bybit, bybit_testnet or bybit_demo"
            )
        if self.source.polled and self.trading.mode == "live":
            raise ValueError(
                f"trading.mode: live does not go with source {self.source}, which is for paper trading only"
            )
        if self.source.polled and not self.trading.symbols:
            raise ValueError(f"trading.symbols: source {self.source} has to be told which symbols to follow")
        if not (self.source.polled or self.source.practice or self.source.tradable):
            raise ValueError(
                f"source: {self.source} has history only; the bot runs on synthetic, mock, test, bybit, bybit_testnet, "
                "bybit_demo, "
                "and for paper trading on binance, okx, alpaca, polygon"
            )
        if self.source in {Source.MOCK, Source.TEST} and not self.sandbox.replay:
            raise ValueError(f"sandbox.replay: source {self.source} needs candle files to play")
        if self.trading.mode == "live" and not self.bybit.api_key.get_secret_value():
            raise ValueError("trading.mode: live needs BYBIT_API_KEY and BYBIT_API_SECRET")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Settings:
        if self.sandbox.now and (self.sandbox.replay or self.sandbox.step):
            raise ValueError("sandbox.now: made-up markets only, and not step by step")
        if self.source is Source.SYNTHETIC and self.sandbox.replay:
            raise ValueError("sandbox.replay: source synthetic makes its prices up; use source mock or test")
        if self.risk.max_position > self.risk.max_exposure:
            raise ValueError(
                f"risk.max_position: {self.risk.max_position} is above risk.max_exposure {self.risk.max_exposure}"
            )
        return self


def bare_environment() -> dict[str, str]:
    """Return this process's environment without anything that would set something here."""
    return {
        name: value for name, value in os.environ.items() if name not in ENVIRONMENT and not name.startswith("REVENANT")
    }


def setting_variables() -> dict[str, str]:
    """Return the variables of this process's environment that set something here."""
    bare = bare_environment()
    return {name: value for name, value in os.environ.items() if name not in bare}


def load(config: Path | None = None, environment: Mapping[str, str] | None = None, *, trading: bool = True) -> Settings:
    """Read the configuration; the environment beats .env, which beats the file, which beats the defaults.

    Args:
        config: the YAML file; without it ``config.yaml`` of the working folder, if there is one.
        environment: variables to use instead of the process's own and .env.
        trading: whether a bot is to run on them; stored data can be had whatever the source is that one would trade on.

    Raises:
        ConfigError: one line per problem, each with the key's path, the value and what is allowed.
    """
    path = config or Path(os.environ.get("REVENANT_CONFIG", "config.yaml"))
    tree = _from_file(path, needed=config is not None)
    _overlay(tree, _environment() if environment is None else environment)
    try:
        settings = Settings.model_validate(tree, context={"trading": trading})
    except ValidationError as error:
        raise ConfigError("\n".join(_problems(error))) from None
    _check_names(settings)
    return settings


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each variable that looks like a setting and is none, with the name that may be meant.

    They stop nothing: a host that runs a service called revenant sets variables of its own (REVENANT_PORT).
    """
    names = _environment() if environment is None else environment
    known = {"_".join(path).upper(): "__".join(path).upper() for path in _paths(Settings)}
    lines = []
    for name in sorted(names):
        if name.startswith(PREFIX.rstrip("_") + "_") and not name.startswith(PREFIX) and name not in NOT_SETTINGS:
            meant = known.get(name.removeprefix(PREFIX.rstrip("_") + "_").replace("__", "_"))
            hint = f"did you mean {PREFIX}{meant}?" if meant else f"settings are {PREFIX}SECTION__KEY"
            lines.append(f"{name} is not a setting and changes nothing; {hint}")
    return lines


def _paths(kind: Any) -> Iterator[tuple[str, ...]]:
    for name, field in _fields(kind).items():
        yield from ((name, *rest) for rest in _paths(field.annotation)) if _fields(field.annotation) else [(name,)]


def with_values(settings: Settings, values: Mapping[str, str]) -> Settings:
    """Return the settings with some of them changed, by dotted name (``risk.percent``); values as in the environment.

    Raises:
        ConfigError: for a name or value that cannot be.
    """
    tree = settings.model_dump()
    for name, text in values.items():
        _set(tree, tuple(name.split(".")), _parsed(text), name)
    return _valid(tree)


def with_sections(settings: Settings, sections: Mapping[str, Any]) -> Settings:
    """Return the settings with whole sections of others, as ``shown`` tells them. Raises ConfigError."""
    return _valid({**settings.model_dump(), **sections})


def for_reading(settings: Settings, source: Source, port: int | None) -> Settings:
    """Return the settings for looking at what a source has stored; what only a running bot needs is left out.

    Raises:
        ConfigError: when they cannot be.
    """
    dashboard = settings.dashboard if port is None else settings.dashboard.model_copy(update={"port": port})
    trading = settings.trading.model_copy(update={"mode": "paper"})
    return settings.model_copy(update={"source": source, "trading": trading, "dashboard": dashboard})


def _by_themselves(names: Any) -> dict[str, Any]:
    """Return strategies of which only the names are told, as they are without a choice."""
    told = listed(names or ())
    if not isinstance(told, list | tuple) or not all(isinstance(name, str) for name in told):
        raise ValueError("strategies.freqtrade is a list of class names, such as [SampleStrategy]")
    return {name: {} for name in told}


def _valid(tree: dict[str, Any]) -> Settings:
    try:
        # whether a bot can run on them was asked when they were read
        changed = Settings.model_validate(tree, context={"trading": False})
    except ValidationError as error:
        raise ConfigError("\n".join(_problems(error))) from None
    _check_names(changed)
    return changed


def shown(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values, secrets masked."""
    return settings.model_dump(mode="json")


def secret_texts(settings: BaseModel) -> list[str]:
    """Return the text of every secret of the settings, those of all sections too; none is forgotten by being new."""
    return [text for name in type(settings).model_fields for text in _secrets(getattr(settings, name))]


def _secrets(value: Any) -> list[str]:
    if isinstance(value, SecretStr):
        return [value.get_secret_value()]
    if isinstance(value, BaseModel):
        return secret_texts(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return [text for one in inner for text in _secrets(one)]


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
    except OSError as error:
        raise of_system(f"{path}: cannot be read", error, "make it readable") from error
    except UnicodeDecodeError as error:
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


def _environment() -> dict[str, str]:
    from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return {**from_file, **os.environ}


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
            said = problem["msg"].removeprefix("Value error, ").replace("valid tuple", "list such as [a, b]")
            keys = _keys_at(path) if problem["type"] in {"model_type", "dict_type"} else []
            hint = f"; its keys are {', '.join(keys)}" if keys else ""
            yield f"{where}: {_masked(path, problem.get('input'))}: {said}{hint}"


def _masked(path: list[str], value: Any) -> str:
    secret = {"api_key", "api_secret", "database_url", "redis_url", "token", "totp_secret", "model_key", "backup_key"}
    secret |= {"password", "url", "headers"}
    secret |= {name for name in History.model_fields if name.endswith(("_key", "_secret"))}
    if isinstance(value, dict) or (isinstance(value, list | tuple) and any(isinstance(one, dict) for one in value)):
        # a whole section may have secrets in it
        return "these settings"
    return "***" if secret & set(path) else repr(value)[:80]


def _keys_at(path: list[str]) -> list[str]:
    """Return the keys that may stand at a path, through lists and tables of names too; none where any may."""
    kind: Any = Settings
    for part in path:
        field = _fields(kind).get(part)
        inner = [one for one in get_args(kind) if one not in {Ellipsis, NoneType}]
        kind = field.annotation if field is not None else inner[-1] if inner else None
    return list(_fields(kind))


def _fields(kind: Any) -> dict[str, FieldInfo]:
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _check_names(settings: Settings) -> None:
    for name, value in settings.model_dump(include={"strategies"})["strategies"].items():
        for key in ("timeframe", "context", "trigger"):
            if key in value["parameters"]:
                try:
                    timeframe_ms(str(value["parameters"][key]))
                except BadData as error:
                    raise ConfigError(f"strategies.{name}.parameters.{key}: {error}") from error
