"""What is told, and the plain values of it that templates name."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

import msgspec

from domain import ids
from domain.trade import Trade
from engine.commands import PlaceOrder, Refused
from engine.published import Entered, PartlyTaken

if TYPE_CHECKING:
    from datetime import datetime

    from domain.notice import Notice

TAG = re.compile(r"</?(b|i|pre|code)>")
BLOCKS = {
    "discord": {"b": "**", "i": "*", "pre": "```", "code": "`"},
    "slack": {"b": "*", "i": "_", "pre": "```", "code": "`"},
}
"""How a service marks what Telegram's HTML marks."""


class Announcement(msgspec.Struct, frozen=True):
    """One notice.

    Attributes:
        text: in the HTML that Telegram takes.
        silent: whether it is to make no sound.
        time: when it happened, UTC.
        mode: SYNTHETIC, PAPER or LIVE, as the log marks its lines.
        values: what it is about, by the names in ``domain.notice.VALUES``; names that do not apply are left out.
    """

    kind: Notice
    text: str
    silent: bool
    time: datetime
    mode: str
    values: dict[str, str]

    def plain(self) -> str:
        """Return the text without any markup."""
        return html.unescape(TAG.sub("", self.text))

    def marked(self, service: str) -> str:
        """Return the text in a service's own markup."""
        marks = BLOCKS[service]
        text = TAG.sub(lambda tag: marks[tag[1]], self.text)
        # Slack reads the same three escapes as HTML does, Discord none
        return text if service == "slack" else html.unescape(text)

    def named(self) -> dict[str, str]:
        """Return everything by name, as templates use it."""
        return {
            **self.values, "text": self.plain(), "kind": self.kind.value, "mode": self.mode,
            "time": self.time.isoformat(timespec="seconds"), "silent": "true" if self.silent else "false",
        }  # fmt: skip


def values_of(what: object) -> dict[str, str]:
    """Return the plain values of an event of the engine; empty for one that has none."""
    found = _values(what)
    return {name: str(value) for name, value in found.items() if value not in {None, ""}}


def _values(what: Any) -> dict[str, Any]:
    if isinstance(what, Trade):
        return {
            "symbol": what.symbol, "side": what.side, "strategy": what.strategy_name, "quantity": what.quantity,
            "entry_price": what.entry_price, "price": what.exit_price, "fees": what.fees, "funding": what.funding,
            "pnl_usd": what.pnl_usd, "pnl_percent": what.pnl_percent, "r_multiple": what.r_multiple,
            "exit_reason": what.exit_reason, "trade_id": what.trade_id,
        }  # fmt: skip
    if isinstance(what, PlaceOrder) and what.intent.opening is not None:
        opening, name = what.intent.opening, ids.parse_order_id(what.intent.order_id)
        return {
            "symbol": what.intent.symbol, "side": opening.side, "strategy": opening.strategy,
            "quantity": what.intent.qty, "price": opening.entry, "stop": opening.stop, "target": opening.target or None,
            "trade_id": ids.trade_id(name.digest) if name else None,
        }  # fmt: skip
    if isinstance(what, Entered | PartlyTaken):
        return {
            "symbol": what.symbol, "quantity": what.qty, "price": what.price, "fees": what.fee,
            "trade_id": ids.trade_id(what.digest),
        }  # fmt: skip
    if isinstance(what, Refused):
        signal = what.signal
        return {
            "symbol": signal.symbol, "side": signal.side, "strategy": signal.strategy, "gate": what.gate,
            "reason": what.detail,
        }  # fmt: skip
    return {name: getattr(what, name, None) for name in ("symbol", "strategy", "reason")}
