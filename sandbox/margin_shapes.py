"""Bybit v5 spellings of mark prices and risk tiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.shapes import text

if TYPE_CHECKING:
    from domain.instrument import Instrument
    from sandbox.exchange import Exchange


def ticker(exchange: Exchange, rules: Instrument) -> dict[str, Any]:
    """Return the fields of a ticker that are not the last price's."""
    return {
        "markPrice": text(exchange.mark_price(rules.symbol)), "deliveryTime": str(rules.delivery_time),
        "curPreListingPhase": "ContinuousTrading" if rules.pre_listing else "",
    }  # fmt: skip


def risk_tiers(rules: Instrument) -> list[dict[str, Any]]:
    """Return a contract's tiers as /v5/market/risk-limit lists them."""
    return [
        {
            "id": number, "symbol": rules.venue_id, "riskLimitValue": text(tier.limit),
            "maintenanceMargin": text(tier.maintenance), "initialMargin": text(round(1 / tier.max_leverage, 4)),
            "isLowestRisk": int(number == 1), "maxLeverage": f"{tier.max_leverage:.2f}",
            "mmDeduction": text(tier.deduction) if tier.deduction else "",
        }
        for number, tier in enumerate(rules.tiers, 1)
    ]  # fmt: skip
