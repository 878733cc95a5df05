"""Which contracts may be traded at all: coins that are fully listed and go on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from domain.instrument import Instrument

NAMED = frozenset({"innovation", "stock", "commodity", "forex"})
"""Kinds of linear contracts that Bybit documents (``symbolType``); any other is allowed by the word ``other``."""
OTHER, PRE_LISTING, DELISTING = "other", "pre_listing", "delisting"


def refusal(instrument: Instrument | None, allow: Collection[str]) -> tuple[str, str] | None:
    """Return gate and reason when no entry may be made in a contract; ``allow`` are kinds that may be.

    Stocks, commodities and currencies follow other hours than coins, need an agreement with the exchange, and are split
    (executions ``CorporateAction``); contracts before their listing trade by other rules; one that is about to be
    delisted is settled at a price that nobody chose.
    """
    if instrument is None:
        return None
    kind = instrument.category
    if kind and (kind if kind in NAMED else OTHER) not in allow:
        return "not_a_coin", f"it is of the kind {kind}, which trading.allow does not name"
    if instrument.pre_listing and PRE_LISTING not in allow:
        return "pre_listing", "it is not fully listed yet, and trading.allow does not name pre_listing"
    if instrument.delivery_time and DELISTING not in allow:
        return "delisting", f"it is delisted at {_moment(instrument.delivery_time)}"
    return None


def _moment(time: int) -> str:
    return f"{datetime.fromtimestamp(time / 1000, UTC):%Y-%m-%d %H:%M} UTC"
