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

    from domain.candle import Bar, ClosedBar
    from domain.exits import ExitPlan
    from domain.fills import Costs
    from domain.holding import Manage
    from domain.ids import Identity
    from domain.instrument import Instrument
    from domain.signal import Signal
    from domain.trade import Trade

    Manager = Callable[[str, Series, int], Manage | None]
    """Gives what asks a strategy about a position on the bar of a series that opened then (UTC ms), or nothing."""

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
    ``leaves`` what strategies have said of leaving, ``manager`` what asks one what it wants of a position on a bar.
    """

    def __init__(
        self,
        who: Identity,
        plans: Mapping[str, ExitPlan],
        instruments: Callable[[str], Instrument | None],
        costs: Costs,
        leaves: Leaves | None = None,
        manager: Manager = lambda *_: None,
    ) -> None:
        self._manager = manager
        self._managed: dict[str, PhantomTrade] = {}
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
        return [msgspec.structs.replace(phantom, features=self._features(phantom)) for phantom in self._ended]

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
        active = self._active.get(closed.series)
        rules = self._instruments(closed.series.symbol)
        if not active or rules is None:
            return []
        for phantom in active.values():
            if none_missing:
                phantom.next_open = max(phantom.next_open, closed.bar.open_time)
            self._show(phantom, closed.series, closed.bar, rules)
        ended = [phantom for phantom in active.values() if phantom.outcome]
        for phantom in ended:
            self._close_phantom(phantom)
        return ended

    def managed(self) -> list[PhantomTrade]:
        """Return the open phantoms that their strategies have changed since the last call."""
        changed, self._managed = list(self._managed.values()), {}
        return [phantom for phantom in changed if not phantom.outcome]

    def _show(self, phantom: PhantomTrade, series: Series, bar: Bar, rules: Instrument) -> None:
        """Show a phantom a bar, with what its strategy says on it."""
        name, before = phantom.strategy_name, (phantom.bracket.stop, phantom.rest)
        leave = self._leaves.on_bar(name, series, bar.open_time, phantom.side)
        manage = self._manager(name, series, bar.open_time)
        follow(phantom, bar, rules, self._costs, leave=leave, manage=manage)
        if manage is not None and (phantom.bracket.stop, phantom.rest) != before:
            self._managed[phantom.phantom_id] = phantom

    def waiting_since(self, series: Series) -> int | None:
        """Return the open time of the oldest bar that a phantom of a series waits for, None when none does."""
        return min((phantom.next_open for phantom in self._active.get(series, {}).values()), default=None)

    def series(self) -> list[Series]:
        """Return the series that open phantoms are shown."""
        return [series for series, active in self._active.items() if active]

    def active(self, symbol: str | None = None) -> list[PhantomTrade]:
        """Return the phantoms that are open, of a symbol or of all."""
        wanted = [phantoms for series, phantoms in self._active.items() if symbol in {None, series.symbol}]
        return [phantom for phantoms in wanted for phantom in phantoms.values()]

    def restore(self, phantoms: Iterable[PhantomTrade]) -> None:
        """Take phantoms of earlier lives, open or ended, in the order in which that happened."""
        for stored in phantoms:
            known = self._seen.get(stored.phantom_id)
            vector = stored.features if known is None or stored.features is not None else self._features(known)
            phantom = msgspec.structs.replace(stored, features=vector)
            open_both = known is not None and not known.outcome and not phantom.outcome
            if known is None or (open_both and phantom.next_open > known.next_open):
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
        ended = [
            phantom
            for phantom in self._ended
            if symbol in {None, phantom.symbol} and strategy in {None, phantom.strategy_name}
        ]
        active = [phantom for phantom in self.active(symbol) if strategy in {None, phantom.strategy_name}]
        refused = [phantom for phantom in ended if not phantom.was_executed]
        return {
            "total": len(ended) + len(active), "active": len(active), "completed": len(ended),
            "executed": sum(phantom.was_executed for phantom in (*ended, *active)),
            "rejected": sum(not phantom.was_executed for phantom in (*ended, *active)),
            "outcomes": dict(Counter(phantom.outcome for phantom in ended)),
            "rejection_stats": {
                "total_rejected": len(refused), **_sums(refused),
                "missed_r": _total(phantom.realized_rr for phantom in refused if phantom.made > 0),
                "avoided_r": _total(-phantom.realized_rr for phantom in refused if phantom.made <= 0),
            },
            "ml_accuracy": self._accuracy(ended),
            "gates": {
                gate: _gate([phantom for phantom in refused if phantom.gate == gate]) for gate in _gates(refused)
            },
            "win_rates": _win_rates(ended),
        }  # fmt: skip

    def get_learning_data(self) -> list[LearningRow]:
        """Return a row for each signal that has ended and has a vector of today's schema, oldest signal first."""
        rows = [
            LearningRow(
                phantom.phantom_id, phantom.symbol, phantom.strategy_name, phantom.signal_time, phantom.exit_time,
                features, phantom.ml_score, phantom.was_executed, self._real_r(phantom) is not None,
                float(self._r(phantom)), phantom.outcome,
            )
            for phantom in self._ended if phantom.schema == SCHEMA and (features := self._features(phantom)) is not None
        ]  # fmt: skip
        return sorted(rows, key=lambda row: (row.signal_time, row.phantom_id))

    def _follow(self, phantom: PhantomTrade) -> None:
        self._seen[phantom.phantom_id] = phantom
        series = Series(phantom.symbol, phantom.timeframe)
        self._active.setdefault(series, {})[phantom.phantom_id] = phantom

    def _close_phantom(self, phantom: PhantomTrade) -> None:
        active = self._active.get(Series(phantom.symbol, phantom.timeframe), {})
        if active.pop(phantom.phantom_id, None) is None:
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
        return sorted({phantom.symbol for phantom in (*self._ended, *self.active())})

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
        refused = [self._r(phantom) > 0 for phantom in ended if phantom.gate == "score" and phantom.outcome != TIMEOUT]
        taken = [self._r(phantom) > 0 for phantom in ended if phantom.was_executed and phantom.ml_score is not None]
        right, judged = refused.count(False) + taken.count(True), len(refused) + len(taken)
        return {
            "correct_rejections": refused.count(False), "wrong_rejections": refused.count(True),
            "correct_approvals": taken.count(True), "wrong_approvals": taken.count(False),
            "accuracy_pct": round(100 * right / judged, 1) if judged else None,
        }  # fmt: skip


