"""The practice exchange's WebSockets: subscriptions, frames, pings, and the faults that tests ask for."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import WSMsgType, web

from domain.account import ClosedPnl, Execution, VenueOrder, VenuePosition
from sandbox import shapes
from sandbox.clock import wire_ms
from sandbox.rest import INTERVALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from domain.account import Event
    from domain.candle import Bar
    from sandbox.exchange import Exchange
    from sandbox.faults import Faults
    from sandbox.rest import Rest

ARGS_CHARS_MAX = 21_000
QUEUE_MAX = 20_000
PRIVATE_TOPICS = ("order", "execution", "position", "wallet")

_encode = msgspec.json.encode


class Peer:
    """One connected client with a bounded queue; a client that does not keep up is cut off."""

    def __init__(self, socket: web.WebSocketResponse, number: int, *, private: bool) -> None:
        self.socket, self.private = socket, private
        self.id = f"practice-{number}"
        self.authorised = False
        self.topics: set[str] = set()
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE_MAX)
        self.held: bytes | None = None

    def send(self, frame: bytes) -> None:
        """Queue a frame, or cut the client off when its queue is full."""
        try:
            self.queue.put_nowait(frame)
        except asyncio.QueueFull:
            self.queue = asyncio.Queue(1)


class Streams:
    """Keeps the connected clients and publishes market and account changes to them."""

    def __init__(self, exchange: Exchange, faults: Faults) -> None:
        self._exchange, self._faults = exchange, faults
        self._peers: set[Peer] = set()
        self._numbers = itertools.count(1)

    async def serve(self, request: web.Request, *, private: bool) -> web.WebSocketResponse:
        """Talk to one client until it leaves."""
        if self._faults.refuse:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        peer = Peer(socket, next(self._numbers), private=private)
        self._peers.add(peer)
        writer = asyncio.create_task(self._write(peer), name=f"writer {peer.id}")
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._handle(peer, message.data)
        finally:
            self._peers.discard(peer)
            writer.cancel()
        return socket

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(peer.socket.close() for peer in list(self._peers)), return_exceptions=True)

    def topics(self) -> set[str]:
        """Return every public topic that somebody listens to."""
        return {topic for peer in self._peers if not peer.private for topic in peer.topics}

    def tick(self, rest: Rest) -> None:
        """Publish the bar that has just closed to everybody who listens; markets in which nothing trades are silent."""
        exchange = self._exchange
        while exchange.settled:
            self.forget(exchange.settled.pop())
        now, topics = exchange.processed_until, sorted(self.topics())
        traded = {
            venue_id for venue_id in {topic.rpartition(".")[2] for topic in topics}
            if exchange.traded(exchange.by_venue_id[venue_id].symbol, now - exchange.tape.base_ms, now)
        }  # fmt: skip
        for topic in topics:
            channel, _, rest_of_topic = topic.partition(".")
            if channel == "kline":
                interval, _, venue_id = rest_of_topic.partition(".")
                frame = self._kline(topic, interval, venue_id, traded=venue_id in traded)
                if frame is not None:
                    self._publish(topic, frame)
            elif channel == "tickers":
                symbol = self._exchange.by_venue_id[rest_of_topic].symbol
                self._publish(topic, self._frame(topic, "snapshot", rest.ticker(symbol)))
            elif rest_of_topic in traded:
                self._publish(topic, self._frame(topic, "snapshot", self._trades(rest_of_topic)))

    def forget(self, venue_id: str) -> None:
        """Publish nothing of a contract any more."""
        for peer in self._peers:
            peer.topics = {topic for topic in peer.topics if topic.rpartition(".")[2] != venue_id}

    def events(self, events: Sequence[Event]) -> None:
        """Publish account changes on the private topics."""
        if not events or not any(peer.authorised for peer in self._peers):
            return
        account = self._exchange.account
        for event, fellows in _together(events):
            if isinstance(event, VenueOrder):
                self._publish_private("order", [shapes.order(event, self._venue_id(event.symbol))])
            elif isinstance(event, Execution):
                self._publish_private(
                    "execution", [shapes.execution(one, self._venue_id(one.symbol)) for one in fellows]
                )
            elif isinstance(event, VenuePosition):
                row = shapes.position(event, self._venue_id(event.symbol), account, "entryPrice")
                self._publish_private("position", [row])
        self._publish_private("wallet", [shapes.wallet(account)])

    def _handle(self, peer: Peer, text: str) -> None:
        try:
            request = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.MsgspecError:
            peer.send(_encode({"success": False, "ret_msg": "error:bad json", "conn_id": peer.id, "op": ""}))
            return
        operation, args = str(request.get("op", "")), request.get("args") or []
        number = str(request.get("req_id", ""))
        if operation == "ping":
            self._pong(peer, number)
        elif operation == "auth":
            self._authorise(peer, args, number)
        elif operation in {"subscribe", "unsubscribe"}:
            self._subscribe(peer, operation, [str(topic) for topic in args], number)
        else:
            peer.send(_answer(peer, operation, number, f"error:unknown op {operation}"))

    def _pong(self, peer: Peer, number: str) -> None:
        if peer.private:
            peer.send(_encode({"req_id": number, "op": "pong", "args": [str(wire_ms())], "conn_id": peer.id}))
        else:
            peer.send(_answer(peer, "ping", number, "", said="pong"))

    def _authorise(self, peer: Peer, args: Sequence[Any], number: str) -> None:
        terms = self._exchange.terms
        key, expires, sign = (*[str(value) for value in args], "", "", "")[:3]
        expected = hmac.new(terms.secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
        valid = key == terms.key and expires.isdecimal() and int(expires) > wire_ms() + self._faults.clock_shift_ms
        peer.authorised = valid and hmac.compare_digest(expected, sign)
        peer.send(_answer(peer, "auth", number, "" if peer.authorised else "error:auth failed"))

    def _subscribe(self, peer: Peer, operation: str, topics: list[str], number: str) -> None:
        if sum(map(len, topics)) > ARGS_CHARS_MAX:
            peer.send(_answer(peer, operation, number, f"error:args size >{ARGS_CHARS_MAX}"))
            return
        if peer.private and not peer.authorised:
            peer.send(_answer(peer, operation, number, "error:request not authorised"))
            return
        unknown = [topic for topic in topics if not self._known(peer, topic)]
        if unknown:
            peer.send(_answer(peer, operation, number, f"error:handler not found,topic:{unknown[0]}"))
            return
        peer.topics = peer.topics | set(topics) if operation == "subscribe" else peer.topics - set(topics)
        peer.send(_answer(peer, operation, number, ""))

    def _known(self, peer: Peer, topic: str) -> bool:
        if peer.private:
            return topic in PRIVATE_TOPICS
        channel, *rest = topic.split(".")
        if channel == "kline" and len(rest) == 2:
            step = INTERVALS.get(rest[0])
            return (
                step is not None and step % self._exchange.tape.base_ms == 0 and rest[1] in self._exchange.by_venue_id
            )
        return channel in {"tickers", "publicTrade"} and rest[0] in self._exchange.by_venue_id

    def _kline(self, topic: str, interval: str, venue_id: str, *, traded: bool) -> bytes | None:
        """Return the frame of a bar's progress, None when there is nothing to tell.

        A bar that traded is confirmed at its end, whether or not its last minute did; of one without a trade nothing is
        told at all. Bybit's documentation does not say what it does then; only frames with trades have been seen.
        """
        exchange, step, now = self._exchange, INTERVALS[interval], self._exchange.processed_until
        symbol = exchange.by_venue_id[venue_id].symbol
        items = []
        if now % step == 0 and topic not in self._faults.withhold_confirm:
            closed: Bar = exchange.partial(symbol, now - step, now)
            if closed.volume or closed.turnover:
                items.append(shapes.kline_item(closed, interval, step, now - 1, confirm=True))
        if not items and not traded:
            return None
        items.append(shapes.kline_item(exchange.forming(symbol, step), interval, step, now, confirm=False))
        return self._frame(topic, "snapshot", items)

    def _trades(self, venue_id: str) -> list[dict[str, Any]]:
        exchange = self._exchange
        symbol, now = exchange.by_venue_id[venue_id].symbol, exchange.processed_until
        price = exchange.account.last_price(symbol)
        return [{
            "T": now - 1, "s": venue_id, "S": "Buy", "v": "1", "p": shapes.text(price) if price else "0",
            "L": "ZeroPlusTick", "i": f"{venue_id}-{now}", "BT": False, "RPI": False, "seq": now,
        }]  # fmt: skip

    def _frame(self, topic: str, kind: str, data: Any) -> bytes:
        return _encode({"topic": topic, "type": kind, "data": data, "ts": wire_ms()})

    def _publish(self, topic: str, frame: bytes) -> None:
        if topic in self._faults.silence:
            return
        for peer in self._peers:
            if not peer.private and topic in peer.topics:
                self._deliver(peer, frame)

    def _publish_private(self, topic: str, data: list[dict[str, Any]]) -> None:
        if topic in self._faults.silence:
            return
        late = self._faults.delays.get(topic, 0)
        if late:
            asyncio.get_running_loop().call_later(late / 1000, self._publish_late, topic, data)
        else:
            self._publish_late(topic, data)

    def _publish_late(self, topic: str, data: list[dict[str, Any]]) -> None:
        frame = _encode(
            {"id": f"{topic}-{next(self._numbers)}", "topic": topic, "creationTime": wire_ms(), "data": data}
        )
        for peer in self._peers:
            if peer.authorised and topic in peer.topics:
                self._deliver(peer, frame)

    def _deliver(self, peer: Peer, frame: bytes) -> None:
        if self._faults.reorder and peer.held is None:
            peer.held = frame
            return
        for one in (frame, peer.held):
            if one is not None:
                peer.send(one)
                if self._faults.duplicate:
                    peer.send(one)
        peer.held = None

    async def _write(self, peer: Peer) -> None:
        queue = peer.queue
        while queue is peer.queue:
            frame = await queue.get()
            if self._faults.delay_ms:
                await asyncio.sleep(self._faults.delay_ms / 1000)
            await peer.socket.send_str(frame.decode())
        await peer.socket.close(code=1008, message=b"too slow")

    def _venue_id(self, symbol: str) -> str:
        return self._exchange.tape.instruments[symbol].venue_id


def _together(events: Sequence[Event]) -> Iterator[tuple[Event, list[Execution]]]:
    """Yield events; executions of one order that happened in one go come as one, as Bybit reports them."""
    fellows: list[Execution] = []
    for event in events:
        if isinstance(event, Execution):
            if fellows and fellows[-1].order_id != event.order_id:
                yield fellows[0], fellows
                fellows = []
            fellows.append(event)
        elif isinstance(event, ClosedPnl):
            continue
        else:
            if fellows:
                yield fellows[0], fellows
                fellows = []
            yield event, []
    if fellows:
        yield fellows[0], fellows


def _answer(peer: Peer, operation: str, number: str, problem: str, said: str = "") -> bytes:
    return _encode(
        {"success": not problem, "ret_msg": problem or said, "conn_id": peer.id, "req_id": number, "op": operation}
    )
