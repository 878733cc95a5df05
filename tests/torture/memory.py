"""Memory that is plausible but incomplete: part of what the bot kept is cut off, deleted, or an older copy of itself."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from domain.records import Close, Level
from domain.trade import Trade
from engine import rebuild
from engine.tasks import Tasks
from persistence.journal import segments_of
from persistence.trade_table import same
from tests.torture.episodes import BAR_S, STEP, SYMBOLS, Life, Market, Shelf, calm_down, rules
from tests.torture.judge import check_orders, check_positions, check_profit
from tests.torture.venue import Venue
from tests.torture.virtual import VirtualLoop, run_virtually

TENTHS = 10
DAY_MS = 86_400_000


class Forgiving(Shelf):
    """Finished trades as the database keeps them: the same again changes nothing, a contradiction is kept apart."""

    def __init__(self, ledger: Any, held: dict[str, Trade]) -> None:
        super().__init__(ledger, held)
        self.conflicts: list[str] = []

    def add_trade(self, trade: Trade) -> Level:
        there = self.held.get(trade.trade_id)
        if there is not None and (there.version > trade.version or same(there, trade)):
            return Level.SETTLED
        if there is not None and there.version == trade.version:
            self.conflicts.append(trade.trade_id)
            return Level.SETTLED
        self.held[trade.trade_id] = trade
        return self.ledger.append(Close(time=int(trade.exit_time.timestamp() * 1000), trade=trade)).level


class Kept:
    """What a life has kept so far: its journal's bytes, and the trades in the database."""

    def __init__(self, folder: Path, held: dict[str, Trade]) -> None:
        self.journal = {path.name: path.read_bytes() for path in segments_of(folder)}
        self.held = dict(held)

    def put_back(self, folder: Path) -> None:
        """Put the journal back as it was."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in self.journal.items():
            (folder / name).write_bytes(content)


def truncate(folder: Path, tenth: int) -> None:
    """Cut a journal off at so many tenths of its bytes."""
    left = sum(path.stat().st_size for path in segments_of(folder)) * tenth // TENTHS
    for path in segments_of(folder):
        size = path.stat().st_size
        if left <= 0:
            path.unlink()
        elif left < size:
            path.write_bytes(path.read_bytes()[:left])
        left -= size


Damage = Callable[[Path, dict[str, Trade], Kept], None]


def damages() -> dict[str, Damage]:
    """Return what can be done to the memory of a bot that is dead, by name."""

    def older_journal(folder: Path, _: dict[str, Trade], older: Kept) -> None:
        older.put_back(folder)

    def older_database(_: Path, held: dict[str, Trade], older: Kept) -> None:
        held.clear()
        held.update(older.held)

    def both_older(folder: Path, held: dict[str, Trade], older: Kept) -> None:
        older_journal(folder, held, older)
        older_database(folder, held, older)

    def gone(folder: Path, _: dict[str, Trade], __: Kept) -> None:
        truncate(folder, 0)

    def all_gone(folder: Path, held: dict[str, Trade], _: Kept) -> None:
        truncate(folder, 0)
        held.clear()

    cuts: dict[str, Damage] = {
        f"cut at {tenth} of 10": lambda folder, _, __, tenth=tenth: truncate(folder, tenth)
        for tenth in range(1, TENTHS)
    }
    beside: dict[str, Damage] = {
        f"cut at {tenth} of 10, database older": lambda folder, held, older, tenth=tenth: (
            truncate(folder, tenth), older_database(folder, held, older),
        ) and None
        for tenth in range(1, TENTHS)
    }  # fmt: skip
    return {
        **cuts, **beside, "journal gone": gone, "all gone": all_gone, "journal older": older_journal,
        "database older": older_database, "both older": both_older,
    }  # fmt: skip


async def live(life: Life, market: Market, bars: int, seed: int, *, halfway: Callable[[], object], last: bool) -> None:
    """Live through so many bars; the last life comes to rest."""
    life.runtime.orders._jitter.seed(seed)
    async with Tasks() as tasks:
        tasks._jitter.seed(seed)
        await life.runtime.recover_with_patience()
        life.runtime.start(tasks)
        for number in range(bars):
            await life.runtime._events.put(market.step())
            await asyncio.sleep(BAR_S)
            if number == bars // 2:
                halfway()
        if last:
            await calm_down(life, market.venue, market)
            await asyncio.sleep(60)
            judge(life, market.venue, market)
    life.journal.close()


def judge(life: Life, venue: Venue, market: Market) -> None:
    """Raise AssertionError for whatever is lost, doubled, missing or different."""
    here = {held.symbol: held for held in life.trader.book.positions() if not held.pending}
    runs = rebuild.runs(fill for _, fill in venue.fills)
    names = {run.digest for run in runs if run.digest and not run.qty}
    recorded = {leg.exec_id for trade in life.trades.held.values() for leg in trade.legs}
    missing = [
        run.digest for run in runs
        if run.digest in names and not run.qty and not {f.exec_id for f in run.fills if f.cause != "funding"} <= recorded
    ]  # fmt: skip
    assert not missing, f"missing: {len(missing)} of {len(names)}"
    assert not life.trades.conflicts, f"told twice with different content: {life.trades.conflicts}"
    check_positions(life, venue, here)
    check_orders(life, venue)
    check_profit(life, venue, here)
    assert not life.runtime.reconciler.found.ghosts
    assert not life.trader.situation.doubtful


class Past:
    """Some lives of a bot, days apart, and what they have left."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.draw, self.seed, self.folder = random.Random(seed), seed, folder
        self.venue = Venue(self.draw, {symbol: rules(symbol) for symbol in SYMBOLS}, trouble=0.0)
        self.market = Market(self.draw, self.venue)
        self.held: dict[str, Trade] = {}
        self.older: Kept | None = None

    def life(self) -> Life:
        """Return another life on what there is."""
        return Life(self.folder, self.venue, self.market, self.held, shelf=Forgiving)

    async def lived(self, lives: int, halfway: Callable[[], object]) -> None:
        """Live so often; ``halfway`` through the last something happens."""
        for number in range(lives):
            last = number == lives - 1
            await live(
                self.life(), self.market, self.draw.randint(10, 25), self.seed,
                halfway=halfway if last else (lambda: None), last=False,
            )  # fmt: skip
            if not last:
                # nobody lives for days: what was traded before is older than what a start usually asks for
                self.market.now += self.draw.randint(3, 9) * DAY_MS // STEP * STEP
            for _ in range(self.draw.randint(1, 3)):
                self.market.step()

    def keep(self) -> None:
        """Keep a copy of what there is by now."""
        self.older = Kept(self.folder, self.held)


