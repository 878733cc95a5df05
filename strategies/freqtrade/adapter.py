"""A freqtrade strategy as one of ours: the same bars in, signals and leaves out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np

from domain.candle import timeframe_ms
from domain.errors import BadData
from domain.informative import key
from domain.order import Side
from domain.signal import Leave, Signal
from strategies.freqtrade.hooks import Hooks, tag_of
from strategies.freqtrade.informative import MARK, beside
from strategies.freqtrade.parameters import OpenParameter
from strategies.freqtrade.provider import PLACEHOLDER, TRADED, Provider, Wallets, frame_of
from strategies.freqtrade.records import Unsupported
from strategies.freqtrade.refusals import misfit, need_whole
from strategies.strategy import Parameters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from domain.candle import Bars, Times
    from strategies.strategy import Columns

FEE = 0.00055
"""Taker fee of a side, as a fraction: freqtrade counts gains after fees."""
SPARE = 500
"""Bars beside those of startup_candle_count that a live bot computes; a backtest has more."""
SIGNALS = ("enter_long", "enter_short", "exit_long", "exit_short")
GAIN_MAX = 100.0
"""A gain that nobody waits for, as a fraction: larger ones mean the same."""
TRAILING = (
    "trailing_stop",
    "trailing_stop_positive",
    "trailing_stop_positive_offset",
    "trailing_only_offset_is_reached",
)


class Analyzed(dict[str, np.ndarray]):
    """A strategy's columns, with the table that they come from, and the open times of its rows."""

    def __init__(self, columns: Columns, rows: pd.DataFrame, opened: Times) -> None:
        super().__init__(columns)
        self.rows, self.opened = rows, opened


