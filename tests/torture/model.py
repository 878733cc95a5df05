"""A small formal model of journal, book, database and exchange, searched to its end; and mutants that it has to find.

One symbol, a few signals. The bot writes an intent, sends it, hears of executions, writes each down, writes down the
finished trade (from then on it is acknowledged) and carries it to the database. It may die at any step, and with it any
tail of the journal, any line of it, all of it, or the database may be lost. What a start does is ``recovered``. In every state that can be
reached it must be so that, once the living bot has heard what it asks for: every position that the exchange has closed is
a trade, every trade that was acknowledged is there, what is open is in the book, and no signal has been entered twice.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

INTENT, FILL, DONE = "intent", "fill", "done"
MUTANTS = {
    "acknowledged before it is on disk": "a record that was acknowledged goes with the power",
    "sent before it is written": "an entry is sent again under another name",
    "mended before all is heard": "a start that dies in the midst of catching up does not see the hole any more",
    "asked from the last record on": "it was written after an execution that nobody had heard of",
    "heard in any order": "what was passed over is older than what is asked for",
    "a new journal counts as whole": "what the lost one knew is asked of nobody",
}


class Record(NamedTuple):
    """One line of the journal: its kind, what it is about, and the exchange's time then, as its number of executions."""

    kind: str
    about: int
    time: int


class State(NamedTuple):
    """Everything that there is.

    ``venue`` are executions in order, positive opening and negative closing the position of that signal; ``working``
    entries that have not filled. ``since`` is from which execution on the living bot hears, -1 while it is dead.
    ``named`` are the signals of the orders that were sent, each under a name of its own. ``hole`` is the time from which
    on lines are missing in the journal, -1 when none are, as their numbers show.
    """

    venue: tuple[int, ...] = ()
    working: tuple[int, ...] = ()
    named: tuple[int, ...] = ()
    journal: tuple[Record, ...] = ()
    synced: int = 0
    database: frozenset[int] = frozenset()
    acknowledged: frozenset[int] = frozenset()
    since: int = 0
    deaths: int = 0
    losses: int = 0
    hole: int = -1


class Bounds(NamedTuple):
    """How much of everything is tried."""

    signals: int
    deaths: int
    losses: int


SMALL = (Bounds(1, 2, 1), Bounds(2, 1, 0))
LARGE = (*SMALL, Bounds(1, 3, 2), Bounds(2, 1, 1), Bounds(2, 2, 0))


def recovered(state: State, mutant: str) -> State:
    """Return what a start makes of what is left: where it begins to ask depends on whether its records are whole."""
    if mutant == "a new journal counts as whole" and not state.journal:
        return state._replace(since=len(state.venue))
    every = state.journal if mutant == "asked from the last record on" else None
    since = _heard_until(state.journal) if every is None else max((one.time for one in every), default=0)
    if state.hole >= 0:
        since = min(since, state.hole)
    return state._replace(since=since, hole=-1 if mutant == "mended before all is heard" else state.hole)


def following(state: State, bounds: Bounds, mutant: str) -> Iterator[State]:
    """Yield every state that one step leads to."""
    yield from _exchange(state)
    if state.since < 0:
        yield recovered(state, mutant)
        return
    yield from _bot(state, bounds, mutant)
    if state.deaths < bounds.deaths:
        yield from _deaths(state, bounds)


def _exchange(state: State) -> Iterator[State]:
    for signal in state.working:
        rest = tuple(one for one in state.working if one != signal)
        yield state._replace(working=rest, venue=(*state.venue, signal))
    net = _net(state.venue)
    for signal in net:
        # a stop, a target, or an exit of ours: for the books they are alike
        yield state._replace(venue=(*state.venue, -signal))


def _bot(state: State, bounds: Bounds, mutant: str) -> Iterator[State]:
    told = {(one.kind, one.about) for one in state.journal}
    heard = {one.about for one in state.journal if one.kind == FILL}
    waiting = [number for number in range(state.since, len(state.venue)) if number not in heard]
    for number in waiting if mutant == "heard in any order" else waiting[:1]:
        yield _written(state, FILL, number, mutant)
    if not waiting and state.hole >= 0:
        yield state._replace(hole=-1)
    known = {one.about for one in state.journal if one.kind == INTENT} | _traded(state)
    signal = max(known, default=0) + 1
    sent = state.named
    free = not waiting and not _net(state.venue) and not state.working
    if free and signal <= bounds.signals and state.hole < 0:
        if mutant == "sent before it is written":
            # nothing tells afterwards under which name it went out
            yield _sent(state, signal, again=True)
        yield _written(state, INTENT, signal, mutant)
    for signal in sorted(known):
        if (INTENT, signal) in told and signal not in sent and (DONE, signal) not in told:
            yield _sent(state, signal, again=False)
        opened, closed = _executions(state, signal)
        if {opened, closed} <= heard and (DONE, signal) not in told:
            done = _written(state, DONE, signal, mutant)
            yield done._replace(acknowledged=done.acknowledged | {signal})
    for signal in _traded(state) - state.database:
        yield state._replace(database=state.database | {signal})
    strangers = {abs(state.venue[number]) for number in heard} - known
    for signal in sorted(strangers):
        # its order's id says whose it is, and what it was meant to be
        yield _written(state, INTENT, signal, mutant)


