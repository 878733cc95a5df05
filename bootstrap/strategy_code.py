"""Which code and which terms a strategy runs with, as hashes: an evaluation is of these and of no others."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bootstrap import freqtrade_files, user_strategies
from bootstrap.parts import costs, limits
from domain.errors import ConfigError
from strategies.freqtrade import adapter
from strategies.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.source import Source
    from settings import Settings

ROOT = Path(__file__).parents[1]
OURS = "strategies"


def code_hash(settings: Settings, name: str) -> str:
    """Return the hash of a strategy's source, of every file beside it or of ours that it imports, and of theirs.

    Raises:
        ConfigError: when there is no such strategy, or its source cannot be read.
    """
    folder = settings.strategies_folder
    starts = user_strategies.files_of(folder, name) if name not in TABLE else []
    if not starts:
        starts = [_source_of(name, user_strategies.kind_of(folder, name))]
    elif any(map(freqtrade_files.classes, starts)):
        starts.append(Path(adapter.__file__))
    digest = hashlib.sha256()
    for path in sorted(_with_imports(starts)):
        digest.update(f"{path.name} ".encode())
        digest.update(_content(path))
        chosen = path.with_suffix(".json")
        # where freqtrade keeps the parameters that it has found for a strategy
        digest.update(_content(chosen) if chosen.is_file() else b"")
    return digest.hexdigest()[:32]


def terms_hash(settings: Settings, name: str, source: Source) -> str:
    """Return the hash of a strategy's parameters, its exits, its kind of entry, and the costs that it is reckoned with.

    Raises:
        ConfigError: when there is no such strategy, or it has no such parameters.
    """
    kind, choice = user_strategies.kind_of(settings.strategies_folder, name), user_strategies.choice_of(settings, name)
    strategy = user_strategies.built(name, kind, choice)
    terms: dict[str, Any] = {
        "parameters": user_strategies.parameters(kind, choice),
        "exits": user_strategies.exits_of(strategy, choice).model_dump(mode="json"),
        "entry": settings.trading.entry_order, "costs": repr(costs(settings)),
        "max_cost_r": f"{limits(settings, source).max_cost_r.normalize():f}",
    }  # fmt: skip
    return hashlib.sha256(json.dumps(terms, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _source_of(name: str, kind: type[Any]) -> Path:
    try:
        found = inspect.getsourcefile(kind)
    except TypeError:
        found = None
    if found is None:
        raise ConfigError(f"strategy {name}: its source is not at hand, so that no evaluation can be told to be of it")
    return Path(found)


def _with_imports(starts: list[Path]) -> set[Path]:
    """Return files and all that they import from beside them or from our strategies, however far that leads."""
    found, ahead = set[Path](), list(starts)
    while ahead:
        path = ahead.pop().resolve()
        if path not in found:
            found.add(path)
            ahead += _imported(path)
    return found


def _imported(path: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(_content(path))
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names, base = [one.name for one in node.names], ROOT
        elif isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1] if node.level else ROOT
            names = [node.module] if node.module else []
            names += [".".join(filter(None, (node.module, one.name))) for one in node.names]
        else:
            continue
        for name in names:
            if base != ROOT or name.partition(".")[0] == OURS:
                file = base.joinpath(*name.split(".")).with_suffix(".py")
                if file.is_file():
                    yield file


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
