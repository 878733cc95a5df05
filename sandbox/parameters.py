"""What a request asked for, read as strictly as Bybit reads it."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import msgspec

from domain.durations import WEEK_MS
from domain.errors import Rejected
from sandbox.codes import BAD_REQUEST

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

FAR = 2**62
TEXT_MAX, DIGITS_MAX = 1_000, 30


class Parameters:
    """The parameters of one request: a query string, or with ``body`` a JSON object.

    A body must use the documented JSON types: Bybit refuses a number where its documents say string (Bybit.Net #267,
    bybit-api #217). A whole number may come as its digits. Names that nothing asks for are ignored, as clients of all
    kinds send some and Bybit answers them. All methods raise Rejected 10001 for what is malformed.
    """

    def __init__(self, values: Mapping[str, Any], *, body: bool) -> None:
        self._values, self._body = values, body

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) not in (None, "")

    def without(self, *names: str) -> Parameters:
        """Return the same parameters as if some had not been sent."""
        return Parameters({key: held for key, held in self._values.items() if key not in names}, body=self._body)

    def text(self, name: str, default: str = "") -> str:
        """Return a string, ``default`` where it is missing or empty."""
        value = self._values.get(name)
        if value is None or value == "":
            return default
        if not isinstance(value, str):
            raise Rejected("Request parameter error.", BAD_REQUEST)
        if len(value) > TEXT_MAX:
            raise Rejected(f"params error: {name} is too long", BAD_REQUEST)
        return value

    def peek(self, name: str) -> str:
        """Return a string to show it again, nothing where it is missing or no string."""
        value = self._values.get(name)
        return value[:TEXT_MAX] if isinstance(value, str) else ""

    def required(self, name: str) -> str:
        """Return a string that may not be missing."""
        value = self.text(name)
        if not value:
            raise Rejected(f"params error: {name} is required", BAD_REQUEST)
        return value

    def choice(self, name: str, allowed: Collection[str], default: str = "") -> str:
        """Return a string that is one of those allowed, ``default`` where it is missing."""
        value = self.text(name, default)
        if value not in allowed and value != default:
            raise Rejected(f"params error: {name} invalid", BAD_REQUEST)
        return value

    def signed(self, name: str) -> Decimal | None:
        """Return a number, None where it is missing."""
        text = self.text(name)
        return _decimal(name, text) if text else None

    def decimal(self, name: str) -> Decimal | None:
        """Return a number that is not negative, None where it is missing."""
        number = self.signed(name)
        if number is not None and number < 0:
            raise Rejected(f"params error: {name} invalid", BAD_REQUEST)
        return number

    def integer(self, name: str, default: int) -> int:
        """Return a whole number, ``default`` where it is missing."""
        value = self._values.get(name)
        if value is None or value == "":
            return default
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise Rejected("Request parameter error.", BAD_REQUEST)
        text = str(value) if isinstance(value, int) and abs(value) < FAR else value
        if not isinstance(text, str) or len(text) > DIGITS_MAX or not text.removeprefix("-").isdecimal():
            raise Rejected(f"params error: {name} invalid", BAD_REQUEST)
        if not -FAR < int(text) < FAR:
            raise Rejected(f"params error: {name} invalid", BAD_REQUEST)
        return int(text)

    def flag(self, name: str) -> bool:
        """Return a boolean, False where it is missing."""
        value = self._values.get(name)
        if value is None or value == "":
            return False
        if isinstance(value, bool):
            return value
        if self._body or value not in {"true", "false"}:
            raise Rejected("Request parameter error.", BAD_REQUEST)
        return bool(value == "true")

    def rows(self, name: str, most: int) -> list[Parameters]:
        """Return an array of one to ``most`` objects."""
        value = self._values.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(row, dict) for row in value):
            raise Rejected("Request parameter error.", BAD_REQUEST)
        if len(value) > most:
            raise Rejected(f"params error: the number of orders exceeds {most}", BAD_REQUEST)
        return [Parameters(row, body=True) for row in value]

    def limit(self, default: int, most: int) -> int:
        """Return the size of a page; one that is out of range is brought into it."""
        return min(most, max(1, self.integer("limit", default)))

    def window(self, now: int, span_ms: int = WEEK_MS) -> tuple[int, int]:
        """Return ``startTime`` and ``endTime`` (UTC ms), by Bybit's rules where one or both are missing."""
        start, end = self.integer("startTime", -1), self.integer("endTime", -1)
        if start < 0:
            end = now if end < 0 else end
            return end - span_ms, end
        end = start + span_ms if end < 0 else end
        if end < start:
            raise Rejected("params error: startTime is later than endTime", BAD_REQUEST)
        if end - start > WEEK_MS:
            raise Rejected("The time range between startTime and endTime cannot exceed 7 days", BAD_REQUEST)
        return start, end


def _decimal(name: str, text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise Rejected(f"params error: {name} invalid", BAD_REQUEST) from None
    # a number of a million digits is a trap, not a price
    if not number.is_finite() or len(text) > DIGITS_MAX or abs(number.adjusted()) > DIGITS_MAX:
        raise Rejected(f"params error: {name} invalid", BAD_REQUEST)
    return number


def decoded(body: bytes) -> dict[str, Any]:
    """Return a request's JSON object, an empty one for nothing; raises Rejected for anything else."""
    try:
        found: dict[str, Any] = msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise Rejected("Request parameter error.", BAD_REQUEST) from error
    return found
