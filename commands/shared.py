"""What all commands share: their common options, reading the settings, printing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from domain.lean import lazily
from domain.version import VERSION

if TYPE_CHECKING:
    import settings as settings_module
    from bootstrap import log_setup
else:
    settings_module, log_setup = lazily("settings"), lazily("bootstrap.log_setup")

OK, FAILED, USAGE, DEGRADED = 0, 1, 2, 3

SEEN: dict[str, Sequence[str]] = {
    "positions": ("symbol", "side", "strategy", "qty", "entry", "price", "stop", "target", "pnl", "r", "pending")
}
"""Of rows with more columns than people want to see, those that they do; ``--json`` has all."""


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"revenant {VERSION}")
        raise typer.Exit


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SYMBOLS = ("-p", "--symbol", "--symbols", "--pair", "--pairs")
"""What every command takes for an option of symbols, whichever name people know from elsewhere."""
Yes = Annotated[
    bool, typer.Option("--yes", "--confirm", help="Do it; without this it is only told what would be done.")
]
Version = Annotated[bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version.")]
Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file.")]


def load(config: Path | None, *, trading: bool = True) -> settings_module.Settings:
    """Read the settings and set logging up: reports go to stdout, all else to stderr, so that --json can be piped.

    Commands about stored data say that they are not about trading: no bot need be able to run on the settings.
    """
    settings = settings_module.load(config, trading=trading)
    log_setup.configure_logging(settings)
    for line in settings_module.unknown_variables():
        Console(stderr=True, soft_wrap=True).print(line, style="yellow", highlight=False)
    return settings


def show(body: Any, as_json: bool) -> None:
    """Print a report: JSON, a table of rows, or a line per name, below it what does not go into a line."""
    if as_json:
        print(json.dumps(body, default=str, indent=2))
    elif isinstance(body, list):
        show_table(body)
    else:
        for name, value in body.items():
            _show_one(name, value)


def _show_one(name: str, value: Any) -> None:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        print(name)
        columns = SEEN.get(name) or list(value[0])
        show_table([{column: _plain(row.get(column)) for column in columns} for row in value])
    elif isinstance(value, dict) and any(isinstance(one, dict) for one in value.values()):
        print(name)
        for inner, one in value.items():
            print(f"  {inner:22} {_in_words(one)}")
    else:
        print(f"{name:24} {_in_words(value)}")


def _plain(value: Any) -> str:
    """Return a value as text, a number without the zeros at its end."""
    text = str(value)
    return text.rstrip("0").rstrip(".") if re.fullmatch(r"-?\d+\.\d+", text) else text


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(one)}" for name, one in value.items() if one != "") or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def show_table(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    if not rows:
        print("nothing yet")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=None if Console().is_terminal else 200).print(table)
