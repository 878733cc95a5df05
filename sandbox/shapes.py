"""Bybit v5 spellings of the practice exchange's records."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from domain import margin
from domain.account_state import EndReason
from domain.order import OrderKind, OrderSide
from sandbox.margin_account import ISOLATED, REGULAR

if TYPE_CHECKING:
    from domain.account import AccountState, ClosedPnl, Execution, VenueOrder, VenuePosition
    from sandbox.practice_account import PracticeAccount

CLOSED_KINDS = {"Trade", "BustTrade", "Settle", "MovePosition", "CorporateAction"}
"""What closed-pnl documents as its execType; the others are not among them, and are shown as Trade."""

LOG_TYPES = {
    "Trade": "TRADE", "Funding": "SETTLEMENT", "BustTrade": "LIQUIDATION", "AdlTrade": "ADL", "Delivery": "DELIVERY",
    "Settle": "DELIVERY",
}  # fmt: skip
"""Executions as the transaction log names them. Source: docs, enum, type(uta-translog)."""

STOPS = ("StopLoss", "TakeProfit")
LEAST_TAKER_FEE = Decimal("0.00055")
OPEN = {"New", "Untriggered", "PartiallyFilled"}

NO_ERROR = "EC_NoError"
REASONS: dict[str, str] = {
    EndReason.NONE: NO_ERROR, EndReason.NO_MAKER: "EC_NoImmediateQtyToFill",
    EndReason.PRICE_BAND: "EC_ReachMarketPriceLimit", EndReason.POST_ONLY: "EC_PostOnlyWillTakeLiquidity",
    EndReason.NOT_WHOLE: "EC_CancelForNoFullFill",
}  # fmt: skip
"""Why an order ended, as v5 has it (enum rejectReason)."""


def created_by(held: VenueOrder | Execution) -> str:
    """Return what Bybit calls the origin of an order: its own name for it, the stop or target, else the user."""
    return held.create_type or (f"CreateBy{held.stop_type}" if held.stop_type in STOPS else "CreateByUser")


def margin_mode(state: AccountState) -> str:
    """Return the margin mode as Bybit names it."""
    return ISOLATED if state.isolated else REGULAR


def text(value: Decimal | float) -> str:
    """Return a number as Bybit writes it: plain digits, no exponent."""
    if not isinstance(value, Decimal):
        digits = repr(float(value))
        # most numbers of a candle are plain already, and a start asks for hundreds of thousands
        if value and "e" not in digits:
            return digits.removesuffix(".0")
        value = Decimal(digits)
    return format(value.normalize() if value else Decimal(0), "f")


def order(held: VenueOrder, venue_id: str) -> dict[str, Any]:
    """Return an order as /v5/order/realtime and the order topic show it."""
    rises = (held.side is OrderSide.BUY) == (held.kind is OrderKind.STOP)
    limit, leaves = held.price is not None, held.qty - held.filled if held.status in OPEN else Decimal(0)
    reason = REASONS.get(held.reject_reason, held.reject_reason)
    by_user = held.status == "Cancelled" and reason == NO_ERROR
    return {
        "category": "linear", "symbol": venue_id, "orderId": held.id, "orderLinkId": held.link_id,
        "parentOrderLinkId": held.parent_link_id, "blockTradeId": "", "side": held.side.value,
        "positionIdx": held.index, "orderStatus": held.status,
        "cancelType": held.cancel_type or ("CancelByUser" if by_user else "UNKNOWN"),
        "rejectReason": reason,
        "timeInForce": held.time_in_force if limit else "IOC", "isLeverage": "",
        "price": text(held.price or Decimal(0)), "qty": text(held.qty),
        "avgPrice": text(round(held.value / held.filled, 12)) if held.filled else "",
        "leavesQty": text(leaves), "leavesValue": text(leaves * (held.price or Decimal(0))),
        "cumExecQty": text(held.filled), "cumExecValue": text(held.value), "cumExecFee": text(held.fee),
        "cumFeeDetail": {"USDT": text(held.fee)}, "orderType": "Limit" if limit else "Market",
        "stopOrderType": held.stop_type, "orderIv": "", "triggerPrice": text(held.trigger or Decimal(0)),
        "takeProfit": text(held.target), "stopLoss": text(held.stop), "tpslMode": "Full", "tpLimitPrice": "0",
        "slLimitPrice": "0", "tpTriggerBy": "LastPrice" if held.target else "", "slTriggerBy": "LastPrice" if held.stop
        else "", "triggerDirection": (1 if rises else 2) if held.trigger is not None else 0,
        "triggerBy": "LastPrice" if held.trigger is not None else "", "lastPriceOnCreated": "", "smpType": "None",
        "reduceOnly": held.reduce_only, "closeOnTrigger": held.close_on_trigger or bool(held.stop_type),
        "placeType": "", "smpGroup": 0, "smpOrderId": "", "createType": created_by(held), "feeCurrency": "USDT",
        "slippageToleranceType": "UNKNOWN", "slippageTolerance": "", "extraFees": "", "closedPnl": "0",
        "marketUnit": "", "rpiTakerAccess": False, "rpiMatchedQty": "0",
        "createdTime": str(held.created), "updatedTime": str(held.updated),
    }  # fmt: skip


def execution(held: Execution, venue_id: str) -> dict[str, Any]:
    """Return an execution as /v5/execution/list and the execution topic show it."""
    return {
        "category": "linear", "symbol": venue_id, "orderId": held.order_id, "orderLinkId": held.link_id,
        "side": held.side.value, "orderPrice": "0", "orderQty": text(held.order_qty), "leavesQty": text(held.leaves),
        "createType": created_by(held) if held.kind == "Trade" else held.create_type, "orderType": held.order_type,
        "stopOrderType": held.stop_type or "UNKNOWN",
        "execFee": text(held.fee), "execId": held.id, "execPrice": text(held.price), "execQty": text(held.qty),
        "execType": held.kind, "execValue": text(held.qty * held.price), "execTime": str(held.time),
        "feeCurrency": "USDT", "isMaker": held.maker, "feeRate": text(held.fee_rate), "tradeIv": "", "markIv": "",
        "markPrice": text(held.price), "indexPrice": "", "underlyingPrice": "", "blockTradeId": "",
        "closedSize": text(held.closed), "seq": held.sequence, "isLeverage": "0", "marketUnit": "", "extraFees": "",
    }  # fmt: skip


def fast_execution(held: Execution, venue_id: str) -> dict[str, Any]:
    """Return an execution as the execution.fast topic shows it: less of it, and a maker's without its own id."""
    return {
        "category": "linear", "symbol": venue_id, "execId": held.id, "execPrice": text(held.price),
        "execQty": text(held.qty), "orderId": held.order_id, "isMaker": held.maker,
        "orderLinkId": "" if held.maker else held.link_id, "side": held.side.value, "execTime": str(held.time),
        "seq": held.sequence,
    }  # fmt: skip


