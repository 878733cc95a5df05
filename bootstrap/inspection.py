"""Gathers what every tier and the exchange hold about trades, for comparison."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bootstrap.parts import costs, database, journal_folder, keyvalue, known_owner, open_venue, phantom_tracker
from broker.bybit import BybitBroker
from broker.paper import PaperBroker
from domain.errors import RevenantError
from domain.records import Adopted, Close, Intent, PhantomClosed, PhantomOpened, Record
from engine import rebuild, verification
from persistence.files import AtomicFile
from persistence.journal import read_records
from persistence.mirror import RedisMirror
from persistence.trade_table import TradeTable

if TYPE_CHECKING:
    from domain.ids import Identity
    from domain.ports import Broker
    from settings import Settings

DAY_MS = 86_400_000
ATTEMPTS = 4
PAUSE_S = 2.0


async def verify(settings: Settings, *, running: bool) -> verification.Verdict:
    """Compare every tier with the exchange's record; while a bot runs, what is on its way is waited for.

    Raises:
        Unavailable: when the database or the exchange cannot be asked.
    """
    who = known_owner(settings)
    for attempt in range(ATTEMPTS):
        runs = await _exchange_runs(settings, who)
        verdict = await asyncio.to_thread(_compare, settings, who, runs, running)
        if (verdict.clean and not verdict.redis_missing) or not running or attempt == ATTEMPTS - 1:
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


def phantoms(settings: Settings, symbol: str | None) -> dict[str, Any]:
    """Return the figures of the phantoms that the journal tells of, for when no bot answers."""
    who = known_owner(settings)
    tracker = phantom_tracker(settings, who, {}, lambda _: None)
    records = read_records(journal_folder(settings, who))
    tracker.restore(one.phantom for one in records if isinstance(one, PhantomOpened | PhantomClosed))
    return tracker.get_phantom_stats(symbol)


def _compare(
    settings: Settings,
    who: Identity,
    runs: list[rebuild.Run],
    running: bool,  # noqa: FBT001  a fact
) -> verification.Verdict:
    folder = journal_folder(settings, who)
    records: list[Record] = list(read_records(folder, archived=True))
    main = database(settings)
    try:
        table = TradeTable(main, who)
        kept = verification.Kept(
            journal=list({r.trade.trade_id: r.trade for r in reversed(records) if isinstance(r, Close)}.values()),
            table=table.load(),
            fills=table.fills(),
            mirror=_mirrored(settings, who),
            snapshot=_snapshot(settings),
            conflicts=table.counts()["conflicts"],
        )
    finally:
        main.close()
    alive = max((record.time for record in records), default=0)
    verdict = verification.verify(kept, runs, 2**62 if running else alive)
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
    exchange = BybitBroker(venue.client)
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
