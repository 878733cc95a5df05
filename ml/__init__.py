"""Learning: features of signals, phantoms, models.

``PhantomTradeTracker`` and ``ml_scorer`` are for people at a notebook; nothing in the program asks for them here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    # by name, when asked for: who scores does not load what follows phantoms
    if name == "PhantomTradeTracker":
        return import_module("ml.phantom_tracker").PhantomTradeTracker
    if name == "ml_scorer":
        # what it tells comes from the bot's database, which only the composition root knows
        return import_module("bootstrap.handles").MLScorers()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
