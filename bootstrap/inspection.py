"""Gathers what every tier and the exchange hold about trades, for comparison."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from bootstrap.learning import judge_of, school
from bootstrap.parts import (
    candle_storage,
    costs,
    database,
    exchange_of,
    journal_folder,
    keyvalue,
    known_owner,
    open_venue,
    phantom_tracker,
    plans,
    realm,
    state_database,
)
from broker.paper import PaperBroker
from domain.candle import Bars, timeframe_ms
from domain.coverage import Span, cover
from domain.durations import DAY_MS
from domain.errors import BadData, RevenantError, Unavailable
from domain.records import Adopted, Followed, Intent, Phantom, Record, finished
from domain.trade import newest
from domain.training_run import spoken
from engine import rebuild, verification
from engine.learning import Learning
from engine.threads import Tier
from history.calendar import closed
from persistence import audit_check
from persistence.candles import PostgresCandleStorage
from persistence.checkup import check_disk
from persistence.files import AtomicFile
from persistence.history import CandleHistory
from persistence.journal import read_records
from persistence.mirror import RedisMirror
from persistence.registry import Registry
from persistence.trade_table import TradeTable
from processes.trainer import TrainingProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from domain.candle import Series
    from domain.ids import Identity
    from domain.ports import Broker
    from engine.learning import Progress
    from ml.phantom_tracker import PhantomTradeTracker
    from persistence.audit_check import AuditVerdict
    from persistence.database import Database
    from persistence.history import Entry
    from settings import Settings


class Known(NamedTuple):
    """What somebody knows of the trades: how many, how many are not in the database yet, whether that is away."""

    trades: int
    unsettled: int
    away: bool = False


ATTEMPTS = 4
PAUSE_S = 2.0


Held = Callable[[], Collection[str]]
"""Asks the running bot which positions it has, by digest."""


async def verify(settings: Settings, *, running: Held | None) -> verification.Verdict:
    """Compare every tier with the exchange's record; while a bot runs, what is on its way is waited for.

    Raises:
        Unavailable: when the database or the exchange cannot be asked.
    """
    who = known_owner(settings)
    for attempt in range(ATTEMPTS):
        # asked before the exchange and after it: what the bot has at either moment it will record
        held = set(running()) if running is not None else set()
        runs = await _exchange_runs(settings, who)
        held |= set(running()) if running is not None else set()
        verdict = await asyncio.to_thread(_compare, settings, who, runs, held if running is not None else None)
        if (verdict.clean and not verdict.redis_missing) or running is None or attempt == ATTEMPTS - 1:
            return verdict
        await asyncio.sleep(PAUSE_S)
    raise AssertionError("unreachable")


def as_json(verdict: verification.Verdict) -> dict[str, Any]:
    """Return a verdict for printing."""
    return {**asdict(verdict), "clean": verdict.clean}


def redis_state(settings: Settings) -> str:
    """Say how many trades Redis holds a copy of, that it is away, or that there is none."""
    mirrored = _mirrored(settings, known_owner(settings))
    if mirrored is None:
        return "away" if settings.redis_url.get_secret_value() else "none"
    return f"ok, {len(mirrored)} trades"


def db_stats(settings: Settings, known: Known, running: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return every tier: its state, what it holds, what waits for it, and for how long.

    Args:
        settings: where everything rests.
        known: what is known of trades already.
        running: the figures of the running bot, None when none answers.
    """
    main = database(settings)
    storage = candle_storage(settings, main)
    try:
        figures: dict[str, Any] = storage.get_stats()
        rows, by_timeframe = audit_rows(settings), stored(main)
    finally:
        storage.close()
        main.close()
    away = known.away or bool(storage.degraded)
    journal = list(journal_folder(settings, known_owner(settings)).glob("*.jsonl"))
    figures |= {
        "source": settings.source.value, "trades": known.trades, "unsettled": known.unsettled, "audit_rows": rows,
        "database": "away" if away else "ok",
        "journal_segments": len(journal), "journal_mb": round(sum(path.stat().st_size for path in journal) / 1e6, 3),
        "redis": redis_state(settings),
        "disk": "; ".join(finding.detail for finding in check_disk(settings.data_dir)),
        "candles": by_timeframe,
    }  # fmt: skip
    if running:
        # one fact, one figure: what is on its way the bot knows, and the journal here was read a moment later
        figures["unsettled"] = running["unsettled"]
        figures |= {f"bot_{name}": state for name, state in running["tiers"].items()}
        figures |= {"bot_journal": running["ledger"], "bot_candles_waiting": running["candles_waiting"]}
    return figures


