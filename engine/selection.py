"""Which symbols the pairlists keep: asks for the facts, sifts, and does so again on a schedule."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from domain.candle import Bars, Series
from domain.errors import Rejected, Unavailable
from domain.pairlists import DAILY, Facts
from engine.threads import beside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from domain.instrument import Instrument
    from domain.pairlists import Pairlist
    from domain.ports import Klines
    from domain.trade import Trade
    from engine.following import Following
    from engine.trader import Trader

log = structlog.get_logger(__name__)

REFRESH_S = 120.0
"""How long facts are waited for, altogether; then the former universe stays."""

USUAL_S, LEAST_S = 1_800, 60
REQUESTS_AT_ONCE = 4
FOLLOWED_MAX = 300
"""More symbols than these are not taken on while the bot runs: none is let go of before the next start."""

NOT_NAMED = "it is no candidate any more: not listed in trading.symbols, on the blacklist, or not traded"


class Removal(NamedTuple):
    """Which filter removed a symbol, and why."""

    filter: str
    reason: str


FULL = Removal("followed", f"{FOLLOWED_MAX} symbols are followed already; the next start takes it")
LACKING = Removal("followed", "its candles could not be loaded; the next refresh tries again")


@dataclass(frozen=True, slots=True)
class Universe:
    """What the pairlists said at a market time (UTC ms): the symbols kept, in order, and why the others were not."""

    time: int
    kept: tuple[str, ...]
    removed: Mapping[str, Removal]


class Selection:
    """Sifts the candidates through the filters, one after the other; each is asked about what is left only.

    Daily candles are kept as long as the filter that wants them says.

    Args:
        pairlists: the filters.
        candidates: returns the symbols that may be traded at all, in order.
        klines: tells daily candles.
    """

    def __init__(
        self, pairlists: Sequence[Pairlist], candidates: Callable[[Mapping[str, Instrument]], list[str]], klines: Klines
    ) -> None:
        self.pairlists, self.candidates, self.klines = pairlists, candidates, klines
        self._daily: dict[tuple[str, int], tuple[float, Bars]] = {}

    @property
    def period_s(self) -> int:
        """Seconds between two refreshes: the shortest of its filters, half an hour where none says."""
        periods = [one.holds_s for one in self.pairlists if one.holds_s]
        return max(LEAST_S, min(periods, default=USUAL_S))

    async def choose(self, rules: Mapping[str, Instrument], now: int, closed: Sequence[Trade] = ()) -> Universe:
        """Return what the filters keep of the symbols at a market time (UTC ms), and why not the others.

        Raises:
            Unavailable: when the facts were not to be had in time; nothing can be said then.
        """
        removed, facts = dict[str, Removal](), Facts(now, rules, closed=closed)
        try:
            async with asyncio.timeout(REFRESH_S):
                # hundreds of symbols take tens of milliseconds, for which no bar is to wait
                kept = await beside(partial(self.candidates, rules))
                for pairlist in self.pairlists:
                    daily = await self._bars(pairlist, kept, rules)
                    kept, gone = await beside(partial(pairlist.sift, kept, replace(facts, daily=daily)))
                    removed |= {symbol: Removal(type(pairlist).__name__, why) for symbol, why in gone.items()}
        except TimeoutError:
            raise Unavailable(f"the facts that the pairlists need were not there within {REFRESH_S:g} s") from None
        return Universe(now, tuple(kept), removed)

    async def _bars(
        self, pairlist: Pairlist, symbols: Sequence[str], rules: Mapping[str, Instrument]
    ) -> dict[str, Bars]:
        """Return the daily candles that a filter needs; a symbol of which the exchange has none is left out."""
        gate, now, found = asyncio.Semaphore(REQUESTS_AT_ONCE), asyncio.get_running_loop().time(), dict[str, Bars]()
        holds_s = pairlist.holds_s or USUAL_S
        self._daily = {key: one for key, one in self._daily.items() if key[0] in rules}

        async def ask(symbol: str, days: int) -> None:
            asked_at, bars = self._daily.get((symbol, days), (None, Bars.empty()))
            if asked_at is None or now - asked_at >= holds_s:
                async with gate:
                    try:
                        bars = await self.klines.latest(Series(symbol, DAILY), days)
                    except Rejected as error:
                        log.warning("no daily candles", symbol=symbol, reason=str(error))
                        return
                self._daily[symbol, days] = now, bars
            found[symbol] = bars

        try:
            async with asyncio.TaskGroup() as group:
                for symbol in symbols:
                    if days := pairlist.days_of(rules[symbol]):
                        group.create_task(ask(symbol, days))
        except ExceptionGroup as errors:
            unavailable, others = errors.split(Unavailable)
            if unavailable is None or others is not None:
                raise
            raise Unavailable(str(unavailable.exceptions[0])) from None
        return found


class SelectionWatch:
    """Has the selection made anew on a schedule, and the trader know it.

    Args:
        selection: what chooses.
        universe: what it chose when the bot was started.
        trader: is told in which symbols no entry may be made.
        instruments: tells the trading rules.
        learn: learns what else has to be known of symbols before they are traded.
    """

    def __init__(
        self, selection: Selection, universe: Universe, trader: Trader,
        instruments: Callable[[], Awaitable[Mapping[str, Instrument]]],
        learn: Callable[[Sequence[str]], Awaitable[object]],
    ) -> None:  # fmt: skip
        self._selection, self._trader, self.universe = selection, trader, universe
        self._instruments, self._learn = instruments, learn

    async def run(self, following: Following) -> None:
        """Refresh at once, for our own trades are known by now, and then on the schedule, until cancelled."""
        while True:
            await self.refresh(following)
            await asyncio.sleep(self._selection.period_s)

    async def refresh(self, following: Following) -> None:
        """Choose anew; what cannot be had leaves the former universe, and is told once."""
        trader = self._trader
        try:
            fresh = {
                symbol: rules for symbol, rules in (await self._asked()).items() if trader.rules(symbol) is not None
            }
            # copied: trades that end meanwhile must not be missing here and counted there
            universe = await self._selection.choose(fresh, trader.situation.market_time, list(trader.closed))
            universe = await self._take_on(universe, following)
        except (Unavailable, Rejected, TimeoutError) as error:
            self._fail(str(error) or "the exchange did not answer in time")
            return
        if trader.situation.former:
            log.info("the pairlists have been asked again")
        self.universe = universe
        trader.situation.former, trader.situation.outside = "", outside(universe, following.chosen)

    async def _asked(self) -> Mapping[str, Instrument]:
        async with asyncio.timeout(REFRESH_S):
            return await self._instruments()

    async def _take_on(self, universe: Universe, following: Following) -> Universe:
        """Have what is new followed, as far as there is room."""
        new = [symbol for symbol in universe.kept if symbol not in following.chosen]
        room = max(0, FOLLOWED_MAX - len(following.chosen))
        waiting = dict.fromkeys(new[room:], FULL)
        if wanted := new[:room]:
            async with asyncio.timeout(REFRESH_S):
                await self._learn(wanted)
                taken = await following.take_on(wanted)
            waiting |= {symbol: LACKING for symbol in wanted if symbol not in taken}
            log.info("universe: symbols taken on", symbols=taken)
        kept = tuple(symbol for symbol in universe.kept if symbol not in waiting)
        return replace(universe, kept=kept, removed={**universe.removed, **waiting})

    def report(self) -> dict[str, Any]:
        """Return what is kept and what is not, for people; ``former`` says why that is of a while ago."""
        told = report(self._selection, self.universe)
        return {**told, "refresh_s": self._selection.period_s, "former": self._trader.situation.former}

    def _fail(self, reason: str) -> None:
        if not self._trader.situation.former:
            log.warning("the pairlists could not be asked again: what they said stays", reason=reason)
        self._trader.situation.former = reason


def report(selection: Selection, universe: Universe) -> dict[str, Any]:
    """Return what the pairlists keep, and of each symbol that they do not which of them removed it and why."""
    return {
        "pairlists": [type(one).__name__ for one in selection.pairlists], "time": universe.time,
        "kept": list(universe.kept),
        "removed": [
            {"symbol": symbol, "filter": one.filter, "reason": one.reason} for symbol, one in universe.removed.items()
        ],
    }  # fmt: skip


def outside(universe: Universe, followed: Sequence[str]) -> dict[str, str]:
    """Return in which of the symbols followed no entry may be made, and why."""
    kept, removed = set(universe.kept), universe.removed
    return {
        symbol: f"{removed[symbol].filter}: {removed[symbol].reason}" if symbol in removed else NOT_NAMED
        for symbol in followed if symbol not in kept
    }  # fmt: skip
