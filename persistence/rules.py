"""Trading rules as each source reported them, dated: one file per source in the data folder."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from domain.errors import ConfigError
from domain.instrument import Instrument
from persistence.files import AtomicFile, refused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from domain.source import Source

Dated = list[tuple[int, Instrument]]
"""Rules with the time (UTC ms) since which they are known to be in force, the oldest first."""


class RulesArchive:
    """The rules of one source; every change is kept."""

    def __init__(self, folder: Path, source: Source) -> None:
        self._path = folder / f"instrument-rules-{source}.json"

    def load(self) -> dict[str, Dated]:
        """Return the rules by symbol.

        Raises:
            ConfigError: when the file cannot be read.
        """
        try:
            content = self._path.read_bytes() if self._path.exists() else b"{}"
            return msgspec.json.decode(content, type=dict[str, Dated])
        except OSError as error:
            raise refused(f"{self._path}: cannot be read", self._path, error, "look at its disk") from error
        except msgspec.MsgspecError as error:
            raise ConfigError(
                f"{self._path}: cannot be read ({error}); move it away and fetch the rules anew with data rules"
            ) from error

    def add(self, rules: Mapping[str, Instrument], since: int) -> list[str]:
        """Keep rules that are in force since a time (UTC ms); return the symbols that had none or others before."""
        history = self.load()
        changed = [
            symbol for symbol, contract in rules.items()
            if symbol not in history or _plain(history[symbol][-1][1]) != _plain(contract)
        ]  # fmt: skip
        for symbol in changed:
            history.setdefault(symbol, []).append((since, rules[symbol]))
        if changed:
            AtomicFile(self._path).write(msgspec.json.encode(history))
        return changed


def _plain(rules: Instrument) -> Instrument:
    """Return rules without turnover and quote, which are never twice the same."""
    return replace(rules, turnover_24h=Decimal(0), quote=None)
