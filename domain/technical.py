"""TA-Lib for arrays alone: it wraps every function for pandas where it can, which costs a start a third of a second."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType


def _without(name: str, wanted: str) -> ModuleType:
    """Import a module as if another one that nobody has needed yet were not there."""
    if name in sys.modules:
        return importlib.import_module(wanted)
    modules: dict[str, Any] = sys.modules
    modules[name] = None
    try:
        return importlib.import_module(wanted)
    finally:
        del modules[name]


talib: Any = _without("pandas", "talib")


def function_of_tables(name: str) -> Any:
    """Return a function that takes its columns by name, and says what its results are called."""
    return importlib.import_module("talib.abstract").Function(name)