class Adapted:
    """A freqtrade strategy; each one is a class made by ``adapted``.

    Attributes:
        theirs: the class that the file holds.
        chosen: what the file of parameters beside it says, by group.
        stoploss: where the first stop lies, as a fraction of the price, below zero.
        informative: other symbols whose bars it asks for.
        newest_bars: how many bars of each timeframe are computed live, and of each other symbol.
    """

    name: ClassVar[str]
    theirs: ClassVar[type[Any]]
    chosen: ClassVar[Mapping[str, Any]]

    def __init__(self, parameters: Any) -> None:
        self._fee = parameters.fee
        self._held = held = self.theirs({"stake_currency": "USDT", "runmode": Provider.runmode, "dry_run": True})
        _choose(held, self.chosen)
        for name in _open(type(held)):
            getattr(held, name).value = getattr(parameters, name)
        fault = misfit(held)
        if fault:
            raise BadData(f"{self.name}: {fault}")
        self._dp = held.dp = Provider(held.timeframe)
        held.wallets = Wallets()
        held.bot_start()
        self._asking = [getattr(held, name) for name in dir(type(held)) if hasattr(getattr(type(held), name), MARK)]
        wanted = list(self._further())
        self.timeframes = tuple(dict.fromkeys((held.timeframe, *(timeframe for _, timeframe in wanted))))
        self.informative = tuple(dict.fromkeys(symbol for symbol, _ in wanted if symbol))
        self.warmup_bars = dict.fromkeys(self.timeframes, max(1, held.startup_candle_count))
        others = [key(symbol, timeframe) for symbol in self.informative for timeframe in self.timeframes]
        self.newest_bars = dict.fromkeys((*self.timeframes, *others), max(1, held.startup_candle_count) + SPARE)
        self._hooks = hooks = Hooks(held, self._dp, self._fee)
        self.manage = hooks.manage if hooks.wanted else None
        self.exits = _exits(held, self._fee, hooks)
        self.stoploss, self._first_gain = held.stoploss, 0.0 if hooks.gains else _first_gain(held)
        self._confirms = callable(getattr(held, "confirm_trade_entry", None))

    def start(self, symbol: str) -> str:
        """Return the symbol: nothing else is remembered from bar to bar."""
        return symbol

    def columns(self, bars: Mapping[str, Bars]) -> Analyzed:
        """Return the columns of bars of no symbol in particular."""
        return self.columns_of(PLACEHOLDER, bars)

    def columns_of(self, symbol: str, bars: Mapping[str, Bars]) -> Analyzed:
        """Return indicators and signals on a symbol's bars, a row for each of the first timeframe.

        Raises:
            BadData: when the strategy returns another number of rows, or none.
        """
        held, own = self._held, bars[self.timeframes[0]]
        self._dp.show(symbol, bars)
        told = {"pair": symbol}
        rows = self._with_informative(frame_of(own), symbol, bars)
        for step in (held.populate_indicators, held.populate_entry_trend, held.populate_exit_trend):
            rows = step(rows, dict(told))
            if rows is None or len(rows) != len(own):
                raise BadData(f"{step.__name__} gave {'nothing' if rows is None else len(rows)} for {len(own)} rows")
        numbers = rows.select_dtypes(include=["number", "bool"])
        columns = {str(name): numbers[name].to_numpy(np.float64, na_value=np.nan) for name in numbers.columns}
        said = {name: columns.get(name, np.zeros(len(own))) == 1 for name in SIGNALS}
        return Analyzed({**columns, **said}, rows, own.open_time)

    def step(self, i: int, columns: Analyzed, state: str) -> Signal | Leave | None:
        """Decide on a bar by its four columns, as freqtrade reads them: what contradicts itself means nothing."""
        held = self._held
        enters_long, enters_short, exits_long, exits_short = (bool(columns[name][i]) for name in SIGNALS)
        heard = held.use_exit_signal and not self._hooks.leaves
        leaves = {
            Side.LONG: heard and exits_long and not enters_long,
            Side.SHORT: heard and exits_short and not enters_short,
        }
        side = None
        if enters_long and not (exits_long or enters_short):
            side = Side.LONG
        elif held.can_short and enters_short and not (exits_short or enters_long):
            side = Side.SHORT
        if side is not None and self._confirmed(i, columns, state, side):
            turns = leaves[Side.SHORT if side is Side.LONG else Side.LONG]
            return self._signal(i, columns, state, side, turns=turns)
        left = [one for one, said in leaves.items() if said]
        return Leave(left[0] if len(left) == 1 else None) if left else None

    def _signal(self, i: int, columns: Analyzed, symbol: str, side: Side, *, turns: bool) -> Signal:
        timeframe, close, opened = self.timeframes[0], columns["close"].item(i), columns.opened.item(i)
        # the first row is a resting order, unless a later one asks for more
        gain = _before_fees(self._first_gain, self._fee, side)
        target = close * (1 + side.sign * gain) if self._first_gain and 0 < gain < 1 else 0.0
        tag, stop = tag_of(columns.rows, i), self._hooks.first_stop(symbol, side, i, columns)
        return Signal(
            self.name, symbol, timeframe, opened, opened + timeframe_ms(timeframe), side, close,
            stop, target, {f"enter_tag {tag}": 1.0} if tag else {}, turns=turns,
        )  # fmt: skip

    def _confirmed(self, i: int, columns: Analyzed, symbol: str, side: Side) -> bool:
        if not self._confirms:
            return True
        self._dp.show_analyzed(symbol, columns.rows.iloc[: i + 1])
        closes = columns.opened.item(i) + timeframe_ms(self.timeframes[0])
        return bool(
            self._held.confirm_trade_entry(
                pair=symbol, order_type="market", amount=float("nan"), rate=columns["close"].item(i),
                time_in_force="GTC", current_time=datetime.fromtimestamp(closes / 1000, UTC),
                entry_tag=tag_of(columns.rows, i) or None, side="long" if side is Side.LONG else "short",
            )
        )  # fmt: skip

    def _further(self) -> Iterator[tuple[str, str]]:
        """Yield the other bars that are asked for, by symbol ("" for its own) and timeframe.

        Raises Unsupported for candles of another kind.
        """
        for symbol, timeframe, *kinds in self._held.informative_pairs():
            if any(str(kind) not in TRADED for kind in kinds):
                raise Unsupported(f"{self.name}: informative_pairs asks for {kinds[0]} candles; there are none")
            yield "" if symbol == PLACEHOLDER else str(symbol), str(timeframe)
        for method in self._asking:
            for asked in getattr(method, MARK):
                if str(asked.candle_type or "") not in TRADED:
                    raise Unsupported(f"{self.name}: @informative asks for {asked.candle_type} candles; there are none")
                yield asked.of(self._held.stake_currency), asked.timeframe

    def _with_informative(self, rows: pd.DataFrame, symbol: str, bars: Mapping[str, Bars]) -> pd.DataFrame:
        for method in self._asking:
            for asked in getattr(method, MARK):
                whose = asked.of(self._held.stake_currency)
                held = bars[key(whose, asked.timeframe) if whose else asked.timeframe]
                pair = whose or symbol
                other = method(frame_of(held), {"pair": pair, "timeframe": asked.timeframe})
                other = other.rename(columns={name: asked.named(name, pair) for name in other.columns})
                date = asked.named("date", pair)
                rows = beside(rows, other, self.timeframes[0], asked.timeframe, date, ffill=asked.ffill)
        return rows


