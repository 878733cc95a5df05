"""The practice exchange's WebSockets: subscriptions, frames, pings, and the faults that tests ask for."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import WSMsgType, web

from domain.account import ClosedPnl, Execution, VenueOrder, VenuePosition
from sandbox import shapes
from sandbox.clock import wire_ms
from sandbox.dcp import TOPICS as DCP_TOPICS
from sandbox.topics import Topics
from sandbox.trade_socket import signed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from domain.account import Event
    from sandbox.dcp import Dcp
    from sandbox.exchange import Exchange
    from sandbox.faults import Faults

ARGS_CHARS_MAX = 21_000
QUEUE_MAX = 20_000
PRIVATE_TOPICS = ("order", "execution", "execution.fast", "position", "wallet", "greeks")
CATEGORIES = {
    "order": ("linear", "inverse", "option", "spot"), "execution": ("linear", "inverse", "option", "spot"),
    "execution.fast": ("linear", "inverse", "option", "spot"), "position": ("linear", "inverse", "option"),
}  # fmt: skip
"""Topics that can be had for one category, as ``order.linear``."""

PRIVATE = {*PRIVATE_TOPICS, *DCP_TOPICS} | {f"{base}.{one}" for base, ones in CATEGORIES.items() for one in ones}
GUARDED = "dcp.future"

_encode = msgspec.json.encode


class Peer:
    """One connected client with a bounded queue; a client that does not keep up is cut off."""

    def __init__(self, socket: web.WebSocketResponse, number: int, *, private: bool, listed: bool) -> None:
        self.socket, self.private, self.listed = socket, private, listed
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
        self._topics = Topics(exchange, faults)
        self._dcp: Dcp | None = None

    def watch_dcp(self, dcp: Dcp) -> None:
        """Report to ``dcp`` whether anybody listens to its topic."""
        self._dcp = dcp

    async def serve(self, request: web.Request, *, private: bool, listed: bool = True) -> web.WebSocketResponse:
        """Talk to one client until it leaves; on a socket for categories that are not made no symbol is ``listed``."""
        if self._faults.refuse:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        peer = Peer(socket, next(self._numbers), private=private, listed=listed)
        self._peers.add(peer)
        writer = asyncio.create_task(self._write(peer), name=f"writer {peer.id}")
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._handle(peer, message.data)
        finally:
            self._peers.discard(peer)
            self._guard(peer.topics)
            writer.cancel()
        return socket

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(peer.socket.close() for peer in list(self._peers)), return_exceptions=True)

    def topics(self) -> set[str]:
        """Return every public topic that somebody listens to."""
        return {topic for peer in self._peers if not peer.private for topic in peer.topics}

    def tick(self) -> None:
        """Publish the bar that has just closed to everybody who listens."""
        while self._exchange.settled:
            self.forget(self._exchange.settled.pop())
        topics = self.topics()
        self._topics.forget(topics)
        for topic in sorted(topics):
            frame = self._topics.frame(topic)
            if frame is not None:
                self._publish(topic, frame)

    def forget(self, venue_id: str) -> None:
        """Publish nothing of a contract any more."""
        for peer in self._peers:
            peer.topics = {topic for topic in peer.topics if topic.rpartition(".")[2] != venue_id}

    def events(self, events: Sequence[Event]) -> None:
        """Publish account changes on the private topics."""
        account = self._exchange.account
        for event in events:
            if isinstance(event, Execution) and event.kind == "BustTrade":
                self._publish(*self._topics.liquidation(event, self._venue_id(event.symbol)))
        if not events or not any(peer.authorised for peer in self._peers):
            return
        for event, fellows in _together(events):
            if isinstance(event, VenueOrder):
                self._publish_private("order", [shapes.order(event, self._venue_id(event.symbol))])
            elif isinstance(event, Execution):
                venue_id = self._venue_id(event.symbol)
                self._publish_private("execution", [shapes.execution(one, venue_id) for one in fellows])
                if event.kind == "Trade":
                    fast = [shapes.fast_execution(one, venue_id) for one in fellows]
                    self._publish_private("execution.fast", fast)
            elif isinstance(event, VenuePosition):
                row = shapes.position(event, self._venue_id(event.symbol), account, "entryPrice")
                self._publish_private("position", [row])
        self._publish_private("wallet", [shapes.wallet(account)])

    def _handle(self, peer: Peer, text: str) -> None:
        try:
            request = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError, ValueError):
            peer.send(_encode({"success": False, "ret_msg": "error:bad json", "conn_id": peer.id, "op": ""}))
            return
        args = request.get("args")
        args = args if isinstance(args, list) else []
        operation, number = str(request.get("op", ""))[:40], str(request.get("req_id", ""))[:200]
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
        now = wire_ms() + self._faults.clock_shift_ms
        peer.authorised = peer.private and len(args) == 3 and signed(self._exchange, args, now)
        peer.send(_answer(peer, "auth", number, "" if peer.authorised else "error:auth failed"))

    def _subscribe(self, peer: Peer, operation: str, topics: list[str], number: str) -> None:
        problem = self._problem(peer, topics)
        if problem:
            peer.send(_answer(peer, operation, number, problem))
            return
        before = peer.topics
        peer.topics = before | set(topics) if operation == "subscribe" else before - set(topics)
        peer.send(_answer(peer, operation, number, ""))
        for topic in [] if peer.private or operation != "subscribe" else topics:
            first = None if topic in before or topic in self._faults.silence else self._topics.first(topic)
            if first is not None:
                self._deliver(peer, first)
        self._guard(before | peer.topics)

    def _problem(self, peer: Peer, topics: list[str]) -> str:
        """Return why topics are refused, nothing when they are not; with one of them all are."""
        if sum(map(len, topics)) > ARGS_CHARS_MAX:
            return f"error:args size >{ARGS_CHARS_MAX}"
        if peer.private and not peer.authorised:
            return "error:request not authorised"
        mixed = [base for base in CATEGORIES if base in topics for one in topics if _category_of(one) == base]
        if peer.private and mixed:
            return f"error:all-in-one and categorised topics in one request,topic:{mixed[0]}"
        known = (lambda topic: topic in PRIVATE) if peer.private else self._topics.known
        unknown = [topic for topic in topics if not (known(topic) and peer.listed)]
        return f"error:handler not found,topic:{unknown[0]}" if unknown else ""

    def _guard(self, touched: set[str]) -> None:
        """Tell disconnection protection whether anybody still listens, when its topic came or went."""
        if self._dcp is None or GUARDED not in touched:
            return
        if any(peer.authorised and GUARDED in peer.topics for peer in self._peers):
            self._dcp.connected()
        else:
            self._dcp.gone()

    def _publish(self, topic: str, frame: bytes) -> None:
        if topic in self._faults.silence:
            return
        for peer in self._peers:
            if not peer.private and topic in peer.topics:
                self._deliver(peer, frame)

    def _publish_private(self, base: str, data: list[dict[str, Any]]) -> None:
        late = self._faults.delays.get(base, 0)
        if late:
            asyncio.get_running_loop().call_later(late / 1000, self._publish_late, base, data)
        else:
            self._publish_late(base, data)

    def _publish_late(self, base: str, data: list[dict[str, Any]]) -> None:
        for topic in (base, f"{base}.linear"):
            listening = [peer for peer in self._peers if peer.authorised and topic in peer.topics]
            if topic in self._faults.silence or not listening:
                continue
            body = {"topic": topic, "creationTime": wire_ms(), "data": data}
            fast = base == "execution.fast"
            frame = _encode(body if fast else {"id": f"{topic}-{next(self._numbers)}", **body})
            for peer in listening:
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


def _category_of(topic: str) -> str:
    """Return the topic that a categorised one is a part of, nothing for others."""
    base, _, category = topic.rpartition(".")
    return base if category in CATEGORIES.get(base, ()) else ""
