"""What all commands share: their common options, reading the settings, printing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import settings as settings_module
from bootstrap import parts

OK, FAILED, USAGE, DEGRADED = 0, 1, 2, 3

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[
    bool, typer.Option("--yes", "--confirm", help="Do it; without this it is only told what would be done.")
]
Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration file.")]


def load(config: Path | None) -> settings_module.Settings:
    """Read the settings and set logging up: reports go to stdout, all else to stderr, so that --json can be piped."""
    settings = settings_module.load(config)
    parts.configure_logging(settings)
    return settings


def show(body: Any, as_json: bool) -> None:
    """Print a report: JSON, a table of rows, or a line per name."""
    if as_json:
        print(json.dumps(body, default=str, indent=2))
    elif isinstance(body, list):
        show_table(body)
    else:
        for name, value in body.items():
            print(f"{name:24} {value}")


def show_table(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    if not rows:
        print("nothing yet")
        return
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=None if Console().is_terminal else 200).print(table)