def ledger_row(held: Execution, venue_id: str, flow: Decimal, balance: Decimal, size: Decimal) -> dict[str, Any]:
    """Return an execution as /v5/account/transaction-log shows it.

    ``flow`` is what it realised before fees, ``balance`` and ``size`` are the wallet and the position after it.
    """
    funding = held.kind == "Funding"
    fee = Decimal(0) if funding else held.fee
    return {
        "id": f"{held.id}", "symbol": venue_id, "category": "linear", "side": held.side.value,
        "transactionTime": str(held.time), "type": LOG_TYPES.get(held.kind, "TRADE"), "transSubType": "",
        "qty": text(held.qty), "size": text(size), "currency": "USDT", "tradePrice": text(held.price),
        "funding": text(-held.fee) if funding else "", "fee": text(fee), "cashFlow": text(flow),
        "change": text(flow - held.fee), "cashBalance": text(balance),
        "feeRate": text(held.fee_rate * (held.side.sign if funding else 1)), "bonusChange": "", "tradeId": held.id,
        "orderId": held.order_id, "orderLinkId": held.link_id, "extraFees": "",
    }  # fmt: skip


def position(
    held: VenuePosition, venue_id: str, account: PracticeAccount, price_key: str, trailing: Decimal = Decimal(0)
) -> dict[str, Any]:
    """Return a position; REST calls the entry price ``avgPrice``, the stream ``entryPrice``.

    ``trailing`` is the distance of its trailing stop.
    """
    value = abs(held.qty) * held.avg_price
    return {
        "category": "linear", "positionIdx": held.index, "symbol": venue_id,
        "side": "" if not held.qty else "Buy" if held.qty > 0 else "Sell", "size": text(abs(held.qty)),
        price_key: text(round(held.avg_price, 12) if held.qty else Decimal(0)), "positionValue": text(value),
        "tradeMode": 0, "autoAddMargin": 0, "positionStatus": held.status or "Normal", "adlRankIndicator": 0,
        "leverage": text(held.leverage), "positionBalance": "0", "bustPrice": "", "tpslMode": "Full",
        "takeProfit": text(held.target), "stopLoss": text(held.stop), "trailingStop": text(trailing),
        "sessionAvgPrice": "", "curRealisedPnl": text(held.realised), "cumRealisedPnl": text(held.realised),
        "seq": account.state.sequence, "isReduceOnly": False,
        "mmrSysUpdatedTime": "", "leverageSysUpdatedTime": "", "createdTime": str(held.created),
        "updatedTime": str(held.updated), "openTime": held.created if held.qty else 0,
        "breakEvenPrice": text(_break_even(held)) if held.qty else "",
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


def _break_even(held: VenuePosition) -> Decimal:
    """Return the price at which a position closes without a loss. Source: docs, position/position."""
    exact = (held.avg_price * held.qty - held.realised) / (held.qty - abs(held.qty) * LEAST_TAKER_FEE)
    return max(Decimal(0), round(exact, 8))


def wallet(account: PracticeAccount) -> dict[str, Any]:
    """Return the wallet as /v5/account/wallet-balance and the wallet topic show it."""
    equity, held, ordered = account.equity(), account.state.wallet, account.order_margin()
    positions, maintenance = account.margin(), text(round(account.all_maintenance(), 8))
    initial = positions + ordered
    # what concerns the whole account is not told when margin is isolated
    free = "" if account.state.isolated else text(max(Decimal(0), equity - initial))
    rates = [text(round(one / equity, 4)) if equity > 0 else "0" for one in (initial, account.all_maintenance())]
    return {
        "accountType": "UNIFIED", "accountIMRate": rates[0], "accountMMRate": rates[1], "accountLTV": "0",
        "totalEquity": text(equity), "totalWalletBalance": text(held), "totalMarginBalance": text(equity),
        "totalAvailableBalance": free, "totalPerpUPL": text(equity - held), "totalInitialMargin": text(initial),
        "accountIMRateByMp": rates[0], "accountMMRateByMp": rates[1], "totalInitialMarginByMp": text(initial),
        "totalMaintenanceMarginByMp": maintenance, "totalMaintenanceMargin": maintenance,
        "coin": [
            {
                "coin": "USDT", "equity": text(equity), "walletBalance": text(held), "usdValue": text(equity),
                "availableToWithdraw": "", "availableToBorrow": "", "borrowAmount": "0",
                "accruedInterest": "0", "totalOrderIM": text(ordered), "totalPositionIM": text(positions),
                "totalPositionMM": maintenance,
                "unrealisedPnl": text(equity - held), "cumRealisedPnl": "0", "bonus": "0", "locked": "0",
                "collateralSwitch": True, "marginCollateral": True, "spotBorrow": "0", "spotHedgingQty": "0",
                "colRes": "0",
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
