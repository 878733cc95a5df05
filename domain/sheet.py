"""What is written into a table that people open with a spreadsheet."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet take text for a formula, also as wide as East Asian scripts write it."""


def cell(value: object) -> object:
    """Return what to write for a value: text that would be taken for a formula gets an apostrophe, numbers stay."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
