"""Builds a backtest of the bot that the settings describe."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from app.stored_bars import StoredBars, minute
from backtest import signals as finding
from backtest.causality import MORE_HISTORY, Causality, examine
from backtest.curve import Closes, curve, until_used_up
from backtest.figures import Figures, figures
from backtest.outcome import Funding, Outcome
from backtest.rules import RulesInForce
from backtest.runner import Runner, collecting_seldom
from backtest.tape import Tape
from backtest.venue import Venue
from bootstrap.history import History
from bootstrap.learning import judge_of, open_models
from bootstrap.parts import costs, in_use, limits, windows
from bootstrap.rules import funding_told, rules_of
from domain import informative
from domain.candle import Series, timeframe_ms
from domain.coverage import Span
from domain.durations import MINUTE_MS
from domain.errors import BadData, ConfigError
from domain.funding import LONGEST_MS, FundingGap, base_rate, describe, gaps
from domain.ids import SHORT, Identity
from domain.judgement import UNJUDGED
from domain.signal import Signal, leave_in
from domain.source import Source
from engine import admission
from engine.trader import Plan, Trader, TraderTerms
from history import steps
from history.calendar import closed
from history.port import PERPETUAL, market_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from domain.candle import Bars
    from domain.judgement import Judgement
    from domain.rule_history import RuleHistory
    from domain.signal import Leave
    from settings import Settings

    Progress = Callable[[str, int, int], None]
    """Told: what is being done, how far it is, and how far it has to go."""
    Scores = Mapping[tuple[str, str, int], Judgement]

log = structlog.get_logger(__name__)

EVER = Span(0, 2**53)
OFF, ON, WALK_FORWARD = "off", "on", "walk-forward"
SHOWN = ("strategies", "risk", "paper", "trading", "ml")


@dataclass(frozen=True, slots=True)
class Request:
    """What to try: on whose bars, which symbols and strategies (all enabled ones when none is named), and when.

    Attributes:
        span: bars that open in it are traded on; open ends are those of what is stored.
        fine: a finer timeframe to match orders on, "" for the strategies' finest.
        always: timeframes that the bot is told of even if no strategy needs them, as a live bot is.
        ml: ``off`` takes all signals; ``on`` judges them as on paper: by the model in use, by the rule without one;
            ``walk-forward`` by models that had seen only what ended before, by the rule before the first of them.
        allow_gaps: whether to go on where bars are missing; what is missing is told then.
        who: whose trades they are to be named as, for comparing; nobody's, without.
    """

    source: Source
    symbols: tuple[str, ...]
    strategies: tuple[str, ...] = ()
    span: Span = EVER
    fine: str = ""
    always: tuple[str, ...] = ()
    ml: str = OFF
    allow_gaps: bool = False
    who: Identity | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A backtest: what was asked, on which bars and settings, and what came of it.

    ``result_hash`` is the same whenever request, settings, bars and code are; ``bars`` are each symbol's finest.
    """

    request: Request
    span: Span
    outcome: Outcome
    figures: Figures
    settings: dict[str, Any]
    config_hash: str
    data_hash: str
    result_hash: str
    notes: tuple[str, ...]
    strategies: tuple[str, ...]
    bars: Mapping[str, Bars]


def run(
    settings: Settings, request: Request, progress: Progress = lambda *_: None, scores: Scores | None = None
) -> Result:
    """Trade the past; ``scores`` are what is thought of signals, by strategy, symbol and time, when walking forward.

    Raises:
        BadData: when bars are missing: which, and the command that fetches them.
        ConfigError: for a strategy that is none.
    """
    with collecting_seldom():
        return _run(settings, request, progress, scores or {})


