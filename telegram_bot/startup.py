"""What is said after a start: what recovery found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from telegram_bot import texts
from telegram_bot.texts import bold, escape, money

if TYPE_CHECKING:
    from collections.abc import Mapping


def greeting(seen: Mapping[str, Any]) -> str:
    """Return the notice of a start."""
    rows: list[tuple[str, object]] = [
        ("recovered", f"in {seen['recovery_s']:.1f} s"), ("switch", seen["switch"]),
        ("equity", money(seen["equity"], sign=False)), ("positions", f"{seen['open']} open, {seen['pending']} waiting"),
        ("candles", f"{seen['candles_loaded']} stored"), ("", f"{seen['candles_fetched']} fetched"),
        ("missed", f"{seen['missed_signals']} signals"),
    ]  # fmt: skip
    found = {"adopted": seen["adopted"], "rebuilt": seen["rebuilt"], "foreign": seen["foreign_positions"],
             "not there": seen["ghosts"]}  # fmt: skip
    rows += [(name, len(value) if isinstance(value, list | dict) else value) for name, value in found.items() if value]
    missing = seen["ledger"]["missing"]
    rows += [("journal", f"{missing} records lost, asked for")] if missing else []
    # a journal may be lost: what it told of is found again all the same
    known = seen["records_read"] or seen["adopted"] or seen["rebuilt"]
    where = f"{escape(seen['source'])}, account {escape(seen['account'])}"
    head = f"🔄 {bold(seen['mode'])} · Revenant {'is back' if known else 'has started for the first time'} on {where}"
    return f"{head}\n{texts.pairs(rows)}"
