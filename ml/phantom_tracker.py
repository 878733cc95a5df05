"""Every signal, taken or refused, followed to its outcome, and what that says about those who decided."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from domain import ids
from domain.candle import Series
from domain.durations import DAY_MS
from domain.errors import BadData
from domain.leaves import Leaves
from domain.phantom import LOSS, TIMEOUT, WIN, PhantomTrade, follow, open_phantom
from domain.symbols import Symbols
from domain.trade import ZERO
from ml.features import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from domain.candle import ClosedBar
    from domain.exits import ExitPlan
    from domain.fills import Costs
    from domain.ids import Identity
    from domain.instrument import Instrument
    from domain.signal import Signal
    from domain.trade import Trade

COMPLETED_MAX = 1_000
RATE_WINDOW = 200
Vector = tuple[tuple[str, ...], "array[float]"]


class LearningRow(NamedTuple):
    """One signal and how it ended, in R after fees; ``real`` when that is what a trade of ours made of it."""

    phantom_id: str
    symbol: str
    strategy_name: str
    signal_time: int
    exit_time: int
    features: dict[str, float]
    score: float | None
    was_executed: bool
    real: bool
    r: float
    outcome: str


class PhantomTradeTracker:
    """Keeps the phantoms of one owner: those that are open by series, the newest that have ended, and what they sum to.

    Pure bookkeeping: it waits for nothing and reads no clock. ``instruments`` gives the exchange's rules of a symbol,
    ``leaves`` what strategies have said of leaving.
    """

    def __init__(
        self,
        who: Identity,
        plans: Mapping[str, ExitPlan],
        instruments: Callable[[str], Instrument | None],
        costs: Costs,
        leaves: Leaves | None = None,
    ) -> None:
        self._who, self._plans, self._instruments, self._costs = who, plans, instruments, costs
        self._leaves = leaves or Leaves()
        self._active: dict[Series, dict[str, PhantomTrade]] = {}
        self._seen: dict[str, PhantomTrade] = {}
        self._real: dict[str, Decimal] = {}
        self._ended: deque[PhantomTrade] = deque()
        self._vectors: dict[str, Vector] = {}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.blocked: Counter[tuple[int, str]] = Counter()

    @property
    def completed(self) -> list[PhantomTrade]:
        """The newest that have ended, oldest first."""
        return [msgspec.structs.replace(one, features=self._features(one)) for one in self._ended]

    def record_signal(
        self,
        symbol: str,
        signal: Signal,
        ml_score: float | None,
        was_executed: bool,  # noqa: FBT001  the name that its users know
        features: dict[str, float] | None,
        strategy_name: str,
        gate: str = "",
    ) -> PhantomTrade | None:
        """Begin to follow a signal; return its phantom, None when it is known already, or its symbol's rules are not.

        Args:
            symbol: its market.
            signal: the decision.
            ml_score: 100 times the probability of a gain, None when nothing scored it.
            was_executed: whether an order was sent for it.
            features: its vector by name, None when there was none.
            strategy_name: whose signal it is.
            gate: what refused it; must be told exactly when it was refused.

        Raises:
            BadData: when that is contradictory, or the signal is another's.
        """
        if was_executed == bool(gate):
            raise BadData(f"signal on {symbol}: executed {was_executed} and gate {gate!r} contradict each other")
        if (symbol, strategy_name) != (signal.symbol, signal.strategy):
            raise BadData(f"signal of {signal.strategy} on {signal.symbol} told as {strategy_name}'s on {symbol}")
        name = ids.signal_digest(self._who, signal.strategy, symbol, signal.timeframe, signal.bar_start)
        rules, plan = self._instruments(symbol), self._plans.get(strategy_name)
        if name in self._seen or rules is None or plan is None:
            return None
        phantom = open_phantom(
            signal, plan, rules, self._costs, phantom_id=name, gate=gate, score=ml_score, features=features,
            schema=SCHEMA if features else "",
        )  # fmt: skip
        if gate:
            self.blocked[signal.time // DAY_MS, ""] += 1
            self.blocked[signal.time // DAY_MS, strategy_name] += 1
        self._follow(phantom)
        return phantom

    def update_phantom_prices(self, closed: ClosedBar, *, none_missing: bool = False) -> list[PhantomTrade]:
        """Show a closed bar to the phantoms of its series; return those that have ended on it.

        With ``none_missing`` it is known that there was never a bar between the last one shown and this.
        """
        held = self._active.get(closed.series)
        rules = self._instruments(closed.series.symbol)
        if not held or rules is None:
            return []
        for phantom in held.values():
            if none_missing:
                phantom.next_open = max(phantom.next_open, closed.bar.open_time)
            leave = self._leaves.on_bar(phantom.strategy_name, closed.series, closed.bar.open_time, phantom.side)
            follow(phantom, closed.bar, rules, self._costs, leave=leave)
        ended = [phantom for phantom in held.values() if phantom.outcome]
        for phantom in ended:
            self._close_phantom(phantom)
        return ended

    def waiting_since(self, series: Series) -> int | None:
        """Return the open time of the oldest bar that a phantom of a series waits for, None when none does."""
        return min((phantom.next_open for phantom in self._active.get(series, {}).values()), default=None)

    def series(self) -> list[Series]:
        """Return the series that open phantoms are shown."""
        return [series for series, held in self._active.items() if held]

    def active(self, symbol: str | None = None) -> list[PhantomTrade]:
        """Return the phantoms that are open, of a symbol or of all."""
        wanted = [held for series, held in self._active.items() if symbol in {None, series.symbol}]
        return [phantom for held in wanted for phantom in held.values()]

    def restore(self, phantoms: Iterable[PhantomTrade]) -> None:
        """Take phantoms of earlier lives, open or ended, in the order in which that happened."""
        for told in phantoms:
            known = self._seen.get(told.phantom_id)
            vector = told.features if known is None or told.features is not None else self._features(known)
            phantom = msgspec.structs.replace(told, features=vector)
            if known is None:
                self._follow(phantom)
            if phantom.outcome:
                self._close_phantom(phantom)

    def take_trade(self, trade: Trade) -> None:
        """Take what a trade of ours really made: it counts instead of what its phantom would have.

        A trade that a hand has shaped says nothing of its signal: there the phantom counts.
        """
        if trade.r_multiple is not None and not trade.touched:
            self._real[trade.trade_id] = trade.r_multiple

    def get_phantom_stats(self, symbol: str | None = None, strategy: str | None = None) -> dict[str, Any]:
        """Return the figures of the phantoms kept, every one of them of the symbol and strategy asked for.

        What they made is in R after fees: percentages of different positions do not add up.
        A symbol may be written in any way, as long as there are phantoms of it.
        ``opportunity_cost_r`` of a gate is what its refusals would have made: above zero it cost, below it saved.

        Raises:
            BadData: for a symbol or strategy that nobody knows.
        """
        if strategy is not None and strategy not in self._plans:
            raise BadData(f"no strategy {strategy!r} is enabled; there are {', '.join(self._plans)}")
        if symbol is not None and self._instruments(symbol) is None:
            meant = Symbols(self._symbols()).one(symbol)
            if meant is None:
                raise BadData(
                    f"symbol {symbol!r} is not known; phantoms there are of {', '.join(self._symbols()) or 'none'}"
                )
            symbol = meant
        ended = [one for one in self._ended if symbol in {None, one.symbol} and strategy in {None, one.strategy_name}]
        held = [one for one in self.active(symbol) if strategy in {None, one.strategy_name}]
        refused = [one for one in ended if not one.was_executed]
        return {
            "total": len(ended) + len(held), "active": len(held), "completed": len(ended),
            "executed": sum(one.was_executed for one in (*ended, *held)),
            "rejected": sum(not one.was_executed for one in (*ended, *held)),
            "outcomes": dict(Counter(one.outcome for one in ended)),
            "rejection_stats": {
                "total_rejected": len(refused), **_sums(refused),
                "missed_r": _total(one.realized_rr for one in refused if one.made > 0),
                "avoided_r": _total(-one.realized_rr for one in refused if one.made <= 0),
            },
            "ml_accuracy": self._accuracy(ended),
            "gates": {gate: _gate([one for one in refused if one.gate == gate]) for gate in _gates(refused)},
            "win_rates": _win_rates(ended),
        }  # fmt: skip

    def get_learning_data(self) -> list[LearningRow]:
        """Return a row for each signal that has ended and has a vector of today's schema, oldest signal first."""
        rows = [
            LearningRow(
                one.phantom_id, one.symbol, one.strategy_name, one.signal_time, one.exit_time, features,
                one.ml_score, one.was_executed, self._real_r(one) is not None, float(self._r(one)), one.outcome,
            )
            for one in self._ended if one.schema == SCHEMA and (features := self._features(one)) is not None
        ]  # fmt: skip
        return sorted(rows, key=lambda row: (row.signal_time, row.phantom_id))

    def _follow(self, phantom: PhantomTrade) -> None:
        self._seen[phantom.phantom_id] = phantom
        series = Series(phantom.symbol, phantom.timeframe)
        self._active.setdefault(series, {})[phantom.phantom_id] = phantom

    def _close_phantom(self, phantom: PhantomTrade) -> None:
        held = self._active.get(Series(phantom.symbol, phantom.timeframe), {})
        if held.pop(phantom.phantom_id, None) is None:
            return
        self._seen[phantom.phantom_id] = phantom
        self._put_away(phantom)
        self._ended.append(phantom)
        while len(self._ended) > COMPLETED_MAX:
            gone = self._ended.popleft()
            self._seen.pop(gone.phantom_id, None)
            self._vectors.pop(gone.phantom_id, None)
            self._real.pop(ids.trade_id(gone.phantom_id), None)

    def _symbols(self) -> list[str]:
        return sorted({one.symbol for one in (*self._ended, *self.active())})

    def _put_away(self, phantom: PhantomTrade) -> None:
        """Keep a vector in a tenth of the room: nobody looks at it before it is learned from."""
        if phantom.features is None:
            return
        names = tuple(phantom.features)
        self._vectors[phantom.phantom_id] = self._names.setdefault(names, names), array("d", phantom.features.values())
        phantom.features = None

    def _features(self, phantom: PhantomTrade) -> dict[str, float] | None:
        kept = self._vectors.get(phantom.phantom_id)
        return phantom.features if kept is None else dict(zip(*kept, strict=True))

    def _real_r(self, phantom: PhantomTrade) -> Decimal | None:
        return self._real.get(ids.trade_id(phantom.phantom_id)) if phantom.was_executed else None

    def _r(self, phantom: PhantomTrade) -> Decimal:
        real = self._real_r(phantom)
        return phantom.realized_rr if real is None else real

    def _accuracy(self, ended: list[PhantomTrade]) -> dict[str, Any]:
        """Judge the score from both sides: what it refused, and what it let through."""
        refused = [self._r(one) > 0 for one in ended if one.gate == "score" and one.outcome != TIMEOUT]
        taken = [self._r(one) > 0 for one in ended if one.was_executed and one.ml_score is not None]
        right, judged = refused.count(False) + taken.count(True), len(refused) + len(taken)
        return {
            "correct_rejections": refused.count(False), "wrong_rejections": refused.count(True),
            "correct_approvals": taken.count(True), "wrong_approvals": taken.count(False),
            "accuracy_pct": round(100 * right / judged, 1) if judged else None,
        }  # fmt: skip


