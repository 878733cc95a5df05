"""A trade that nobody made: followed bar by bar to its end, by the rules that real trades meet."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from domain import fills
from domain.candle import timeframe_ms
from domain.errors import BadData
from domain.exits import Bracket, ExitPlan, after_partial, tighten, time_to_leave, trail, widen
from domain.holding import holding_of, stop_asked
from domain.order import Cause, OrderKind, Side
from domain.signal import Leave
from domain.trade import ZERO

if TYPE_CHECKING:
    from domain.candle import Bar
    from domain.fills import Costs
    from domain.holding import Adjust, Manage
    from domain.instrument import Instrument
    from domain.signal import Signal

WIN, LOSS, TIMEOUT = "win", "loss", "timeout"
WHOLE = Decimal(1)


class PhantomTrade(msgspec.Struct):
    """One unit bought (or sold short) at the close that gave the signal, and what became of it.

    Attributes:
        phantom_id: the signal's digest; a trade made on the signal bears the same.
        signal_time: when its bar closed (UTC ms).
        gate: what refused it, empty when it was executed.
        ml_score: 100 times the probability of a gain, None when nothing had scored it; ``scored_by`` names the model,
            or the rule, whose points these are then.
        features: the vector of the signal by name, None when there was none; ``schema`` says of which table.
        bracket: stop, target, plan and extremes; its entry is the price paid, its R that of the entry.
        next_open: open time of the bar that has to be shown next (UTC ms).
        rest: share of the position that is still open.
        made: profit so far in quote units for one unit, fees included.
        parts: how often its strategy has taken a part off.
        tp1_time: when the partial target was reached (UTC ms), 0 if never.
        outcome: win, loss or timeout; empty while it is open.
        realized_rr: profit in R after fees; pnl_percent is the same in percent of the entry.
    """

    phantom_id: str
    symbol: str
    strategy_name: str
    timeframe: str
    signal_time: int
    gate: str
    ml_score: float | None
    features: dict[str, float] | None
    bracket: Bracket
    next_open: int
    rest: Decimal = WHOLE
    made: Decimal = ZERO
    tp1_time: int = 0
    outcome: str = ""
    exit_price: Decimal = ZERO
    exit_time: int = 0
    exit_reason: str = ""
    realized_rr: Decimal = ZERO
    pnl_percent: Decimal = ZERO
    schema: str = ""
    scored_by: str = ""
    parts: int = 0

    @property
    def was_executed(self) -> bool:
        """Whether a trade was made on the signal."""
        return not self.gate

    @property
    def side(self) -> Side:
        """Direction of the position."""
        return self.bracket.side

    @property
    def tp1_hit(self) -> bool:
        """Whether the partial target was reached."""
        return self.tp1_time > 0

    @property
    def be_moved(self) -> bool:
        """Whether the stop stands at the entry or better."""
        return self.side.sign * (self.bracket.stop - self.bracket.entry) >= 0

    def excursions(self) -> tuple[Decimal, Decimal]:
        """Return the largest move for and against it in R."""
        held = self.bracket
        if not held.best or not held.risk:
            return ZERO, ZERO
        sign = self.side.sign
        return sign * (held.best - held.entry) / held.risk, sign * (held.worst - held.entry) / held.risk


def open_phantom(
    signal: Signal, plan: ExitPlan, instrument: Instrument, costs: Costs, *, phantom_id: str, gate: str,
    score: float | None, features: dict[str, float] | None, schema: str = "",
) -> PhantomTrade:  # fmt: skip
    """Return the phantom of a signal, entered at the market as the signal's bar closed."""
    stop, target = signal.levels(instrument)
    entry = fills.market_price(signal.side.entry, instrument.price(signal.entry), instrument, costs)
    bracket = Bracket(
        side=signal.side, entry=entry, first_stop=stop, stop=stop, target=target, plan=plan, opened_at=signal.time
    )
    return PhantomTrade(
        phantom_id=phantom_id, symbol=signal.symbol, strategy_name=signal.strategy, timeframe=signal.timeframe,
        signal_time=signal.time, gate=gate, ml_score=score, features=features, bracket=bracket, next_open=signal.time,
        made=-costs.fee(WHOLE, entry, maker=False), schema=schema,
    )  # fmt: skip


def follow(
    phantom: PhantomTrade, bar: Bar, instrument: Instrument, costs: Costs, *, leave: bool = False,
    manage: Manage | None = None,
) -> bool:  # fmt: skip
    """Show a phantom the next bar of its timeframe; say whether that was the one it waits for.

    A bar that closed before the signal, or was shown before, changes nothing; neither does one after a hole: the
    phantom stays unresolved until the missing bars are shown. ``leave`` says that its strategy wants out as it closes,
    ``manage`` asks what else it wants then.
    """
    if phantom.outcome or bar.open_time != phantom.next_open:
        return False
    closes_at = bar.open_time + timeframe_ms(phantom.timeframe)
    phantom.next_open = closes_at
    resting, prices = _resting(phantom, instrument), fills.bar_prices(bar, instrument)
    for kind, level, cause in resting:
        price = fills.price_at_open(kind, phantom.side.exit, level, prices, instrument, costs)
        if price is not None:
            _fill(phantom, price, cause, bar.open_time, costs, maker=False)
    for kind, level, cause in resting:
        price = fills.price_inside(kind, phantom.side.exit, level, prices, instrument, costs)
        if price is not None:
            _fill(phantom, price, cause, closes_at - 1, costs, maker=fills.is_maker(kind, at_open=False))
    if not phantom.outcome:
        _manage(phantom, bar, closes_at, instrument, costs, None if leave else manage, leave=leave)
    return True