def _deaths(state: State, bounds: Bounds) -> Iterator[State]:
    dead = state._replace(since=-1, deaths=state.deaths + 1, journal=state.journal[: state.synced])
    yield dead
    if state.losses < bounds.losses:
        lost = dead._replace(losses=state.losses + 1)
        for length in range(len(dead.journal)):
            before, after = dead.journal[:length], dead.journal[length + 1 :]
            yield lost._replace(journal=before, synced=length)
            if after:
                hole = _heard_until(before)
                yield lost._replace(journal=before + after, synced=len(before + after), hole=hole)
        yield lost._replace(database=frozenset())


def _heard_until(journal: tuple[Record, ...]) -> int:
    return max((one.time for one in journal if one.kind == FILL), default=0)


def _sent(state: State, signal: int, *, again: bool) -> State:
    if signal in state.named and not again:
        return state
    return state._replace(named=(*state.named, signal), working=(*state.working, signal))


def _written(state: State, kind: str, about: int, mutant: str) -> State:
    journal = (*state.journal, Record(kind, about, len(state.venue) if kind != FILL else about + 1))
    lazy = mutant == "acknowledged before it is on disk" and kind == DONE
    return state._replace(journal=journal, synced=state.synced if lazy else len(journal))


def _net(venue: tuple[int, ...]) -> list[int]:
    return [one for one in venue if one > 0 and venue.count(one) > venue.count(-one)]


def _executions(state: State, signal: int) -> tuple[int, int]:
    numbers = {sign: number for number, sign in enumerate(state.venue) if abs(sign) == signal}
    return numbers.get(signal, -1), numbers.get(-signal, -1)


def _traded(state: State) -> set[int]:
    return {one.about for one in state.journal if one.kind == DONE}


def wrong(state: State) -> str:
    """Return what is wrong with a state, empty when nothing is: of a living bot, once it has heard all it asks for."""
    if len(set(state.named)) < len(state.named):
        return "doubled: a signal was entered twice"
    trades = _traded(state) | state.database
    if state.since < 0:
        gone = state.acknowledged - trades
        return f"lost: {sorted(gone)}" if gone and not state.losses else ""
    heard = {one.about for one in state.journal if one.kind == FILL} | set(range(state.since, len(state.venue)))
    for signal in {abs(one) for one in state.venue}:
        opened, closed = _executions(state, signal)
        if closed < 0:
            if opened not in heard:
                return f"unowned: what signal {signal} opened is in no book"
        elif signal not in trades and not {opened, closed} <= heard:
            return f"missing: the trade of signal {signal}"
    gone = {one for one in state.acknowledged - trades if not set(_executions(state, one)) <= heard}
    return f"lost: {sorted(gone)}" if gone else ""


def search(bounds: Bounds, mutant: str = "", limit: int = 5_000_000) -> tuple[int, str]:
    """Go through every state that can be reached; return how many there are, and the first that is wrong."""
    first = State()
    seen, ahead = {first}, deque([first])
    while ahead:
        state = ahead.popleft()
        if found := wrong(state):
            return len(seen), f"{found} in {state}"
        for one in following(state, bounds, mutant):
            if one not in seen:
                seen.add(one)
                ahead.append(one)
        if len(seen) > limit:
            return len(seen), f"not gone through: more than {limit} states"
    return len(seen), ""


def run(*, quick: bool, told: Any = None) -> dict[str, Any]:
    """Search the model, and see that each mutant of it is found to be wrong."""
    began = time.monotonic()
    searched = {str(tuple(bounds)): search(bounds) for bounds in (SMALL if quick else LARGE)}
    faults = [said for _, said in searched.values() if said]
    found = {}
    for number, mutant in enumerate(MUTANTS):
        told_of = (search(bounds, mutant)[1] for bounds in (Bounds(1, 2, 1), Bounds(2, 1, 1)))
        found[mutant] = next(filter(None, told_of), "").partition(":")[0]
        if told is not None:
            told(number + 1)
    unfound = [mutant for mutant, said in found.items() if said in {"", "not gone through"}]
    return {
        "states": {name: states for name, (states, _) in searched.items()}, "faults": faults, "mutants": found,
        "unfound": unfound, "clean": not faults and not unfound, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip
