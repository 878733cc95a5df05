"""What raises the risk waits for a second word, and for a code where one is set up."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyotp

if TYPE_CHECKING:
    from telegram_bot.answer import Change

WRONG_MAX = 3
LOCKED_AFTER, LOCKED_S = 6, 900.0
STEP_S = 30


@dataclass(slots=True)
class Pending:
    """A change that waits for its confirmation until host time ``until``."""

    nonce: str
    user: int
    chat: int
    line: str
    change: Change
    until: float
    wrong: int = 0


class Confirmations:
    """Holds at most one change of each person in each chat.

    With a secret, only a code of the authenticator app confirms; each code counts once, and after too many wrong ones
    none is taken for a while. Times are host seconds: ``now`` runs steadily, ``clock`` is UTC.
    """

    def __init__(self, seconds: float, secret: str = "") -> None:
        self._seconds, self._totp = seconds, pyotp.TOTP(secret) if secret else None
        self._held: dict[tuple[int, int], Pending] = {}
        self._used = -1
        self._wrong, self._locked_until = 0, 0.0

    @property
    def by_code(self) -> bool:
        """Whether a code is asked for."""
        return self._totp is not None

    @property
    def seconds(self) -> float:
        """How long a confirmation is waited for."""
        return self._seconds

    def ask(self, user: int, chat: int, line: str, change: Change, now: float) -> Pending:
        """Hold a change until it is confirmed; an earlier one of the same person there is forgotten."""
        held = Pending(secrets.token_hex(6), user, chat, line, change, now + self._seconds)
        self._held[user, chat] = held
        return held

    def waits(self, user: int, chat: int, now: float) -> bool:
        """Say whether a change of somebody waits for a code."""
        held = self._held.get((user, chat))
        return self.by_code and held is not None and now <= held.until

    def press(self, user: int, chat: int, nonce: str, now: float) -> Pending | str:
        """Return the change that a pressed button confirms, or why there is none."""
        if self.by_code:
            return "This needs the code of your authenticator app."
        return self._take(user, chat, now, nonce)

    def cancel(self, user: int, chat: int, nonce: str) -> bool:
        """Forget a change; say whether there was one."""
        held = self._held.get((user, chat))
        if held is None or not secrets.compare_digest(held.nonce, nonce):
            return False
        del self._held[user, chat]
        return True

    def code(self, user: int, chat: int, code: str, now: float, clock: float) -> Pending | str:
        """Return the change that a code confirms, or why it does not."""
        held = self._held.get((user, chat))
        if held is None or self._totp is None:
            return "Nothing waits for a code."
        if now < self._locked_until:
            return "Too many wrong codes; none is taken for a quarter of an hour."
        step = self._step(code, clock)
        if step is None or step <= self._used:
            return self._refuse(held, "That code is wrong." if step is None else "That code was used already.", now)
        self._used, self._wrong = step, 0
        return self._take(user, chat, now, held.nonce)

    def _refuse(self, held: Pending, why: str, now: float) -> str:
        held.wrong += 1
        self._wrong += 1
        if self._wrong >= LOCKED_AFTER:
            self._wrong, self._locked_until = 0, now + LOCKED_S
        if held.wrong >= WRONG_MAX:
            self._held.pop((held.user, held.chat), None)
            return f"{why} That was the third time: nothing is done."
        return why

    def _take(self, user: int, chat: int, now: float, nonce: str) -> Pending | str:
        held = self._held.get((user, chat))
        if held is None or not secrets.compare_digest(held.nonce.encode(), nonce.encode()):
            return "This was answered already, or replaced by a later command."
        del self._held[user, chat]
        return held if now <= held.until else "Too late: nothing is done. Send the command again."

    def _step(self, code: str, clock: float) -> int | None:
        """Return the time step that a code belongs to, one before or after the present allowed."""
        assert self._totp is not None
        present = int(clock) // STEP_S
        for step in (present, present - 1, present + 1):
            if secrets.compare_digest(self._totp.generate_otp(step), code):
                return step
        return None