def _run(settings: Settings, request: Request, progress: Progress, scores: Scores) -> Result:
    used = chosen_plans(settings, request.strategies, request.source)
    ground = prepare(settings, request, used, progress)
    tape, span, rules = ground.tape, ground.span, RulesInForce(ground.rules, ground.span.start)
    replayed, times, leaves = _said(request, used, ground, progress)
    judge, notes = _judge(settings, request, used, ground, scores)
    # both see the same rules, which change with time
    trader = Trader(_terms(settings, request, replayed, tape.others), rules.instruments, tape.bars, judge)
    venue = Venue(settings.paper.wallet, rules.instruments, costs(settings))
    runner = Runner(trader, venue, tape, times, ground.finest, ground.told, ground.funding, rules, leaves)
    outcome = runner.run(*span, lambda time: progress("trading", time - span.start, span.end - span.start))
    drawn = {symbol: tape.track(Series(symbol, ground.finest)).bars for symbol in request.symbols}
    step = timeframe_ms(ground.finest)
    closes = {symbol: Closes(held.open_time + step, held.close) for symbol, held in drawn.items()}
    outcome, equity = until_used_up(outcome, curve(outcome.holdings, closes, span.end), closes)
    found = figures(outcome, {symbol: during(held, span).close for symbol, held in drawn.items()}, *span, equity)
    notes = (*_end_of(outcome), *ground.notes, *notes)
    return _result(settings, request, replace(ground, notes=notes), outcome, found, drawn, list(used))


def _end_of(outcome: Outcome) -> tuple[str, ...]:
    if not outcome.liquidated_at:
        return ()
    return (f"liquidated at {minute(outcome.liquidated_at)}: the equity was used up; nothing after that counts",)


