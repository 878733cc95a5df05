"""What people call symbols."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from domain.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Sequence


def nearest(text: str, symbols: Sequence[str]) -> str:
    """Return the symbol that somebody means by BTC, btc/usdt, BTCUSDT or its whole name.

    Raises:
        BadData: when it is none of ``symbols``; the text names those that come close.
    """
    known = {_squeezed(name): name for name in symbols}
    known |= {_squeezed(name.partition(":")[0]): name for name in symbols}
    known |= {_squeezed(name.partition("/")[0]): name for name in symbols}
    found = known.get(_squeezed(text))
    if found is None:
        close = [known[one] for one in difflib.get_close_matches(_squeezed(text), list(known), 3)]
        hint = f"did you mean {', '.join(dict.fromkeys(close))}?" if close else "/whitelist shows what is followed"
        raise BadData(f"{text[:40]!r} is not followed; {hint}")
    return found


def _squeezed(text: str) -> str:
    return "".join(letter for letter in text.upper() if letter.isalnum())
