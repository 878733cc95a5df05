"""What is said when somebody cannot be reached."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

URL = re.compile(r"[a-z]+://[^\s'\"]+")


def unreachable(error: BaseException | None, address: str = "") -> str:
    """Return ``cannot reach HOST: why`` when no connection was made or nothing answered in time, "" for anything else.

    The error of a library is followed to its causes, as libraries chain them; ``address`` is where it was to connect.
    """
    host, why = urlsplit(address).netloc.rpartition("@")[2], ""
    while error is not None:
        if not host and (found := URL.search(str(error))):
            host = urlsplit(found[0]).netloc.rpartition("@")[2]
        if isinstance(error, TimeoutError):
            why = why or "no answer in time"
        elif isinstance(error, OSError):
            # the system's own words; a library's error that is one too says more than it knows
            system = getattr(error, "os_error", error)
            number = system.errno or 0
            why = why or (os.strerror(number) if number > 0 else system.strerror or "no connection")
        error = error.__cause__ or error.__context__
    return f"cannot reach {host}: {why}" if host and why else ""