def _sums(phantoms: list[PhantomTrade]) -> dict[str, int]:
    return {
        "would_have_won": sum(one.outcome == WIN for one in phantoms),
        "would_have_lost": sum(one.outcome == LOSS for one in phantoms),
        "timed_out": sum(one.outcome == TIMEOUT for one in phantoms),
    }


def _win_rates(ended: list[PhantomTrade]) -> dict[str, float]:
    """Return the share of gains among the newest of each strategy that reached an end of their own, in percent."""
    newest: dict[str, deque[bool]] = {}
    for one in ended:
        if one.outcome != TIMEOUT:
            newest.setdefault(one.strategy_name, deque(maxlen=RATE_WINDOW)).append(one.outcome == WIN)
    return {name: round(100 * sum(held) / len(held), 1) for name, held in newest.items()}


def _gates(phantoms: list[PhantomTrade]) -> list[str]:
    return sorted({one.gate for one in phantoms})


def _gate(phantoms: list[PhantomTrade]) -> dict[str, Any]:
    return {
        "rejected": len(phantoms),
        **_sums(phantoms),
        "opportunity_cost_r": _total(one.realized_rr for one in phantoms),
    }


def _total(values: Iterable[Decimal]) -> float:
    return float(round(sum(values, ZERO), 4))
