"""Learning: features of signals, phantoms, models."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    # by name, when asked for: who scores does not load what follows phantoms
    if name != "PhantomTradeTracker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("ml.phantom_tracker").PhantomTradeTracker