def _judge(
    settings: Settings, request: Request, used: Mapping[str, Plan], ground: Ground, scores: Scores
) -> tuple[Callable[[Signal], Judgement], tuple[str, ...]]:
    """Return what judges signals, and what should be known of it."""
    if request.ml == OFF:
        return _unjudged, ()
    judge = judge_of(settings, used, ground.tape.bars, ground.tape.series)
    if request.ml == WALK_FORWARD:
        return lambda signal: scores.get((signal.strategy, signal.symbol, signal.time)) or judge(signal), ()
    open_models(settings, used, judge)
    early = [
        f"{name}'s model had learned from signals until {minute(scorer.model.data_until)}: what comes before it says "
        "nothing about it" for name, scorer in judge.scorers.items() if scorer.model.data_until > ground.span.start
    ]  # fmt: skip
    return judge, tuple(early)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a backtest stands on: bars, the time, rules, payments, and what of them had to be guessed."""

    tape: Tape
    span: Span
    rules: dict[str, RuleHistory]
    funding: dict[str, Funding]
    needs: dict[str, int]
    finest: str
    told: str
    notes: tuple[str, ...]


def prepare(settings: Settings, request: Request, used: Mapping[str, Plan], progress: Progress) -> Ground:
    """Read everything that a request needs. Raises BadData when bars are missing."""
    needs = windows(settings, used, request.always)
    told = min(needs, key=timeframe_ms)
    finest = min((told, *filter(None, [request.fine])), key=timeframe_ms)
    needs.setdefault(finest, 1)
    with History(settings) as history:
        stored = StoredBars(history, request.source, needs, lambda done, of: progress("reading", done, of))
        stored.need_serving(request.symbols, {name: plan.strategy.timeframes for name, plan in used.items()})
        others = _others(used, stored.symbols, request.source)
        looked_at = dict.fromkeys([*request.symbols, *others.values()])
        bars, span, lacking = stored.load(list(looked_at), request.span, allow_gaps=request.allow_gaps)
        finest_bars = {Series(symbol, finest): bars[Series(symbol, finest)] for symbol in request.symbols}
        rules, said = rules_of(settings, request.source, finest_bars, span)
        funding, unfunded = _funding(history, request.source, rules, span, funding_told(settings, request.source))
    tape = Tape(bars, {series: needs[series.timeframe] for series in bars}, others)
    notes = (*steps.describe(bars), *said, *unfunded, *(fault.partition("; ")[0] for fault in lacking))
    return Ground(tape, span, rules, funding, needs, finest, told, notes)


def stored_span(settings: Settings, request: Request) -> Span:
    """Return the time of a request, its open ends being those of the store. Raises BadData, ConfigError."""
    used = chosen_plans(settings, request.strategies, request.source)
    needs = windows(settings, used, request.always)
    with History(settings) as history:
        stored = StoredBars(history, request.source, needs, lambda *_: None)
        others = _others(used, stored.symbols, request.source)
        return stored.bounded(list(dict.fromkeys([*request.symbols, *others.values()])), request.span)


def check(settings: Settings, request: Request, progress: Progress = lambda *_: None) -> list[Causality]:
    """Look whether the strategies look into the future, and whether more history gives other signals.

    Raises:
        BadData: when bars are missing. ConfigError: for a strategy that is none.
    """
    used = chosen_plans(settings, request.strategies, request.source)
    needs = windows(settings, used, ())
    with History(settings) as history:
        deep = {timeframe: MORE_HISTORY * bars for timeframe, bars in needs.items()}
        stored = StoredBars(history, request.source, deep, lambda done, of: progress("reading", done, of))
        others = _others(used, stored.symbols, request.source)
        bars, span, _ = stored.load(list(dict.fromkeys([*request.symbols, *others.values()])), request.span)
    tape = Tape(bars, {series: needs[series.timeframe] for series in bars}, others)
    found: list[Causality] = []
    for name, plan in used.items():
        for symbol in filter(plan.takes, request.symbols):
            progress("checking", len(found), len(used) * len(request.symbols))
            before = needs[plan.strategy.timeframes[0]]
            # where there is nothing before the time, its beginning is what is looked back on
            own = Series(symbol, plan.strategy.timeframes[0])
            start = max(span.start, int(bars[own].open_time[0]) + before * tape.track(own).step)
            found.append(examine(plan.strategy, symbol, tape, start, span.end, before))
            log.debug("strategy examined", strategy=name, symbol=symbol, good=found[-1].good)
    return found


def _others(used: Mapping[str, Plan], symbols: Sequence[str], source: Source) -> dict[str, str]:
    """Return what the symbols are called that strategies look at. Raises BadData where nothing is stored of one."""
    found = informative.meant([plan.strategy for plan in used.values()], symbols)
    for name, plan in used.items():
        if unknown := informative.lacking(plan.strategy, found):
            raise BadData(f"strategy {name} looks at {unknown}: {source} has no bars of it stored; "
                          f"manage.py data download -s {source} -p {unknown} fetches them")  # fmt: skip
    return found


def chosen_plans(settings: Settings, names: Sequence[str], source: Source) -> dict[str, Plan]:
    """Return the strategies of that name, or short name; all that are enabled on the source when none is named."""
    used, unloaded = in_use(settings, source=source, wherever=bool(names))
    full = {short: name for name, short in SHORT.items()}
    wanted = [full.get(name, name) for name in names] or [*used, *unloaded]
    for name in wanted:
        if name in unloaded:
            raise ConfigError(unloaded[name])
        if name not in used:
            raise ConfigError(f"strategy {name}: none of that name is enabled; there are {', '.join(used)}")
    return {name: used[name] for name in wanted}


def _said(
    request: Request, used: Mapping[str, Plan], ground: Ground, progress: Progress
) -> tuple[dict[str, Plan], dict[str, set[int]], dict[tuple[str, str], list[int]]]:
    """Return the strategies with all that they say known, when each symbol has signals, and when each is to be left."""
    replayed, times, done = {}, {symbol: set[int]() for symbol in request.symbols}, 0
    leaves: dict[tuple[str, str], list[int]] = defaultdict(list)
    for name, plan in used.items():
        known: dict[tuple[str, int], Signal | Leave] = {}
        before, span = ground.needs[plan.strategy.timeframes[0]], ground.span
        step = timeframe_ms(plan.strategy.timeframes[0])
        for symbol in request.symbols:
            progress("signals", done, len(used) * len(request.symbols))
            done += 1
            if not plan.takes(symbol):
                continue
            for start, one in finding.said(plan.strategy, symbol, ground.tape, span.start, span.end, before):
                known[symbol, start] = one
                if isinstance(one, Signal):
                    times[symbol].add(one.time)
                if leave_in(one) is not None:
                    leaves[name, symbol].append(start + step)
        known_one = finding.replayed(plan.strategy, known, ground.tape, before)
        replayed[name] = replace(plan, strategy=known_one)
    return replayed, times, leaves


def _unjudged(_: Signal) -> Judgement:
    return UNJUDGED


def _terms(
    settings: Settings, request: Request, replayed: Mapping[str, Plan], others: Mapping[str, str]
) -> TraderTerms:
    return TraderTerms(
        request.who or Identity(request.source.value, "backtest", "backtest"), limits(settings, request.source),
        replayed, paper=True, others=others,
        unfilled_timeout_ms=settings.trading.unfilled_timeout_s * 1000,
        limit_entries=settings.trading.entry_order == "limit", completeness_min=settings.history.completeness_min,
        resting=closed,
        # who repeats what a bot did is refused what the bot was, but for deliveries: when they were announced nobody
        # knows any more; the past itself knows nothing of today's kinds
        admission=partial(admission.refusal, allow=(*settings.trading.allow, admission.DELISTING))
        if request.who else lambda _: None,
    )  # fmt: skip


def _funding(
    history: History, source: Source, rules: Mapping[str, RuleHistory], span: Span,
    told_of: Mapping[str, Sequence[tuple[int, int]]],
) -> tuple[dict[str, Funding], list[str]]:  # fmt: skip
    """Return the funding payments of every perpetual, and what of them is guessed: what is not stored is base rates."""
    found, notes = {}, []
    for symbol, held in sorted(rules.items()):
        if market_of(symbol) != PERPETUAL:
            continue
        times, rates = history.funding.load(source, symbol, span)
        missing = gaps(times, rates, span, told_of.get(symbol, ()))
        if not len(times):
            missing = [FundingGap(span, held.at(span.start).funding_interval_ms, 0)]
        # a payment at the end of a gap is a stored one, unless the time ends there
        guessed = [
            (time, base_rate(one.interval)) for one in missing
            for time in range(
                -(-(one.span.start + MINUTE_MS) // one.interval) * one.interval,
                one.span.end - MINUTE_MS if one.span.end < span.end else span.end + 1, one.interval,
            )
        ]  # fmt: skip
        if guessed:
            told = describe(times, missing) if len(times) else "no payments are stored"
            notes.append(
                f"funding of {symbol}: {told}; the base rate of {base_rate(LONGEST_MS):.2%} in eight hours stands in "
                "for them; data download --marks fetches them"
            )
        every = np.array([*times.tolist(), *(time for time, _ in guessed)], np.int64)
        order = np.argsort(every, kind="stable")
        found[symbol] = Funding(every[order], np.array([*rates.tolist(), *(rate for _, rate in guessed)])[order])
    return found, notes


def during(bars: Bars, span: Span) -> Bars:
    """Return the bars that open in a span."""
    first, last = np.searchsorted(bars.open_time, span)
    return bars[int(first) : int(last)]


def _result(
    settings: Settings, request: Request, ground: Ground, outcome: Outcome, found: Figures, drawn: Mapping[str, Bars],
    used: Sequence[str],
) -> Result:  # fmt: skip
    shown = settings.model_dump(mode="json", include=set(SHOWN))
    config_hash = _digest(json.dumps(shown, sort_keys=True, default=str).encode())
    data_hash = _digest(*_buffers(ground.tape))
    decisions = [decision[:3] for decision in outcome.decisions]
    told = repr((request, ground.span, config_hash, data_hash, outcome.trades, outcome.equity, decisions))
    return Result(
        request, ground.span, outcome, found, shown, config_hash, data_hash, _digest(told.encode()), ground.notes,
        tuple(used), drawn,
    )  # fmt: skip


def _buffers(tape: Tape) -> Iterator[bytes | memoryview]:
    for series in sorted(tape.series):
        yield repr(series).encode()
        for column in tape.track(series).bars.columns():
            yield np.ascontiguousarray(column).data


def _digest(*parts: bytes | memoryview) -> str:
    held = hashlib.blake2s(digest_size=16)
    for part in parts:
        held.update(part)
    return held.hexdigest()
