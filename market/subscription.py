"""Which topics a connection was asked for, and what the exchange answered to each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from domain.kline_frames import Ack, KlineProtocol

PENDING_MAX = 1_000


@dataclass(slots=True)
class Answered:
    """What an answer leads to.

    Attributes:
        dropped: topics that are refused for good.
        requests: what to send next.
        reopen: whether a fresh connection has to be asked for the rest, of which nobody knows how much was accepted.
    """

    dropped: list[str] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    reopen: bool = False


class Subscription:
    """The topics of one connection.

    An exchange may refuse a whole request because of one topic in it. If the refusal names it, it is dropped. If not,
    the request is repeated in halves until a single topic is left to blame, which then stays ``refused`` in the
    exchange's words and is asked for again later, since nothing says that it is wrong.
    """

    def __init__(self, topics: Iterable[str], protocol: KlineProtocol) -> None:
        self.topics, self._protocol = list(topics), protocol
        self.acked: set[str] = set()
        self.refused: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._pending: dict[str, tuple[str, ...]] = {}

    def __contains__(self, topic: str) -> bool:
        return topic in self.topics

    @property
    def answered(self) -> bool:
        """Whether every topic has been acknowledged or refused."""
        return all(topic in self.acked or topic in self.refused for topic in self.topics)

    def opened(self) -> list[bytes]:
        """Begin anew on a fresh connection; return the requests."""
        self.closed()
        return [self.ask(self.topics)] if self.topics else []

    def closed(self) -> None:
        """Forget what was acknowledged; refusals stay known until they are answered otherwise."""
        self.acked.clear()
        self._pending.clear()

    def ask(self, topics: Sequence[str]) -> bytes:
        """Return a request to subscribe to some of the topics."""
        number = f"sub-{next(self._numbers)}"
        self._pending[number] = tuple(topics)
        while len(self._pending) > PENDING_MAX:
            del self._pending[next(iter(self._pending))]
        return self._protocol.subscription(topics, number)

    def renew(self, topic: str) -> list[bytes]:
        """Return the requests that end one topic and begin it anew, the others untouched."""
        return [self._protocol.unsubscription([topic], f"end-{next(self._numbers)}"), self.ask([topic])]

    def take(self, answer: Ack) -> Answered:
        """Take an answer to one of the requests; any other leads to nothing."""
        asked = self._asked(answer)
        if asked is None:
            return Answered()
        if answer.success:
            self._accept(asked)
            return Answered()
        named = [topic for topic in self._protocol.blamed(answer.message) if topic in asked]
        if self._protocol.already(answer.message):
            self._accept(named or asked)
            return Answered(requests=self._halves([topic for topic in asked if named and topic not in named]))
        if named:
            for topic in named:
                self.topics.remove(topic)
                self.refused.pop(topic, None)
            return Answered(dropped=named, reopen=len(asked) > len(named))
        if len(asked) == 1:
            self.refused[asked[0]] = answer.message or "refused without a reason"
            return Answered()
        return Answered(requests=self._halves(asked))

    def _asked(self, answer: Ack) -> list[str] | None:
        number = answer.request
        if not number and answer.operation == "subscribe" and self._pending:
            # some refusals do not repeat the request's number: they answer in the order of the requests
            number = next(iter(self._pending))
        asked = self._pending.pop(number, None)
        return None if asked is None else [topic for topic in asked if topic in self.topics]

    def _accept(self, topics: Iterable[str]) -> None:
        for topic in topics:
            self.acked.add(topic)
            self.refused.pop(topic, None)

    def _halves(self, asked: list[str]) -> list[bytes]:
        half = (len(asked) + 1) // 2
        return [self.ask(part) for part in (asked[:half], asked[half:]) if part]
