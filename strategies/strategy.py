"""What a strategy is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from domain.candle import Bars
    from domain.holding import Adjust, Holding
    from domain.signal import Leave, Signal

    Columns = dict[str, np.ndarray]


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every strategy's parameters; unknown names in config.yaml are refused."""


State = TypeVar("State")


class Strategy(Protocol[State]):
    """Decides on each closed bar of its first timeframe.

    The same object runs live and in a backtest: live steps the last bar, a backtest all of them. ``columns`` must
    be causal: row i may depend on bars up to i only. ``warmup_bars`` says, per timeframe, after how many bars
    older ones no longer matter (their weight is below 1e-9).

    A class may have ``informative``, symbols that it looks at and that need not be traded, written in any way
    (``("BTC",)``): ``columns`` is given their bars in all timeframes too, under ``"BTC 15m"`` (the name as written).
    """

    Parameters: ClassVar[Any]
    name: str
    timeframes: tuple[str, ...]
    warmup_bars: Mapping[str, int]

    def __init__(self, parameters: Any) -> None:
        """Take validated parameters."""
        ...

    def start(self, symbol: str) -> State:
        """Return the state that ``step`` works on for one symbol."""
        ...

    def columns(self, bars: Mapping[str, Bars]) -> Columns:
        """Return indicator columns, one row per bar of the first timeframe."""
        ...

    def step(self, i: int, columns: Columns, state: State) -> Signal | Leave | None:
        """Decide on bar i, changing ``state``: enter by a signal, leave what is held, or do nothing.

        What is held is not known here; a Leave where nothing is held means nothing.
        """
        ...


class ManagingStrategy(Strategy[State], Protocol[State]):
    """One that manages its positions, beside stop, target and plan; who does not need it leaves the method out."""

    def manage(self, position: Holding, i: int, columns: Columns) -> Adjust | Leave | None:
        """Say what is to become of a position of its own, or a phantom, as bar i closes, None for nothing.

        Called once for each bar of the first timeframe on which one is open, after ``step``, and for each position by
        itself. What it says must follow from its arguments alone: that is how a bot that was down makes up for it.
        """
        ...
