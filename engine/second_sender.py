"""Another instance of this bot that the fence cannot see: noticed by entries that nobody here has sent."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from domain import ids
from domain.errors import Rejected
from domain.order import Cause
from domain.records import Fill, Intent, OrderFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.records import Record
    from engine.fence import Fence
    from engine.trader import Trader

log = structlog.get_logger(__name__)

GRACE_S = 15.0
"""So long after a start or a handing over nothing counts: what was sent before may still arrive, or be listed."""

QUIET_S = (1_800.0, 3_600.0)
"""After so long without another trace entries are made again: drawn, so that of two that stand down one is first."""

LOOK_S = 1.0
KNOWN_MAX, TRACES_MAX = 100_000, 100


class Trace(msgspec.Struct, frozen=True):
    """An entry with an id of ours that this instance has not sent; ``how`` says how it was met, ``time`` is UTC ms."""

    order_id: str
    symbol: str
    time: int
    how: str


class SecondSender:
    """Lets no entry out while another instance sends orders to the same account and shares no database with this one.

    Ids of orders are made of signals, so a second instance leaves traces: executions and working orders of entries that
    no intent of this life led to, and ids that the exchange has already though this one sends them for the first time.
    What is older than this life, or than the last time that the right to send was had again, is an earlier life's or a
    successor's. Only entries count: whoever meets the other's first stands down, and what lowers the risk goes on at
    both. So one of the two goes on trading; where both have met the other's in the same moment, the one that waits for
    the shorter time comes back, and the other meets its next entry.

    Args:
        trader: the one whose entries stop.
        fence: asked before anybody is suspected: a successor is no second sender.
        now: the market time of the moment (UTC ms).
        told: takes the first trace of each time.
    """

    def __init__(
        self, trader: Trader, fence: Fence, now: Callable[[], int], told: Callable[[str, object], None]
    ) -> None:
        self._trader, self._fence, self._now, self._told = trader, fence, now, told
        self._known: OrderedDict[str, None] = OrderedDict()
        self._traces: deque[Trace] = deque(maxlen=TRACES_MAX)
        self._wake = asyncio.Event()
        self._since: int | None = None
        self._begun, self._market, self._epoch = float("-inf"), 0, -1
        self._last_at: float | None = None
        self._jitter, self._quiet_s = random.Random(), QUIET_S[0]  # noqa: S311  parts two instances, guards nothing
        self.met = 0

    @property
    def watching(self) -> bool:
        """Whether traces count by now."""
        return self._since is not None

    def note(self, record: Record) -> None:
        """Look at a record that is being written down."""
        if isinstance(record, Intent):
            self._know(record.order_id)
        elif isinstance(record, Fill):
            self._meet(Trace(record.order_id, record.symbol, record.time, "executed"))
        elif isinstance(record, OrderFound):
            self._meet(Trace(record.order_id, record.symbol, record.created, "working"))

    def refused(self, intent: Intent) -> None:
        """Take that the exchange had an order of this id before this instance sent it for the first time."""
        if intent.cause is Cause.ENTRY:
            self._suspect(Trace(intent.order_id, intent.symbol, intent.time, "there already"))

    async def run(self) -> None:
        """Look at what was met, within a second, until cancelled."""
        while True:
            await self.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            self._wake.clear()

    async def look(self) -> None:
        """Settle what was met: the fence has the first word."""
        if not self._same_right():
            self._begin()
        now = asyncio.get_running_loop().time()
        # a bar tells exactly what time it is; before one has come the market may be ahead of what is known
        if self._since is None and now - self._begun >= GRACE_S and self._trader.situation.market_time > self._market:
            self._since = self._now()
        if self._traces and await self._ours_alone():
            self._stand_down(self._traces[-1], now)
        elif self._last_at is not None and now - self._last_at >= self._quiet_s:
            log.warning("no more traces of another instance: entries are made again", quiet_s=round(self._quiet_s))
            self._clear()
        self._traces.clear()

    def excuse(self) -> None:
        """Let entries out again, as the operator wants it: what has been met so far counts no more."""
        if self._last_at is not None:
            self._since = max(self._since or 0, self._now())
            self._clear()

    def report(self) -> dict[str, Any]:
        """Return how things stand; ``met`` counts the traces since the start."""
        return {"reason": self._trader.situation.second_sender, "met": self.met, "watching": self.watching}

    def _begin(self) -> None:
        """Begin anew: what was sent until now was a predecessor's or a successor's."""
        self._epoch, self._since = self._fence.epoch, None
        self._begun, self._market = asyncio.get_running_loop().time(), self._trader.situation.market_time
        self._clear()

    def _same_right(self) -> bool:
        return not self._fence.superseded and self._fence.epoch == self._epoch

    async def _ours_alone(self) -> bool:
        """Return whether the right to send is still the one that was had when the traces were left."""
        try:
            await self._fence.check(leaving=True)
        except Rejected:
            return False
        return self._same_right()

    def _meet(self, trace: Trace) -> None:
        name = ids.parse_order_id(trace.order_id)
        if name is None or name.leg != "e" or self._explained(trace.order_id, name.digest):
            return
        # one order is one trace, however many executions it has
        self._know(trace.order_id)
        self._suspect(trace)

    def _explained(self, order_id: str, digest: str) -> bool:
        """Return whether this life has sent an order, or an earlier one as far as is known."""
        trader = self._trader
        if order_id in self._known or trader.book.order(order_id) is not None:
            return True
        return ids.trade_id(digest) in trader.recorded or trader.book.given_up(digest) is not None

    def _suspect(self, trace: Trace) -> None:
        if self._since is not None and trace.time > self._since:
            self._traces.append(trace)
            self._wake.set()

    def _stand_down(self, trace: Trace, now: float) -> None:
        first, self._last_at = self._last_at is None, now
        self.met += len(self._traces)
        if not first:
            return
        self._quiet_s = self._jitter.uniform(*QUIET_S)
        self._trader.situation.second_sender = (
            f"another instance of this bot sends orders to the same account (entry {trace.order_id} in {trace.symbol}, "
            f"{trace.how}): no entries until it has made none for {self._quiet_s / 60:.0f} minutes; "
            "or end one of the two, then: manage.py start"
        )
        log.critical(
            "another instance sends orders to this account: no entries here",
            order=trace.order_id, symbol=trace.symbol, how=trace.how,
            way_out="end one of the two, then: manage.py start",
        )  # fmt: skip
        self._told("second sender", trace)

    def _clear(self) -> None:
        self._last_at, self._trader.situation.second_sender = None, ""
        self._traces.clear()

    def _know(self, order_id: str) -> None:
        self._known[order_id] = None
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
