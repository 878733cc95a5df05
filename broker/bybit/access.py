"""Whether the exchange lets us in: bans of the address, and keys that it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from broker.bybit.errors import CREDENTIALS, CURES, AddressBlocked, Banned, KeyRefused
from domain.backoff import Backoff

log = structlog.get_logger(__name__)

BAN_S = 600.0
"""How long Bybit shuts an address out that has asked too often."""

BAN_LONGEST_S = 3_600.0
EXITS_FIRST_S = 2.0
"""When a ban ends, nothing but exits goes out for so long."""

BAN_WORDS = ("<", "frequent", "rate limit")
"""How the exchange, or the network before it that answers in HTML, words a ban."""

CLOSED_S = ((120.0, 6.0), (600.0, 30.0), (float("inf"), 60.0))
"""What is refused without a word is asked for again by one request at a time: up to so long after, with such pauses."""

FORGET_S = 300.0
"""What one path was refused is tried again after so long: nothing but an attempt can show that it is allowed now."""

CLOSED = "the exchange turns this address away and does not say why (HTTP 403)"

COUNTRY = "block access from your country"
"""How the content delivery network in front of the exchange words that it does not serve a country."""


class Access:
    """Keeps what the exchange has refused us; ``share`` and ``shared`` tie bans to other programs of this host.

    ``share`` announces a ban of so many seconds, ``shared`` returns how many are left of one that anybody announced.
    """

    def __init__(
        self, ban_s: float = BAN_S, now: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._ban_s, self._now, self._wall = ban_s, now, wall
        self._banned_until, self._ban_ends = 0.0, ""
        self._bans = 0
        self._refused: dict[str, tuple[str, float]] = {}
        self._said: set[tuple[str, int]] = set()
        self._blocked = ""
        self._closed_since = self._asks_at = 0.0
        self.clock_off = self.clock_note = ""
        self.share: Callable[[float], None] | None = None
        self.shared: Callable[[], float] | None = None

    def check(self, *, leaving: bool) -> None:
        """Raise Banned while the address is shut out; exits may go as soon as that ends, the rest a little later."""
        left = self._ban_left()
        grace = 0.0 if leaving else EXITS_FIRST_S
        if left > 0 or -left < grace:
            raise Banned(self._ban_text())
        if self._closed_since and self._now() < self._asks_at:
            raise Banned(CLOSED)

    def enter(self, *, leaving: bool) -> None:
        """Check once more, for a request that goes out now; where the door is closed it is the only one for a while."""
        self.check(leaving=leaving)
        if self._closed_since:
            since = self._now() - self._closed_since
            self._asks_at = self._now() + next(pause for longest, pause in CLOSED_S if since < longest)

    def answered(self) -> None:
        """Take that a request was answered: nobody is shut out any more for a reason that was not given."""
        if self._closed_since:
            log.info("the exchange answers again", seconds=round(self._now() - self._closed_since))
        self._closed_since = 0.0

    def forbidden(self, body: str) -> Banned | AddressBlocked:
        """Take an HTTP 403; return what to raise."""
        if COUNTRY in body:
            self._say(("country", 403), "the exchange does not serve this address's country")
            self._blocked = "the exchange does not serve the country of this address"
            return AddressBlocked(f"{self._blocked} (HTTP 403): run the bot on a server in another region", 403)
        now = self._now()
        if not any(word in body.lower() for word in BAN_WORDS):
            if not self._closed_since:
                self._closed_since, self._asks_at = now, now + CLOSED_S[0][1]
                log.error(CLOSED, do="it is asked again every few seconds, by one request at a time")
            return Banned(CLOSED)
        if now >= self._banned_until:
            self._bans = self._bans + 1 if now < self._banned_until + self._ban_s else 1
            seconds = Backoff(self._ban_s, BAN_LONGEST_S).bound_s(self._bans)
            self._ban(seconds)
            if self.share is not None:
                self.share(seconds)
            log.error(
                "the exchange has shut this address out: no request until then", until=self._ban_ends,
                seconds=round(seconds), hint="something on this address asks too often, or its country is not served",
            )  # fmt: skip
        return Banned(self._ban_text())

    def refused(self, path: str, error: KeyRefused) -> None:
        """Take a refusal of the key or the account."""
        where = "" if error.code in CREDENTIALS else path
        self._refused[where] = (str(error), self._now())
        self._say((where, error.code), str(error))

    def accepted(self, path: str) -> None:
        """Take that a signed request to a path succeeded."""
        for where in ("", path):
            if self._refused.pop(where, None) is not None:
                log.info("the exchange accepts the API key again", path=path)
                self._said = {report for report in self._said if report[0] != where}
        self._blocked = ""

    def obstacles(self) -> list[str]:
        """Return what keeps us out, in words for the operator."""
        texts = [text for text, _ in self._current()]
        if self._ban_left() > 0:
            texts.append(self._ban_text())
        return [*texts, *(one for one in (self._closed(), self._blocked, self.clock_off or self.clock_note) if one)]

    def barred(self) -> str:
        """Return why no entry may be sent, empty when entries may be: a clock that is made up for keeps none back."""
        return next((obstacle for obstacle in self.obstacles() if obstacle != self.clock_note), "")

    def _closed(self) -> str:
        return CLOSED if self._closed_since else ""

    def _current(self) -> list[tuple[str, float]]:
        now = self._now()
        return [refusal for where, refusal in self._refused.items() if not where or now - refusal[1] < FORGET_S]

    def _say(self, what: tuple[str, int], text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            log.error("the exchange refuses us: no new entries", reason=text, do=CURES.get(what[1], "see the reason"))

    def _ban(self, seconds: float) -> None:
        self._banned_until = self._now() + seconds
        self._ban_ends = datetime.fromtimestamp(self._wall() + seconds, UTC).strftime("%H:%M:%S UTC")

    def _ban_left(self) -> float:
        """Return for how many seconds the address is still shut out, less than zero for how long it no longer is."""
        if self.shared is not None:
            elsewhere = self.shared()
            if elsewhere > max(0.0, self._banned_until - self._now()) + 1.0:
                self._ban(elsewhere)
        return self._banned_until - self._now() if self._banned_until else -BAN_LONGEST_S

    def _ban_text(self) -> str:
        return f"the exchange has shut this address out until {self._ban_ends} (HTTP 403)"
