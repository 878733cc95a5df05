"""Puts into words what the engine tells: signals, entries, exits, refusals, switches."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from domain import ids
from domain.notice import Notice
from domain.order import Cause, OrderState
from domain.records import Adjusted, Fill, OrderEnded, Switch
from domain.trade import Trade
from engine.commands import PlaceOrder, Refused
from engine.delivery import Nearing
from telegram_bot.texts import bold, coin, escape, lasted, moment, money, percent, price
from telegram_bot.trading import ARROWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.records import Opening

OPENINGS_MAX = 1_000
SIGNS = {"running": "▶️", "paused": "⏸", "stopped": "⏹"}


class News:
    """Takes the engine's events and puts those that people want to know; ``mode`` marks each."""

    def __init__(self, put: Callable[[Notice, str], None], mode: Callable[[], str]) -> None:
        self._put, self._mode = put, mode
        self._openings: OrderedDict[str, Opening] = OrderedDict()

    def told(self, kind: str, what: object) -> None:
        """Take one event."""
        if isinstance(what, PlaceOrder):
            self._signal(what)
        elif isinstance(what, Refused):
            signal = what.signal
            score = "" if what.judged.score is None else f", score {what.judged.score:.0f}"
            head = f"🙅 {self._mark()} {bold(signal.symbol)} {signal.side} · {escape(signal.strategy)}"
            self._put(Notice.REFUSED, f"{head}\nrefused by {bold(what.gate)}{score}: {escape(what.detail)}")
        elif isinstance(what, Fill) and kind == "fill":
            self._fill(what)
        elif isinstance(what, Trade) and kind == "trade":
            self._put(Notice.EXIT, self._exit(what))
        elif isinstance(what, OrderEnded) and what.state is OrderState.REJECTED:
            self._put(Notice.ORDER_REFUSED, f"⛔ {self._mark()} The exchange refused an order in {bold(what.symbol)}: "
                      f"{escape(what.reason)}")  # fmt: skip
        elif isinstance(what, Switch):
            self._put(Notice.SWITCH, f"{SIGNS[what.state]} {self._mark()} Trading is {bold(what.state)} "
                      f"({escape(what.reason[:200])})")  # fmt: skip
        elif isinstance(what, Nearing):
            done = "its position is being closed" if what.closing else "close its position, or it is settled then"
            when = f"{bold(what.symbol)} is delisted at {moment(what.time)} UTC"
            self._put(Notice.DELISTING, f"⏳ {self._mark()} {when}: {done}.")
        elif isinstance(what, Adjusted):
            self._put(Notice.SWITCH, f"⚖️ {self._mark()} Limits changed: {escape(_adjusted(what))}")

    def _mark(self) -> str:
        return bold(self._mode())

    def _signal(self, what: PlaceOrder) -> None:
        opening, name = what.intent.opening, ids.parse_order_id(what.intent.order_id)
        if opening is None or name is None:
            return
        self._openings[name.digest] = opening
        while len(self._openings) > OPENINGS_MAX:
            self._openings.popitem(last=False)
        score = "" if opening.score is None else f" · score {opening.score:.0f}"
        self._put(Notice.SIGNAL, f"💡 {self._mark()} {bold(what.intent.symbol)} {opening.side} · "
                  f"{escape(opening.strategy)} {opening.timeframe}{score}\nentry {price(opening.entry)}, "
                  f"{_levels(opening)}")  # fmt: skip

    def _fill(self, fill: Fill) -> None:
        name = ids.parse_order_id(fill.order_id)
        opening = self._openings.get(name.digest) if name else None
        amount = f"{fill.qty} at {price(fill.price)}, fee {money(fill.fee, sign=False)}"
        if fill.cause is Cause.ENTRY:
            head = f"{ARROWS[opening.side]} {bold(fill.symbol)} {opening.side}" if opening else bold(fill.symbol)
            self._put(Notice.ENTRY, f"🟢 {self._mark()} Entered {head}\n{amount}"
                      + (f"\n{_levels(opening)}" if opening else ""))  # fmt: skip
        elif fill.cause is Cause.PARTIAL:
            self._put(Notice.PARTIAL, f"✂️ {self._mark()} {bold(fill.symbol)} partly taken: {amount}")

    def _exit(self, trade: Trade) -> str:
        held = lasted((trade.exit_time - trade.entry_time).total_seconds())
        funding = f", funding {money(-trade.funding)}" if trade.funding else ""
        sign = "✅" if trade.pnl_usd > 0 else "❌"
        head = f"{sign} {self._mark()} Closed {ARROWS[trade.side]} {bold(trade.symbol)} {trade.side}"
        made = f"{bold(money(trade.pnl_usd))} ({trade.pnl_percent:+.2f}%), {trade.r_multiple:+.2f}R"
        way = f"{price(trade.entry_price)} → {price(trade.exit_price)} in {held}"
        costs = f"fees {money(trade.fees, sign=False)}{funding}"
        return (
            f"{head} · {escape(trade.strategy_name)}\n{made}, {escape(trade.exit_reason)}\n"
            f"{way}, {costs} · /order {trade.trade_id[:8]}"
        )


def _levels(opening: Opening) -> str:
    away = percent(opening.stop - opening.entry, opening.entry)
    ahead = percent(opening.target - opening.entry, opening.entry)
    return f"stop {price(opening.stop)} ({away}), target {price(opening.target)} ({ahead})"


def _adjusted(made: Adjusted) -> str:
    risk = "risk as configured" if made.risk_percent is None else f"risk {made.risk_percent}% a trade"
    banned = f"no entries in {', '.join(coin(one) for one in made.banned)}" if made.banned else ""
    return "; ".join(part for part in (risk, banned) if part)
