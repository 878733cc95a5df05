"""What of freqtrade a strategy uses that is not offered: found before it runs, and told by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from domain.errors import BadData
from strategies.freqtrade.interface import IStrategy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SIZES = "sizes follow from the section risk of the settings"
ORDERS = "orders follow from the section trading of the settings"
METHODS: Mapping[str, str] = {
    "custom_roi": "minimal_roi and custom_exit are",
    "custom_sell": "interface version 3 calls it custom_exit",
    "order_filled": "a strategy is asked about positions as bars close, and not about orders",
    "bot_loop_start": "nothing goes round between bars",
    "custom_stake_amount": SIZES,
    "leverage": f"{SIZES}, and so does leverage",
    "custom_entry_price": ORDERS,
    "custom_exit_price": ORDERS,
    "adjust_entry_price": ORDERS,
    "adjust_exit_price": ORDERS,
    "adjust_order_price": ORDERS,
    "check_entry_timeout": ORDERS,
    "check_exit_timeout": ORDERS,
    "check_buy_timeout": ORDERS,
    "check_sell_timeout": ORDERS,
    "populate_buy_trend": "interface version 3 calls it populate_entry_trend",
    "populate_sell_trend": "interface version 3 calls it populate_exit_trend",
    "protections": "write them below risk.protections in the settings, in the same words",
    "populate_any_indicators": "there is no FreqAI",
    "feature_engineering_expand_all": "there is no FreqAI",
    "feature_engineering_expand_basic": "there is no FreqAI",
    "feature_engineering_standard": "there is no FreqAI",
    "set_freqai_targets": "there is no FreqAI",
}
"""Members that are refused where a strategy has them, and why."""

IDLE: Mapping[str, Callable[[type[Any]], bool]] = {
    "custom_roi": lambda kind: not kind.use_custom_roi,
}
"""Members that freqtrade does not call while a switch is off."""


def refused(kind: type[Any]) -> list[str]:
    """Return what a class uses that is not offered, each with the reason; nothing for one that can run."""
    found = [
        f"{name} ({why})" for name, why in METHODS.items()
        if has(kind, name) and not IDLE.get(name, _never)(kind)
    ]  # fmt: skip
    if kind.INTERFACE_VERSION != IStrategy.INTERFACE_VERSION:
        found.append(f"INTERFACE_VERSION {kind.INTERFACE_VERSION!r} (version {IStrategy.INTERFACE_VERSION} is offered)")
    return found


def misfit(strategy: Any) -> str:
    """Return which attribute of a strategy cannot be used, "" when all can."""
    if not isinstance(strategy.timeframe, str) or not strategy.timeframe:
        return f"timeframe is {strategy.timeframe!r}; it is text, such as '5m'"
    if not _number(strategy.stoploss) or not -1 < strategy.stoploss < 0:
        return f"stoploss is {strategy.stoploss!r}; it is a fraction below zero, such as -0.1"
    count = strategy.startup_candle_count
    if not isinstance(count, int) or count < 0:
        return f"startup_candle_count is {count!r}; it is a number of bars"
    if not isinstance(strategy.minimal_roi, dict):
        return f"minimal_roi is {strategy.minimal_roi!r}; it is a table of minutes and gains"
    positive, offset = strategy.trailing_stop_positive, strategy.trailing_stop_positive_offset
    if positive is not None and not (_number(positive) and 0 < positive < 1):
        return f"trailing_stop_positive is {positive!r}; it is a fraction above zero"
    if not _number(offset) or offset < 0:
        return f"trailing_stop_positive_offset is {offset!r}; it is a fraction"
    if strategy.trailing_only_offset_is_reached and not offset:
        return "trailing_only_offset_is_reached needs a trailing_stop_positive_offset"
    return ""


def need_whole(kind: type[Any]) -> None:
    """Raise BadData when a class uses what is not offered: all of it, by name."""
    found = refused(kind)
    if found:
        raise BadData(f"{kind.__name__} uses what is not offered to freqtrade strategies: {'; '.join(found)}")


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def has(kind: type[Any], name: str) -> bool:
    """Return whether a strategy has a member of its own, and not just what every one has."""
    return any(name in vars(one) for one in kind.__mro__ if one not in {IStrategy, object})


def _never(_: type[Any]) -> bool:
    return False
