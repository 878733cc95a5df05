"""The phantoms' state where others may read it: in Redis under well-known keys, or in SQLite, made of the audit."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import structlog

from domain.errors import Rejected, Unavailable
from domain.ids import short_name
from domain.phantom import TIMEOUT, WIN, PhantomTrade
from domain.records import PhantomClosed, PhantomOpened
from persistence.state import Change, Drop, DropFields, Push, Put, PutFields

if TYPE_CHECKING:
    from collections.abc import Collection

    from domain.ids import Identity
    from domain.records import Phantom
    from persistence.audit import AuditTable, Told
    from persistence.state import State

log = structlog.get_logger(__name__)

ACTIVE, COMPLETED, RATES, BLOCKED, OWNER = (
    "phantom:active", "phantom:completed", "phantom:wr:", "phantom:blocked:", "phantom:owner",
)  # fmt: skip
COMPLETED_MAX = 1_000
RATE_WINDOW = 200
BLOCKED_DAYS = 40
OWNER_S = 180
"""A bot that has not shown itself for so long does not own the state any more."""


@dataclass(slots=True)
class Image:
    """What ought to be there: bodies by id, the newest outcomes last, and the audit's row that this is made of."""

    n: int = 0
    active: dict[str, bytes] = field(default_factory=dict)
    completed: deque[bytes] = field(default_factory=lambda: deque(maxlen=COMPLETED_MAX))
    rates: dict[str, deque[bytes]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=RATE_WINDOW)))
    blocked: Counter[str] = field(default_factory=Counter)


class PhantomMirror:
    """Keeps ``phantom:active`` (hash), ``phantom:completed`` (last 1,000, newest first), ``phantom:wr:<strategy>``
    (1 for won, 0 for lost, newest first) and ``phantom:blocked:YYYYMMDD[:<strategy>]`` (kept for 40 days).

    All of it is made of the audit, so it can be thrown away at any time: what is found missing is written anew. One
    owner at a time may use the keys of a Redis database.
    """  # noqa: D205  the keys are the summary

    def __init__(self, state: State, who: Identity, audit: AuditTable, strategies: Collection[str]) -> None:
        self._state, self._owner, self._audit, self._strategies = state, "/".join(who).encode(), audit, strategies
        self._image: Image | None = None
        self._copy = 0
        self._whole = False

    def write(self, told: list[Told]) -> None:
        """Take rows of the audit; those that it is made of already change nothing."""
        self._claim()
        image = self._current()
        fresh = [event for event in told if event.copy == self._copy and event.n > image.n]
        changes = [change for event in fresh for change in _take(image, event)]
        self._apply(_all(image, self._state) if self._whole else changes)

    def rest(self) -> None:
        """Show that we are there, and put back what has been forgotten."""
        self._claim()
        image = self._current()
        self._whole |= not self._same(image)
        self._apply(_all(image, self._state) if self._whole else [])

    def load(self) -> list[Phantom]:
        """Return what the state tells of phantoms, for when neither journal nor audit do; [] when it is another's."""
        if self._state.get(OWNER) not in {None, self._owner} or self._string(ACTIVE) is not None:
            return []
        active = _decoded(self._state.fields(ACTIVE).values())
        ended = _decoded(reversed(self._state.items(COMPLETED)))
        opened: list[Phantom] = [PhantomOpened(time=phantom.signal_time, phantom=phantom) for phantom in active]
        return [*opened, *(PhantomClosed(time=phantom.exit_time, phantom=phantom) for phantom in ended)]

    def legacy(self) -> bytes | None:
        """Return the open phantoms that an earlier program left as one string, until they are ``converted``."""
        return self._string(ACTIVE) or self._string(f"{ACTIVE}:legacy")

    def converted(self, text: bytes) -> None:
        """Put away what ``legacy`` returned, now that it has been taken over."""
        self._move_strings()
        self._state.apply([Put(f"{ACTIVE}:converted", text), Drop(f"{ACTIVE}:legacy")])

    def _move_strings(self) -> None:
        # an earlier program kept under our keys what is not ours to overwrite
        for key in (ACTIVE, COMPLETED):
            text = self._string(key)
            if text is not None:
                self._state.apply([Put(f"{key}:legacy", text), Drop(key)])

    def _string(self, key: str) -> bytes | None:
        try:
            return self._state.get(key)
        except Rejected:
            return None

    def _current(self) -> Image:
        if self._copy != self._audit.copy:
            # what this was made of is gone
            self._image, self._copy = None, self._audit.copy
        return self._image if self._image is not None else self._load()

    def _load(self) -> Image:
        # rows go on arriving while this reads: what comes after the newest of now is told later
        image = Image(n=self._audit.last())
        for record in self._audit.newest(COMPLETED_MAX, image.n):
            phantom, body = record.phantom, msgspec.json.encode(record.phantom)
            if isinstance(record, PhantomOpened):
                image.active[phantom.phantom_id] = body
            else:
                image.active.pop(phantom.phantom_id, None)
                image.completed.append(body)
        for name, outcomes in self._audit.outcomes(self._strategies, RATE_WINDOW, image.n).items():
            image.rates[short_name(name)].extend(_won(outcome) for outcome in reversed(outcomes))
        for (time, name), count in self._audit.refusals(image.n).items():
            for key in _blocked_keys(time, name):
                image.blocked[key] += count
        _forget_days(image)
        # an earlier life has usually left what ought to be there
        self._whole |= not self._same(image)
        self._image = image
        return image

    def _same(self, image: Image) -> bool:
        counted = {*self._state.keys(RATES), *self._state.keys(BLOCKED)}
        there = self._state.fields(ACTIVE).keys(), self._state.items(COMPLETED), counted
        named = {RATES + name for name, values in image.rates.items() if values} | image.blocked.keys()
        return there == (image.active.keys(), [*reversed(image.completed)], named)

    def _claim(self) -> None:
        owner = self._state.get(OWNER)
        if owner not in {None, self._owner}:
            raise Unavailable(
                f"{self._state.name}: {(owner or b'').decode(errors='replace')} keeps its phantoms there; give this "
                "bot a name in trading.account, or a database of its own, as in redis://host:6379/1"
            )
        if owner is None:
            self._move_strings()
            self._whole = True

    def _apply(self, changes: list[Change]) -> None:
        # should this fail, nobody knows what has arrived
        self._whole = True
        self._state.apply([Put(OWNER, self._owner, OWNER_S), *changes])
        self._whole = False


