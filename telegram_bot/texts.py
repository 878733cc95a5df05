"""How things look in a chat: escaped HTML, tables that fit a phone, long answers cut into pages."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 36
"""Characters of a monospace line that a phone shows without breaking it."""
PAGE = 3_500
"""Characters of a page; Telegram takes 4,096 after it has read the markup."""
MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
PRICE_DIGITS = 7


def escape(value: object) -> str:
    """Return text that no markup can hide in."""
    return html.escape(str(value), quote=False)


def bold(value: object) -> str:
    """Return bold text."""
    return f"<b>{escape(value)}</b>"


def fixed(lines: Iterable[str]) -> str:
    """Return lines in monospace, each cut to what a phone shows."""
    return f"<pre>{escape(chr(10).join(line[:WIDTH].rstrip() for line in lines))}</pre>"


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1) -> str:
    """Return a table in monospace: the first ``left`` columns to the left, the rest to the right.

    When it would be too wide, the first column gives way.
    """
    cells = [list(headers), *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    over = sum(widths) + len(widths) - 1 - WIDTH
    if over > 0:
        widths[0] = max(4, widths[0] - over)
    return fixed(
        " ".join(
            _cut(text, width).ljust(width) if i < left else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """Return names and values in monospace, one line each."""
    held = [(name, str(value)) for name, value in rows]
    widest = max((len(name) for name, _ in held), default=0)
    return fixed(f"{name:<{widest}}  {value}" for name, value in held)


def wrapped(lines: Iterable[str]) -> str:
    """Return lines in monospace, long ones continued on the next line instead of being cut."""
    out: list[str] = []
    for line in lines:
        out += [line[i : i + WIDTH] for i in range(0, max(1, len(line)), WIDTH)]
    return fixed(out)


def from_markdown(text: str) -> str:
    """Return a report that marks bold as ``*so*`` in HTML."""
    return re.sub(r"\*([^*\n]+)\*", r"<b>\1</b>", escape(text))


def pages(text: str) -> list[str]:
    """Cut a text into pages at line ends; monospace that is cut goes on as monospace."""
    found, page, inside = [], "", False
    for line in text.split("\n"):
        if page and len(page) + len(line) + 1 > PAGE:
            found.append(page + ("</pre>" if inside else ""))
            page = f"<pre>{line}" if inside else line
        else:
            page = f"{page}\n{line}" if page else line
        inside = (inside or "<pre>" in line) and "</pre>" not in line.rsplit("<pre>", 1)[-1]
    return [*found, page]


def money(value: Any, *, sign: bool = True) -> str:
    """Return an amount of quote units."""
    return f"{Decimal(value):{'+' if sign else ''},.2f}"


def price(value: Any) -> str:
    """Return a price in as many digits as one reads."""
    number = float(value)
    return f"{number:,.2f}" if abs(number) >= 10_000 else f"{number:.{PRICE_DIGITS}g}"  # noqa: PLR2004


def percent(part: Any, whole: Any) -> str:
    """Return a distance in percent of something, with its sign."""
    return f"{float(part) / float(whole) * 100:+.1f}%" if float(whole) else "-"


def lasted(seconds: float) -> str:
    """Return a stretch of time in its two largest units."""
    if seconds < MINUTE_S:
        return f"{seconds:.0f}s"
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S:.0f}m"
    if seconds < DAY_S:
        return f"{seconds // HOUR_S:.0f}h {seconds % HOUR_S // MINUTE_S:.0f}m"
    return f"{seconds // DAY_S:.0f}d {seconds % DAY_S // HOUR_S:.0f}h"


def moment(time: datetime | int) -> str:
    """Return a time in UTC, given as such or in UTC ms."""
    held = time if isinstance(time, datetime) else datetime.fromtimestamp(time / 1000, UTC)
    return f"{held:%m-%d %H:%M}"


def coin(symbol: str) -> str:
    """Return the short name of a symbol."""
    return symbol.partition("/")[0]


def since(time_ms: int, now: datetime) -> str:
    """Return how long ago something was, by the market's clock."""
    return lasted(max(timedelta(0), now - datetime.fromtimestamp(time_ms / 1000, UTC)).total_seconds())


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
