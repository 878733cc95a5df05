"""Bybit v5 spellings of the practice exchange's records."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from domain import margin
from domain.order import OrderKind, OrderSide

if TYPE_CHECKING:
    from domain.account import ClosedPnl, Execution, VenueOrder, VenuePosition
    from domain.candle import Bar
    from domain.instrument import Instrument
    from sandbox.practice_account import PracticeAccount

CLOSED_KINDS = {"Trade", "BustTrade", "Settle", "MovePosition", "CorporateAction"}
"""What closed-pnl documents as its execType; the others are not among them, and are shown as Trade."""


def text(value: Decimal | float) -> str:
    """Return a number as Bybit writes it: plain digits, no exponent."""
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    return format(exact.normalize() if exact else Decimal(0), "f")


def order(held: VenueOrder, venue_id: str) -> dict[str, Any]:
    """Return an order as /v5/order/realtime and the order topic show it."""
    rises = (held.side is OrderSide.BUY) == (held.kind is OrderKind.STOP)
    ended = held.reject_reason != "EC_NoError"
    return {
        "category": "linear", "symbol": venue_id, "orderId": held.id, "orderLinkId": held.link_id,
        "orderStatus": held.status, "rejectReason": held.reject_reason, "isLeverage": "",
        "cancelType": held.cancel_type or ("CancelByUser" if held.status == "Cancelled" and not ended else "UNKNOWN"),
        "timeInForce": "IOC" if held.price is None else held.time_in_force,
        "parentOrderLinkId": held.parent_link_id, "blockTradeId": "", "side": held.side.value,
        "positionIdx": held.index,
        "price": text(held.price or Decimal(0)), "qty": text(held.qty),
        "avgPrice": text(round(held.value / held.filled, 12)) if held.filled else "",
        "leavesQty": text(held.qty - held.filled) if held.status in {"New", "PartiallyFilled", "Untriggered"} else "0",
        "leavesValue": "0", "cumExecQty": text(held.filled), "cumExecValue": text(held.value),
        "cumExecFee": text(held.fee), "orderType": "Limit" if held.price is not None else "Market",
        "stopOrderType": held.stop_type, "orderIv": "", "triggerPrice": text(held.trigger or Decimal(0)),
        "takeProfit": text(held.target), "stopLoss": text(held.stop), "tpslMode": "Full", "tpLimitPrice": "0",
        "slLimitPrice": "0", "tpTriggerBy": "LastPrice" if held.target else "", "slTriggerBy": "LastPrice" if held.stop
        else "", "triggerDirection": (1 if rises else 2) if held.trigger is not None else 0,
        "triggerBy": "LastPrice" if held.trigger is not None else "", "lastPriceOnCreated": "", "smpType": "None",
        "reduceOnly": held.reduce_only, "closeOnTrigger": bool(held.stop_type), "placeType": "", "smpGroup": 0,
        "smpOrderId": "", "createType": held.create_type, "feeCurrency": "USDT",
        "createdTime": str(held.created), "updatedTime": str(held.updated),
    }  # fmt: skip


def execution(held: Execution, venue_id: str) -> dict[str, Any]:
    """Return an execution as /v5/execution/list and the execution topic show it."""
    return {
        "category": "linear", "symbol": venue_id, "orderId": held.order_id, "orderLinkId": held.link_id,
        "side": held.side.value, "orderPrice": "0", "orderQty": text(held.order_qty), "leavesQty": text(held.leaves),
        "createType": held.create_type, "orderType": held.order_type, "stopOrderType": held.stop_type or "UNKNOWN",
        "execFee": text(held.fee), "execId": held.id, "execPrice": text(held.price), "execQty": text(held.qty),
        "execType": held.kind, "execValue": text(held.qty * held.price), "execTime": str(held.time),
        "feeCurrency": "USDT", "isMaker": held.maker, "feeRate": text(held.fee_rate), "tradeIv": "", "markIv": "",
        "markPrice": text(held.price), "indexPrice": "", "underlyingPrice": "", "blockTradeId": "",
        "closedSize": text(held.closed), "seq": held.sequence, "isLeverage": "0",
    }  # fmt: skip


def position(held: VenuePosition, venue_id: str, account: PracticeAccount, price_key: str) -> dict[str, Any]:
    """Return a position; REST calls the entry price ``avgPrice``, the stream ``entryPrice``."""
    value = abs(held.qty) * held.avg_price
    return {
        "category": "linear", "positionIdx": held.index, "symbol": venue_id,
        "side": "" if not held.qty else "Buy" if held.qty > 0 else "Sell", "size": text(abs(held.qty)),
        price_key: text(round(held.avg_price, 12) if held.qty else Decimal(0)), "positionValue": text(value),
        "tradeMode": 0, "autoAddMargin": 0, "positionStatus": held.status, "adlRankIndicator": 0,
        "leverage": text(held.leverage), "positionBalance": "0", "bustPrice": "", "tpslMode": "Full",
        "takeProfit": text(held.target), "stopLoss": text(held.stop), "trailingStop": "0", "sessionAvgPrice": "",
        "curRealisedPnl": text(held.realised),
        "cumRealisedPnl": text(held.realised), "seq": account.state.sequence, "isReduceOnly": False,
        "mmrSysUpdatedTime": "", "leverageSysUpdatedTime": "", "createdTime": str(held.created),
        "updatedTime": str(held.updated),
    } | _margin(held, account)  # fmt: skip


def _margin(held: VenuePosition, account: PracticeAccount) -> dict[str, Any]:
    """Return what a position row says at the mark price; the initial margin is valued at it too."""
    rules, mark = account.rules(held.symbol), account.mark_price(held)
    value, liquidation = abs(held.qty) * mark, account.liquidation_price(held)
    number = margin.tier_of(rules, value)
    initial, maintenance = text(round(value / held.leverage, 8)), text(round(account.maintenance(held), 8))
    return {
        "riskId": number + 1, "riskLimitValue": text(rules.tiers[number].limit) if rules.tiers else "0",
        "markPrice": text(mark), "liqPrice": "" if liquidation is None else text(rules.price(liquidation)),
        "positionIM": initial, "positionIMByMp": initial, "positionMM": maintenance, "positionMMByMp": maintenance,
        "unrealisedPnl": text(held.qty * (mark - held.avg_price)),
    }  # fmt: skip


def wallet(account: PracticeAccount) -> dict[str, Any]:
    """Return the wallet as /v5/account/wallet-balance and the wallet topic show it."""
    equity, held, initial = account.equity(), account.state.wallet, account.margin()
    free, maintenance = max(Decimal(0), equity - initial), text(round(account.all_maintenance(), 8))
    rates = [text(round(one / equity, 4)) if equity > 0 else "0" for one in (initial, account.all_maintenance())]
    return {
        "accountType": "UNIFIED", "accountIMRate": rates[0], "accountMMRate": rates[1], "accountLTV": "0",
        "totalEquity": text(equity), "totalWalletBalance": text(held), "totalMarginBalance": text(equity),
        "totalAvailableBalance": text(free), "totalPerpUPL": text(equity - held), "totalInitialMargin": text(initial),
        "totalMaintenanceMargin": maintenance,
        "coin": [
            {
                "coin": "USDT", "equity": text(equity), "walletBalance": text(held), "usdValue": text(equity),
                "availableToWithdraw": text(free), "availableToBorrow": "", "borrowAmount": "0",
                "accruedInterest": "0", "totalOrderIM": "0", "totalPositionIM": text(initial),
                "totalPositionMM": maintenance,
                "unrealisedPnl": text(equity - held), "cumRealisedPnl": "0", "bonus": "0", "locked": "0",
                "collateralSwitch": True, "marginCollateral": True, "spotBorrow": "0", "spotHedgingQty": "0",
            }
        ],
    }  # fmt: skip


def closed_pnl(held: ClosedPnl, venue_id: str) -> dict[str, Any]:
    """Return a closed profit as /v5/position/closed-pnl shows it."""
    return {
        "symbol": venue_id, "orderId": held.order_id, "side": held.side.value, "qty": text(held.qty),
        "orderPrice": "0", "orderType": "Market", "closedSize": text(held.qty),
        "execType": held.kind if held.kind in CLOSED_KINDS else "Trade",
        "cumEntryValue": text(held.qty * held.entry_price), "avgEntryPrice": text(round(held.entry_price, 12)),
        "cumExitValue": text(round(held.qty * held.exit_price, 12)),
        "avgExitPrice": text(round(held.exit_price, 12)),
        "closedPnl": text(held.pnl), "openFee": text(held.open_fee), "closeFee": text(held.close_fee),
        "fillCount": str(held.fills),
        "leverage": text(held.leverage), "createdTime": str(held.time), "updatedTime": str(held.time),
    }  # fmt: skip


def instrument(held: Instrument, launched: int) -> dict[str, Any]:
    """Return trading rules as /v5/market/instruments-info shows them."""
    base, rest = held.symbol.split("/")
    quote, settle = rest.split(":")
    return {
        "symbol": held.venue_id, "contractType": "LinearPerpetual", "status": "Trading" if held.trading else "Closed",
        "baseCoin": base, "quoteCoin": quote, "settleCoin": settle, "launchTime": str(launched),
        "deliveryTime": str(held.delivery_time), "deliveryFeeRate": "",
        "priceScale": str(max(0, -int(held.tick.normalize().as_tuple().exponent))),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": text(held.max_leverage), "leverageStep": "0.01"},
        "priceFilter": {"minPrice": text(held.tick), "maxPrice": text(held.tick * 20_000_000),
                        "tickSize": text(held.tick)},
        "lotSizeFilter": {
            "maxOrderQty": text(held.max_qty), "minOrderQty": text(held.min_qty), "qtyStep": text(held.step),
            "postOnlyMaxOrderQty": text(held.max_qty), "maxMktOrderQty": text(held.max_qty),
            "minNotionalValue": text(held.min_notional),
        },
        "unifiedMarginTrade": True, "fundingInterval": held.funding_interval_ms // 60_000, "copyTrading": "none",
        "upperFundingRate": "0.005", "lowerFundingRate": "-0.005", "isPreListing": held.pre_listing,
        "preListingInfo": _pre_listing(launched) if held.pre_listing else None,
        "riskParameters": {"priceLimitRatioX": "0.15", "priceLimitRatioY": "0.3"}, "displayName": "",
        "symbolType": held.category, "forbidUplWithdrawal": False,
    }  # fmt: skip


def _pre_listing(launched: int) -> dict[str, Any]:
    phase = {"phase": "ContinuousTrading", "startTime": str(launched), "endTime": ""}
    fees = {"auctionFeeRate": "0", "takerFeeRate": "0.00055", "makerFeeRate": "0.0002"}
    return {"curAuctionPhase": phase["phase"], "phases": [phase], "auctionFeeInfo": fees}


def kline_row(bar: Bar) -> list[str]:
    """Return a bar as /v5/market/kline lists it."""
    return [str(bar.open_time), *(text(value) for value in bar[1:])]


def kline_item(bar: Bar, interval: str, step_ms: int, now: int, *, confirm: bool) -> dict[str, Any]:
    """Return a bar as the kline topic shows it."""
    return {
        "start": bar.open_time, "end": bar.open_time + step_ms - 1, "interval": interval, "open": text(bar.open),
        "close": text(bar.close), "high": text(bar.high), "low": text(bar.low), "volume": text(bar.volume),
        "turnover": text(bar.turnover), "confirm": confirm, "timestamp": now,
    }  # fmt: skip
