"""Every error that Revenant raises on purpose.

RevenantError
├── ConfigError      the operator must change something before a start makes sense
├── BadData          a message, file, row or bar that cannot be what it claims
├── Unavailable      no answer now: use the next tier, or try again later
├── Rejected         the other side said no, and will say no again
└── OutcomeUnknown   it was sent and nobody knows what became of it: look it up, never repeat blindly
"""

from __future__ import annotations


class RevenantError(Exception):
    """Root of all errors raised on purpose; its text is one line meant for the operator."""


class ConfigError(RevenantError):
    """The configuration cannot work; the text names the key, the value and what is allowed."""


class BadData(RevenantError):
    """A message, file, row or bar is malformed; the text names the thing and what is wrong."""


class Unavailable(RevenantError):
    """A service gave no answer; nothing may be concluded from that."""


class Rejected(RevenantError):
    """The other side refused for good.

    Attributes:
        code: the refusing side's own code, 0 when it has none.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class OutcomeUnknown(RevenantError):
    """A request was sent and its outcome is not known."""
