"""What a freqtrade strategy imports, by the names that it imports it under."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from strategies.freqtrade import indicators, informative, parameters, provider, records, stops, technical, times
from strategies.freqtrade.interface import IStrategy

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMES = {name: value for name, value in vars(times).items() if name.startswith("timeframe_to_")}
OPEN = {name: value for name, value in vars(parameters).items() if name.endswith("Parameter") and name[0] != "_"}
STOPS = {"stoploss_from_open": stops.stoploss_from_open, "stoploss_from_absolute": stops.stoploss_from_absolute}
BESIDE = {"merge_informative_pair": informative.merge_informative_pair}
BOOKS = {name: getattr(records, name) for name in ("Trade", "LocalTrade", "Order", "PairLocks", "CustomDataWrapper")}
KINDS = {"RunMode": provider.RunMode, "CandleType": provider.CandleType}
INDICATORS = {
    name: value for name, value in vars(indicators).items()
    if getattr(value, "__module__", "") == indicators.__name__ and not name.startswith("_")
}  # fmt: skip

STRATEGY: Mapping[str, Any] = {
    "IStrategy": IStrategy, "informative": informative.informative, "AnnotationType": Any, **OPEN, **TIMES, **STOPS,
    **BESIDE, **{name: BOOKS[name] for name in ("Trade", "Order", "PairLocks")},
}  # fmt: skip
NAMES: Mapping[str, Mapping[str, Any]] = {
    "freqtrade": {},
    "freqtrade.strategy": STRATEGY,
    "freqtrade.strategy.interface": {"IStrategy": IStrategy},
    "freqtrade.strategy.parameters": OPEN,
    "freqtrade.strategy.hyper": OPEN,
    "freqtrade.strategy.informative_decorator": {"informative": informative.informative},
    "freqtrade.strategy.strategy_helper": {**STOPS, **BESIDE},
    "freqtrade.exchange": TIMES,
    "freqtrade.exchange.exchange_utils_timeframe": TIMES,
    "freqtrade.persistence": BOOKS,
    "freqtrade.enums": KINDS,
    "freqtrade.constants": {"Config": dict[str, Any]},
    "freqtrade.data": {},
    "freqtrade.data.dataprovider": {"DataProvider": provider.Provider},
    "freqtrade.vendor": {},
    "freqtrade.vendor.qtpylib": {},
    "freqtrade.vendor.qtpylib.indicators": INDICATORS,
    "technical": {},
    "technical.qtpylib": INDICATORS,
}
"""Every module that is offered, and what is in it."""

FAMILIES = ("freqtrade", "technical", "talib")
"""Packages of which nothing but that is taken, installed or not."""


class Offered(ModuleType):
    """A module that is offered; what is not in it is refused by its full name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"{self.__name__}.{name} is not offered to freqtrade strategies")


def modules() -> dict[str, ModuleType]:
    """Return all modules that are offered, made afresh, inner ones within outer ones."""
    made: dict[str, ModuleType] = {}
    for name, held in NAMES.items():
        made[name] = Offered(name)
        made[name].__path__ = []
        made[name].__dict__.update(held)
    made["talib"], made["talib.abstract"] = technical.Functions("talib"), technical.Abstract("talib.abstract")
    made["talib"].__path__ = []
    for name, module in made.items():
        outer, _, inner = name.rpartition(".")
        if outer:
            setattr(made[outer], inner, module)
    return made
