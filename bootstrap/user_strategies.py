"""Strategies that people bring: files of their folder, and packages that announce themselves."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import re
import sys
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from bootstrap import freqtrade_files
from domain.candle import timeframe_ms
from domain.errors import BadData, ConfigError
from domain.ids import SHORT
from engine.foreign_code import Failure, attempt
from ml.rule import RULES
from sections import Exits, StrategyChoice
from strategies.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from domain.source import Source
    from settings import Settings

GROUP = "revenant.strategies"
"""The group of entry points in which a package announces its strategies, each under the name that it has."""
PACKAGE = "user_strategies"
"""What files of the folder are modules of, so that one can say ``from . import _shared``."""
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
RESERVED = frozenset({*SHORT.values(), "folder", "freqtrade"})
LOAD_S = 10.0
WARMUP_MAX = 20_000
METHODS = ("start", "columns", "step")
OURS = "ships with the program"


class NotLoaded(ConfigError):
    """A strategy is there and cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Known:
    """A strategy that can be named in config.yaml: where it comes from, and its class; or why there is none."""

    name: str
    origin: str
    kind: type[Any] | None
    fault: str = ""


def names(folder: Path) -> list[str]:
    """Return the name of every strategy that there is, ours first; none of the others is loaded for that."""
    files = [path.stem for path in _files(folder)]
    return list(dict.fromkeys([*TABLE, *files, *freqtrade_files.names(folder), *(one.name for one in _announced())]))


def known(folder: Path) -> list[Known]:
    """Load every strategy there is, and say of each what it is."""
    shadowed = [Known(path.stem, str(path), None, refusal(path.stem)) for path in _files(folder) if refusal(path.stem)]
    found = [_known(folder, name) for name in names(folder) if name in TABLE or not refusal(name)]
    return [*found, *(_known(folder, name) for name in freqtrade_files.names(folder) if refusal(name)), *shadowed]


def _known(folder: Path, name: str) -> Known:
    try:
        return Known(name, origin(folder, name), kind_of(folder, name))
    except NotLoaded as error:
        return Known(name, origin(folder, name), None, str(error))


def origin(folder: Path, name: str) -> str:
    """Return where a strategy comes from, "" when there is none of that name."""
    if name in TABLE:
        return OURS
    paths = files_of(folder, name)
    if paths:
        return " and ".join(map(str, paths))
    found = next((one for one in _announced() if one.name == name), None)
    return _package(found) if found is not None else ""


def kind_of(folder: Path, name: str) -> type[Any]:
    """Return a strategy's class.

    Raises:
        NotLoaded: when it is there and does not load; where, and why.
        ConfigError: when there is none of that name.
    """
    if name in TABLE:
        return TABLE[name]
    paths = files_of(folder, name)
    if len(paths) > 1:
        raise NotLoaded(f"{name} is in {' and in '.join(map(str, paths))}; take all but one away, or rename a class")
    if paths:
        return load_file(paths[0], name)
    found = next((one for one in _announced() if one.name == name), None)
    if found is None:
        raise ConfigError(
            f"strategies.{name}: no such strategy; there are {', '.join(sorted(names(folder)))}; your own belong into "
            f"{folder}"
        )
    return _loaded(name, _package(found), found.load)


def load_file(path: Path, name: str = "") -> type[Any]:
    """Return the class of the strategy that a file holds; both have the file's name. Raises NotLoaded.

    Of a file written for freqtrade it is the class of that name, without one the only one.
    """
    theirs = freqtrade_files.classes(path)
    if theirs:
        if len(theirs) > 1 and name not in theirs:
            raise NotLoaded(f"{path} holds {', '.join(theirs)}; give one of these names")
        wanted = name if name in theirs else theirs[0]
        return _loaded(wanted, str(path), lambda: freqtrade_files.load(path, wanted, _module))
    reason = refusal(path.stem)
    if reason:
        raise NotLoaded(f"{path}: {reason}")
    return _loaded(path.stem, str(path), lambda: _class_in(_module(path), path.stem))


def built(name: str, kind: type[Any], choice: StrategyChoice) -> Any:
    """Return a strategy with the parameters that are chosen for it.

    Raises:
        ConfigError: when it has no such parameters. NotLoaded: when it cannot be made of them, or is not whole.
    """
    try:
        parameters = msgspec.convert(choice.parameters, kind.Parameters)
    except msgspec.ValidationError as error:
        raise ConfigError(f"strategies.{name}.parameters: {error}") from error
    except (NameError, TypeError) as error:
        raise NotLoaded(f"strategies.{name}: its Parameters cannot be read: {error}") from error
    if not all(math.isfinite(value) for value in choice.parameters.values() if isinstance(value, float)):
        raise ConfigError(f"strategies.{name}.parameters: every number must be finite")
    if name in TABLE:
        return kind(parameters)
    strategy = attempt(lambda: kind(parameters), LOAD_S)
    fault = strategy if isinstance(strategy, Failure) else attempt(lambda: _incomplete(strategy), LOAD_S)
    if fault:
        raise NotLoaded(f"strategies.{name}: {fault}")
    return strategy


def refusal(name: str) -> str:
    """Return why a strategy cannot have a name, "" when it can."""
    if name in TABLE or name in RESERVED:
        return f"the name {name} is taken; give file and strategy another one"
    if not NAME.fullmatch(name):
        return f"{name!r} is no name; write small letters, digits and _, beginning with a letter"
    return ""


def choice_of(settings: Settings, name: str) -> StrategyChoice:
    """Return what the configuration says of a strategy, what it would be by itself where it says nothing."""
    return settings.strategies.get(name, StrategyChoice())


