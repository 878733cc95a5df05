"""Bybit's rows in our own terms; what cannot be read is kept, and never taken for nothing.

Source: Bybit v5 documentation, "Enums Definitions", and the pages of the private topics.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict, deque
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import structlog

from domain import bounds
from domain.errors import Unavailable
from domain.ids import parse_order_id
from domain.instrument import unified_symbol
from domain.order import Balance, Cause, ClosedPart, OpenOrder, OrderReport, OrderSide, OrderState, PositionReport
from domain.records import Fill, Unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from domain.instrument import Instrument
    from domain.ports import Told

log = structlog.get_logger(__name__)

COIN, SETTLED, LINEAR = "USDT", ":USDT", "linear"
CATEGORIES = ("linear", "spot", "inverse", "option")
TRADE, FUNDING = "Trade", "Funding"
KINDS = {
    "AdlTrade": Cause.ADL, "BustTrade": Cause.LIQUIDATION, "Settle": Cause.SETTLEMENT, "Delivery": Cause.SETTLEMENT,
    "BlockTrade": Cause.TRANSFER, "MovePosition": Cause.TRANSFER, "CorporateAction": Cause.CORPORATE_ACTION,
    "FutureSpread": Cause.MANUAL, FUNDING: Cause.FUNDING,
}  # fmt: skip
"""Kinds of executions that have a cause of their own; that of a ``Trade`` is its order's."""

STOP_TYPES = {
    "StopLoss": Cause.STOP_LOSS, "PartialStopLoss": Cause.STOP_LOSS, "TrailingStop": Cause.TRAILING_STOP,
    "TakeProfit": Cause.TAKE_PROFIT, "PartialTakeProfit": Cause.TAKE_PROFIT, "MmRateClose": Cause.MANUAL,
}  # fmt: skip
CREATED_BY = {
    "CreateByStopLoss": Cause.STOP_LOSS, "CreateByPartialStopLoss": Cause.STOP_LOSS,
    "CreateByTrailingStop": Cause.TRAILING_STOP, "CreateByTrailingProfit": Cause.TRAILING_STOP,
    "CreateByTakeProfit": Cause.TAKE_PROFIT, "CreateByPartialTakeProfit": Cause.TAKE_PROFIT,
    "CreateByLiq": Cause.LIQUIDATION, "CreateByTakeOver_PassThrough": Cause.LIQUIDATION,
    "CreateByAdl_PassThrough": Cause.ADL, "CreateBySettle": Cause.SETTLEMENT,
    "CreateByAdminClosing": Cause.SETTLEMENT, "CreateByBlock_PassThrough": Cause.TRANSFER,
    "CreateByBlockTradeMovePosition_PassThrough": Cause.TRANSFER,
}  # fmt: skip
"""Orders that the exchange made; whatever else carries no id of ours was made by hand or by other programs."""

BY_OTHERS = ("CreateBy", "CloseBy")
LEG_CAUSES = {"e": Cause.ENTRY, "p": Cause.PARTIAL, "t": Cause.PARTIAL, "r": Cause.FORCE_EXIT}
STATES = {
    "New": OrderState.WORKING, "PartiallyFilled": OrderState.WORKING, "Untriggered": OrderState.WORKING,
    "Triggered": OrderState.WORKING, "Created": OrderState.WORKING, "Filled": OrderState.FILLED,
    "Cancelled": OrderState.CANCELLED, "PartiallyFilledCanceled": OrderState.CANCELLED,
    "Deactivated": OrderState.CANCELLED, "Rejected": OrderState.REJECTED,
}  # fmt: skip
NO_REASON = {"", "EC_NoError", "UNKNOWN"}
UNREAD_MAX, ROW_CHARS = 200, 500
TIME_DIGITS_MAX = 13
LARGEST, SMALLEST, DIGITS_MAX = 18, -30, 60
"""Beyond 10 to the power of these, or with more digits, a number is none that a market could make."""

TIME_BEGIN = 10**12
"""The year 2001 in UTC ms: what is earlier was told in seconds."""

ZERO = Decimal(0)
UNREADABLE = (KeyError, IndexError, ValueError, TypeError, AttributeError, ArithmeticError)


ISOLATED = "ISOLATED_MARGIN"
MARGIN_MODES = frozenset({"REGULAR_MARGIN", ISOLATED})
"""How margin may be shared where this bot trades: sizes and leverage are reckoned for these."""


