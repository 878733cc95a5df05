"""TA-Lib as strategies call it: tables go in and come out, though the program's own copy knows arrays alone."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from domain.technical import function_of_tables, talib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PRICES = ("open", "high", "low", "close", "volume")


class Functions(ModuleType):
    """``talib``: functions of arrays or of columns, which answer with what they were given."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(talib, name)
        return _of_columns(found) if name in talib.get_functions() else found


class Abstract(ModuleType):
    """``talib.abstract``: functions of a table that has prices and volume."""

    def Function(self, name: str) -> Any:  # noqa: N802  TA-Lib calls it so
        """Return a function by its name."""
        return getattr(self, name.upper())

    def __getattr__(self, name: str) -> Any:
        if name.upper() not in talib.get_functions():
            return getattr(talib, name)
        return _of_tables(name.upper())


def _of_columns(function: Any) -> Any:
    def called(*given: Any, **named: Any) -> Any:
        index = next((one.index for one in (*given, *named.values()) if isinstance(one, pd.Series)), None)
        found = function(*map(_array, given), **{name: _array(one) for name, one in named.items()})
        if index is None:
            return found
        if isinstance(found, tuple):
            return tuple(pd.Series(one, index=index) for one in found)
        return pd.Series(found, index=index)

    return called


def _of_tables(name: str) -> Any:
    def called(*given: Any, **named: Any) -> Any:
        function = function_of_tables(name)
        if not given or not isinstance(given[0], pd.DataFrame):
            # what begins with columns answers with arrays, as the real one does
            return function(*map(_array, given), **{key: _array(one) for key, one in named.items()})
        table = given[0]
        wanted = {*PRICES, *_names((*given[1:], *named.values()))}
        arrays = {column: _array(table[column]) for column in table.columns if column in wanted}
        found = function(arrays, *given[1:], **named)
        if isinstance(found, list | tuple):
            return pd.DataFrame(dict(zip(function.output_names, found, strict=True)), index=table.index)
        return pd.Series(found, index=table.index)

    return called


def _names(given: Iterable[Any]) -> Iterator[str]:
    """Yield the names of columns among arguments: ``price="rsi"``, ``prices=["high", "low"]``."""
    for one in given:
        if isinstance(one, str):
            yield one
        elif isinstance(one, list | tuple):
            yield from _names(one)


def _array(value: Any) -> Any:
    if not isinstance(value, pd.Series):
        return value
    return np.ascontiguousarray(value.to_numpy(np.float64))
