"""Parameters that a strategy leaves open, by freqtrade's names; each has one value while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTRY, EXIT = ("buy", "enter"), ("sell", "exit")
"""Two words for the same: older files say buy and sell."""


class OpenParameter:
    """A value that may be chosen; the one in ``value`` is used.

    Args:
        default: the value without a choice.
        space: which group of a file of parameters it is chosen in; without it the name's beginning says so.
        load: whether a choice counts at all.
        optimize: of no meaning here; nothing is searched while a strategy runs.
    """

    def __init__(
        self, *, default: Any, space: str | None = None, optimize: bool = True, load: bool = True, **_: Any
    ) -> None:
        self.value, self.default, self.space, self.load, self.optimize = default, default, space, load, optimize

    @property
    def range(self) -> list[Any]:
        """All values that are tried: the one in use."""
        return [self.value]

    def kind(self) -> Any:
        """Return the type of its values, with their bounds."""
        return Any

    def spaces(self, name: str) -> Sequence[str]:
        """Return the groups that a choice of it may stand in."""
        group = self.space or name.partition("_")[0]
        return next((both for both in (ENTRY, EXIT) if group in both), (group,))


class _Numeric(OpenParameter):
    number: type[int | float] = float

    def __init__(self, low: Any, high: Any = None, *, default: Any, **kw: Any) -> None:
        self.low, self.high = (low[0], low[1]) if high is None else (low, high)
        super().__init__(default=self.read(default), **kw)

    def read(self, value: Any) -> Any:
        """Return a value as it is used."""
        return self.number(value)

    def kind(self) -> Any:
        """Return the type of its values, with their bounds."""
        return Annotated[self.number, msgspec.Meta(ge=self.low, le=self.high)]


class IntParameter(_Numeric):
    """A whole number from ``low`` to ``high``."""

    number = int


class RealParameter(_Numeric):
    """A number from ``low`` to ``high``."""


class DecimalParameter(_Numeric):
    """A number from ``low`` to ``high`` with so many decimals."""

    def __init__(self, low: Any, high: Any = None, *, default: Any, decimals: int = 3, **kw: Any) -> None:
        self.decimals = decimals
        super().__init__(low, high, default=default, **kw)

    def read(self, value: Any) -> float:
        """Return a value as it is used."""
        return round(float(value), self.decimals)


class CategoricalParameter(OpenParameter):
    """One of several values."""

    def __init__(self, categories: Sequence[Any], *, default: Any = None, **kw: Any) -> None:
        self.opt_range = list(categories)
        super().__init__(default=self.opt_range[0] if default is None else default, **kw)


class BooleanParameter(CategoricalParameter):
    """Yes or no."""

    def __init__(self, *, default: Any = None, **kw: Any) -> None:
        super().__init__([True, False], default=default, **kw)

    def kind(self) -> Any:
        """Return the type of its values."""
        return bool
