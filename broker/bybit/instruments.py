"""Trading rules and margin tiers, from Bybit's instruments-info and risk-limit.

Source: Bybit v5 documentation, "Get Instruments Info" and "Get Risk Limit".
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from broker.bybit.messages import COIN, number
from domain.instrument import Instrument, Quote, RiskTier, unified_symbol

if TYPE_CHECKING:
    from collections.abc import Sequence

PERPETUAL = "LinearPerpetual"
TRUE = {True, "true", "True"}
PERCENT_FROM = 10
"""An initial margin times the highest leverage is 1 as fractions, and 100 where rates are in percent."""


def quote(ticker: dict[str, Any]) -> Quote:
    """Return what a ticker quotes, 0 for what it does not; raise a ValueError or such when unreadable."""
    return Quote(number(ticker, "lastPrice"), number(ticker, "bid1Price"), number(ticker, "ask1Price"))


def instrument(
    row: dict[str, Any], turnover: Decimal, tiers: tuple[RiskTier, ...] = (), quoted: Quote | None = None
) -> Instrument | None:
    """Return a row's contract, None for one that is no USDT perpetual; raise a ValueError or such when unreadable."""
    if row.get("contractType") != PERPETUAL or row.get("settleCoin") != COIN:
        return None
    lot, listed = row["lotSizeFilter"], row["status"] == "Trading"
    return Instrument(
        unified_symbol(row["baseCoin"], row["quoteCoin"], row["settleCoin"]), row["symbol"],
        _size(row["priceFilter"], "tickSize"), _size(lot, "qtyStep"), _size(lot, "minOrderQty"),
        _size(lot, "maxMktOrderQty"), number(lot, "minNotionalValue"), _size(row["leverageFilter"], "maxLeverage"),
        trading=listed, turnover_24h=turnover, funding_interval_ms=int(row.get("fundingInterval") or 480) * 60_000,
        category=str(row.get("symbolType") or ""), pre_listing=row.get("isPreListing") in TRUE,
        delivery_time=int(row.get("deliveryTime") or 0), tiers=tiers,
        listed_at=int(row.get("launchTime") or 0), quote=quoted,
    )  # fmt: skip


def risk_tiers(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[RiskTier, ...]]:
    """Return each contract's margin tiers, smallest positions first, by the exchange's name."""
    by_symbol: dict[str, list[RiskTier]] = {}
    for row in rows:
        leverage, initial = _size(row, "maxLeverage"), number(row, "initialMargin")
        scale = 100 if initial * leverage > PERCENT_FROM else 1
        by_symbol.setdefault(str(row["symbol"]), []).append(RiskTier(
            _size(row, "riskLimitValue"), number(row, "maintenanceMargin") / scale, leverage,
            number(row, "mmDeduction"),
        ))  # fmt: skip
    return {name: tuple(sorted(tiers, key=lambda tier: tier.limit)) for name, tiers in by_symbol.items()}


def _size(row: dict[str, Any], name: str) -> Decimal:
    size = number({name: row[name]}, name)
    if size <= 0:
        raise ValueError(f"{name} is {size}")
    return size