def newest_bars(settings: Settings, series: Series, count: int) -> Bars:
    """Return the newest stored bars of a series of the settings' source. Raises Unavailable."""
    main = database(settings)
    try:
        return PostgresCandleStorage(main, settings.source).load_candles(
            series.symbol, count, timeframe=series.timeframe
        )
    finally:
        main.close()


def stored(main: Database) -> list[dict[str, Any]]:
    """Return of each source and timeframe how many series and bars are stored; nothing while the database is away."""
    held: dict[tuple[str, str], list[int]] = {}
    with contextlib.suppress(Unavailable):
        for entry in CandleHistory(main).entries():
            if entry.rows:
                counts = held.setdefault((entry.source.value, entry.series.timeframe), [0, 0])
                counts[0], counts[1] = counts[0] + 1, counts[1] + entry.rows
    order = sorted(held, key=lambda key: (key[0], timeframe_ms(key[1])))
    return [{"source": key[0], "timeframe": key[1], "series": held[key][0], "bars": held[key][1]} for key in order]


def coverage(settings: Settings, symbol: str | None) -> list[dict[str, Any]]:
    """Return how complete the stored series of the settings' source are: by timeframe, or those of a symbol one by one.

    Raises:
        Unavailable: while the database is away.
    """
    main = database(settings)
    try:
        store = CandleHistory(main)
        entries = [entry for entry in store.entries(settings.source) if entry.rows]
        if symbol is not None:
            return [_covered(store, entry) for entry in entries if entry.series.symbol == symbol]
        groups: dict[str, list[Entry]] = {}
        for entry in entries:
            groups.setdefault(entry.series.timeframe, []).append(entry)
        return [_spanned(timeframe, groups[timeframe]) for timeframe in sorted(groups, key=timeframe_ms)]
    finally:
        main.close()