def _sums(phantoms: list[PhantomTrade]) -> dict[str, int]:
    return {
        "would_have_won": sum(phantom.outcome == WIN for phantom in phantoms),
        "would_have_lost": sum(phantom.outcome == LOSS for phantom in phantoms),
        "timed_out": sum(phantom.outcome == TIMEOUT for phantom in phantoms),
    }


def _win_rates(ended: list[PhantomTrade]) -> dict[str, float]:
    """Return the share of gains among the newest of each strategy that reached an end of their own, in percent."""
    newest: dict[str, deque[bool]] = {}
    for phantom in ended:
        if phantom.outcome != TIMEOUT:
            newest.setdefault(phantom.strategy_name, deque(maxlen=RATE_WINDOW)).append(phantom.outcome == WIN)
    return {name: round(100 * sum(wins) / len(wins), 1) for name, wins in newest.items()}


def _gates(phantoms: list[PhantomTrade]) -> list[str]:
    return sorted({phantom.gate for phantom in phantoms})


def _gate(phantoms: list[PhantomTrade]) -> dict[str, Any]:
    return {
        "rejected": len(phantoms),
        **_sums(phantoms),
        "opportunity_cost_r": _total(phantom.realized_rr for phantom in phantoms),
    }


def _total(values: Iterable[Decimal]) -> float:
    return float(round(sum(values, ZERO), 4))