def _take(image: Image, told: Told) -> list[Change]:
    """Bring an image up to date with a row; return what that changes."""
    image.n = told.n
    phantom, body = told.record.phantom, msgspec.json.encode(told.record.phantom)
    if isinstance(told.record, PhantomOpened):
        image.active[phantom.phantom_id] = body
        keys = _blocked_keys(phantom.signal_time, phantom.strategy_name) if phantom.gate else []
        for key in keys:
            image.blocked[key] += 1
        counts: list[Change] = [Put(key, b"%d" % image.blocked[key], BLOCKED_DAYS * 86_400) for key in keys]
        return [PutFields(ACTIVE, {phantom.phantom_id: body}), *counts, *map(Drop, _forget_days(image))]
    image.active.pop(phantom.phantom_id, None)
    image.completed.append(body)
    changes: list[Change] = [DropFields(ACTIVE, [phantom.phantom_id]), Push(COMPLETED, [body], COMPLETED_MAX)]
    if phantom.outcome != TIMEOUT:
        name, won = short_name(phantom.strategy_name), _won(phantom.outcome)
        image.rates[name].append(won)
        changes.append(Push(RATES + name, [won], RATE_WINDOW))
    return changes


def _all(image: Image, state: State) -> list[Change]:
    """Return the changes that make of whatever is there what ought to be there."""
    stale = [key for prefix in (RATES, BLOCKED) for key in state.keys(prefix)]
    return [
        *map(Drop, (ACTIVE, COMPLETED, *stale)),
        PutFields(ACTIVE, image.active),
        Push(COMPLETED, [*image.completed], COMPLETED_MAX),
        *(Push(RATES + name, [*values], RATE_WINDOW) for name, values in image.rates.items()),
        *(Put(key, b"%d" % count, BLOCKED_DAYS * 86_400) for key, count in image.blocked.items()),
    ]


def _forget_days(image: Image) -> list[str]:
    """Let go of refusals of market days long before the newest; return their keys."""
    days = sorted({key.split(":")[2] for key in image.blocked}, reverse=True)
    gone = [key for key in image.blocked if key.split(":")[2] not in days[:BLOCKED_DAYS]]
    for key in gone:
        del image.blocked[key]
    return gone


def _blocked_keys(time: int, strategy: str) -> list[str]:
    day = f"{BLOCKED}{datetime.fromtimestamp(time / 1000, UTC):%Y%m%d}"
    return [day, f"{day}:{short_name(strategy)}"]


def _won(outcome: str) -> bytes:
    return b"1" if outcome == WIN else b"0"


def _decoded(bodies: object) -> list[PhantomTrade]:
    phantoms = []
    for body in bodies:  # type: ignore[attr-defined]
        try:
            phantoms.append(msgspec.json.decode(body, type=PhantomTrade))
        except msgspec.MsgspecError as error:
            log.warning("a phantom in the state cannot be read: passed over", reason=str(error))
    return phantoms
