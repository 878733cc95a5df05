"""Deterministic names: the same signal gives the same order id and trade id on every run and every machine."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from functools import lru_cache
from typing import NamedTuple

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "revenant:trade")

SHORT = {"trend_pullback": "trend", "mean_reversion": "mr"}
"""What strategies are called in keys that others may read; the rest are called there as they are."""

_ORDER_ID = re.compile(r"([LP])1-([A-Z2-7]{24})-([a-z])(\d{1,6})")


class Identity(NamedTuple):
    """Whose records these are: candle source, trading mode (synthetic, paper, live) and account uid."""

    source: str
    mode: str
    account: str


class OrderName(NamedTuple):
    """The parts of an order id of ours.

    The leg is e (entry), p (partial target), t (a part that its strategy takes off), r (a part that the operator
    closes) or x (exit).
    """

    digest: str
    leg: str
    attempt: int


def signal_digest(who: Identity, strategy: str, symbol: str, timeframe: str, bar_start: int) -> str:
    """Return 24 characters that name a signal.

    Neither side nor price goes in: two instances that disagree about those still collide, so the exchange
    accepts only one of their orders.
    """
    text = "|".join((who.account, who.mode, strategy, symbol, timeframe, str(bar_start)))
    return base64.b32encode(hashlib.blake2s(text.encode(), digest_size=15).digest()).decode()


def order_id(digest: str, leg: str, attempt: int, *, paper: bool) -> str:
    """Return the client order id of a signal's leg: at most 36 characters of [A-Za-z0-9-]."""
    return f"{'P' if paper else 'L'}1-{digest}-{leg}{attempt}"


@lru_cache(maxsize=1_024)
def parse_order_id(text: str) -> OrderName | None:
    """Return the parts of an order id of ours, None for anything else."""
    found = _ORDER_ID.fullmatch(text)
    return OrderName(found[2], found[3], int(found[4])) if found else None


def name_uuid(name: str) -> str:
    """Return the version 5 UUID of a name in our namespace (RFC 9562)."""
    return str(uuid.uuid5(NAMESPACE, name))


def trade_id(digest: str) -> str:
    """Return the id of the trade that a signal leads to."""
    return name_uuid(digest)


def short_name(strategy: str) -> str:
    """Return what a strategy is called in keys that others may read, such as ``ml:trend:model``."""
    return SHORT.get(strategy, strategy)
