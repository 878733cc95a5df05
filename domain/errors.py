"""Every error that Revenant raises on purpose.

RevenantError
├── ConfigError      the operator must change something before a start makes sense
├── BadData          a message, file, row or bar that cannot be what it claims
├── Unavailable      no answer now: use the next tier, or try again later
├── Rejected         the other side said no, and will say no again
└── OutcomeUnknown   it was sent and nobody knows what became of it: look it up, never repeat blindly
    └── IdUsed       there is an order of its id already, sent by an earlier attempt or by somebody else
"""

from __future__ import annotations

import errno
from enum import StrEnum

TO_CHANGE = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP,
    errno.ENAMETOOLONG, errno.EINVAL,
})  # fmt: skip
"""What the operating system says where somebody has to change something; all else may pass by itself."""

OWN_WORDS = {
    errno.EIO: "the disk fails: look at what the kernel says of it (dmesg)",
    errno.ENOLCK: "no lock can be had: a file system over the network may know none; give a folder on a local disk",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the user's share of the disk is used up",
    errno.EROFS: "read-only: mounted so, or made so by the kernel after the disk had failed (dmesg)",
}


class Objection(StrEnum):
    """What a refusal objects to, which says what may be done about it.

    RULES: a price, size or value that the trading rules do not allow: they may have changed. FUNDS: too little is
    available. RISK_LIMIT: leverage or value above what the contract allows. MODE: the position mode or margin mode is
    another one. CROSSED: the price has passed the stop or target already. ABSENT: there is no such position or order.
    CLOSED: nothing new may be opened there now, or not by this account. OTHER: anything else.
    """

    RULES = "rules"
    FUNDS = "funds"
    RISK_LIMIT = "risk_limit"
    MODE = "mode"
    CROSSED = "crossed"
    ABSENT = "absent"
    CLOSED = "closed"
    OTHER = "other"


class RevenantError(Exception):
    """Root of all errors raised on purpose; its text is one line meant for the operator."""


class ConfigError(RevenantError):
    """The configuration cannot work; the text names the key, the value and what is allowed."""


class BadData(RevenantError):
    """A message, file, row or bar is malformed; the text names the thing and what is wrong."""


class Unavailable(RevenantError):
    """A service gave no answer, or none that settles anything; nothing may be concluded from that.

    Attributes:
        code: the other side's own code where it gave one, else 0.
    """

    def __init__(self, message: str = "", code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Rejected(RevenantError):
    """The other side refused for good.

    Attributes:
        code: the refusing side's own code, 0 when it has none.
        objection: what it objects to, as far as code and words tell.
    """

    def __init__(self, message: str, code: int = 0, objection: Objection = Objection.OTHER) -> None:
        super().__init__(message)
        self.code = code
        self.objection = objection


class OutcomeUnknown(RevenantError):
    """A request was sent and its outcome is not known."""


class IdUsed(OutcomeUnknown):
    """The exchange has an order of this id already: an earlier attempt has arrived, or another sender's."""


def of_system(place: str, error: OSError, advice: str) -> ConfigError | Unavailable:
    """Return what an error of the operating system means: something to be changed, or something that may pass.

    ``place`` is the file or folder, with the setting that names it; ``advice`` is given where no better word is known.
    """
    said = error.strerror or str(error)
    words = OWN_WORDS.get(error.errno or 0)
    kind = ConfigError if error.errno in TO_CHANGE else Unavailable
    return kind(f"{place}: {said}; {words or advice}")
