"""Who may look, and who may act: passwords, sessions, the token of this machine, and how often somebody may try."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, NamedTuple

from fastapi import HTTPException, Request
from starlette.requests import HTTPConnection

from dashboard.owner import is_owner

if TYPE_CHECKING:
    from collections.abc import Callable

COOKIE = "revenant_session"
HEADER = "x-csrf-token"
SESSIONS_MAX = 100
LINK_S = 300.0
TRIES, SIEGE, TRIES_S = 5, 100, 300.0
"""Wrong secrets of an address in so many seconds after which wrong ones wait, and after which its passwords do too."""
ADDRESSES_MAX = 10_000
ONLY_LOOKS = "this password lets you look, and do nothing"


class Session(NamedTuple):
    """Somebody who has signed in: the token that actions have to repeat, and until when (monotonic seconds).

    Without a token they may look, and do nothing.
    """

    csrf: str
    until: float


class Allowance:
    """So many events in so many seconds for each key; keys that were not seen for longest are forgotten first."""

    def __init__(self, most: float, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._now = most, seconds, now
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Return how long a key has to wait for its next event, 0 when it need not."""
        held = self._of(key)
        return 0.0 if len(held) < self._most else held[0] + self._seconds - self._now()

    def note(self, key: str) -> None:
        """Count an event."""
        self._of(key).append(self._now())

    def clear(self, key: str) -> None:
        """Forget a key."""
        self._seen.pop(key, None)

    def _of(self, key: str) -> deque[float]:
        held = self._seen.setdefault(key, deque())
        self._seen.move_to_end(key)
        while held and held[0] <= self._now() - self._seconds:
            held.popleft()
        if len(self._seen) > ADDRESSES_MAX:
            self._seen.popitem(last=False)
        return held


class Access:
    """Holds sessions in memory: whoever signed in has to do so again after a restart.

    Args:
        password: what signs people in, empty for none.
        token: what programs on this machine may send instead.
        viewer: what lets people and programs look, and do nothing; empty for none.
        open: whether everybody may look.
        session_s: how long a session lasts.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self, password: str, token: str, *, viewer: str = "", open: bool, session_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._password, self._token, self._viewer = password, token, viewer
        self._session_s, self._now = session_s, now
        self.open = open
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._links: dict[str, float] = {}
        self._tries, self._siege = Allowance(TRIES, TRIES_S, now), Allowance(SIEGE, TRIES_S, now)

    @property
    def has_password(self) -> bool:
        """Whether people can sign in with one."""
        return bool(self._password or self._viewer)

    def sign_in(self, secret: str, address: str) -> tuple[str, Session]:
        """Return a new session and its key, for the password or the key of a link.

        Raises:
            HTTPException: 401 for a wrong secret, 429 after five of them in five minutes.
        """
        acts = self._link(secret) or self._opens(secret, self._password, address)
        if not (acts or self._opens(secret, self._viewer, address)):
            raise self._wrong(address, "that is not the password")
        self._tries.clear(address)
        csrf = secrets.token_urlsafe(24) if acts else ""
        key, session = secrets.token_urlsafe(32), Session(csrf, self._now() + self._session_s)
        self._sessions[_digest(key)] = session
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return key, session

    def link(self) -> str:
        """Return a key that signs in once, within five minutes."""
        key = secrets.token_urlsafe(24)
        self._links = {held: until for held, until in self._links.items() if until > self._now()}
        self._links[_digest(key)] = self._now() + LINK_S
        return key

    def sign_out(self, connection: HTTPConnection) -> None:
        """End the session of a request."""
        self._sessions.pop(_digest(connection.cookies.get(COOKIE, "")), None)

    def session(self, connection: HTTPConnection) -> Session | None:
        """Return the session of a request, None when there is none any more."""
        key = _digest(connection.cookies.get(COOKIE, ""))
        held = self._sessions.get(key)
        if held is not None and held.until <= self._now():
            del self._sessions[key]
            return None
        return held

    async def reader(self, request: Request) -> None:
        """Let through whoever may look. Raises HTTPException."""
        if not (self.open or is_owner(request.scope) or self.session(request) or self._bears(request, acts=False)):
            raise HTTPException(401, "sign in first", {"WWW-Authenticate": "Bearer"})

    async def actor(self, request: Request) -> None:
        """Let through whoever may act: the owner, a program with the token, or a session whose page repeats its own.

        Raises:
            HTTPException: 401 without either, 403 when the request may come from somebody else's page, or when who
                asks may only look.
        """
        if is_owner(request.scope) or self._bears(request, acts=True):
            return
        session = self.session(request)
        if session is None:
            raise HTTPException(401, "sign in first: manage.py dashboard prints a link", {"WWW-Authenticate": "Bearer"})
        if not session.csrf:
            raise HTTPException(403, ONLY_LOOKS)
        if not self._known(request.headers.get(HEADER, ""), session.csrf):
            raise HTTPException(403, f"the header {HEADER} is missing or old: load the page anew")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != request.headers.get("host", ""):
            raise HTTPException(403, "this comes from another site's page")

    def opens(self, secret: str, address: str, said: str = "that is not the password") -> bool:
        """Return whether a password or the token of this machine lets somebody act, not only look.

        Raises:
            HTTPException: 401 for a wrong secret, 429 after five of them in five minutes.
        """
        if self._known(secret, self._token) or self._opens(secret, self._password, address):
            return True
        if self._opens(secret, self._viewer, address):
            return False
        raise self._wrong(address, said)

    def _bears(self, request: Request, *, acts: bool) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            return False
        if not self.opens(given, address_of(request), "that token is not known here") and acts:
            raise HTTPException(403, ONLY_LOOKS)
        return True

    def _opens(self, secret: str, password: str, address: str) -> bool:
        # the right secret is looked at first, so that nobody's five wrong ones lock out who shares their address; a
        # hundred are a search, which would go on for good. Tokens and links are too long to be searched for
        return self._known(secret, password) and self._siege.wait_s(address) <= 0

    def _wrong(self, address: str, said: str) -> HTTPException:
        wait = max(self._tries.wait_s(address), self._siege.wait_s(address))
        if self._siege.wait_s(address) <= 0:
            self._siege.note(address)
        if wait > 0:
            again = {"Retry-After": f"{wait + 1:.0f}"}
            return HTTPException(429, f"too many wrong tries: again in {wait:.0f} s", again)
        self._tries.note(address)
        return HTTPException(401, said, {"WWW-Authenticate": "Bearer"})

    def _link(self, key: str) -> bool:
        return self._links.pop(_digest(key), 0.0) > self._now()

    @staticmethod
    def _known(given: str, wanted: str) -> bool:
        return bool(wanted) and secrets.compare_digest(given.encode(), wanted.encode())


def address_of(connection: HTTPConnection) -> str:
    """Return where a request comes from, as far as the server was told to believe it."""
    return connection.client.host if connection.client is not None else "unknown"


def _digest(key: str) -> str:
    # what is looked up is not what is compared: how long a look-up takes tells nothing of the key
    return hashlib.sha256(key.encode()).hexdigest()