class Rows:
    """Reads rows of one account by the trading rules that are known, and keeps what cannot be read."""

    def __init__(self) -> None:
        self._by_venue_id: dict[str, Instrument] = {}
        self._by_symbol: dict[str, Instrument] = {}
        self.malformed = 0
        self._unread: deque[Unread] = deque(maxlen=UNREAD_MAX)
        self._kept: OrderedDict[str, None] = OrderedDict()
        self._fee_coins: set[str] = set()

    def unread(self) -> list[Unread]:
        """Return, once, what could not be interpreted since this was last called."""
        kept = list(self._unread)
        self._unread.clear()
        return kept

    def told(self, topic: str, rows: Any) -> list[Told]:
        """Return what a frame of a private topic reports, in its order; anything else is kept as unread."""
        if not isinstance(rows, list):
            self._keep(f"{topic}: no list of rows", rows)
            return []
        if topic == "execution":
            return [*self._fills(rows)]
        read = self._report if topic == "order" else self._moved
        return [message for row in rows if (message := self._read(topic, read, row)) is not None]

    def _fills(self, rows: Sequence[Any]) -> list[Fill]:
        return [fill for row in rows if (fill := self._read("execution", self._fill, row)) is not None]

    def _read(self, what: str, read: Callable[[Any], Any], row: Any) -> Any:
        """Return what a row says; one that cannot be read is kept, and hides no other."""
        try:
            return read(row)
        except UNREADABLE as error:
            self.malformed += 1
            self._keep(f"{what}: {error!r}"[:200], row)
            return None

    def _keep(self, what: str, row: Any) -> None:
        text = shown(row, ROW_CHARS)
        if text in self._kept:
            return
        self._kept[text] = None
        if len(self._kept) > 5 * UNREAD_MAX:
            self._kept.popitem(last=False)
        fields = row if isinstance(row, dict) else {}
        venue_id, time = fields.get("symbol"), shown(fields.get("execTime") or fields.get("updatedTime") or "", 20)
        self._unread.append(Unread(
            time=int(time) if time.isascii() and time.isdecimal() and len(time) <= TIME_DIGITS_MAX else 0,
            symbol=self._symbol(venue_id) if isinstance(venue_id, str) and venue_id else "", what=what, row=text,
        ))  # fmt: skip
        log.error("what the exchange reported cannot be interpreted", what=what, row=text[:200])

    def _fill(self, row: dict[str, Any]) -> Fill | None:
        if _elsewhere(row):
            return None
        symbol, kind = self._symbol(row["symbol"]), _text(row.get("execType", TRADE))
        if not symbol.endswith(SETTLED):
            return None
        cause = KINDS.get(kind)
        if kind == TRADE:
            cause = _trade_cause(row)
        if cause is None:
            self._keep(f"execution of an unknown kind: {kind[:40]}", row)
            return None
        qty, price = number(row, "execQty"), number(row, "execPrice")
        if qty <= 0 or price < 0:
            raise ValueError("an execution of nothing")
        fee, coin = self._fee(row, symbol, qty * price)
        fill = Fill(
            time=_time(row, "execTime"), exec_id=_text(row["execId"]), order_id=_text(row.get("orderLinkId", "")),
            venue_order_id=_text(row["orderId"]), symbol=symbol, side=OrderSide(row["side"]), qty=qty, price=price,
            fee=fee, closed_qty=number(row, "closedSize"), cause=cause,
            maker=row.get("isMaker") in {True, "true", "True"}, fee_coin=coin,
            order_qty=_order_qty(row) if kind == TRADE else ZERO,
        )  # fmt: skip
        if reason := bounds.doubt(fill) or ("" if fill.time >= TIME_BEGIN else f"execTime is {fill.time}"):
            raise ValueError(reason)
        return fill

    def _fee(self, row: dict[str, Any], symbol: str, value: Decimal) -> tuple[Decimal, str]:
        """Return an execution's fee in USDT, and the coin that it was paid in where that is another."""
        fee, coin = number(row, "execFee"), _text(row.get("feeCurrency") or "")
        if coin in {"", COIN} or not fee:
            return fee, ""
        if coin not in self._fee_coins:
            self._fee_coins.add(coin)
            log.warning("fees are paid in another coin: they are counted at their value in USDT", coin=coin[:20])
        if coin == symbol.partition("/")[0]:
            return fee * number(row, "execPrice"), coin
        # the coin's price is not in the row, the rate is: the same value whenever it is read
        return number(row, "feeRate") * value, coin

    def _report(self, row: dict[str, Any]) -> OrderReport | None:
        order_id = _text(row.get("orderLinkId", ""))
        if _elsewhere(row) or not parse_order_id(order_id):
            return None
        if row["orderStatus"] not in STATES:
            self._keep(f"order with an unknown status: {shown(row['orderStatus'], 40)}", row)
        return report(row, order_id, self._symbol(row["symbol"]))

    def _moved(self, row: dict[str, Any]) -> PositionReport | None:
        if _elsewhere(row) or not self._symbol(row["symbol"]).endswith(SETTLED):
            return None
        return self._position(row)

    def _position(self, row: dict[str, Any]) -> PositionReport:
        size = number(row, "size")
        if size < 0 or (size and row["side"] not in {"Buy", "Sell"}) or (not size and _unsaid(row)):
            raise ValueError("a position without a size or side")
        price = number(row, "avgPrice" if "avgPrice" in row else "entryPrice")
        if size > bounds.QTY_MAX or not 0 <= price <= bounds.PRICE_MAX or size * price > bounds.VALUE_MAX:
            raise ValueError(f"a position of {size} at {price}")
        index = int(row.get("positionIdx") or 0)
        if index not in {0, 1, 2}:
            raise ValueError(f"positionIdx {index}")
        return PositionReport(
            self._symbol(row["symbol"]), size if row["side"] == "Buy" else -size,
            price, number(row, "stopLoss"),
            number(row, "takeProfit"), number(row, "leverage"), number(row, "markPrice"),
            number(row, "unrealisedPnl"), index, number(row, "liqPrice"), _created(row),
        )  # fmt: skip

    def _open_order(self, row: dict[str, Any]) -> OpenOrder:
        return OpenOrder(
            _text(row["orderLinkId"]), self._symbol(row["symbol"]), OrderSide(row["side"]), number(row, "qty"),
            number(row, "cumExecQty"), number(row, "price"), row.get("reduceOnly") in {True, "true"},
            _time(row, "createdTime"),
        )  # fmt: skip

    def _symbol(self, venue_id: str) -> str:
        """Return the unified name of a contract: what was delisted, or is none of ours, has no rules but a name."""
        if not venue_id:
            raise ValueError("a contract without a name")
        rules = self._by_venue_id.get(venue_id)
        return rules.symbol if rules is not None else _symbol_of(venue_id)

    def _venue_id(self, symbol: str) -> str:
        rules = self._by_symbol.get(symbol)
        return rules.venue_id if rules is not None else symbol.removesuffix(SETTLED).replace("/", "")


