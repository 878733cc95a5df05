"""Tells pages what happens, as server-sent events; one that does not keep up is let go, and comes again by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from domain import ids
from domain.candle import ClosedBar
from domain.errors import Unavailable
from domain.trade import Trade
from engine.commands import PlaceOrder, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PAGES_MAX = 20
WAITING_MAX = 200
PULSE_S = 1.0
SILENCE_S = 15.0
RETRY_MS = 2_000


class Hub:
    """Hands events to every page. ``pulse`` tells what changes by the second; it is asked only while somebody looks."""

    def __init__(self, pulse: Callable[[], dict[str, Any]]) -> None:
        self._pulse = pulse
        self._pages: set[asyncio.Queue[bytes | None]] = set()
        self.let_go = 0

    @property
    def pages(self) -> int:
        """How many pages listen."""
        return len(self._pages)

    async def run(self) -> None:
        """Tell the pulse every second, until cancelled."""
        while True:
            await asyncio.sleep(PULSE_S)
            if self._pages:
                self.publish("pulse", self._pulse())

    def told(self, kind: str, what: object) -> None:
        """Take an event of the engine."""
        if not self._pages:
            return
        if kind == "batch" and isinstance(what, list):
            self.publish("bars", [_bar(one) for one in what])
        elif isinstance(what, Trade):
            made = {"symbol": what.symbol, "trade_id": what.trade_id, "pnl": what.pnl_usd, "r": what.r_multiple,
                    "reason": what.exit_reason}  # fmt: skip
            self.publish("trade", made)
        elif isinstance(what, PlaceOrder) and what.intent.opening is not None:
            self.publish("entry", {"symbol": what.intent.symbol, "id": ids.trade_id(what.intent.order_id[3:])})
        elif isinstance(what, Refused):
            self.publish("refused", {"symbol": what.signal.symbol, "gate": what.gate, "detail": what.detail})

    def publish(self, event: str, data: object) -> None:
        """Give an event to every page."""
        line = b"event: %b\ndata: %b\n\n" % (event.encode(), orjson.dumps(data, default=str))
        for page in tuple(self._pages):
            try:
                page.put_nowait(line)
            except asyncio.QueueFull:
                self.let_go += 1
                self._drop(page)

    async def listen(self) -> AsyncIterator[bytes]:
        """Yield events for one page until it leaves, is let go, or the hub closes.

        Raises:
            Unavailable: when too many pages listen already.
        """
        if len(self._pages) >= PAGES_MAX:
            raise Unavailable(f"{PAGES_MAX} pages listen already; close one")
        page: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_MAX)
        self._pages.add(page)
        return self._events(page)

    def close(self) -> None:
        """Let every page go."""
        for page in tuple(self._pages):
            self._drop(page)

    async def _events(self, page: asyncio.Queue[bytes | None]) -> AsyncIterator[bytes]:
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            yield b"event: pulse\ndata: %b\n\n" % orjson.dumps(self._pulse(), default=str)
            while True:
                try:
                    async with asyncio.timeout(SILENCE_S):
                        line = await page.get()
                except TimeoutError:
                    # what is silent for long is cut by proxies
                    yield b": still here\n\n"
                    continue
                if line is None:
                    return
                yield line
        finally:
            self._pages.discard(page)

    def _drop(self, page: asyncio.Queue[bytes | None]) -> None:
        self._pages.discard(page)
        while not page.empty():
            page.get_nowait()
        page.put_nowait(None)


def _bar(one: ClosedBar) -> dict[str, Any]:
    bar = one.bar
    return {
        "symbol": one.series.symbol, "timeframe": one.series.timeframe, "time": bar.open_time, "open": bar.open,
        "high": bar.high, "low": bar.low, "close": bar.close, "volume": bar.volume,
    }  # fmt: skip
