"""Which symbols there are: the core, their ranks, and names that have changed."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, NamedTuple

from domain.durations import DAY_MS
from domain.errors import BadData
from domain.symbols import base_of
from history.port import PERPETUAL, market_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CORE = (
    "BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "DOGE", "TRX", "LINK", "DOT", "POL", "AVAX", "UNI", "ATOM", "LTC", "BCH",
    "ALGO", "VET", "S", "ICP", "SAND", "MANA", "NEAR", "APT", "OP", "ARB", "SKY", "RUNE", "INJ", "STX",
)  # fmt: skip
"""The thirty that are always wanted, by their names of today."""


class Rename(NamedTuple):
    """A coin that goes on under another name.

    Attributes:
        old: the name before.
        new: the name after.
        until: the UTC day on which the old name's pairs stopped; nothing after it is missing.
        since: the UTC day on which the new name's pairs began; nothing before it is missing.
        ratio: how many new units one old unit became; prices do not go on without it.
    """

    old: str
    new: str
    until: date
    since: date
    ratio: int


RENAMES = (
    Rename("MATIC", "POL", date(2024, 9, 10), date(2024, 9, 13), 1),
    Rename("FTM", "S", date(2025, 1, 13), date(2025, 1, 16), 1),
    Rename("MKR", "SKY", date(2025, 9, 15), date(2025, 9, 18), 24_000),
)
"""Days of Binance's pairs; an exchange's own listing date counts before these."""


class Market(NamedTuple):
    """A market of a source: its symbol, when it began and ended (UTC ms), whether it trades, and its coin's rank."""

    symbol: str
    listed: int | None
    delisted: int | None
    active: bool
    rank: int | None = None


def renamed_life(symbol: str) -> tuple[int | None, int | None]:
    """Return from when and until when a renamed coin's symbol can have bars (UTC ms), None where nothing is known."""
    base = base_of(symbol)
    since = next((_ms(rename.since) for rename in RENAMES if rename.new == base), None)
    until = next((_ms(rename.until) + DAY_MS for rename in RENAMES if rename.old == base), None)
    return since, until


def hint(symbol: str) -> str:
    """Return what somebody who asks for a symbol should know of its other name, "" when it has none."""
    base = base_of(symbol)
    for rename in RENAMES:
        if rename.old == base:
            return (
                f"{symbol} ended on {rename.until}; it goes on as {rename.new} from {rename.since}{_exchange(rename)}"
            )
        if rename.new == base:
            return f"{symbol} began on {rename.since}; before it was {rename.old}{_exchange(rename)}"
    return ""


def _exchange(one: Rename) -> str:
    return f" (1 {one.old} = {one.ratio} {one.new})"


def ranked(markets: Iterable[Market], ranks: Mapping[str, int]) -> list[Market]:
    """Return the markets with their coins' ranks, the highest first, those without a rank last."""
    ranked_markets = [market._replace(rank=ranks.get(base_of(market.symbol))) for market in markets]
    return sorted(ranked_markets, key=lambda one: (one.rank is None, one.rank or 0, one.symbol))


def choose(
    markets: Iterable[Market], *, top: int | None = None, core: bool = False, kind: str = PERPETUAL, quote: str = "USDT"
) -> list[Market]:
    """Return the active markets of a kind against a quote coin: the ``top`` by rank, the core thirty, or all of them.

    The core comes with the ended markets of coins that go on under another name: their history is before it.

    Raises:
        BadData: when there is none.
    """
    markets = list(markets)
    fits = [market for market in markets if market.active and _is(market, kind, quote)]
    if core:
        chosen = [market for market in fits if base_of(market.symbol) in CORE]
        chosen += [market for market in markets if _was_core(market.symbol) and _is(market, kind, quote)]
    elif top is None:
        chosen = fits
    else:
        # a coin has one rank however many contracts there are on it
        chosen = list(
            {base_of(market.symbol): market for market in reversed(fits) if market.rank is not None}.values()
        )[::-1]
        chosen = chosen[:top]
    if not chosen:
        raise BadData(f"no active {kind} market against {quote} is known; refresh with data symbols --refresh")
    return chosen


def unlisted(found: Iterable[Market]) -> list[str]:
    """Return the coins of the core that are not among markets, a former name as ``MATIC (before POL)``."""
    listed = {base_of(one.symbol) for one in found}
    former = [f"{one.old} (before {one.new})" for one in RENAMES if one.old not in listed]
    return [*(coin for coin in CORE if coin not in listed), *former]


def _was_core(symbol: str) -> bool:
    return any(base_of(symbol) == rename.old and rename.new in CORE for rename in RENAMES)


def _is(market: Market, kind: str, quote: str) -> bool:
    symbol = market.symbol
    return market_of(symbol) == kind and symbol.partition("/")[2].partition(":")[0] == quote


def _ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
