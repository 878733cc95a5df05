"""Orders over WebSocket: the requests of /v5/order/..., signed once per connection.

Source: docs, websocket/trade/guideline.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import WSMsgType, web

from domain.errors import Rejected
from sandbox.clock import wire_ms
from sandbox.codes import BAD_REQUEST, code_of, words_of
from sandbox.limits import too_fast
from sandbox.parameters import Parameters
from sandbox.rest import check_time
from sandbox.routes import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandbox.exchange import Exchange
    from sandbox.faults import Faults
    from sandbox.limits import Limits
    from sandbox.rest import Rest

OPERATIONS = {
    "order.create": "/v5/order/create", "order.amend": "/v5/order/amend", "order.cancel": "/v5/order/cancel",
    "order.create-batch": "/v5/order/create-batch", "order.amend-batch": "/v5/order/amend-batch",
    "order.cancel-batch": "/v5/order/cancel-batch",
}  # fmt: skip
NOT_FOUND, REPEATED_AUTH, DUPLICATE_ID, WRONG_SIGN, NO_PERMISSION = 10404, 20001, 20006, 10004, 10005
ID_MAX, IDS_MAX = 36, 10_000


class Connection:
    """One client: whether it has signed, and the request ids that it has used."""

    def __init__(self, number: int) -> None:
        self.id = f"practice-trade-{number}"
        self.authorised = False
        self._ids: dict[str, None] = {}

    def use(self, request_id: str) -> None:
        """Take a request's id; raises Rejected for one that is too long or was used before."""
        if len(request_id) > ID_MAX:
            raise Rejected("reqId is too long", BAD_REQUEST)
        if request_id in self._ids:
            raise Rejected("reqId is duplicated", DUPLICATE_ID)
        self._ids[request_id] = None
        if len(self._ids) > IDS_MAX:
            del self._ids[next(iter(self._ids))]


class TradeSocket:
    """Serves order entry over WebSocket; the limits are shared with REST."""

    def __init__(self, exchange: Exchange, rest: Rest, limits: Limits, faults: Faults) -> None:
        self._exchange, self._rest, self._limits, self._faults = exchange, rest, limits, faults
        self._sockets: set[web.WebSocketResponse] = set()
        self._numbers = itertools.count(1)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Talk to one client until it leaves."""
        if self._faults.refuse:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse(max_msg_size=1 << 20)
        await socket.prepare(request)
        connection = Connection(next(self._numbers))
        self._sockets.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await socket.send_str(self.answer(connection, message.data))
        finally:
            self._sockets.discard(socket)
        return socket

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(socket.close() for socket in list(self._sockets)), return_exceptions=True)

    def answer(self, connection: Connection, text: str) -> str:
        """Return the answer to one frame."""
        try:
            frame = msgspec.json.decode(text, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError, ValueError):
            frame = {}
        operation, request_id = _text(frame, "op"), _text(frame, "reqId")
        answer: dict[str, Any] = {"reqId": request_id} if request_id else {}
        if operation == "ping":
            now = str(wire_ms())
            body = {"retCode": 0, "retMsg": "OK", "op": "pong", "data": [now], "connId": connection.id}
            return msgspec.json.encode(answer | body).decode()
        headers = {"Traceid": f"{next(self._numbers):032x}", "Timenow": str(wire_ms())}
        try:
            reply = self._act(connection, operation, frame, request_id, headers)
        except Rejected as error:
            reply = Reply({}, code=code_of(error), message=words_of(error))
        answer |= {"retCode": reply.code, "retMsg": reply.message, "op": operation}
        if operation != "auth":
            answer |= {"data": reply.result, "retExtInfo": reply.extra, "header": headers}
        return msgspec.json.encode(answer | {"connId": connection.id}).decode()

    def _act(
        self, connection: Connection, operation: str, frame: dict[str, Any], request_id: str, headers: dict[str, str]
    ) -> Reply:
        args = frame.get("args")
        if operation == "auth":
            self._authorise(connection, args if isinstance(args, list) else [])
            return Reply({})
        path = OPERATIONS.get(operation)
        if path is None:
            raise Rejected("op type is not found", NOT_FOUND)
        if not connection.authorised:
            raise Rejected("Permission denied, please check your API key permissions.", NO_PERMISSION)
        if request_id:
            connection.use(request_id)
        sent = frame.get("header")
        sent = sent if isinstance(sent, dict) else {}
        stamp, window = (str(sent.get(name, ""))[:40] for name in ("X-BAPI-TIMESTAMP", "X-BAPI-RECV-WINDOW"))
        check_time(stamp, window or "5000", wire_ms() + self._faults.clock_shift_ms)
        if not isinstance(args, list) or len(args) != 1 or not isinstance(args[0], dict):
            raise Rejected("Request parameter error.", BAD_REQUEST)
        spent = self._limits.spend(path, wire_ms())
        if spent is not None:
            headers |= spent.headers()
            if not spent.granted:
                raise too_fast()
        route, params = self._rest.private["POST", path], Parameters(args[0], body=True)
        if params.text("category") not in route.categories:
            raise Rejected("category is not correct", NOT_FOUND)
        return route.answer(params)

    def _authorise(self, connection: Connection, args: Sequence[Any]) -> None:
        if connection.authorised:
            raise Rejected("Repeat auth", REPEATED_AUTH)
        if len(args) != 3:
            raise Rejected("Request parameter error.", BAD_REQUEST)
        if not signed(self._exchange, args, wire_ms() + self._faults.clock_shift_ms):
            raise Rejected("invalid sign", WRONG_SIGN)
        connection.authorised = True


def signed(exchange: Exchange, args: Sequence[Any], now: int) -> bool:
    """Return whether key, expiry and signature open a stream. Source: docs, ws/connect (authentication)."""
    terms = exchange.terms
    key, expires, sign = (str(value) for value in args)
    expected = hmac.new(terms.secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
    in_time = expires.isascii() and expires.isdecimal() and len(expires) < 16 and int(expires) > now
    return key == terms.key and in_time and hmac.compare_digest(expected.encode(), sign.encode(errors="replace"))


def _text(frame: dict[str, Any], name: str) -> str:
    value = frame.get(name)
    return value if isinstance(value, str) else ""
