"""What a check of the surroundings found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad it is: ``fail`` keeps the bot from working, ``warn`` weakens a promise."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a doctor's report; ``detail`` says what is wrong and what to do."""

    name: str
    state: State
    detail: str
