"""Compares what the bot did with a backtest over the bars that it stored meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app import backtest
from bootstrap.history import History
from bootstrap.parts import database, journal_folder, known_owner, known_rules, plans, symbols_of, tracker, windows
from domain.candle import timeframe_ms
from domain.coverage import Span
from domain.errors import BadData
from domain.ids import parse_order_id, trade_id
from domain.records import DayStarted, Intent, PhantomOpened, finished
from domain.retention import BOT_TIMEFRAMES
from persistence.journal import read_records

if TYPE_CHECKING:
    from app.backtest import Progress, Result
    from domain.ids import Identity
    from domain.records import Record
    from domain.trade import Trade
    from settings import Settings

"""What a live bot is told of whatever its strategies need."""

COMPARED = (
    "symbol", "strategy_name", "side", "quantity", "leverage", "entry_time", "entry_price", "exit_time", "exit_price",
    "exit_reason", "gross_pnl", "fees", "funding", "pnl_usd", "r_multiple", "score",
)  # fmt: skip


@dataclass(slots=True)
class Parity:
    """How the two agree.

    Attributes:
        span: the time that is compared (UTC ms).
        signals, trades: how many both have, and are the same in.
        only_live, only_backtest: signals and trades that only one has, in words.
        differing: of trades that both have, each value that is not the same: trade, name, live, backtest.
        pnl: net profit of the compared trades, live and in the backtest.
    """

    span: Span
    signals: int = 0
    trades: int = 0
    only_live: list[str] = field(default_factory=list)
    only_backtest: list[str] = field(default_factory=list)
    differing: list[tuple[str, str, Any, Any]] = field(default_factory=list)
    pnl: tuple[Any, Any] = (0, 0)

    @property
    def exact(self) -> bool:
        """Whether nothing differs at all."""
        return not (self.only_live or self.only_backtest or self.differing)


def compare(settings: Settings, progress: Progress = lambda *_: None) -> Parity:
    """Trade what the bot's journal tells of once more, on the bars it stored, and compare signal by signal.

    Raises:
        BadData: when the journal tells of no trading, or bars are missing.
    """
    who = known_owner(settings)
    records = list(read_records(journal_folder(settings, who)))
    days = [one.time for one in records if isinstance(one, DayStarted)]
    rules = known_rules(settings, settings.source)
    if not days or not rules:
        raise BadData(f"{settings.data_dir}: its journal tells of no trading; let the bot trade first")
    told = {
        (one.phantom.symbol, one.phantom.strategy_name, one.phantom.signal_time): one.phantom.gate for one in records
        if isinstance(one, PhantomOpened)
    }  # fmt: skip
    had, finest = _had(settings)
    # the first day is turned by the first bar that a bot sees; what fills inside of a bar is told when it closes
    span = Span(min(days) - finest, _end(settings, records, finest))
    made = _trades(settings, who, records)
    request = backtest.Request(
        settings.source, tuple(symbols_of(settings, rules)), span=span, always=had, ml=backtest.ON, who=who
    )
    result = backtest.run(settings, request, progress)
    # a bot that was stopped may not have recorded yet what ended in its last moment
    begun = _begun(records) - {trade.trade_id for trade in made}
    again = [t for t in result.outcome.trades if not (t.trade_id in begun and _ms(t) > span.end - finest)]
    # and an exit that the close of the last bar decided has no bar left in the backtest to fill in
    both = {trade.trade_id for trade in again}
    live = [trade for trade in made if _ms(trade) < span.end or (_ms(trade) == span.end and trade.trade_id in both)]
    told = {signal: gate for signal, gate in told.items() if signal[2] <= span.end}
    return _compared(Parity(span), told, live, again, result)


def _had(settings: Settings) -> tuple[tuple[str, ...], int]:
    """Return the timeframes that the bot collected beside those of its strategies, and its finest in ms.

    A market that has no bars as fine as those that a bot always collects leaves them out.
    """
    with History(settings) as history:
        stored = {one.series.timeframe for one in history.candles.entries(settings.source) if one.rows}
    had = tuple(name for name in BOT_TIMEFRAMES if name in stored)
    needs = windows(settings, plans(settings), had)
    return had, min(map(timeframe_ms, needs))


def _end(settings: Settings, records: list[Record], finest: int) -> int:
    """Return when the last bar ended that anything is told of.

    An order may have filled inside of a bar that a bot did not live to see the end of: then it is the one before.
    """
    told = -(-max(one.time for one in records) // finest) * finest
    with History(settings) as history:
        entries = history.candles.entries(settings.source)
    ends = [
        one.latest + finest for one in entries
        if timeframe_ms(one.series.timeframe) == finest and one.latest is not None
    ]  # fmt: skip
    return told - finest if ends and max(ends) < told else told


def _begun(records: list[Record]) -> set[str]:
    """Return the ids of the trades whose entry the bot had intended."""
    names = (parse_order_id(one.order_id) for one in records if isinstance(one, Intent) and one.opening is not None)
    return {trade_id(name.digest) for name in names if name is not None}


def _ms(trade: Trade) -> int:
    return int(trade.exit_time.timestamp() * 1000)


def _trades(settings: Settings, who: Identity, records: list[Record]) -> list[Trade]:
    """Return the bot's trades: those in the database, and those that only the journal has yet."""
    main = database(settings)
    try:
        held = tracker(settings, main, None, who)
        held.load()
        held.restore(finished(records))
        return list(held.every())
    finally:
        main.close()


def _compared(
    found: Parity, told: dict[tuple[str, str, int], str], live: list[Trade], traded: list[Trade], result: Result
) -> Parity:
    again = {(d.signal.symbol, d.signal.strategy, d.signal.time): d.gate for d in result.outcome.decisions}
    # a bot that was stopped may not have come to the signals of its last moment
    again = {key: gate for key, gate in again.items() if key in told or key[2] < found.span.end}
    for key in sorted({*told, *again}, key=lambda key: (key[2], key)):
        words = f"signal {key[1]} {key[0]} at {key[2]}"
        if key not in again:
            found.only_live.append(f"{words}: {told[key] or 'taken'}")
        elif key not in told:
            found.only_backtest.append(f"{words}: {again[key] or 'taken'}")
        elif told[key] != again[key]:
            found.differing.append((words, "gate", told[key], again[key]))
        else:
            found.signals += 1
    mine, theirs = ({trade.trade_id: trade for trade in trades} for trades in (live, traded))
    for name in sorted({*mine, *theirs}, key=lambda name: (mine.get(name) or theirs[name]).exit_time):
        one, other = mine.get(name), theirs.get(name)
        if one is None or other is None:
            trade = one or other
            assert trade is not None
            words = (
                f"trade {trade.strategy_name} {trade.symbol} {trade.entry_time:%Y-%m-%d %H:%M}: {trade.pnl_usd:+.2f}"
            )
            (found.only_backtest if one is None else found.only_live).append(words)
            continue
        values = [(field, getattr(one, field), getattr(other, field)) for field in COMPARED]
        wrong = [(name, *value) for value in values if value[1] != value[2]]
        found.differing += wrong
        found.trades += not wrong
    found.pnl = (sum(t.pnl_usd for t in mine.values()), sum(t.pnl_usd for t in theirs.values()))
    return found
