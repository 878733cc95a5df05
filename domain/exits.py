"""The bracket around a position and how bars and fills change it; every change counts from the next bar."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from domain.candle import decimal_of
from domain.durations import MINUTE_MS
from domain.order import Cause, Side


class ExitPlan(msgspec.Struct, frozen=True):
    """How a position is managed, distances in R (the distance from entry to the first stop).

    Attributes:
        partial_r: distance of the partial target, 0 for none.
        partial_fraction: share of the position taken off at the partial target.
        break_even: whether the stop moves to the entry once the partial target is filled.
        trail_start_r: favourable move after which the stop trails, 0 for never.
        trail_distance_r: distance of the trailing stop behind the best price.
        timeout_ms: market time after which the position is closed, 0 for never.
        roi: gains as fractions of the entry price that are enough, each with the market time (ms) from which on it is,
            in the order of time.
        trailing: gains as fractions of the entry price from which on the stop trails too, smallest first, each with its
            distance behind the best price, as a fraction of that price.
        least_gain: the gain as a fraction of the entry price above which a strategy's wish to leave is followed, None
            where it always is.
    """

    partial_r: float = 0.0
    partial_fraction: float = 0.5
    break_even: bool = True
    trail_start_r: float = 0.0
    trail_distance_r: float = 1.0
    timeout_ms: int = 0
    roi: tuple[tuple[int, Decimal], ...] = ()
    trailing: tuple[tuple[Decimal, Decimal], ...] = ()
    least_gain: Decimal | None = None

    @property
    def trails(self) -> bool:
        """Whether the stop ever follows the price."""
        return bool(self.trail_start_r or self.trailing)


class Bracket(msgspec.Struct, frozen=True):
    """A position's protective prices.

    Attributes:
        entry: price that R is measured from.
        first_stop: the stop at entry; it fixes R for ever.
        stop: the stop in force.
        target: the price at which the rest is taken off, 0 where there is none.
        stop_cause: what a fill at the stop in force will be called.
        best: most favourable price since entry.
        worst: least favourable price since entry.
    """

    side: Side
    entry: Decimal
    first_stop: Decimal
    stop: Decimal
    target: Decimal
    plan: ExitPlan
    opened_at: int
    stop_cause: Cause = Cause.STOP_LOSS
    best: Decimal = Decimal(0)
    worst: Decimal = Decimal(0)

    @property
    def risk(self) -> Decimal:
        """R in quote units."""
        return abs(self.entry - self.first_stop)

    @property
    def partial_price(self) -> Decimal | None:
        """Price of the partial target, not rounded; None without one."""
        if not self.plan.partial_r:
            return None
        return self.entry + self.side.sign * self.risk * Decimal(str(self.plan.partial_r))

    @property
    def trail_price(self) -> Decimal:
        """Price from which on the stop trails, of a plan that has it trail."""
        ways = [gain * self.entry for gain, _ in self.plan.trailing[:1]]
        if self.plan.trail_start_r:
            ways.append(Decimal(str(self.plan.trail_start_r)) * self.risk)
        return self.entry + self.side.sign * min(ways)


def widen(bracket: Bracket, high: float, low: float) -> Bracket:
    """Return the bracket with the best and the worst price seen, after bars that reached from ``low`` to ``high``."""
    long = bracket.side is Side.LONG
    best, worst = decimal_of(high if long else low), decimal_of(low if long else high)
    if bracket.best:
        better, lesser = (max, min) if long else (min, max)
        best, worst = better(best, bracket.best), lesser(worst, bracket.worst)
        if best is bracket.best and worst is bracket.worst:
            return bracket
    return msgspec.structs.replace(bracket, best=best, worst=worst)


def widen_last(bracket: Bracket, high: float, low: float, left: Decimal) -> Bracket:
    """Return the bracket after the bar inside of which the position ended at the price ``left``.

    It saw nothing beyond its stop and its target: what the bar did there came after it.
    """
    long = bracket.side is Side.LONG
    target = bracket.target or Decimal("Infinity" if long else 0)
    floor, ceiling = (bracket.stop, target) if long else (target, bracket.stop)
    floor, ceiling = min(floor, left), max(ceiling or left, left)
    bounded = widen(bracket, min(high, float(ceiling)), max(low, float(floor)))
    return widen(bounded, float(left), float(left))


def trail(bracket: Bracket) -> Bracket:
    """Return the bracket with its stop behind the best price, once that is as far as the plan says."""
    gained = bracket.side.sign * (bracket.best - bracket.entry)
    reached = [behind for gain, behind in bracket.plan.trailing if gained >= gain * bracket.entry]
    if reached:
        stop = bracket.best * (1 - bracket.side.sign * reached[-1])
        bracket = tighten(bracket, stop, Cause.TRAILING_STOP)
    if not bracket.plan.trail_start_r:
        return bracket
    start = Decimal(str(bracket.plan.trail_start_r)) * bracket.risk
    if gained < start:
        return bracket
    distance = Decimal(str(bracket.plan.trail_distance_r)) * bracket.risk
    return tighten(bracket, bracket.best - bracket.side.sign * distance, Cause.TRAILING_STOP)


def after_partial(bracket: Bracket) -> Bracket:
    """Return the bracket after the partial target has filled: stop at the entry, if the plan says so."""
    return tighten(bracket, bracket.entry, Cause.BREAK_EVEN) if bracket.plan.break_even else bracket


def tighten(bracket: Bracket, stop: Decimal, cause: Cause) -> Bracket:
    """Return the bracket with the stop moved, unless that would loosen it."""
    if bracket.side.sign * (stop - bracket.stop) <= 0:
        return bracket
    return msgspec.structs.replace(bracket, stop=stop, stop_cause=cause)


def timed_out(bracket: Bracket, now: int) -> bool:
    """Say whether the position has outlived its plan at market time ``now`` (UTC ms)."""
    return bool(bracket.plan.timeout_ms) and now - bracket.opened_at >= bracket.plan.timeout_ms


def roi_reached(bracket: Bracket, close: float, now: int) -> bool:
    """Return whether a bar that closed at ``close`` at market time ``now`` (UTC ms) gains what is enough by then.

    Minutes count from the one in which the position was opened: an execution comes a moment after the bar's close.
    """
    held = now - bracket.opened_at // MINUTE_MS * MINUTE_MS
    asked = [fraction for since, fraction in bracket.plan.roi if held >= since]
    return bool(asked) and _gained(bracket, close) >= asked[-1] * bracket.entry


def followed(bracket: Bracket, close: float) -> bool:
    """Return whether a strategy's wish to leave on a bar that closed at ``close`` is followed."""
    least = bracket.plan.least_gain
    return least is None or _gained(bracket, close) > least * bracket.entry


def _gained(bracket: Bracket, close: float) -> Decimal:
    return bracket.side.sign * (decimal_of(close) - bracket.entry)


def time_to_leave(bracket: Bracket, close: float, now: int, *, leave: bool) -> Cause | None:
    """Return why a position is to be closed as a bar closes, None when it is not; ``leave``: its strategy wants out."""
    if leave and followed(bracket, close):
        return Cause.EXIT_SIGNAL
    if roi_reached(bracket, close, now):
        return Cause.ROI
    return Cause.TIMEOUT if timed_out(bracket, now) else None
