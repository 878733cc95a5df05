"""Puts into words what the engine tells: signals, entries, exits, refusals, switches."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from domain import ids
from domain.notice import Notice
from domain.order import OrderState
from domain.records import Adjusted, OrderEnded, Switch, Touch, Touched, Unread
from domain.schedule import Judged
from domain.trade import Trade
from engine.commands import AdjustRefused, PlaceOrder, Refused, SwitchedOff
from engine.delivery import Nearing
from engine.exit_retries import ExitFailing
from engine.hands import RULES
from engine.leverage import Releveraged
from engine.published import Entered, PartlyTaken
from engine.refusals import StopRefused
from engine.second_sender import Trace
from engine.stops import Placed
from telegram_bot.texts import bold, coin, escape, lasted, moment, money, percent, price
from telegram_bot.trading import ARROWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.records import Opening

OPENINGS_MAX = 1_000
ALERTS_SHOWN = 5
SIGNS = {"running": "▶️", "paused": "⏸", "stopped": "⏹"}
ENDED = {OrderState.REJECTED: "refused", OrderState.CANCELLED: "cancelled"}
OUR_OWN = {"cancelled", "looked up", "withdrawn before it was sent", ""}
"""Reasons of orders that ended because we wanted it, or that the exchange did not explain."""


class News:
    """Takes the engine's events and puts those that people want to know; ``mode`` marks each.

    ``put`` takes the kind of a notice, its text, and the event that it is about.
    """

    def __init__(self, put: Callable[[Notice, str, object], None], mode: Callable[[], str]) -> None:
        self._tell, self._mode = put, mode
        self._about: object = None
        self._openings: OrderedDict[str, Opening] = OrderedDict()
        self._poor: dict[str, frozenset[str]] = {}
        self._words: dict[type, Callable[[Any], None]] = {
            PlaceOrder: self._signal, Refused: self._refused, Entered: self._entered, PartlyTaken: self._partly_taken,
            Trade: self._exit, OrderEnded: self._order_ended, ExitFailing: self._exit_failing, Unread: self._unread,
            Touched: self._touched, Switch: self._switch, Adjusted: self._adjusted, Nearing: self._nearing,
            StopRefused: self._stop_refused, SwitchedOff: self._switched_off, Trace: self._second_sender,
            Releveraged: self._releveraged, Judged: self._judged, AdjustRefused: self._adjust_refused,
        }  # fmt: skip

    def told(self, _kind: str, what: object) -> None:
        """Take one event; what nobody wants to be told of has no words here."""
        say = self._words.get(type(what))
        if say is not None:
            self._about = what
            say(what)

    def _put(self, kind: Notice, text: str) -> None:
        self._tell(kind, text, self._about)

    def _refused(self, what: Refused) -> None:
        signal = what.signal
        score = "" if what.judged.score is None else f", score {what.judged.score:.0f}"
        head = f"🙅 {self._mark()} {bold(signal.symbol)} {signal.side} · {escape(signal.strategy)}"
        self._put(Notice.REFUSED, f"{head}\nrefused by {bold(what.gate)}{score}: {escape(what.detail)}")

    def _order_ended(self, what: OrderEnded) -> None:
        did = ENDED.get(what.state)
        if did is not None and what.reason not in OUR_OWN:
            self._put(Notice.ORDER_REFUSED, f"⛔ {self._mark()} The exchange {did} an order in {bold(what.symbol)}: "
                      f"{escape(what.reason)}")  # fmt: skip

    def _exit_failing(self, what: ExitFailing) -> None:
        self._put(Notice.EXIT_FAILING, f"🆘 {self._mark()} {bold(what.symbol)} cannot be closed: {what.attempts} exits "
                  f"came to nothing ({escape(what.reason[:200])}). Trying on; look at the exchange.")  # fmt: skip

    def _stop_refused(self, what: StopRefused) -> None:
        left = "no stop stands" if what.outcome.placed is Placed.NAKED else "the one before stands"
        self._put(Notice.STOP_REFUSED, f"🧱 {self._mark()} {bold(what.command.symbol)}: the exchange refuses a stop at "
                  f"{price(what.outcome.stop)} ({escape(what.outcome.reason[:200])}); {left}.")  # fmt: skip

    def _releveraged(self, what: Releveraged) -> None:
        text = f"{bold(what.symbol)} stands at leverage {what.leverage}, was {what.before}: changed by hand."
        if what.liquidation:
            text += (f" It would be liquidated at {price(what.liquidation)}, before its stop at {price(what.stop)}: "
                     "lower the leverage, or close it.")  # fmt: skip
        self._put(Notice.LEVERAGE, f"⚖️ {self._mark()} {text}")

    def _unread(self, what: Unread) -> None:
        where = bold(what.symbol or "unknown symbol")
        self._put(Notice.NOT_UNDERSTOOD, f"❓ {self._mark()} {where}: a report of the exchange could not be read "
                  f"({escape(what.what[:200])}). No entries there until book and exchange agree.")  # fmt: skip

    def _touched(self, what: Touched) -> None:
        kind, who = what.touch.replace("_", " "), "by hand"
        if what.touch in {Touch.STOP_REMOVED, Touch.TARGET_REMOVED}:
            # its order may also have been hit, and have come to nothing
            who = "by hand, or by the exchange"
        level = f" to {price(what.level)}" if what.level else ""
        self._put(Notice.HAND, f"✋ {self._mark()} {bold(what.symbol)}: {who}: {bold(kind)}{level}, "
                  f"{price(what.left)} left. {RULES[what.touch].capitalize()}.")  # fmt: skip

    def _second_sender(self, what: Trace) -> None:
        entry = f"{bold(what.symbol)}: entry {escape(what.order_id)} ({escape(what.how)}) was not sent from here."
        rest = "No entries here; exits and stops go on. End one of the two, then /start."
        self._put(Notice.SECOND_SENDER, f"👥 {self._mark()} Another instance of this bot sends orders to the same "
                  f"account. {entry} {rest}")  # fmt: skip

    def _switch(self, what: Switch) -> None:
        text = f"Trading is {bold(what.state)} ({escape(what.reason[:200])})"
        self._put(Notice.SWITCH, f"{SIGNS[what.state]} {self._mark()} {text}")

    def _switched_off(self, what: SwitchedOff) -> None:
        where = f" (on {bold(what.symbol)})" if what.symbol else ""
        self._put(Notice.STRATEGY, f"🧩 {self._mark()} Strategy {bold(what.strategy)} is switched off{where}: "
                  f"{escape(what.reason[:300])}. Its positions keep their stops and are managed on.")  # fmt: skip

    def _adjust_refused(self, what: AdjustRefused) -> None:
        self._put(Notice.STRATEGY, f"🧩 {self._mark()} Strategy {bold(what.strategy)} may not do that on "
                  f"{bold(what.symbol)}: {escape(what.reason[:300])}. Refused; told once.")  # fmt: skip

    def _adjusted(self, what: Adjusted) -> None:
        self._put(Notice.SWITCH, f"⚖️ {self._mark()} Limits changed: {escape(_adjusted(what))}")

    def _nearing(self, what: Nearing) -> None:
        done = "its position is being closed" if what.closing else "close its position, or it is settled then"
        when = f"{bold(what.symbol)} is delisted at {moment(what.time)} UTC"
        self._put(Notice.DELISTING, f"⏳ {self._mark()} {when}: {done}.")

    def _judged(self, what: Judged) -> None:
        # judged four times a day: a series that is as poor as it was is not told again
        found = {one.partition(": ")[0]: one for one in what.alerts}
        fresh = [one for series, one in found.items() if series not in self._poor.get(what.job, ())]
        self._poor[what.job] = frozenset(found)
        if fresh:
            lines = [f"🗂 {self._mark()} Stored candles need attention:", *map(escape, fresh[:ALERTS_SHOWN])]
            if len(fresh) > ALERTS_SHOWN:
                lines.append(f"and {len(fresh) - ALERTS_SHOWN} more; manage.py data quality has all of them")
            self._put(Notice.HISTORY, "\n".join(lines))

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

    def _entered(self, what: Entered) -> None:
        opening = self._openings.get(what.digest)
        head = f"{ARROWS[opening.side]} {bold(what.symbol)} {opening.side}" if opening else bold(what.symbol)
        levels = f"\n{_levels(opening)}" if opening else ""
        self._put(Notice.ENTRY, f"🟢 {self._mark()} Entered {head}\n{_amount(what)}{levels}")

    def _partly_taken(self, what: PartlyTaken) -> None:
        self._put(Notice.PARTIAL, f"✂️ {self._mark()} {bold(what.symbol)} partly taken: {_amount(what)}")

    def _exit(self, trade: Trade) -> None:
        held = lasted((trade.exit_time - trade.entry_time).total_seconds())
        funding = f", funding {money(-trade.funding)}" if trade.funding else ""
        sign = "✅" if trade.pnl_usd > 0 else "❌"
        head = f"{sign} {self._mark()} Closed {ARROWS[trade.side]} {bold(trade.symbol)} {trade.side}"
        made = f"{bold(money(trade.pnl_usd))} ({trade.pnl_percent:+.2f}%), {trade.r_multiple:+.2f}R"
        way = f"{price(trade.entry_price)} → {price(trade.exit_price)} in {held}"
        costs = f"fees {money(trade.fees, sign=False)}{funding}"
        self._put(
            Notice.EXIT,
            f"{head} · {escape(trade.strategy_name)}\n{made}, {escape(trade.exit_reason)}\n"
            f"{way}, {costs} · /order {trade.trade_id[:8]}",
        )


def _amount(what: Entered | PartlyTaken) -> str:
    return f"{what.qty} at {price(what.price)}, fee {money(what.fee, sign=False)}"


def _levels(opening: Opening) -> str:
    away = percent(opening.stop - opening.entry, opening.entry)
    if not opening.target:
        return f"stop {price(opening.stop)} ({away}), no target"
    ahead = percent(opening.target - opening.entry, opening.entry)
    return f"stop {price(opening.stop)} ({away}), target {price(opening.target)} ({ahead})"


def _adjusted(made: Adjusted) -> str:
    risk = "risk as configured" if made.risk_percent is None else f"risk {made.risk_percent}% a trade"
    banned = f"no entries in {', '.join(coin(one) for one in made.banned)}" if made.banned else ""
    return "; ".join(part for part in (risk, banned) if part)
