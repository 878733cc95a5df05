"""Trades in freqtrade's shape: numbers are floats, ratios are of the stake, times are of UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dashboard.freqtrade.numbers import number_of
from domain.candle import timeframe_ms
from domain.durations import MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "%Y-%m-%d %H:%M:%S"
DIGITS = 8


def moment(name: str, time: datetime | int | None) -> dict[str, Any]:
    """Return a time, aware or in UTC ms, under both of the names that freqtrade has for it; nothing for None."""
    held = datetime.fromtimestamp(time / 1000, UTC) if isinstance(time, int) else time
    if held is None:
        return {f"{name}_date": None, f"{name}_timestamp": None}
    return {f"{name}_date": f"{held:{FORMAT}}", f"{name}_timestamp": int(held.timestamp() * 1000)}


def profit(ratio: float, made: float, name: str = "") -> dict[str, float]:
    """Return a profit as a ratio of the stake, in percent, and in quote units."""
    return {
        f"{name}profit" if name else "profit_ratio": round(ratio, DIGITS),
        f"{name}profit_pct": round(100 * ratio, 2),
        f"{name}profit_abs": round(made, DIGITS),
    }


def closed_trade(row: Mapping[str, Any], exchange: str) -> dict[str, Any]:
    """Return a closed trade, told by its fields."""
    amount, entry, left = (float(row[name]) for name in ("quantity", "entry_price", "exit_price"))
    made, ratio, leverage = float(row["pnl_usd"]), float(row["pnl_percent"]) / 100, float(row["leverage"]) or 1.0
    worth = amount * (entry + left)
    # only the sum of the fees is kept with a trade: they are told by what was traded
    rate = float(row["fees"]) / worth if worth else 0.0
    quote = _currencies(row["symbol"])["quote_currency"]
    short = row["side"] == "short"
    return {
        **_common(row["trade_id"], row, exchange, amount, entry, leverage), "is_open": False,
        "amount_requested": amount, "strategy": row["strategy_name"], "enter_tag": row["strategy_name"],
        "fee_open": rate, "fee_open_cost": rate * amount * entry, "fee_open_currency": quote,
        "fee_close": rate, "fee_close_cost": rate * amount * left, "fee_close_currency": quote,
        **moment("open", row["entry_time"]), **moment("open_fill", row["entry_time"]),
        **moment("close", row["exit_time"]),
        "close_rate": left, "close_rate_requested": left, **profit(ratio, made), **profit(ratio, made, "close_"),
        "realized_profit": made, "realized_profit_ratio": ratio, "exit_reason": row["exit_reason"],
        "exit_order_status": "closed", "has_open_orders": False, "funding_fees": -float(row["funding"]),
        "orders": [
            _order(row, amount, entry, row["entry_time"], sells=short, entry=True),
            _order(row, amount, left, row["exit_time"], sells=not short, entry=False),
        ],
    }  # fmt: skip


def open_trade(row: Mapping[str, Any], exchange: str) -> dict[str, Any]:
    """Return a position, told by its row in the status."""
    pending, partial = row["pending"], row["partial_taken"]
    amount, entry, price = float(row["requested" if pending else "qty"]), float(row["entry"]), float(row["price"])
    leverage, made = float(row["leverage"]) or 1.0, float(row["pnl"])
    way, short = (-1 if row["side"] == "short" else 1), row["side"] == "short"
    ratio = float(row["percent"]) / 100 * leverage
    realised = made - way * (price - entry) * amount if partial else 0.0
    stop = _stop("stop_loss", float(row["stop"]), entry, way * leverage)
    first = _stop("initial_stop_loss", float(row["first_stop"]), entry, way * leverage)
    away = float(row["stop"]) - price
    filled = None if pending else row["opened_at"]
    return {
        **_common(row["trade_id"], row, exchange, amount, entry, leverage), "is_open": True,
        "amount_requested": float(row["requested"]), "strategy": row["strategy"], "enter_tag": row["strategy"],
        **moment("open", row["opened_at"]), **moment("open_fill", filled), **moment("close", None),
        "close_rate": None, **profit(ratio, made), "realized_profit": realised, "realized_profit_ratio": 0.0,
        "exit_reason": None, "exit_order_status": None, **stop, **first, "has_open_orders": pending,
        "current_rate": price, "total_profit_abs": made, "total_profit_fiat": None, "total_profit_ratio": ratio,
        "stoploss_current_dist": away, "stoploss_current_dist_ratio": away / price if price else 0.0,
        "stoploss_current_dist_pct": round(100 * away / price, 2) if price else 0.0,
        "stoploss_entry_dist": way * (float(row["stop"]) - entry) * amount,
        "stoploss_entry_dist_ratio": stop["stop_loss_ratio"], "funding_fees": None,
        "orders": [_order(row, amount, entry, filled, sells=short, entry=True)],
    }  # fmt: skip


def _common(
    trade_id: str, row: Mapping[str, Any], exchange: str, amount: float, entry: float, leverage: float
) -> dict[str, Any]:
    worth = amount * entry
    minutes = timeframe_ms(row["timeframe"]) // MINUTE_MS if row["timeframe"] else 0
    return {
        "trade_id": number_of(trade_id), "pair": row["symbol"], **_currencies(row["symbol"]),
        "is_short": row["side"] == "short", "exchange": exchange, "amount": amount, "stake_amount": worth / leverage,
        "max_stake_amount": worth / leverage, "timeframe": minutes, "open_rate": entry, "open_rate_requested": entry,
        "open_trade_value": worth, "leverage": leverage, "interest_rate": 0.0, "liquidation_price": None,
        "trading_mode": trading_mode(row["symbol"]), "profit_fiat": None, "min_rate": None, "max_rate": None,
        "stop_loss_abs": None, "stop_loss_ratio": None, "stop_loss_pct": None, "stoploss_last_update": None,
        "stoploss_last_update_timestamp": None, "initial_stop_loss_abs": None, "initial_stop_loss_ratio": None,
        "initial_stop_loss_pct": None, "fee_open": None, "fee_open_cost": None, "fee_open_currency": None,
        "fee_close": None, "fee_close_cost": None, "fee_close_currency": None, "close_rate_requested": None,
        "close_profit": None, "close_profit_pct": None, "close_profit_abs": None,
        "amount_precision": None, "price_precision": None, "precision_mode": None,
    }  # fmt: skip


def _stop(name: str, stop: float, entry: float, factor: float) -> dict[str, float]:
    ratio = (stop / entry - 1) * factor if entry else 0.0
    return {f"{name}_abs": stop, f"{name}_ratio": ratio, f"{name}_pct": round(100 * ratio, 2)}


def _order(
    row: Mapping[str, Any], amount: float, price: float, time: datetime | int | None, *, sells: bool, entry: bool
) -> dict[str, Any]:
    # what was executed for one side of a trade, put together
    filled = moment("order_filled", time)["order_filled_timestamp"]
    side = "sell" if sells else "buy"
    tag = row["strategy" if "strategy" in row else "strategy_name"]
    return {
        "pair": row["symbol"], "order_id": f"{row['trade_id']}-{'entry' if entry else 'exit'}",
        "status": "open" if time is None else "closed", "remaining": amount if time is None else 0.0, "amount": amount,
        "safe_price": price, "cost": amount * price, "filled": 0.0 if time is None else amount, "ft_order_side": side,
        "order_type": "market", "is_open": time is None, "order_timestamp": filled, "order_filled_timestamp": filled,
        "ft_fee_base": None, "ft_order_tag": tag if entry else None, "ft_is_entry": entry,
    }  # fmt: skip


def _currencies(symbol: str) -> dict[str, str]:
    base, _, rest = symbol.partition("/")
    return {"base_currency": base, "quote_currency": rest.partition(":")[0]}


def trading_mode(symbol: str) -> str:
    """Return what freqtrade calls the market of a symbol."""
    return "futures" if ":" in symbol else "spot"
