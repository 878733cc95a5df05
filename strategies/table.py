"""The table of all strategies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strategies.breakout import Breakout
from strategies.mean_reversion import MeanReversion
from strategies.scalp import Scalp
from strategies.trend_pullback import TrendPullback

if TYPE_CHECKING:
    from collections.abc import Mapping


TABLE: Mapping[str, type[Any]] = {
    "trend_pullback": TrendPullback,
    "mean_reversion": MeanReversion,
    "scalp": Scalp,
    "breakout": Breakout,
}
"""Every strategy by the name it has in config.yaml; yours need no place here (docs/strategies.md)."""
