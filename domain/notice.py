"""What the operator is told of without having asked."""

from __future__ import annotations

from enum import StrEnum


class Notice(StrEnum):
    """Kinds of events."""

    STARTUP = "startup"
    SHUTDOWN = "shutdown"
    SIGNAL = "signal"
    REFUSED = "refused"
    ENTRY = "entry"
    PARTIAL = "partial"
    EXIT = "exit"
    ORDER_REFUSED = "order_refused"
    EXIT_FAILING = "exit_failing"
    STOP_REFUSED = "stop_refused"
    LEVERAGE = "leverage"
    NOT_UNDERSTOOD = "not_understood"
    HAND = "hand"
    SECOND_SENDER = "second_sender"
    SWITCH = "switch"
    STRATEGY = "strategy"
    DAILY_LOSS = "daily_loss"
    DELISTING = "delisting"
    FEED = "feed"
    TIER = "tier"
    TRADING = "trading"
    KEY = "key"
    RETRAIN = "retrain"
    GAPS = "gaps"
    HISTORY = "history"
    WEEKLY = "weekly"
    STRANGER = "stranger"
    TELEGRAM = "telegram"


class Loudness(StrEnum):
    """How an event is told."""

    ON = "on"
    SILENT = "silent"
    OFF = "off"


USUAL: dict[Notice, Loudness] = {
    **dict.fromkeys(Notice, Loudness.ON),
    **dict.fromkeys((Notice.SIGNAL, Notice.PARTIAL, Notice.RETRAIN, Notice.GAPS, Notice.WEEKLY), Loudness.SILENT),
    Notice.REFUSED: Loudness.OFF,
}
"""How events are told unless the configuration says otherwise."""

VALUES = (
    "text", "kind", "mode", "time", "silent", "symbol", "side", "strategy", "quantity", "price", "entry_price", "stop",
    "target", "fees", "funding", "pnl_usd", "pnl_percent", "r_multiple", "exit_reason", "gate", "reason", "trade_id",
)  # fmt: skip
"""Names that the template of a webhook may use. The first five are there always, the rest where they apply."""
