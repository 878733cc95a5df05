"""What freqtrade's programs want to know of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboard.freqtrade.trades import trading_mode
from domain.candle import MAIN_TIMEFRAME, timeframe_ms
from domain.durations import MINUTE_MS
from domain.version import VERSION

if TYPE_CHECKING:
    from dashboard.port import Desk

API_VERSION = 2.44
"""The newest version of freqtrade's API of which everything is here that is asked of a trading bot."""
DECIMALS, QUOTE = 2, "USDT"
MARKET = {"entry": "market", "exit": "market", "stoploss": "market", "emergency_exit": "market",
          "force_exit": "market", "force_entry": "market", "stoploss_on_exchange": True}  # fmt: skip


def quote(symbol: str) -> str:
    """Return the currency that a symbol is paid in."""
    return symbol.partition("/")[2].partition(":")[0]


def currency(desk: Desk) -> str:
    """Return the currency of the account."""
    symbols = desk.symbols()
    return (quote(symbols[0]) if symbols else "") or QUOTE


def shown(desk: Desk) -> dict[str, Any]:
    """Return the configuration in freqtrade's shape; what it has and we have not is empty."""
    seen, live = desk.status(), desk.mode == "LIVE"
    symbols, timeframes = desk.symbols(), desk.timeframes()
    main = MAIN_TIMEFRAME if MAIN_TIMEFRAME in timeframes or not timeframes else timeframes[0]
    mode = trading_mode(symbols[0]) if symbols else "futures"
    futures = mode == "futures"
    return {
        "version": f"Revenant {VERSION}", "strategy_version": None, "api_version": API_VERSION, "dry_run": not live,
        "trading_mode": mode, "margin_mode": "isolated" if futures else "", "short_allowed": futures,
        "stake_currency": currency(desk), "stake_currency_decimals": DECIMALS, "stake_amount": _stake(desk),
        "available_capital": None, "max_open_trades": seen.get("max_open_trades", 0), "minimal_roi": {},
        "stoploss": None, "stoploss_on_exchange": True, "trailing_stop": None, "trailing_stop_positive": None,
        "trailing_stop_positive_offset": None, "trailing_only_offset_is_reached": None, "use_custom_stoploss": True,
        "unfilledtimeout": {}, "order_types": MARKET, "timeframe": main, "timeframe_ms": timeframe_ms(main),
        "timeframe_min": timeframe_ms(main) // MINUTE_MS, "exchange": str(seen["source"]),
        "strategy": ", ".join(desk.strategies()), "force_entry_enable": False, "exit_pricing": {}, "entry_pricing": {},
        "bot_name": f"Revenant {desk.mode}", "state": seen["switch"], "runmode": "live" if live else "dry_run",
        "position_adjustment_enable": False, "max_entry_position_adjustment": 0,
    }  # fmt: skip


def _stake(desk: Desk) -> str:
    # positions are as large as the risk of their stop allows: no amount is configured
    percent = desk.config().get("risk", {}).get("percent", "")
    return f"{percent} % risk" if percent else "unlimited"