def _covered(store: CandleHistory, entry: Entry) -> dict[str, Any]:
    step, (first, last) = timeframe_ms(entry.series.timeframe), _ends(entry)
    window = Span(first, last + step)
    absent = [*store.absent(entry.source, entry.series), *closed(entry.series, window)]
    found = cover(store.times(entry.source, entry.series, window), window, entry.series.timeframe, absent)
    return {
        "symbol": entry.series.symbol, "timeframe": entry.series.timeframe, "from": first, "to": last + step,
        "bars": found.actual, "missing": found.lacking, "completeness": round(found.completeness, 4),
        "gaps": [{"from": gap.start, "bars": (gap.end - gap.start) // step} for gap in found.missing[:5]],
    }  # fmt: skip


def _spanned(timeframe: str, entries: Sequence[Entry]) -> dict[str, Any]:
    """Sum series up by their spans: what is not stored within them is missing, or was never there."""
    step, ends = timeframe_ms(timeframe), [_ends(entry) for entry in entries]
    expected = [(last - first) // step + 1 for first, last in ends]
    rows = [entry.rows for entry in entries]
    worst = min(range(len(entries)), key=lambda i: rows[i] / expected[i])
    return {
        "timeframe": timeframe, "series": len(entries), "bars": sum(rows),
        "from": min(first for first, _ in ends), "to": max(last for _, last in ends) + step,
        "missing": sum(expected) - sum(rows), "completeness": round(100 * sum(rows) / sum(expected), 4),
        "worst": entries[worst].series.symbol, "worst_completeness": round(100 * rows[worst] / expected[worst], 4),
    }  # fmt: skip


def _ends(entry: Entry) -> tuple[int, int]:
    return entry.earliest or 0, entry.latest or 0


def phantoms(settings: Settings, symbol: str | None, strategy: str | None = None) -> dict[str, Any]:
    """Return the figures of the phantoms that the journal tells of, for when no bot answers."""
    return journaled_phantoms(settings).get_phantom_stats(symbol, strategy)


def journaled_phantoms(settings: Settings) -> PhantomTradeTracker:
    """Return a tracker with the phantoms that the journal tells of."""
    who = known_owner(settings)
    tracker = phantom_tracker(settings, who, plans(settings), lambda _: None)
    records = read_records(journal_folder(settings, who))
    tracker.restore(one.phantom for one in records if isinstance(one, Followed))
    return tracker


async def learning(settings: Settings, train: str = "", progress: Progress = None) -> dict[str, Any]:
    """Return how each strategy's model stands, for when no bot answers; with ``train`` one is trained before.

    Raises:
        BadData: when there is no such strategy.
        Unavailable: when the training could not be tried.
    """
    used, main, state, redis = plans(settings), database(settings), state_database(settings), keyvalue(settings)
    judge = judge_of(settings, used, lambda _: Bars.empty(), ())
    tier, ml = Tier("learning", 60.0), settings.ml
    taught = Learning(
        school(settings, used, judge, main, state, redis), tier, TrainingProcess(ml.train_s), every=ml.retrain_every
    )
    try:
        if train and train not in taught.strategies:
            raise BadData(f"no strategy {train!r} is enabled; there are {', '.join(taught.strategies)}")
        # a database that is away is told once, not by each strategy
        await tier.call(main.version)
        await taught.begin()
        await taught.recollect()
        if train:
            await taught.train(train, progress)
        return taught.get_retrain_info(train or None)
    finally:
        tier.close()
        for one in (main, state, redis):
            if one is not None:
                one.close()


def in_words(told: dict[str, Any]) -> list[str]:
    """Return lines that say how a strategy's model stands."""
    model, last = told["model"], told["last_result"]
    waits = f"trained next after {told['trades_until_next_retrain']} more (at {told['next_retrain_at']})"
    lines = [f"lessons   {told['completed']}: {told['executed']} executed, {told['phantom']} phantoms; {waits}"]
    if model:
        made = f"gains {model['gain_r']:+.2f} R, losses {model['loss_r']:+.2f} R, {model['calibrator']}"
        lines.append(f"model     {model['run_id']}, {made}")
    else:
        lines.append("model     none: signals are judged by the rule (docs/learning.md)")
    if last is not None:
        lines.append(
            f"last run  {last['trained_at']}: {spoken(last['verdict'], model_in_use=bool(model))}, {last['reason']}"
        )
        lines += [
            f"  fold    log loss {fold['log_loss']:.4f} (base rate {fold['base_log_loss']:.4f}), "
            f"Brier {fold['brier']:.4f} ({fold['base_brier']:.4f}), AUC {fold['auc']:.3f}, {fold['tried_on']} signals"
            for fold in last["folds"]
        ]
        leading = [f"{name} {value:+.4f}" for name, value in list(last["importance"].items())[:5]]
        lines += [f"  matters {', '.join(leading)}"] if leading else []
    return lines


def training_runs(settings: Settings, strategy: str) -> list[dict[str, Any]]:
    """Return the newest training runs of a strategy, or of all. Raises Unavailable, and BadData for one unheard of."""
    main, enabled = database(settings), plans(settings)
    try:
        registry = Registry(main, realm(settings))
        found = [run for name in ([strategy] if strategy else enabled) for run in registry.runs(name)]
    finally:
        main.close()
    if strategy and not found and strategy not in enabled:
        raise BadData(f"no strategy {strategy!r} is enabled or was ever trained; there are {', '.join(enabled)}")
    return [run._asdict() for run in sorted(found, key=lambda run: run.trained_at, reverse=True)]


def audit(settings: Settings) -> AuditVerdict:
    """Go through the phantoms' audit and compare it with the journal. Raises Unavailable."""
    who = known_owner(settings)
    folder = journal_folder(settings, who)
    records = read_records(folder, archived=True)
    main = database(settings)
    try:
        told = (one for one in records if isinstance(one, Phantom))
        return audit_check.verify(main, who, folder, told)
    finally:
        main.close()


def audit_rows(settings: Settings) -> int | None:
    """Return how many rows the audit has, None when the database is away."""
    main = database(settings)
    try:
        return audit_check.count(main)
    except Unavailable:
        return None
    finally:
        main.close()


def archive_audit(settings: Settings, days: int, file: Path) -> int:
    """Put the audit's rows that are older than so many days into a file; return how many."""
    main = database(settings)
    try:
        return audit_check.archive(main, int((time.time() - days * 86_400) * 1000), file)
    finally:
        main.close()


def _compare(
    settings: Settings,
    who: Identity,
    runs: list[rebuild.Run],
    held: Collection[str] | None,
) -> verification.Verdict:
    folder = journal_folder(settings, who)
    records: list[Record] = list(read_records(folder, archived=True))
    main = database(settings)
    try:
        table = TradeTable(main, who)
        kept = verification.Kept(
            journal=list(newest(finished(records)).values()),
            table=table.load(),
            fills=table.fills(),
            mirror=_mirrored(settings, who),
            snapshot=_snapshot(settings),
            conflicts=table.counts()["conflicts"],
        )
    finally:
        main.close()
    alive = max((record.time for record in records), default=0)
    verdict = verification.verify(kept, runs, alive if held is None else 2**62, held or ())
    verdict.quarantined = len(list(folder.glob("quarantine/*")))
    return verdict


async def _exchange_runs(settings: Settings, who: Identity) -> list[rebuild.Run]:
    records = list(await asyncio.to_thread(lambda: list(read_records(journal_folder(settings, who), archived=True))))
    begun = min((record.time for record in records if isinstance(record, Intent | Adopted)), default=None)
    if begun is None:
        return []
    async with contextlib.AsyncExitStack() as stack:
        broker = await _broker(settings, who, stack)
        until = max(record.time for record in records) + DAY_MS
        return rebuild.runs(await broker.fills_since(max(0, begun - DAY_MS), until))


async def _broker(settings: Settings, who: Identity, stack: contextlib.AsyncExitStack) -> Broker:
    if settings.mode == "paper":
        # the paper account's file is the whole exchange
        file = AtomicFile(journal_folder(settings, who) / "paper-account.json")
        return PaperBroker(file, "", Decimal(0), costs(settings), "1m", _no_instruments, {})
    venue = await open_venue(settings, stack, beside=True)
    assert venue.client is not None
    exchange = exchange_of(venue.client)
    await exchange.instruments()
    return exchange


async def _no_instruments() -> dict[str, Any]:
    return {}


def _mirrored(settings: Settings, who: Identity) -> set[str] | None:
    redis = keyvalue(settings)
    if redis is None:
        return None
    try:
        return {trade.trade_id for trade in RedisMirror(redis, who, list).load()}
    except RevenantError:
        return None
    finally:
        redis.close()


def _snapshot(settings: Settings) -> set[str] | None:
    content = AtomicFile(settings.data_dir / "trade_history.json").read()
    if content is None:
        return None
    try:
        return {row["trade_id"] for row in json.loads(content)}
    except (ValueError, KeyError, TypeError):
        return set()
