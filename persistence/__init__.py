"""Where things rest: candles, trades, the journal."""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import Any

_HOMES = MappingProxyType({
    "PostgresCandleStorage": "persistence.candles", "TradeTrackerPostgres": "persistence.trades",
})  # fmt: skip


def __getattr__(name: str) -> Any:
    # by name, when asked for: who needs the journal alone does not load the database's libraries
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