def adapted(kind: type[Any], chosen: Mapping[str, Any]) -> type[Adapted]:
    """Return the class of ours that runs a freqtrade strategy.

    Raises:
        BadData: when it uses what is not offered: what, by name.
    """
    need_whole(kind)
    fields = [(name, *_field(kind, name, one, chosen)) for name, one in _open(kind).items()]
    made = msgspec.defstruct(
        "Parameters", [*fields, ("fee", float, FEE)], bases=(Parameters,), frozen=True, forbid_unknown_fields=True
    )
    body = {
        "name": kind.__name__, "theirs": kind, "chosen": chosen, "Parameters": made, "__doc__": kind.__doc__,
        "__module__": kind.__module__,
    }  # fmt: skip
    return type(kind.__name__, (Adapted,), body)


def _open(kind: type[Any]) -> dict[str, OpenParameter]:
    return {name: one for name in dir(kind) if isinstance(one := getattr(kind, name), OpenParameter)}


def _field(kind: type[Any], name: str, one: OpenParameter, chosen: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return a parameter's type, and its value: by the file beside it, else by its class, else its own."""
    value = one.default
    for space in one.spaces(name) if one.load else ():
        for told in (getattr(kind, f"{space}_params", {}), chosen.get(space, {})):
            value = told.get(name, value)
    return one.kind(), getattr(one, "read", lambda held: held)(value)


def _choose(held: Any, chosen: Mapping[str, Any]) -> None:
    """Give a strategy the exits that the file of parameters names, and parameters of its own."""
    if chosen.get("roi"):
        held.minimal_roi = dict(chosen["roi"])
    for name, value in {**chosen.get("stoploss", {}), **chosen.get("trailing", {})}.items():
        if name in {"stoploss", *TRAILING}:
            setattr(held, name, value)
    for name, one in _open(type(held)).items():
        copied = object.__new__(type(one))
        copied.__dict__.update(one.__dict__)
        setattr(held, name, copied)


def _exits(held: Any, fee: float, hooks: Hooks) -> dict[str, Any]:
    """Return stop, gains and signals to leave as exits of ours; gains are of the price, before fees.

    They are the same for both sides, those of a long: a short's are smaller by the fee of what is gained. What the
    strategy is asked about position by position is left out.
    """

    def before_fees(gain: float) -> float:
        return _before_fees(gain, fee, Side.LONG)

    gains = {} if hooks.gains else held.minimal_roi
    made: dict[str, Any] = {
        "minimal_roi": {int(minute): min(before_fees(float(gain)), GAIN_MAX) for minute, gain in gains.items()}
    }
    if held.trailing_stop:
        offset, positive = before_fees(held.trailing_stop_positive_offset), held.trailing_stop_positive
        always = {} if held.trailing_only_offset_is_reached else {0.0: -held.stoploss}
        made["trailing"] = {**always, offset: -held.stoploss if positive is None else positive}
    if held.exit_profit_only and not hooks.leaves:
        made["least_gain"] = before_fees(held.exit_profit_offset)
    return made


def _before_fees(gain: float, fee: float, side: Side) -> float:
    """Return the change of the price that leaves a gain after the fees of both sides, as fractions."""
    paid = (1 - fee) / (1 + fee)
    return round((1 + gain) / paid - 1 if side is Side.LONG else 1 - (1 - gain) * paid, 12)


def _first_gain(held: Any) -> float:
    """Return the gain that is enough from the start on, 0 where a later row asks for more."""
    rows = {int(minute): float(gain) for minute, gain in held.minimal_roi.items()}
    return rows.get(0, 0.0) if rows and rows.get(0, 0.0) >= max(rows.values()) else 0.0