def report(row: dict[str, Any], order_id: str, symbol: str) -> OrderReport:
    """Return what a row says about one order; an unknown status means that it may still be working."""
    state = STATES.get(row["orderStatus"], OrderState.WORKING)
    reasons = [str(row.get(name) or "") for name in ("rejectReason", "cancelType")]
    # an order that filled while it was being cancelled carries the refusal of that
    ended = state in {OrderState.CANCELLED, OrderState.REJECTED}
    reason = next((candidate for candidate in reasons if candidate not in NO_REASON), "") if ended else ""
    return OrderReport(order_id, symbol, state, number({"cumExecQty": row["cumExecQty"]}, "cumExecQty"), reason[:100])


def closed_part(row: dict[str, Any], symbol: str) -> ClosedPart:
    """Return what one row of the closed profits says."""
    return ClosedPart(
        str(row["orderId"]), symbol, OrderSide(row["side"]), number(row, "closedSize"), number(row, "avgExitPrice"),
        number(row, "closeFee"), _time(row, "updatedTime"),
    )  # fmt: skip


def together(parts: Sequence[ClosedPart]) -> list[ClosedPart]:
    """Return one part for each closing order: quantities and fees added up, the price weighed by quantity."""
    parts_by_order: dict[str, ClosedPart] = {}
    for part in parts:
        known = parts_by_order.get(part.venue_order_id)
        if known is None:
            parts_by_order[part.venue_order_id] = part
            continue
        qty = known.qty + part.qty
        value = known.qty * known.exit_price + part.qty * part.exit_price
        parts_by_order[part.venue_order_id] = ClosedPart(
            part.venue_order_id, part.symbol, part.side, qty, value / qty if qty else part.exit_price,
            known.fee + part.fee, max(known.time, part.time),
        )  # fmt: skip
    return list(parts_by_order.values())


