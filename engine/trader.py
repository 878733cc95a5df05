"""The trader: a closed bar or a fact goes in, commands come out. No I/O, no clock, no waiting."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from domain import ids
from domain.candle import Bars, ClosedBar, Series, decimal_of, timeframe_ms
from domain.coverage import Span, density
from domain.durations import DAY_MS
from domain.judgement import UNJUDGED, Judgement
from domain.order import Cause, OrderKind, OrderRequest, OrderState
from domain.records import (
    Adjusted,
    Adopted,
    Close,
    DayStarted,
    Fill,
    Intent,
    Opening,
    OrderEnded,
    Record,
    StopMoved,
    Switch,
    SwitchState,
)
from domain.trade import ZERO
from engine import day
from engine.adjustments import Adjustments
from engine.capital import Capital
from engine.closed_trades import ClosedTrades
from engine.commands import Command, PlaceOrder, RecordTrade, Refused, Remember, SwitchedOff, intent_of
from engine.costs import cost_r
from engine.decisions import Decided, Decisions
from engine.decisions import Plan as Plan  # noqa: PLC0414  its older home
from engine.exits import EXIT_ATTEMPTS_MAX as EXIT_ATTEMPTS_MAX  # noqa: PLC0414  its older home
from engine.exits import Exits
from engine.managing import Managing
from engine.position import Position
from engine.positions import Book
from engine.risk import Account, Approved, Denied, RiskLimits, weigh
from engine.situation import Situation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from domain.ids import Identity
    from domain.instrument import Instrument
    from domain.signal import Signal
    from domain.trade import Trade

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class TraderTerms:
    """What does not change while the trader lives.

    ``paper`` marks order ids, ``limit_entries`` their kind; ``completeness_min`` is how many percent of a window's bars
    must be there for a signal on it to be taken, and ``resting`` tells when a market is closed, so that none can be.
    ``unloaded`` says why strategies in use could not be loaded, ``step_s`` how long one may take for a bar, 0 for ever;
    ``others`` what the symbols are called here that strategies look at and do not trade, by the names they write.
    """

    who: Identity
    limits: RiskLimits
    plans: Mapping[str, Plan]
    paper: bool
    unfilled_timeout_ms: int
    limit_entries: bool = False
    completeness_min: float = 0.0
    resting: Callable[[Series, Span], Sequence[Span]] = lambda _series, _span: ()
    blacklist: frozenset[str] = frozenset()
    admission: Callable[[Instrument | None], tuple[str, str] | None] = lambda _: None
    unloaded: Mapping[str, str] = field(default_factory=dict)
    step_s: float = 0.0
    others: Mapping[str, str] = field(default_factory=dict)


class Trader:
    """Decides entries and exits for all symbols.

    ``bars`` gives the closed bars of a series, ``judge`` what is thought of a signal. The book of positions changes
    by records only; ``restore`` takes those of an earlier life.
    """

    def __init__(
        self, terms: TraderTerms, instruments: dict[str, Instrument], bars: Callable[[Series], Bars],
        judge: Callable[[Signal], Judgement] = lambda _: UNJUDGED,
    ) -> None:  # fmt: skip
        self._terms, self._instruments, self._bars, self._judge = terms, instruments, bars, judge
        self.book = Book()
        self.situation = Situation()
        self.adjustments = Adjustments(terms.limits, terms.blacklist)
        self.closed = ClosedTrades()
        self.recorded: set[str] = set()
        self.booked = day.Booked()
        self.counts: Counter[str] = Counter()
        self.capital = Capital(self.book, self.situation, instruments)
        self._exits = Exits(
            self.book, self.situation, instruments, paper=terms.paper, unfilled_timeout_ms=terms.unfilled_timeout_ms
        )
        self.decisions = Decisions(terms.plans, bars, terms.unloaded, terms.step_s, terms.others)
        self._managing = Managing(self.book, self.decisions, instruments, self.counts)
        self._day: DayStarted | None = None

    def restore(self, record: Record) -> None:
        """Take a record of an earlier life."""
        if isinstance(record, Switch):
            self.situation.recall_switch(record.state)
        elif isinstance(record, DayStarted):
            self._day, self.situation.remembered = record, record.equity
            self.booked.add(record.booked)
        elif isinstance(record, Adjusted):
            self.adjustments.restore(record)
        else:
            self.book.apply(record)
        if isinstance(record, Intent) and record.opening is not None:
            self.capital.entered(record.time)
        if isinstance(record, Close):
            self.booked.add_funding(record.trade)

    def remember(self, trades: list[Trade]) -> None:
        """Take the trades of earlier lives, oldest first."""
        self.closed.extend(trades)
        self.recorded |= {trade.trade_id for trade in trades}

    def resume(self) -> list[Command]:
        """Return what was still to be done when the last life ended.

        A partial target that was never placed is placed; a stop that was to
        follow a filled partial target follows; what a strategy said to leave meanwhile is left, and what it has
        decided about a position, or would have, is done.
        """
        commands: list[Command] = []
        for held in self.book.positions():
            if held.flat:
                continue
            if held.unwanted:
                commands += self.leave(held, self.situation.market_time)
            elif not held.pending:
                commands += self._catch_up(held, self.situation.market_time)
        return [*self.decisions.untold(), *commands]

    def _catch_up(self, held: Position, now: int) -> list[Command]:
        if held.leaving or held.exit_order:
            return self._exits.pursue(held, now)
        leave, decided = self._managing.catch_up(held)
        return [*decided, *(self.exit(held, Cause.EXIT_SIGNAL, now) if leave else self._exits.pursue(held, now))]

    def warm_up(self, symbol: str, missed_after: int, *, leaving: bool = False) -> list[Signal]:
        """Step every strategy over the bars at hand; return the signals that came after ``missed_after`` (UTC ms).

        Those were missed while the bot was down and lead to no order. In a symbol that is only still to be left
        (``leaving``), strategies can say no more than that.
        """
        if leaving:
            self.decisions.leaving.add(symbol)
        held = self.book.of_symbol(symbol)
        missed = self.decisions.warm_up(symbol, missed_after, held.opening.strategy if held is not None else "")
        self.counts["gate:missed"] += len(missed)
        return missed

    def on_bar(self, closed: ClosedBar) -> list[Command]:
        """Manage the position and step the strategies of the bar's symbol."""
        now = closed.close_time
        self.situation.market_time = max(self.situation.market_time, now)
        self.situation.prices[closed.series.symbol] = decimal_of(closed.bar.close)
        self.counts["bars"] += 1
        commands = self.turn_of_day(now)
        # whoever holds something may say leave on this very bar
        decided = {
            name: self.decisions.step(name, closed) for name, plan in self._terms.plans.items()
            if plan.strategy.timeframes[0] == closed.series.timeframe
        }  # fmt: skip
        held = self.book.of_symbol(closed.series.symbol)
        if held is not None and held.opening.timeframe == closed.series.timeframe:
            leave, told = self._managing.on_bar(held, closed)
            commands += [*told, *self._exits.manage(held, closed, leave=leave)]
        for name, found in decided.items():
            commands += self._follow(found, self._terms.plans[name])
        return [*commands, *self.decisions.untold()]

    def on_fill(self, fill: Fill) -> list[Command]:
        """Take an execution; one that is known already changes nothing. What is flat then waits for ``finish``."""
        pending = {held.digest for held in self.book.positions() if held.pending}
        commands: list[Command] = []
        for held in self.book.take(fill):
            self.counts["opened"] += held.digest in pending and not held.pending
            commands += self._follow_fill(held, fill)
        return commands

    def _follow_fill(self, held: Position, fill: Fill) -> list[Command]:
        if held.pending:
            return []
        if held.flat:
            return self._exits.withdraw_entry(held, fill.time)
        if fill.cause is Cause.CORPORATE_ACTION:
            # after a split its levels mean nothing any more
            return self.exit(held, fill.cause, fill.time)
        # what fills of an entry after something was closed comes too late: its stop or its exit has had its say
        late = held.closed > 0 and fill.order_id == held.entry_order
        if held.leaving or held.unwanted or late:
            return self.exit(held, Cause.FORCE_EXIT if held.exit_cause is Cause.UNKNOWN else held.exit_cause, fill.time)
        shapes = fill.cause is Cause.PARTIAL or held.opens(fill)
        return self._exits.pursue(held, fill.time) if shapes else []

    def adopt(self, adopted: Adopted) -> list[Command]:
        """Take over a position that no intent of ours led to; one that is flat already waits for ``finish``."""
        held = self.book.apply(adopted)
        if held is None:
            return []
        self.counts["adopted"] += 1
        return [] if held.flat else self._exits.pursue(held, adopted.time)

    def knows(self, digest: str) -> bool:
        """Say whether a position of that name is open, or has been recorded as a trade."""
        return self.book.find(digest) is not None or ids.trade_id(digest) in self.recorded

    def on_order_ended(self, ended: OrderEnded) -> list[Command]:
        """Take the news that an order will not fill any further.

        What an exit has left open is for the caller to close again, in its own time: see ``engine/exit_retries.py``.
        """
        order = self.book.order(ended.order_id)
        if order is not None and order.state is not None and ended.filled <= order.reported:
            return []
        self.book.apply(ended)
        if ended.state in {OrderState.REJECTED, OrderState.NOT_FOUND}:
            self.counts["orders_failed"] += 1
        name = ids.parse_order_id(ended.order_id)
        held = self.book.find(name.digest) if name else None
        if name is None or held is None or held.pending or held.flat or held.unwanted:
            return []
        # the exchange's own refusal of a partial target stands: asking again would be refused again
        refused = name.leg in {"p", "t"} and ended.state is OrderState.REJECTED and not ended.filled
        return [] if name.leg == "x" or refused else self._exits.pursue(held, ended.time)

    def on_stop_moved(self, moved: StopMoved) -> None:
        """Take the news that the exchange has accepted a new stop."""
        self.book.apply(moved)

    def on_stop_refused(self, digest: str, cause: Cause, time: int) -> list[Command]:
        """Get out at the market: the price has passed the stop that was asked for.

        To be called for no other refusal: as long as the old stop stands, the position is guarded.
        """
        held = self.book.find(digest)
        return self.exit(held, cause, time) if held is not None else []

    def exit(self, held: Position, cause: Cause, time: int) -> list[Command]:
        """Close what is open of a position at the market, unless that is under way; its entry is withdrawn."""
        return self._exits.exit(held, cause, time)

    def leave(self, held: Position, time: int) -> list[Command]:
        """Get out of a position because the operator says so."""
        return self._exits.leave(held, time)

    def reduce(self, held: Position, qty: Decimal, time: int) -> list[Command]:
        """Close a part of a position because the operator says so. Raises BadData."""
        return self._exits.reduce(held, qty, time)

    def overdue(self, now: int) -> list[Command]:
        """Withdraw entries and close positions whose time is up at a market time, where no bar has said so."""
        return self._exits.overdue(now)

    def tidy(self, symbol: str = "") -> list[Command]:
        """Cancel what nothing is to come of any more, in one symbol or in all."""
        return self._exits.tidy(symbol)

    def switch(self, state: SwitchState, reason: str) -> list[Command]:
        """Let in new entries, or stop them; then those that may still fill are withdrawn as well."""
        self.situation.turn(state)
        now = self.situation.market_time
        commands: list[Command] = [Remember(Switch(time=now, state=state, reason=reason))]
        if state is not SwitchState.RUNNING:
            for held in self.book.positions():
                commands += self._exits.withdraw_entry(held, now)
        return commands

    def adjust(self, made: Adjusted) -> list[Command]:
        """Take what the operator has changed of the limits."""
        self.adjustments.restore(made)
        return [Remember(made)]

    def rules(self, symbol: str) -> Instrument | None:
        """Return the exchange's rules for a symbol."""
        return self._instruments.get(symbol)

    def update_instruments(self, fresh: Mapping[str, Instrument]) -> list[str]:
        """Take the exchange's rules anew; return the symbols that are not traded any more.

        What the exchange refused to take before may be taken by now, and is tried again.
        """
        gone = []
        self.situation.refusing.clear()
        for symbol, held in self._instruments.items():
            now = fresh.get(symbol, replace(held, trading=False))
            if held.trading and not now.trading:
                gone.append(symbol)
            self._instruments[symbol] = now
        return gone

    def open_pnl(self) -> Decimal:
        """Return what open positions have made so far, fees included."""
        total = ZERO
        for held in self.book.positions():
            price = self.situation.prices.get(held.symbol, held.entry_price)
            total += held.realised() + held.unrealised(price)
        return total

    def day_pnl(self) -> Decimal:
        """Return the profit of the current UTC day: closed trades, and the change of open ones; no deposits."""
        return day.profit(self._day, self.closed, self.book.positions(), self.open_pnl())

    def daily_loss_reached(self) -> bool:
        """Say whether the UTC day has lost as much as it may."""
        start = self._day.equity if self._day else ZERO
        return start > 0 and -self.day_pnl() >= start * self.adjustments.limits.daily_loss_percent / 100

    def turn_of_day(self, now: int) -> list[Command]:
        """Begin a new UTC day, unless it has begun or nothing is known of the equity yet."""
        today = now // DAY_MS
        if (self._day is not None and self._day.day >= today) or not self.situation.equity:
            return []
        start = datetime.fromtimestamp(today * DAY_S, UTC)
        today_s = itertools.takewhile(lambda trade: trade.exit_time >= start, reversed(self.closed))
        since = [trade for trade in today_s if start > trade.entry_time][::-1]
        prices = dict(self.situation.prices)
        if now > today * DAY_MS:
            # it may have begun a while ago, when the bot was down or saw no bars
            held = {Series(one.symbol, one.opening.timeframe) for one in self.book.positions()}
            held |= {Series(trade.symbol, trade.timeframe) for trade in since if trade.timeframe}
            prices |= day.prices_at(today * DAY_MS, held, self.decisions.until)
        self._day = day.begin(today, now, self.situation.equity, self.book.positions(), prices, since)
        return [Remember(self._day)]

    def _follow(self, decided: Decided | SwitchedOff | None, plan: Plan) -> list[Command]:
        if not isinstance(decided, Decided):
            return [decided] if decided is not None else []
        self.counts["signals"] += 1
        judged = self._judge(decided.signal)
        if not decided.warm:
            return [self._refuse(decided.signal, judged, "warming_up", "too few bars yet")]
        if decided.late:
            return [self._refuse(decided.signal, judged, "data_quality", f"the bar of {decided.late} is not there yet")]
        return [self._consider(decided.signal, plan, judged)]

    def _consider(self, signal: Signal, plan: Plan, judged: Judgement) -> Command:
        verdict = self._weigh(signal)
        if isinstance(verdict, Denied):
            return self._refuse(signal, judged, verdict.gate, verdict.detail)
        if judged.gate:
            # asked last: what it refuses would have been traded, so that its worth can be told
            return self._refuse(signal, judged, judged.gate, judged.detail)
        return self._enter(signal, plan, verdict, judged)

    def _weigh(self, signal: Signal) -> Approved | Denied:
        """Return the size of a signal, or the first gate that refuses it."""
        if barred := self._barred(signal):
            return Denied(*barred)
        if self.book.of_symbol(signal.symbol) is not None:
            return Denied("position_open", "a position is open already")
        if signal.symbol in self.book.leftovers.values():
            return Denied("order_left", "an order of the last position is still to be cancelled")
        if signal.symbol in self.situation.foreign:
            return Denied("foreign_position", "somebody else's position is open there")
        instrument = self._instruments.get(signal.symbol)
        if instrument is None:
            return Denied("not_trading", "the exchange has no such symbol")
        there = self._density(Series(signal.symbol, signal.timeframe))
        if there < self._terms.completeness_min:
            return Denied("data_quality", f"only {there:.2f} % of the bars of its window are there")
        plan = self._terms.plans[signal.strategy]
        limits, exits = self.adjustments.limits_of(plan.risk_percent, plan.leverage), plan.exits
        if limits.max_cost_r and (cost := cost_r(signal, instrument, limits, exits)) > limits.max_cost_r:
            return Denied("costs", f"it would cost {cost:.2f} R, and may cost {limits.max_cost_r:f} R")
        return weigh(signal, instrument, limits, self._account(signal.symbol))

    def _barred(self, signal: Signal) -> tuple[str, str] | None:
        """Return gate and reason when no signal of its kind may be traded now, whatever it says."""
        if self.situation.market_time - signal.time > timeframe_ms(signal.timeframe) // 2:
            return "late", "the market has moved on"
        if not (hours := self._terms.plans[signal.strategy].hours).open(signal.time):
            return "schedule", f"{signal.strategy} enters {hours} only"
        if self.situation.superseded:
            return "superseded", "another instance has taken over"
        if self.situation.second_sender:
            return "second_sender", self.situation.second_sender
        if self.situation.equity_doubt:
            return "equity_doubted", self.situation.equity_doubt
        if self.situation.barred:
            return "exchange_access", self.situation.barred
        if refused := self.situation.refusal(signal.symbol):
            return refused
        if self.adjustments.refuses(signal.symbol):
            return "blacklist", "the operator wants no entries there"
        if signal.symbol in self.situation.stale:
            return "stale_feed", "the feed has fallen silent"
        return self._terms.admission(self._instruments.get(signal.symbol))

    def _density(self, series: Series) -> float:
        """Return how many percent of the bars of a series' window are there."""
        step, window = timeframe_ms(series.timeframe), self._bars(series).open_time
        resting = self._terms.resting(series, Span(window.item(0), window.item(-1) + step)) if len(window) else ()
        return density(window, step, resting)

    def reconsider(self, refused: PlaceOrder) -> list[Command]:
        """Return an entry or partial target that was refused anew, as rules and what is available are known by now.

        Nothing when it would be the same again, when a gate refuses it by now, or when an entry was tried twice.
        """
        if refused.intent.cause is Cause.PARTIAL:
            return self._exits.retry_partial(refused.request, refused.intent.time)
        signal, name = refused.signal, ids.parse_order_id(refused.request.order_id)
        plan = self._terms.plans.get(signal.strategy) if signal is not None else None
        if signal is None or plan is None or name is None:
            return []
        verdict = self._weigh(signal)
        if isinstance(verdict, Denied):
            self.counts[f"gate:{verdict.gate}"] += 1
            return []
        order = self._entry(signal, plan, verdict, refused.judged, name.attempt + 1)
        same = msgspec.structs.replace(order.request, order_id=refused.request.order_id) == refused.request
        if same and refused.intent.opening == order.intent.opening:
            return []
        self.capital.entered(self.situation.market_time)
        self.book.apply(order.intent)
        # the signal has been followed since the first attempt: this one stands for itself
        return [msgspec.structs.replace(order, signal=None)]

    def _enter(self, signal: Signal, plan: Plan, size: Approved, judged: Judgement) -> Command:
        order = self._entry(signal, plan, size, judged, 0)
        self.counts["taken"] += 1
        self.capital.entered(self.situation.market_time)
        # the book learns at once, so that the next bar does not decide the same again
        self.book.apply(order.intent)
        return order

    def _entry(self, signal: Signal, plan: Plan, size: Approved, judged: Judgement, attempt: int) -> PlaceOrder:
        instrument = self._instruments[signal.symbol]
        stop, target = signal.levels(instrument)
        entry = instrument.price(signal.entry)
        digest = ids.signal_digest(self._terms.who, signal.strategy, signal.symbol, signal.timeframe, signal.bar_start)
        opening = Opening(
            strategy=signal.strategy, timeframe=signal.timeframe, bar_start=signal.bar_start, side=signal.side,
            entry=entry, stop=stop, target=target, plan=plan.exits, leverage=size.leverage, score=judged.score,
            notes=signal.notes,
        )  # fmt: skip
        limited = self._terms.limit_entries
        request = OrderRequest(
            ids.order_id(digest, "e", attempt, paper=self._terms.paper), signal.symbol, signal.side.entry,
            OrderKind.LIMIT if limited else OrderKind.MARKET, size.qty, entry if limited else None, stop,
            target or None,
        )  # fmt: skip
        return PlaceOrder(intent_of(request, Cause.ENTRY, signal.time, opening), request, signal, judged)

    def flat(self) -> list[Position]:
        """Return the positions that are closed, whose entry has ended, and that are still to be recorded."""
        return [held for held in self.book.positions() if held.flat and held.entry_ended]

    def lacks_funding(self, held: Position) -> bool:
        """Say whether a funding payment fell due that nobody has told of yet."""
        rules = self._instruments.get(held.symbol)
        return rules is not None and held.fundings_missing(rules.funding_interval_ms)

    def finish(self, held: Position) -> list[Command]:
        """Make a trade of a position that is flat, once all of its executions are known."""
        trade = held.to_trade(self._terms.who)
        self.book.close(held)
        self.closed.append(trade)
        self.recorded.add(trade.trade_id)
        self.counts["closed"] += 1
        self.booked.add_funding(trade)
        began = self._begin(day.with_closed(self._day, trade) if self._day else None)
        return [RecordTrade(trade), *began, *self.tidy(held.symbol)]

    def ended_at(self, symbol: str, time: int) -> Trade | None:
        """Return the trade whose position was held in a symbol at a market time (UTC ms) and has ended."""
        at = datetime.fromtimestamp(time / 1000, UTC)
        held = (one for one in reversed(self.closed) if one.symbol == symbol)
        return next((one for one in held if one.entry_time <= at <= one.exit_time), None)

    def amend(self, trade: Trade, paid: Fill) -> list[Command]:
        """Take the next version of a trade that has ended, after a payment of it was told late."""
        self.closed.amend(trade)
        self.booked.add([paid.exec_id])
        return [RecordTrade(trade), *self._begin(day.with_late(self._day, trade, paid) if self._day else None)]

    def book_to_day(self, paid: Fill) -> list[Command]:
        """Take a payment of a trade that is no more: it counts for the day on which it was made."""
        self.booked.add([paid.exec_id])
        return self._begin(day.with_booked(self._day, paid) if self._day else None)

    def _begin(self, began: DayStarted | None) -> list[Command]:
        self._day = began or self._day
        return [Remember(began)] if began is not None else []

    def _account(self, symbol: str) -> Account:
        seen, sums = self.situation, self.capital.commitments()
        return Account(
            equity=seen.equity, day_equity=self._day.equity if self._day else seen.equity, day_pnl=self.day_pnl(),
            exposure=sums.exposure, margin=sums.margin, open_trades=len(self.book.positions()), switch=seen.switch,
            durable=seen.durable, now=seen.market_time, closed=self.adjustments.counted(self.closed, symbol),
            at_risk=sums.at_risk, maintenance=sums.maintenance, available=sums.available, ordered=sums.ordered,
        )  # fmt: skip

    def _refuse(self, signal: Signal, judged: Judgement, gate: str, detail: str) -> Refused:
        self.counts[f"gate:{gate}"] += 1
        return Refused(signal, gate, detail, judged)