async def episode(_: VirtualLoop, seed: int, folder: Path, damage: Damage | None) -> int:
    """Trade, die, lose part of the memory, and live again; return how many trades there were."""
    past = Past(seed, folder / "journal")

    def halfway() -> None:
        past.keep()
        if damage is None:
            shutil.rmtree(past.folder)

    await past.lived(3, halfway)
    assert past.older is not None
    if damage is not None:
        damage(past.folder, past.held, past.older)
    await live(past.life(), past.market, past.draw.randint(1, 6), seed, halfway=lambda: None, last=True)
    return len(past.held)


async def started_without_memory(seed: int, folder: Path) -> tuple[int, list[str]]:
    """Lose everything and start; return how many trades there are then, and which closed positions still wait."""
    past = Past(seed, folder / "journal")
    await past.lived(2, lambda: None)
    truncate(past.folder, 0)
    past.held.clear()
    life = past.life()
    await life.runtime.recover_with_patience()
    waiting = [held.digest for held in life.trader.book.positions() if held.flat]
    life.journal.close()
    return len(past.held), waiting


async def starts_after_a_loss(seed: int, folder: Path) -> list[int]:
    """Lose the journal beside a whole database and start twice; return how far back each start has asked, in ms."""
    past, back = Past(seed, folder / "journal"), []
    await past.lived(2, lambda: None)
    truncate(past.folder, 0)
    for _ in range(2):
        life = past.life()
        broker = life.runtime._p.broker
        asked: list[int] = []

        async def listed(
            time: int, until: int, symbol: str = "", ask: Any = broker.fills_since, to: Any = asked
        ) -> Any:
            to.append(time)
            return await ask(time, until, symbol)

        broker.fills_since = listed  # type: ignore[method-assign]
        await life.runtime.recover_with_patience()
        life.journal.close()
        back.append(past.market.now - asked[0])
    return back


def kinds() -> dict[str, Damage | None]:
    """Return every kind of damage by name; None for the folder that goes while the bot runs."""
    return {**damages(), "folder deleted under the bot": None}


def lives(every: int, count: int, seed: int, told: Any = None) -> dict[str, Any]:
    """Live on virtual time with kinds of damage, of each seed one in ``every``; return the figures and what failed."""
    structlog.configure(processors=[_silence], cache_logger_on_first_use=False)
    began, failed, trades, done = time.monotonic(), [], 0, 0
    base = Path(tempfile.mkdtemp(prefix="revenant-memory-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        for number in range(seed, seed + count):
            for name, damage in list(kinds().items())[number % every :: every]:
                folder = base / str(done)
                try:
                    trades += run_virtually(lambda loop, n=number, f=folder, d=damage: episode(loop, n, f, d))
                except Exception as error:
                    failed.append((number, name, repr(error)[:300]))
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                done += 1
                if told is not None:
                    told(done)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return {
        "seed": seed, "episodes": done, "trades": trades,
        "missing": sum("missing" in reason for *_, reason in failed),
        "doubled": sum("in two trades" in reason or "told twice" in reason for *_, reason in failed),
        "failed": failed, "clean": not failed,
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _silence(_: Any, __: str, event: Any) -> Any:
    raise structlog.DropEvent