def balance(account: dict[str, Any], margin_mode: str) -> Balance:
    """Return the USDT of an account as wallet-balance lists it.

    What is available is told for the whole account in USD, and not at all where margin is isolated: there it is what
    the coin's own figures leave. Source: docs v5, account/wallet-balance, ``availableToWithdraw``.
    """
    coin: dict[str, Any] = next((row for row in account["coin"] if row["coin"] == COIN), {})
    equity, wallet = number(coin, "equity"), number(coin, "walletBalance")
    if margin_mode != ISOLATED and account.get("totalAvailableBalance") not in {"", None}:
        in_usd, worth = number(account, "totalAvailableBalance"), number(coin, "usdValue")
        # the rate of the coin is that of its own value
        available = in_usd * equity / worth if worth > 0 and equity > 0 else in_usd
    else:
        tied = ("totalPositionIM", "totalOrderIM", "locked", "bonus")
        available = wallet - sum((number(coin, name) for name in tied), ZERO)
    return Balance(equity, wallet, max(ZERO, available))


def wallet_shape(account: dict[str, Any]) -> tuple[bool, bool]:
    """Return which figures a wallet leaves out: another margin mode leaves out others.

    Isolated margin has no available balance of the account, portfolio margin none of a coin's own margins.
    """
    coin: dict[str, Any] = next((row for row in account["coin"] if row["coin"] == COIN), {})
    return account.get("totalAvailableBalance") in {"", None}, coin.get("totalPositionIM") in {"", None}


def shown(row: Any, chars: int) -> str:
    """Return the beginning of a row as text, also of one that Python refuses to write out."""
    try:
        return str(row)[:chars]
    except (ValueError, RecursionError):
        return "(a number too long, or too deeply nested, to be shown)"


def page_of(path: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an answer.

    Raises:
        Unavailable: when it holds no list of rows: such an answer says nothing, least of all that there is nothing.
    """
    rows = result.get("list")
    if rows is None:
        rows = []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unavailable(f"{path}: unreadable answer {shown(result, 120)}")
    return rows


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn whatever an unreadable answer leads to into what it means: nothing may be concluded from it."""
    try:
        yield
    except UNREADABLE as error:
        raise Unavailable(f"{what}: unreadable answer ({error!r})") from error


def _elsewhere(row: dict[str, Any]) -> bool:
    """Return whether a row belongs to another product of the same account; symbols there may be spelled like ours."""
    category = row.get("category", LINEAR)
    if category not in CATEGORIES:
        raise ValueError(f"category {shown(category, 20)}")
    return bool(category != LINEAR)


def _trade_cause(row: dict[str, Any]) -> Cause:
    """Return why an order was filled: our own purpose for it, or who made it."""
    ours = parse_order_id(_text(row.get("orderLinkId", "")))
    if ours:
        return LEG_CAUSES.get(ours.leg, Cause.UNKNOWN)
    stop, created = str(row.get("stopOrderType") or ""), str(row.get("createType") or "")
    if stop in STOP_TYPES:
        return STOP_TYPES[stop]
    return CREATED_BY.get(created) or (Cause.MANUAL if created.startswith(BY_OTHERS) else Cause.UNKNOWN)


def _unsaid(row: dict[str, Any]) -> bool:
    """Return whether a row of no size is no statement that there is no position."""
    return row["size"] in {"", None} and row["side"] not in {"", None, "None"}


def _symbol_of(venue_id: str) -> str:
    """Return what a USDT perpetual of that id is called; contracts of other kinds keep their id for a name."""
    base = venue_id.removesuffix(COIN)
    return unified_symbol(base, COIN, COIN) if base and base != venue_id and base.isalnum() else venue_id


def number(row: dict[str, Any], name: str) -> Decimal:
    """Return a field's number, zero where it is missing or empty; raise a ValueError for what is none."""
    value = row.get(name)
    if value is None or value == "":
        return ZERO
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"{name} is no number")
    text = str(value)
    if len(text) > DIGITS_MAX:
        raise ValueError(f"{name} has {len(text)} digits")
    found = Decimal(text)
    if not found.is_finite() or not SMALLEST <= found.adjusted() <= LARGEST:
        raise ValueError(f"{name} is {found}")
    return found


def _order_qty(row: dict[str, Any]) -> Decimal:
    """Return how much the order of an execution was for; what cannot be read of it is only not known."""
    with contextlib.suppress(ValueError, TypeError):
        return max(ZERO, number(row, "orderQty"))
    return ZERO


def _time(row: dict[str, Any], name: str) -> int:
    time = int(row[name])
    if not 0 <= time < bounds.TIME_END:
        raise ValueError(f"{name} is {time}")
    return time


def _created(row: dict[str, Any]) -> int:
    """Return when the first position of a contract came to be (docs v5, "Get Position Info"), 0 where that is unsaid.

    Nothing but how far back executions are looked for hangs on it: an odd one hides no position.
    """
    text = str(row.get("createdTime") or "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= TIME_DIGITS_MAX else 0


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
