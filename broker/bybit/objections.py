"""What Bybit's refusals object to, by code, and by words where one code stands for many things.

Source: Bybit v5 documentation, "Error Codes". The words of code 10001, which is any error in a request, are those of
answers that users have published (ccxt issue 19089: ``sl:... set for Sell position should greater base_price:...``).
"""

from __future__ import annotations

from domain.errors import Objection

ANY_PARAMETER = 10001

CODES: dict[Objection, frozenset[int]] = {
    # prices off the tick or out of the range that is allowed now, quantities, values
    Objection.RULES: frozenset({
        ANY_PARAMETER, 30208, 30209, 110003, 110022, 110032, 110049, 110094, 110108, 110109, 110120, 110121,
    }),
    Objection.FUNDS: frozenset({
        110004, 110006, 110007, 110012, 110014, 110044, 110045, 110047, 110051, 110052, 110053, 110131,
    }),
    Objection.RISK_LIMIT: frozenset({
        110011, 110013, 110031, 110039, 110040, 110046, 110048, 110085, 110086, 110087, 110089, 110090, 3400139,
    }),
    Objection.MODE: frozenset({110015, 110036, 110038, 110076, 110077}),
    Objection.CROSSED: frozenset({110092, 110093}),
    Objection.ABSENT: frozenset({110001, 110008, 110010, 110017, 110033, 110034}),
    # only reductions, before or after trading, terms to be accepted, not in this region
    Objection.CLOSED: frozenset({
        10029, 30228, 110021, 110023, 110035, 110042, 110066, 110068, 110070, 110074, 110083, 110095, 110097, 110098,
        110099, 110100, 110103, 110123, 110125, 110132, 110135, 110136, 110137,
    }),
}  # fmt: skip
"""Codes of refusals that something can be concluded from; all others object to something else."""

WORDS = (
    ("base_price", Objection.CROSSED),
    ("zero position", Objection.ABSENT),
    ("position idx not match", Objection.MODE),
)
"""What the words of an error in a request tell, beside that."""


def objection(code: int, said: str) -> Objection:
    """Return what a refusal with a code and its words objects to."""
    if code == ANY_PARAMETER:
        words = said.lower()
        for part, kind in WORDS:
            if part in words:
                return kind
    return next((kind for kind, codes in CODES.items() if code in codes), Objection.OTHER)
