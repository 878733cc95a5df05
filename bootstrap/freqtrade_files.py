"""Files that hold strategies written for freqtrade: found by what they import, loaded with what we offer of it."""

from __future__ import annotations

import ast
import builtins
import json
from types import ModuleType
from typing import TYPE_CHECKING, Any

from domain.errors import BadData, of_system

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Load = Callable[[Path, Callable[[ModuleType], None]], ModuleType]
    """Runs a file as a module, which something is done to before."""

FILE_MAX = 2_000_000
"""Bytes beyond which a file is no strategy."""
BASE = "IStrategy"
DEPTH_MAX = 3
"""Files that are followed from one to the next to find what a class derives from."""


def files(folder: Path) -> list[Path]:
    """Return the files of a folder that may hold strategies."""
    found = sorted(folder.glob("*.py")) if folder.is_dir() else []
    return [path for path in found if not path.name.startswith(("_", "test_")) and path.name != "conftest.py"]


def names(folder: Path) -> list[str]:
    """Return the name of every strategy that was written for freqtrade; none is loaded for that."""
    return list(dict.fromkeys(name for path in files(folder) for name in classes(path)))


def holders(folder: Path, name: str) -> list[Path]:
    """Return the files that hold a freqtrade strategy of a name; there should be one."""
    return [path for path in files(folder) if name in classes(path)]


def classes(path: Path, depth: int = DEPTH_MAX) -> list[str]:
    """Return the strategies that a file holds which was written for freqtrade, in their order; none of any other.

    A class may also derive from one that the file imports from another one beside it.
    """
    try:
        text = path.read_bytes()
        tree = ast.parse(text) if len(text) <= FILE_MAX else ast.Module([], [])
    except (OSError, SyntaxError, ValueError):
        return []
    bases = {BASE} if any(_imports_freqtrade(node) for node in ast.walk(tree)) else set[str]()
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and depth and not node.level:
            beside = path.parent / f"{node.module}.py"
            inner = classes(beside, depth - 1) if beside.is_file() else []
            bases |= {one.asname or one.name for one in node.names if one.name in inner}
        if isinstance(node, ast.ClassDef) and any(_last(base) in bases for base in node.bases):
            bases.add(node.name)
            found.append(node.name)
    return found


def load(path: Path, name: str, run: Load) -> type[Any]:
    """Return a freqtrade strategy of a file as one of ours.

    Raises:
        BadData: when it uses what is not offered, by name, or the file of parameters beside it cannot be read.
    """
    from strategies.freqtrade import adapter  # noqa: PLC0415  pandas, which nobody else needs

    module = _run(path, run)
    return adapter.adapted(getattr(module, name), _chosen(path, name))


def _run(path: Path, run: Load) -> ModuleType:
    """Run a file whose imports of freqtrade, technical and TA-Lib find what we offer, whatever is installed.

    Only what the file itself imports is changed, and what it imports from files beside it.
    """
    from strategies.freqtrade import shelf  # noqa: PLC0415  pandas, which nobody else needs

    offered, beside = shelf.modules(), dict[str, Any]()

    def find(name: str, names: Any = None, local: Any = None, wanted: Any = (), level: int = 0) -> Any:
        outer = name.partition(".")[0]
        if level or (outer not in shelf.FAMILIES and not (path.parent / f"{name}.py").is_file()):
            return builtins.__import__(name, names, local, wanted, level)
        if outer not in shelf.FAMILIES:
            if name not in beside:
                beside[name] = _beside(path.parent / f"{name}.py", find)
            return beside[name]
        if name not in offered:
            raise ModuleNotFoundError(f"{name} is not offered to freqtrade strategies", name=name)
        return offered[name] if wanted else offered[outer]

    def prepare(module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": find}

    return run(path, prepare)


def _beside(path: Path, find: Any) -> ModuleType:
    module = ModuleType(path.stem)
    module.__dict__.update(__file__=str(path), __builtins__={**vars(builtins), "__import__": find})
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102  a file of the operator's own
    return module


def _chosen(path: Path, name: str) -> dict[str, Any]:
    """Return what the file of parameters beside a strategy says, by group; nothing where there is none."""
    told = path.with_suffix(".json")
    if not told.is_file():
        return {}
    try:
        body = json.loads(told.read_bytes())
        groups = {str(group): dict(held) for group, held in body["params"].items()}
    except OSError as error:
        raise of_system(f"{told}: cannot be read", error, "mend it, or take it away") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadData(f"{told}: no file of parameters as freqtrade writes them: {error}") from error
    if body.get("strategy_name") != name:
        raise BadData(f"{told}: it is for {body.get('strategy_name')!r}, and lies beside {name}")
    return groups


def _imports_freqtrade(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] == "freqtrade"
    return isinstance(node, ast.Import) and any(one.name.partition(".")[0] == "freqtrade" for one in node.names)


def _last(base: ast.expr) -> str:
    return base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""
