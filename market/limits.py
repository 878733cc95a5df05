"""How patient the live feed is, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FeedLimits:
    """Every limit of the feed, seconds of the host's monotonic clock.

    Attributes:
        topics_per_connection: how many streams share a socket.
        args_chars: the exchange's limit on the length of one subscribe request.
        ping_s: time between heartbeats.
        silence_s: a socket with no frame of any kind, pongs included, for so long is dead.
        stale_s: a stream of which neither a frame nor a REST answer has shown for so long that it misses nothing is
            silent. REST is asked when about half of it has passed.
        confirm_s: how long a bar may stay unconfirmed after its successor was seen.
        overdue_s: how long a bar is waited for once other symbols have shown that its time is over; then REST is asked.
        grace_s: how long a batch waits for its last bar.
        backoff_s: first and longest pause before connecting again; the actual one is drawn below it.
        connects_max: attempts to connect that one socket may make in a row; they are regained evenly over five
            minutes. Exchanges ban addresses that connect too often (500 times in that time, say).
        fills_at_once: REST requests at a time.
        batches_waiting: batches not yet taken by the engine; beyond it the sockets are dropped and healed later.
        refused_s: time between two attempts to subscribe to a topic that the exchange has refused without naming it.
    """

    topics_per_connection: int = 200
    args_chars: int = 20_000
    ping_s: float = 20.0
    silence_s: float = 30.0
    stale_s: float = 75.0
    confirm_s: float = 2.0
    overdue_s: float = 3.0
    grace_s: float = 1.5
    backoff_s: tuple[float, float] = (0.5, 30.0)
    connects_max: int = 20
    fills_at_once: int = 8
    batches_waiting: int = 5_000
    refused_s: float = 60.0


@dataclass(slots=True)
class FeedCounters:
    """What the sockets went through.

    ``asked`` counts questions about streams without frames, ``quiet`` those whose answer showed nothing newer,
    ``stale`` those whose answer showed trades that the stream had not told, ``resubscribed`` topics that were
    subscribed to anew because of it.
    """

    frames: int = 0
    malformed: int = 0
    unknown: int = 0
    connects: int = 0
    failures: int = 0
    refused_topics: int = 0
    holes: int = 0
    asked: int = 0
    quiet: int = 0
    stale: int = 0
    resubscribed: int = 0
    mismatches: int = 0