def _resting(phantom: PhantomTrade, instrument: Instrument) -> list[tuple[OrderKind, Decimal, Cause]]:
    """Return what would lie at the exchange, in the turn that a bar is read: the stop, then what a gain meets first."""
    held = phantom.bracket
    orders = [(OrderKind.STOP, held.stop, held.stop_cause)]
    partial = held.partial_price
    if partial is not None and not phantom.tp1_hit and held.plan.partial_fraction:
        orders.append((OrderKind.LIMIT, instrument.price(partial), Cause.PARTIAL))
    if held.target:
        orders.append((OrderKind.TOUCH, held.target, Cause.TAKE_PROFIT))
    gains = sorted(orders[1:], key=lambda order: phantom.side.sign * order[1])
    return [orders[0], *gains]


def _fill(phantom: PhantomTrade, price: Decimal, cause: Cause, time: int, costs: Costs, *, maker: bool) -> None:
    if phantom.outcome or (cause is Cause.PARTIAL and phantom.tp1_hit):
        return
    part = phantom.rest
    if cause is Cause.PARTIAL:
        part = min(part, Decimal(str(phantom.bracket.plan.partial_fraction)))
        phantom.tp1_time = time
    sign = phantom.side.sign
    phantom.made += part * sign * (price - phantom.bracket.entry) - costs.fee(part, price, maker=maker)
    phantom.rest -= part
    if not phantom.rest:
        _end(phantom, price, cause, time)


def _manage(
    phantom: PhantomTrade, bar: Bar, now: int, instrument: Instrument, costs: Costs, manage: Manage | None, *,
    leave: bool,
) -> None:  # fmt: skip
    """Do what the bot does once a bar has closed: let time run out, move the stop; it counts from the next bar."""
    held, sign = phantom.bracket, phantom.side.sign
    phantom.bracket = widen(held, bar.high, bar.low)
    said = _asked(phantom, manage, bar.close, now) if manage is not None else None
    if isinstance(said, Leave):
        leave, said = said.means(phantom.side), None
    close = instrument.price(bar.close)
    price = fills.market_price(phantom.side.exit, close, instrument, costs)
    leaving = time_to_leave(held, bar.close, now, leave=leave)
    if leaving is None:
        wanted = trail(phantom.bracket)
        wanted = after_partial(wanted) if phantom.tp1_hit else wanted
        wanted = _tightened(wanted, said, instrument) if said is not None else wanted
        stop = instrument.price_down(wanted.stop) if sign > 0 else instrument.price_up(wanted.stop)
        if sign * (stop - held.stop) >= instrument.tick:
            phantom.bracket = msgspec.structs.replace(phantom.bracket, stop=stop, stop_cause=wanted.stop_cause)
            # the exchange refuses a stop that the price has passed: then the bot gets out at the market
            leaving = wanted.stop_cause if sign * (close - stop) <= 0 else None
    if leaving is not None:
        _fill(phantom, price, leaving, now, costs, maker=False)
    elif said is not None and said.keep is not None:
        _take_off(phantom, phantom.rest - Decimal(str(said.keep)), price, costs)


def _asked(phantom: PhantomTrade, manage: Manage, close: float, now: int) -> Adjust | Leave | None:
    bars = (now - phantom.signal_time) // timeframe_ms(phantom.timeframe)
    return manage(holding_of(phantom.symbol, phantom.bracket, close, phantom.rest, bars, phantom.parts))


def _tightened(bracket: Bracket, said: Adjust, instrument: Instrument) -> Bracket:
    """Return a bracket with its stop where a strategy wants it, unless it may not stand there."""
    try:
        asked = stop_asked(said, bracket, instrument)
    except BadData:
        return bracket
    return tighten(bracket, asked, Cause.TRAILING_STOP) if asked else bracket


def _take_off(phantom: PhantomTrade, part: Decimal, price: Decimal, costs: Costs) -> None:
    if part > 0:
        gain = phantom.side.sign * (price - phantom.bracket.entry)
        phantom.made += part * gain - costs.fee(part, price, maker=False)
        phantom.rest -= part
        phantom.parts += 1


def _end(phantom: PhantomTrade, price: Decimal, cause: Cause, time: int) -> None:
    held = phantom.bracket
    phantom.exit_price, phantom.exit_time, phantom.exit_reason = price, time, cause.value
    phantom.outcome = TIMEOUT if cause is Cause.TIMEOUT else WIN if phantom.made > 0 else LOSS
    # a stop that rounds to the entry risks nothing that could be counted in
    phantom.realized_rr = round(phantom.made / held.risk, 6) if held.risk else ZERO
    phantom.pnl_percent = round(100 * phantom.made / held.entry, 6)
