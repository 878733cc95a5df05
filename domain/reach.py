"""What is said when somebody cannot be reached."""

from __future__ import annotations

import errno
import re

HOST = re.compile(r"[a-z]+://(?:[^\s/@'\"]*@)?([^\s/?#'\"]+)")
WORDS = {
    errno.ECONNREFUSED: "connection refused", errno.ECONNRESET: "connection reset",
    errno.ETIMEDOUT: "no answer in time", errno.EHOSTUNREACH: "no route to the host", errno.ENETUNREACH: "no network",
}  # fmt: skip


def unreachable(error: BaseException | None, address: str = "") -> str:
    """Return ``cannot reach HOST: why`` when no connection was made or nothing answered in time, "" for anything else.

    The error of a library is followed to its causes, as libraries chain them; ``address`` is where it was to connect.
    """
    host, why = _host(address), ""
    while error is not None:
        host = host or _host(str(error))
        why = why or _why(error)
        error = error.__cause__ or error.__context__
    return f"cannot reach {host}: {why}" if host and why else ""


def _host(text: str) -> str:
    found = HOST.search(text)
    return found[1] if found else ""


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    # a library's error may carry the system's, which knows more
    system = getattr(error, "os_error", error)
    if not isinstance(system, OSError):
        return ""
    return WORDS.get(system.errno or 0) or system.strerror or "no connection"