def choices(settings: Settings) -> Mapping[str, StrategyChoice]:
    """Return what the configuration says of each strategy that it names; where it names none, ours by themselves."""
    ours = {name: StrategyChoice(markets=getattr(kind, "markets", "all")) for name, kind in TABLE.items()}
    return settings.strategies or ours


def runs_on(choice: StrategyChoice, market: Source) -> bool:
    """Return whether a strategy trades the markets of a source."""
    return choice.markets in {"all", "practice" if market.practice else "real"}


def used(settings: Settings, name: str) -> bool:
    """Return whether a strategy is enabled, and trades the markets that the settings name."""
    held = choices(settings).get(name)
    return held is not None and held.enabled and runs_on(held, settings.source)


def exits_of(strategy: Any, choice: StrategyChoice) -> Exits:
    """Return how a strategy's positions are left: as its class says, where the settings say nothing else."""
    brought = Exits.brought(getattr(strategy, "exits", {})).model_dump(exclude_unset=True)
    return Exits.model_validate({**brought, **choice.exits.model_dump(exclude_unset=True)})


def parameters(kind: type[Any], choice: StrategyChoice) -> dict[str, Any]:
    """Return every parameter of a strategy as it is set, or as it is without."""
    held: dict[str, Any] = msgspec.to_builtins(msgspec.convert(choice.parameters, kind.Parameters))
    return held


def scored_by(name: str) -> str:
    """Return in words what scores a strategy's signals while it has no model."""
    return "points of its own" if name in RULES else "its costs alone"


def _incomplete(strategy: Any) -> str:
    frames, warmup = strategy.timeframes, strategy.warmup_bars
    Exits.brought(getattr(strategy, "exits", {}))
    if not isinstance(frames, tuple) or not frames:
        return f"timeframes is {frames!r}; it is a tuple, such as ('15m',)"
    for timeframe in frames:
        try:
            timeframe_ms(timeframe)
        except (BadData, TypeError):
            return f"timeframes: {timeframe!r} is none"
        bars = warmup.get(timeframe)
        if not isinstance(bars, int) or not 0 <= bars <= WARMUP_MAX:
            return f"warmup_bars of {timeframe} is {bars!r}; it is a number of bars up to {WARMUP_MAX}"
    others = getattr(strategy, "informative", ())
    if not isinstance(others, tuple) or not all(isinstance(one, str) and one.strip() for one in others):
        return f"informative is {others!r:.80}; it is a tuple of symbols, such as ('BTC',)"
    manage = getattr(strategy, "manage", None)
    return "" if manage is None or callable(manage) else f"manage is {manage!r:.80}; it is a method, or not there"


def _loaded(name: str, where: str, load: Callable[[], object]) -> type[Any]:
    found = attempt(load, LOAD_S)
    if isinstance(found, Failure):
        raise NotLoaded(str(found) if where in str(found) else f"{where}: {found}")
    fault = _unfit(name, found)
    if fault or not isinstance(found, type):
        raise NotLoaded(f"{where}: {fault}")
    return found


def _unfit(name: str, found: object) -> str:
    """Return what a class lacks to be a strategy, "" when it lacks nothing."""
    if not isinstance(found, type):
        return f"{found!r:.80} is no class"
    if getattr(found, "name", None) != name:
        return f"its name is {getattr(found, 'name', None)!r}; it has to be {name!r}"
    lacking = [one for one in METHODS if not callable(getattr(found, one, None))]
    if lacking:
        return f"{found.__name__} lacks {', '.join(lacking)}"
    parameters = getattr(found, "Parameters", None)
    if not (isinstance(parameters, type) and issubclass(parameters, msgspec.Struct)):
        return f"{found.__name__} lacks a class Parameters, made from strategies.strategy.Parameters"
    return ""


def _class_in(module: ModuleType, name: str) -> object:
    own = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    called = {getattr(one, "name", None): one for one in own}
    if name not in called:
        told = ", ".join(f"{one.__name__} with name = {given!r}" for given, one in called.items())
        raise BadData(f"no class in it has name = {name!r}{f'; there is {told}' if told else ''}")
    return called[name]


def files_of(folder: Path, name: str) -> list[Path]:
    """Return the files of the folder that hold a strategy of that name; more than one is a fault."""
    path = folder / f"{name}.py"
    own = [path] if path.is_file() and not freqtrade_files.classes(path) else []
    return [*own, *freqtrade_files.holders(folder, name)]


def _module(path: Path, prepare: Callable[[ModuleType], None] = lambda _: None) -> ModuleType:
    # what an earlier load left is another version of it
    for stale in [one for one in sys.modules if one == PACKAGE or one.startswith(f"{PACKAGE}.")]:
        del sys.modules[stale]
    package = ModuleType(PACKAGE)
    package.__path__ = [str(path.parent)]
    sys.modules[PACKAGE] = package
    full = f"{PACKAGE}.{path.stem}"
    spec = importlib.util.spec_from_loader(full, _Fresh(full, str(path.resolve())))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    prepare(module)
    spec.loader.exec_module(module)
    return module


class _Fresh(SourceFileLoader):
    """Compiles what the file says now: a cached version is told apart by seconds only."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _files(folder: Path) -> list[Path]:
    return [path for path in freqtrade_files.files(folder) if not freqtrade_files.classes(path)]


def _announced() -> tuple[EntryPoint, ...]:
    return tuple(one for one in importlib.metadata.entry_points(group=GROUP) if not refusal(one.name))


def _package(found: EntryPoint) -> str:
    return f"package {found.dist.name} {found.dist.version}" if found.dist is not None else f"package {found.value}"
