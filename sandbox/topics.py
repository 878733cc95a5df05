"""The public topics of the practice exchange and their frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sandbox import market_shapes as shapes
from sandbox.clock import wire_ms
from sandbox.periods import INTERVALS, NAMES, closes, opens
from sandbox.shapes import text

if TYPE_CHECKING:
    from domain.account import Execution
    from sandbox.exchange import Exchange
    from sandbox.faults import Faults

DEPTHS = {"1", "50", "200", "1000"}
SILENT = {"adlAlert", "insurance"}
"""Topics of a coin that exist at Bybit and have nothing to say here."""

Sides = dict[str, list[list[str]]]


def encode(body: dict[str, Any]) -> bytes:
    """Return a frame as it goes out."""
    return msgspec.json.encode(body)


class Topics:
    """Makes the frames of public topics; what was last shown of books and tickers is kept, to send what changes."""

    def __init__(self, exchange: Exchange, faults: Faults) -> None:
        self._exchange, self._faults = exchange, faults
        self._shown: dict[str, tuple[dict[str, Any], int]] = {}

    def known(self, topic: str) -> bool:
        """Return whether there is such a topic."""
        channel, *rest = topic.split(".")
        if channel in SILENT:
            return len(rest) == 1 and bool(rest[0])
        if not rest or rest[-1] not in self._exchange.by_venue_id:
            return False
        if channel == "kline" and len(rest) == 2:
            base = self._exchange.tape.base_ms
            return rest[0] in NAMES and INTERVALS.get(rest[0], base) % base == 0
        if channel == "orderbook" and len(rest) == 2:
            return rest[0] in DEPTHS
        return len(rest) == 1 and channel in {"tickers", "publicTrade", "allLiquidation", "priceLimit"}

    def first(self, topic: str) -> bytes | None:
        """Return the snapshot that a new listener gets, None for topics that begin with their next frame."""
        channel = topic.partition(".")[0]
        if channel not in {"orderbook", "tickers"}:
            return None
        if topic not in self._shown:
            self._shown[topic] = self._state(topic), self._exchange.update_id
        state, number = self._shown[topic]
        return self._frame(topic, "snapshot", state, number)

    def frame(self, topic: str) -> bytes | None:
        """Return what a topic says after a base bar has closed, None where it has nothing to say."""
        channel, *rest = topic.split(".")
        if channel in SILENT or rest[-1] not in self._exchange.by_venue_id:
            return None
        if channel == "kline":
            return self._kline(topic, rest[0], rest[1])
        if channel == "publicTrade":
            return self._trades(topic, rest[0])
        if channel == "priceLimit":
            return self._price_limit(topic, rest[0])
        return self._change(topic) if channel in {"orderbook", "tickers"} else None

    def forget(self, wanted: set[str]) -> None:
        """Forget what was shown on topics that nobody listens to any more."""
        self._shown = {topic: state for topic, state in self._shown.items() if topic in wanted}

    def liquidation(self, event: Execution, venue_id: str) -> tuple[str, bytes]:
        """Return the topic and frame of a liquidated position; the side is that of the position."""
        topic, side = f"allLiquidation.{venue_id}", "Buy" if event.side.value == "Sell" else "Sell"
        price, size = text(event.price), text(event.qty)
        data = [{"T": event.time, "s": venue_id, "S": side, "v": size, "p": price}]
        return topic, encode({"topic": topic, "type": "snapshot", "ts": wire_ms(), "data": data})

    def _state(self, topic: str) -> dict[str, Any]:
        channel, *rest = topic.split(".")
        symbol = self._exchange.by_venue_id[rest[-1]].symbol
        if channel == "tickers":
            return shapes.ticker(self._exchange, symbol)
        return {"s": rest[-1], **shapes.book_sides(self._exchange.order_book(symbol, int(rest[0])))}

    def _change(self, topic: str) -> bytes:
        """Return what has changed since the last frame; level 1 of a book comes as a whole each time."""
        state, number = self._state(topic), self._exchange.update_id
        before = self._shown.get(topic)
        self._shown[topic] = state, number
        if before is None or topic.startswith("orderbook.1."):
            return self._frame(topic, "snapshot", state, number)
        if topic.startswith("tickers."):
            changed = {name: value for name, value in state.items() if before[0].get(name) != value}
            return self._frame(topic, "delta", {"symbol": state["symbol"], **changed}, number)
        sides = {side: _difference(before[0][side], state[side]) for side in ("b", "a")}
        return self._frame(topic, "delta", {"s": state["s"], **sides}, number)

    def _frame(self, topic: str, kind: str, data: dict[str, Any], number: int) -> bytes:
        now = wire_ms()
        if topic.startswith("tickers."):
            return encode({"topic": topic, "type": kind, "data": data, "cs": number, "ts": now})
        data = {**data, "u": number, "seq": number}
        return encode({"topic": topic, "type": kind, "ts": now, "data": data, "cts": now})

    def _kline(self, topic: str, interval: str, venue_id: str) -> bytes | None:
        """Return the frame of a bar's progress, None when there is nothing to tell.

        A bar that traded is confirmed at its end, whether or not its last minute did; of one without a trade nothing is
        told at all. Bybit's documentation does not say what it does then; only frames with trades have been seen.
        """
        exchange, now = self._exchange, self._exchange.processed_until
        symbol, opened = exchange.by_venue_id[venue_id].symbol, opens(interval, now)
        items = []
        if now == opened and topic not in self._faults.withhold_confirm:
            start = opens(interval, now - 1)
            closed = exchange.partial(symbol, start, now)
            if closed.volume or closed.turnover:
                items.append(shapes.kline_item(closed, interval, now - start, now - 1, confirm=True))
        if not items and not exchange.traded(symbol, now - exchange.tape.base_ms, now):
            return None
        forming = exchange.partial(symbol, opened, now)
        length = closes(interval, opened) - opened
        items.append(shapes.kline_item(forming, interval, length, now, confirm=False))
        return encode({"topic": topic, "type": "snapshot", "data": items, "ts": wire_ms()})

    def _trades(self, topic: str, venue_id: str) -> bytes | None:
        exchange, base = self._exchange, self._exchange.tape.base_ms
        symbol, now = exchange.by_venue_id[venue_id].symbol, exchange.processed_until
        rows = [bar for bar in exchange.tape.bars(symbol, now - base, now).rows() if bar.volume]
        if not rows:
            return None
        data = [shapes.public_trade(bar, base, venue_id) for bar in rows]
        return encode({"topic": topic, "type": "snapshot", "data": data, "ts": wire_ms()})

    def _price_limit(self, topic: str, venue_id: str) -> bytes:
        lowest, highest = shapes.price_band(self._exchange, self._exchange.by_venue_id[venue_id].symbol)
        data = {"symbol": venue_id, "buyLmt": text(highest), "sellLmt": text(lowest)}
        return encode({"topic": topic, "ts": wire_ms(), "data": data})


def _difference(before: list[list[str]], after: list[list[str]]) -> list[list[str]]:
    """Return the levels that came or changed, and with size 0 those that went."""
    old, new = dict[str, str](before), dict[str, str](after)
    gone = [[price, "0"] for price in old if price not in new]
    return [[price, size] for price, size in new.items() if old.get(price) != size] + gone
