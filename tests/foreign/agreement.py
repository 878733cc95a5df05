"""What two programs made of the same strategy on the same candles, and which stated rule explains each difference.

A rule is believed only where the candles bear it out: a stop is walked along them once as freqtrade moves it and once as
we do, and both walks have to end where the two programs did.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from domain.candle import Bars

TRAILED, GAINED, TURNED, EDGE, BUSY, BEHIND = "trailed", "gained", "turned", "edge", "busy", "behind"
RULES = {
    TRAILED: "freqtrade moves a stop to the best price of a bar and then checks it against the worst price of the same bar; we "
    "move it when the bar closes, as a live bot does, and the new stop counts from the next bar",
    GAINED: "freqtrade checks every row of `minimal_roi` within the bar; here the first row is a resting order, and later rows "
    "(all rows with `ignore_roi_if_entry_signal`) are checked when the bar closes",
    TURNED: "when one bar ends a position and starts one on the other side, freqtrade does both at once; we close first and "
    "enter on the next bar that says so",
    EDGE: "we convert a gain after fees into a price change as for a long, and use it for both sides; a short would need "
    "slightly less, and this gain fell in between",
    BUSY: "one program could not enter because an earlier difference had left it in a position",
    BEHIND: "freqtrade calls `custom_stoploss` within the next bar, and skips it if that bar has already hit the old stop; we "
    "call it when the bar closes, so the next bar meets the new stop",
}
BETWEEN = 3e-5
"""As far as a short's gain may lie from a long's: twice the fee of a side, of some percent."""
TICKS = 2e-5
"""Rates that differ by less are the same: a stop is rounded to a tick, on either side of it."""


@dataclass(frozen=True, slots=True)
class Trade:
    """A closed trade; times are UTC ms, rates those of the fills."""

    entered: int
    left: int
    short: bool
    entry: float
    exit: float
    reason: str

    @property
    def sign(self) -> int:
        return -1 if self.short else 1

    def ratio(self, fee: float) -> float:
        """Return what was made of what was spent, after fees."""
        spent, got = self.entry * (1 + self.sign * fee), self.exit * (1 - self.sign * fee)
        return self.sign * (got - spent) / spent


@dataclass(frozen=True, slots=True)
class Exits:
    """How a strategy leaves, as fractions: first stop; gains and distances of a stop that trails; gains by age in ms; the
    gain above which signals to leave count; the gain from which on the stop stands at another, both after fees; whether
    the first gain is a resting order; bars on which gains do not count; whether a method of its own moves the stop.
    """

    stop: float
    trailing: Sequence[tuple[float, float]] = ()
    gains: Sequence[tuple[int, float]] = ()
    least: float | None = None
    secured: tuple[float, float] | None = None
    resting: bool = True
    ignored: frozenset[int] = frozenset()
    own_stop: bool = False


@dataclass(slots=True)
class Found:
    """What was compared: how many trades each made, how many agree, by which rule others differ, what nothing explains."""

    theirs: int
    ours: int
    alike: int = 0
    worst: float = 0.0
    sums: tuple[float, float] = (0.0, 0.0)
    rules: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)

    def line(self) -> str:
        told = ", ".join(f"{count} {rule}" for rule, count in sorted(self.rules.items()))
        return f"{self.theirs} and {self.ours} trades, {self.alike} alike; {told or 'no others'}; {len(self.unexplained)} open"


def compare(known: Sequence[Trade], made: Sequence[Trade], bars: Bars, exits: Exits, fee: float) -> Found:
    """Compare trades by their bar of entry and their side."""
    road = _Road(bars, exits, fee)
    found = Found(
        len(known), len(made), sums=(sum(one.ratio(fee) for one in known), sum(one.ratio(fee) for one in made))
    )
    left = {(road.bar(one.entered), one.short): one for one in made}
    for one in known:
        own = left.pop((road.bar(one.entered), one.short), None)
        rule = TURNED if own is None and road.turns(one, known) else ""
        if rule:
            own = left.pop((road.bar(one.entered) + 1, one.short), None)
        if own is None:
            rule = rule or (BUSY if road.inside(one, made) else "")
        elif rule:
            pass  # from another bar on it is another trade, with levels of its own
        elif not road.same(one, own):
            rule = road.rule(one, own)
        else:
            found.alike += 1
            found.worst = max(found.worst, abs(one.ratio(fee) - own.ratio(fee)))
            continue
        _note(found, rule, one, own)
    for own in left.values():
        _note(found, BUSY if road.inside(own, known) else "", None, own)
    return found


def _note(found: Found, rule: str, one: Trade | None, own: Trade | None) -> None:
    found.rules[rule or "unexplained"] += 1
    if not rule:
        found.unexplained.append(f"freqtrade {one}, ours {own}")


class _Road:
    """The bars that trades ran along."""

    def __init__(self, bars: Bars, exits: Exits, fee: float) -> None:
        self._bars, self._exits, self._fee = bars, exits, fee
        self._step = int(bars.open_time[1] - bars.open_time[0])
        self._first = int(bars.open_time[0])

    def bar(self, time: int) -> int:
        """Return the number of the bar that a moment lies in."""
        return (time - self._first) // self._step

    def same(self, one: Trade, own: Trade) -> bool:
        """Whether two trades are the same: bars, and rates to a tick."""
        near = abs(one.entry / own.entry - 1) < TICKS and abs(one.exit / own.exit - 1) < TICKS
        return near and self.bar(one.left) == self.bar(own.left)

    def turns(self, one: Trade, known: Sequence[Trade]) -> bool:
        """Whether a trade began on the bar that ended one on the other side."""
        return any(self.bar(it.left) == self.bar(one.entered) and it.short != one.short for it in known)

    def inside(self, one: Trade, others: Sequence[Trade]) -> bool:
        """Whether a trade began while there was another one."""
        begun = self.bar(one.entered)
        return any(self.bar(it.entered) <= begun <= self.bar(it.left) for it in others)

    def rule(self, one: Trade, own: Trade) -> str:
        """Return which rule explains that a trade ended in two ways, "" when none does."""
        trailed = "trailing_stop_loss" in (one.reason, own.reason) or own.reason == "trailing_stop"
        if (self._exits.trailing or self._exits.secured) and trailed:
            walked = ((one, self._stopped(one, at_once=True)), (own, self._stopped(own, at_once=False)))
            # whoever left for another reason did so before its stop was met
            borne_out = [
                end == self.bar(trade.left) if "stop" in trade.reason else end >= self.bar(trade.left)
                for trade, end in walked
            ]
            return TRAILED if all(borne_out) else ""
        if self._exits.own_stop and trailed and self._met_old_stop(one, own):
            return BEHIND
        if self._exits.least is not None and one.short and one.reason == "exit_signal":
            return EDGE if abs(one.sign * (one.exit / one.entry - 1) - self._exits.least) < BETWEEN else ""
        later = [age for age, _ in self._exits.gains[self._exits.resting :]]
        if one.reason == "roi" and later and own.left > one.left - self._step:
            aged = (self.bar(one.left) + 1 - self.bar(one.entered)) * self._step >= later[0]
            return GAINED if aged and not any(self._enough_before(own)) else ""
        return ""

    def _met_old_stop(self, one: Trade, own: Trade) -> bool:
        """Whether one bar met both stops: freqtrade's, which was the old one, and ours, which was closer."""
        row = self.bar(one.left)
        worst = (self._bars.high if one.short else self._bars.low).item(row)
        return row == self.bar(own.left) and one.sign * (own.exit - one.exit) > 0 >= one.sign * (worst - one.exit)

    def _stopped(self, trade: Trade, *, at_once: bool) -> int:
        """Return the bar in which the stop is met that a trade has, moved ``at_once`` inside of a bar or as it closes."""
        stop, row = trade.entry * (1 - trade.sign * self._exits.stop), self.bar(trade.entered)
        best = trade.entry
        while row < len(self._bars):
            high, low = self._bars.high.item(row), self._bars.low.item(row)
            top, bottom = (low, high) if trade.short else (high, low)
            if trade.sign * (bottom - stop) <= 0:
                return row
            best = max(best, top) if not trade.short else min(best, top)
            stop = self._moved(trade, stop, best)
            if at_once and trade.sign * (bottom - stop) <= 0:
                return row
            row += 1
        return row

    def _moved(self, trade: Trade, stop: float, best: float) -> float:
        gain = trade.sign * (best / trade.entry - 1)
        reached = [behind for least, behind in self._exits.trailing if gain >= least]
        wanted = best * (1 - trade.sign * reached[-1]) if reached else stop
        if self._exits.secured and replace(trade, exit=best).ratio(self._fee) >= self._exits.secured[0]:
            wanted = trade.entry * (1 + trade.sign * self._before_fees(trade, self._exits.secured[1]))
        return max(stop, wanted) if not trade.short else min(stop, wanted)

    def _before_fees(self, trade: Trade, gain: float) -> float:
        """Return the change of the price that leaves a gain after fees."""
        paid = (1 - self._fee) / (1 + self._fee)
        return (1 + gain) / paid - 1 if trade.sign > 0 else 1 - (1 - gain) * paid

    def _enough_before(self, own: Trade) -> Iterator[bool]:
        """Yield of each bar that closed before our trade's last whether it gained what was enough by then."""
        begun = self.bar(own.entered)
        for row in range(begun, self.bar(own.left) - 1):
            age = (row + 1 - begun) * self._step
            asked = [gain for since, gain in self._exits.gains if age >= since and row not in self._exits.ignored]
            yield bool(asked) and own.sign * (self._bars.close.item(row) / own.entry - 1) >= asked[-1] * (1 + 1e-9)
