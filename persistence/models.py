"""Sealed models and a few numbers about them under ``ml:<strategy>:*``: in a file here, and in Redis."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
import structlog

from domain.errors import Rejected, RevenantError
from domain.ids import short_name
from persistence.state import Change, Drop, Put

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from persistence.state import State

log = structlog.get_logger(__name__)

NUMBERS = ("completed_trades", "last_train_count", "last_train_ts", "threshold", "phantom_weight")
LEGACY = {
    "trend": ("tml:{name}", "ml:{name}:trend"),
    "mr": ("enhanced_mr:{name}", "ml:{name}:mr"),
    "scalp": ("ml:{name}:scalp",),
}
"""Where earlier programs kept a strategy's values."""
LEGACY_NUMBERS = (*NUMBERS, "nn_enabled", "legacy_trades", "legacy_wins")
LEGACY_CODE = ("model", "scaler", "calibrator", "ev_buckets")
"""What they kept as pickles: reading one runs whatever it says, so it is never done."""


class _Outcome(msgspec.Struct):
    outcome: int


class ModelStore:
    """Keeps the last good model of each strategy; ``local`` holds it whatever becomes of Redis."""

    def __init__(self, local: State, redis: State | None = None) -> None:
        self._local, self._redis = local, redis

    def keep(self, strategy: str, blob: bytes | None, numbers: Mapping[str, float]) -> None:
        """Keep a sealed model, or with None forget it, and the numbers that go with it."""
        prefix = f"ml:{short_name(strategy)}:"
        changes: list[Change] = [Put(f"{prefix}{name}", f"{value:.12g}".encode()) for name, value in numbers.items()]
        changes.append(Drop(f"{prefix}model") if blob is None else Put(f"{prefix}model", blob))
        self._local.apply(changes)
        self._copy(changes)

    def found(self, strategy: str) -> dict[str, bytes]:
        """Return the sealed models that there are, by where they are; nobody has looked at them yet."""
        blobs = {}
        for state in (self._local, self._redis):
            try:
                blob = state.get(f"ml:{short_name(strategy)}:model") if state is not None else None
            except RevenantError as error:
                log.warning("models cannot be read there", tier=getattr(state, "name", ""), reason=str(error))
                continue
            if state is not None and blob is not None:
                blobs[state.name] = blob
        return blobs

    def heal(self, strategies: Collection[str]) -> None:
        """Put back into Redis what it has forgotten."""
        for name in strategies if self._redis is not None else ():
            prefix = f"ml:{short_name(name)}:"
            try:
                there = set(self._redis.keys(prefix)) if self._redis is not None else set()
            except RevenantError:
                return
            ours = {key: self._local.get(key) for key in self._local.keys(prefix)}
            lacking: list[Change] = [Put(key, value) for key, value in ours.items() if key not in there and value]
            if lacking:
                log.warning("Redis had forgotten models: copied again", strategy=name, keys=len(lacking))
                self._copy(lacking)

    def numbers(self, strategy: str) -> dict[str, float]:
        """Return the numbers kept beside a strategy's model."""
        prefix = f"ml:{short_name(strategy)}:"
        return {
            name: value for name in LEGACY_NUMBERS if (value := _number(self._local.get(prefix + name))) is not None
        }

    def import_legacy(self, strategy: str) -> dict[str, float]:
        """Take the numbers that an earlier program left in Redis, once; its pickles are told of and left alone.

        Numbers of our own are never replaced. Returns what was taken.
        """
        short = short_name(strategy)
        if self._redis is None or self._local.get(f"ml:{short}:imported") is not None:
            return {}
        taken: dict[str, float] = {}
        for pattern in (f"ml:{short}:{{name}}", *LEGACY.get(short, ())):
            for name in LEGACY_NUMBERS:
                value = _number(self._text(pattern.format(name=name)))
                if value is not None:
                    taken.setdefault(name, value)
            for name in LEGACY_CODE:
                self._refuse(pattern.format(name=name))
            for name, value in self._outcomes(pattern.format(name="trades")).items():
                taken.setdefault(name, value)
        ours = self.numbers(strategy)
        changes: list[Change] = [
            Put(f"ml:{short}:{name}", f"{value:.12g}".encode()) for name, value in taken.items() if name not in ours
        ]
        self._local.apply([*changes, Put(f"ml:{short}:imported", b"1")])
        if taken:
            log.info("numbers of an earlier program taken over", strategy=strategy, **taken)
        return taken

    def _text(self, key: str) -> bytes | None:
        try:
            return self._redis.get(key) if self._redis is not None else None
        except Rejected:
            # something of another kind
            return None

    def _outcomes(self, key: str) -> dict[str, float]:
        """Count the outcomes of an earlier program's list of JSON records: its features are not ours to learn from."""
        try:
            bodies = self._redis.items(key) if self._redis is not None else []
        except Rejected:
            return {}
        outcomes = []
        for body in bodies:
            with contextlib.suppress(msgspec.MsgspecError):
                outcomes.append(msgspec.json.decode(body, type=_Outcome).outcome)
        return {"legacy_trades": len(outcomes), "legacy_wins": sum(outcomes)} if outcomes else {}

    def _refuse(self, key: str) -> None:
        blob = self._text(key)
        # base64 of a pickle of protocol 2 and later begins like this
        if blob is not None and blob.startswith((b"gA", b"\x80")):
            log.warning("a pickle of an earlier program is refused: its model is trained anew", key=key)

    def _copy(self, changes: list[Change]) -> None:
        if self._redis is None:
            return
        try:
            self._redis.apply(changes)
        except RevenantError as error:
            log.warning("models not copied to Redis yet", reason=str(error))


def _number(value: bytes | None) -> float | None:
    try:
        return float(value) if value is not None and len(value) < 40 else None  # noqa: PLR2004  no number is longer
    except ValueError:
        return None
