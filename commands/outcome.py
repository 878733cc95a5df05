"""How a command ends: its exit code, and what is said of an error, in one line or as JSON."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from commands.shared import FAILED, OK, USAGE
from domain.errors import ConfigError, RevenantError, of_system

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run a command and return its exit code.

    An error is told on stderr; with ``--json`` as an object with the key ``error`` on stdout, in place of the report.
    """
    as_json = "--json" in arguments
    try:
        code = app(list(arguments), standalone_mode=False)
    except typer.Abort:
        return _failed("aborted", FAILED, as_json=as_json)
    except typer.TyperException as error:
        return _misused(error, as_json=as_json)
    except ConfigError as error:
        return _failed(str(error), USAGE, as_json=as_json)
    except RevenantError as error:
        return _failed(str(error), FAILED, as_json=as_json)
    except OSError as error:
        place = str(error.filename or "the operating system")
        return _failed(str(of_system(place, error, "give another path")), FAILED, as_json=as_json)
    return code if isinstance(code, int) else OK


def _misused(error: typer.TyperException, *, as_json: bool) -> int:
    """Tell of an option, argument or command that is wrong."""
    context = getattr(error, "ctx", None)
    said = error.format_message() if hasattr(error, "format_message") else str(error)
    if not said:
        # nothing was asked for: the help has been printed
        return USAGE
    # choices are listed one a line
    said = " ".join(said.replace("Value error, ", "").split())
    hint = "" if context is None else f" ({context.command_path} --help lists what there is)"
    return _failed(f"{said}{hint}", USAGE, as_json=as_json)


def _failed(said: str, code: int, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": said}, indent=2))
    else:
        Console(file=sys.stderr, soft_wrap=True).print(said, style="red", highlight=False, markup=False)
    return code
