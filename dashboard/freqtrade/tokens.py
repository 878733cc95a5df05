"""Signed tokens (JSON Web Tokens, HS256) for who has signed in: short ones to ask with, long ones to get those anew."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["access", "refresh"]

LIVES_S: dict[Kind, int] = {"access": 15 * 60, "refresh": 30 * 86_400}
LENGTH_MAX = 2_048


class Visitor(NamedTuple):
    """Who has signed in, by the name that they gave; ``acts`` tells whether they may do more than look."""

    name: str
    acts: bool


class _Identity(msgspec.Struct):
    u: str


class _Claims(msgspec.Struct):
    identity: _Identity
    acts: bool
    type: Kind
    iat: int
    exp: int


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


HEAD = _encoded(b'{"alg":"HS256","typ":"JWT"}')


class Tokens:
    """Issues tokens and reads them. Its key lives as long as the process: after a restart everybody signs in again."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._key, self._now = secrets.token_bytes(32), now

    def issue(self, visitor: Visitor, kind: Kind) -> str:
        """Return a token of a kind."""
        begun = int(self._now())
        claims = _Claims(_Identity(visitor.name), visitor.acts, kind, begun, begun + LIVES_S[kind])
        body = f"{HEAD}.{_encoded(msgspec.json.encode(claims))}"
        return f"{body}.{self._signature(body)}"

    def visitor(self, token: str, kind: Kind) -> Visitor | None:
        """Return whose token it is; None for one that is forged, has expired or is of another kind."""
        body, _, signature = token.rpartition(".")
        if len(token) > LENGTH_MAX or not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            return None
        claims = msgspec.json.decode(_decoded(body.partition(".")[2]), type=_Claims)
        if claims.type != kind or claims.exp <= self._now():
            return None
        return Visitor(claims.identity.u, claims.acts)

    def _signature(self, body: str) -> str:
        return _encoded(hmac.digest(self._key, body.encode(), hashlib.sha256))


def is_token(text: str) -> bool:
    """Return whether a bearer looks like one of these, good or not."""
    return text.startswith(f"{HEAD}.")
