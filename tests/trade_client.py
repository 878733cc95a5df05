"""A client of the practice exchange's trade socket, for tests."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
from typing import TYPE_CHECKING, Any, Self

import websockets

from sandbox.clock import wire_ms

if TYPE_CHECKING:
    from tests.practice import Practice


def auth(
    exchange: Practice, key: str | None = None, secret: str | None = None, expires: int | None = None
) -> list[Any]:
    """Return what opens a private stream or the trade socket."""
    terms = exchange.exchange.terms
    expires = expires or wire_ms() + 10_000
    sign = hmac.new((secret or terms.secret).encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()
    return [key or terms.key, expires, sign]


class Trading:
    """A signed connection, or one that is not when ``signed`` is False."""

    def __init__(self, exchange: Practice, *, signed: bool = True) -> None:
        self._exchange, self._signed = exchange, signed
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        self._socket = await websockets.connect(f"ws://127.0.0.1:{self._exchange.port}/v5/trade", proxy=None)
        if self._signed:
            assert (await self.send({"op": "auth", "args": auth(self._exchange)}))["retCode"] == 0
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()

    async def send(self, frame: Any) -> dict[str, Any]:
        """Send a frame, a string as it is, and return the answer."""
        await self._socket.send(frame if isinstance(frame, str) else json.dumps(frame))
        return json.loads(await self._socket.recv())

    async def ask(self, operation: str, *args: Any, **changed: Any) -> dict[str, Any]:
        """Send an operation with a header and an id of its own."""
        header = {"X-BAPI-TIMESTAMP": str(wire_ms()), "X-BAPI-RECV-WINDOW": "5000"}
        frame = {"reqId": f"t-{next(self._numbers)}", "header": header, "op": operation, "args": list(args)}
        return await self.send(frame | changed)
