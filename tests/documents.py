"""Writes the documents that are made of the program: every setting, every command. ``python -m tests.documents``."""

from __future__ import annotations

import json
import re
import types
import typing
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import click
import typer
from pydantic import BaseModel, SecretStr

import history_section
import manage
import notice_sections
import page_section
import sections
import universe_section
from settings import ENVIRONMENT, Settings

ROOT = Path(__file__).parents[1]
DOCS, LATEST = ROOT / "docs", ROOT / "benchmarks" / "latest.json"
OWN = {
    "source": "where prices come from: synthetic, mock, test (practice exchange), bybit, bybit_testnet, bybit_demo; binance, okx, alpaca, polygon",
    "strategies_folder": "folder of your own strategies; written as `folder` below `strategies`",
    "data_dir": "folder of journal, SQLite files and the practice exchange's state",
    "database_url": "PostgreSQL (`postgres://` or `postgresql://`), or `sqlite:///path`; empty for SQLite files in `data_dir`",
    "redis_url": "`redis://` or `rediss://`; empty for none",
    "outgoing_address": "name of the address that requests leave from: machines that share one and a Redis share its rate limits",
    "redis_verify": "whether the certificate of `rediss://` has to be one that this machine trusts; Heroku's is not",
    "model_key": "what models are sealed with, 32 characters or more; empty for one made in `data_dir`",
    "backup_key": "what backups are sealed with, 32 characters or more; empty for one made in `data_dir`",
    "live_confirm": "the account's uid, without which `live` does not start",
    "log_format": "auto, text or json",
    "log_level": "debug, info, warning or error",
}


def configuration() -> str:
    """Return docs/configuration.md."""
    names = {keys: name for name, keys in ENVIRONMENT.items()}
    lines = [
        "# Every setting", "",
        "Made of the program by `make docs`. Settings are in `config.yaml`; the environment (or `.env`) beats the file: the",
        "name in the last column where there is one, else `REVENANT__SECTION__KEY` (`REVENANT__RISK__PERCENT=0.5`). Lists",
        "take commas there (`3m,15m`), tables are written as in YAML. `manage.py show-config` shows what is in force,",
        "secrets masked.", "",
        "## At the top", "", *_head(),
    ]  # fmt: skip
    for key, field in Settings.model_fields.items():
        if key in OWN:
            lines.append(_row(key, field, OWN[key], names.get((key,), "")))
    for key, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, sections.Section):
            lines += ["", f"## {key}", "", str(kind.__doc__).strip().split("\n")[0], "", *_head()]
            lines += _section(kind, (key,), names)
    choice, exits = sections.StrategyChoice, sections.Exits
    lines += [
        "",
        "## strategies.NAME",
        "",
        "`enabled`, `markets` (practice, real or all), `symbols` and `blacklist` (of the traded symbols), `risk_percent`",
        "(> 0, ≤ 10, instead of `risk.percent`), `leverage` (≥ 1, below `trading.leverage`), `parameters`",
        "(docs/strategies.md), `schedule` (`days` such as mon-fri and `hours` such as 07:00-16:00, UTC, outside of which it",
        "makes no entries), and `exits`:",
        "",
        *_head(),
    ]
    lines += _section(exits, ("strategies", "NAME", "exits"), names)
    own = {"enabled", "markets", "symbols", "blacklist", "risk_percent", "leverage", "schedule"}
    assert set(choice.model_fields) == own | {"parameters", "exits"}
    for title, kind in (
        ("pairlists, each", universe_section.Pairlist),
        ("risk.protections, each", sections.Protection),
        ("history.pinned, each", history_section.Pin),
        ("webhooks, each", notice_sections.Webhook),
        ("dashboard.bots, each", page_section.OtherBot),
    ):
        lines += [
            "",
            f"## {title}",
            "",
            str(kind.__doc__).strip().split("\n")[0],
            "",
            *_head(),
            *_section(kind, (), {}),
        ]
    return "\n".join(lines) + "\n"


def commands() -> str:
    """Return docs/commands.md."""
    lines = [
        "# Every command", "",
        "Made of the program by `make docs`. `.venv/bin/python manage.py COMMAND`; exit codes: 0 ok, 1 failed, 2 the",
        "configuration must change, 3 degraded. Reports take `--json`; `-c` names another `config.yaml`.",
    ]  # fmt: skip
    return "\n".join([*lines, *_commands(typer.main.get_command(manage.app), "")]) + "\n"


def _commands(group: Any, path: str) -> list[str]:
    lines: list[str] = []
    for name, command in sorted(group.commands.items()):
        whole = f"{path} {name}".strip()
        if hasattr(command, "commands"):
            lines += ["", f"## {whole}", "", str(command.help or "").split("\f")[0].strip()]
            lines += _commands(command, whole)
            continue
        given = " ".join(
            one.name.upper()
            for one in command.params
            if isinstance(one, click.Argument) or one.param_type_name == "argument"
        )
        lines += ["", f"### {whole} {given}".rstrip(), "", " ".join(str(command.help).split())]
        options = [
            one
            for one in command.params
            if one.param_type_name == "option" and not {"--help", "--json", "--config"} & set(one.opts)
        ]
        if options:
            lines += ["", "| option | what |", "|---|---|"]
            lines += [
                f"| `{', '.join((*one.opts, *one.secondary_opts))}` | {_cell(one.help or '')} |" for one in options
            ]
    return lines


def _head() -> list[str]:
    return ["| key | default | may be | what | environment |", "|---|---|---|---|---|"]


def _section(kind: type[BaseModel], path: tuple[str, ...], names: dict[tuple[str, ...], str]) -> list[str]:
    told = _attributes(str(kind.__doc__))
    rows = []
    for key, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            continue
        rows.append(_row(key, field, told.get(key, key.replace("_", " ")), names.get((*path, key), "")))
    return rows


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in text.partition("Attributes:")[2].splitlines():
        begins = re.match(r" {8}(\w+): (.*)", line)
        if begins:
            name, found[begins[1]] = begins[1], begins[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def _row(key: str, field: Any, what: str, variable: str) -> str:
    default = "" if field.is_required() else _value(field.get_default(call_default_factory=True))
    return f"| `{key}` | {default} | {_cell(_allowed(field))} | {_cell(what)} | {f'`{variable}`' if variable else ''} |"


def _value(value: object) -> str:
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(str(getattr(one, "value", one)) for one in value) + "]`"
    if isinstance(value, dict):
        return "`{" + ", ".join(f"{key}: {one}" for key, one in value.items()) + "}`"
    return "" if value in ("", None) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _allowed(field: Any) -> str:
    kind = field.annotation
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(str(one) for one in typing.get_args(kind))
    if isinstance(kind, types.UnionType):
        kind = typing.get_args(kind)[0]
    limits = []
    for one in field.metadata:
        for sign, name in (("≥", "ge"), (">", "gt"), ("≤", "le"), ("<", "lt")):
            if getattr(one, name, None) is not None:
                limits.append(f"{sign} {getattr(one, name)}")
    words = {
        bool: "true, false",
        int: "whole number",
        float: "number",
        Decimal: "number",
        str: "text",
        SecretStr: "text",
        Path: "path",
    }
    word = words.get(kind, "") or (
        "list" if typing.get_origin(kind) is tuple else "table" if typing.get_origin(kind) is dict else ""
    )
    if not word and isinstance(kind, type) and issubclass(kind, Enum):
        word = "one of its names"
    return " ".join([word, *([", ".join(limits)] if limits else [])]).strip()


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("``", "`")


def speed() -> str:
    """Return docs/speed.md, from what ``make bench`` has written last."""
    lines = [
        "# How fast it is", "",
        'Made of `benchmarks/latest.json` by `make docs`. `make bench` measures all of it in an hour, `make bench ONLY="gaps',
        'export"` parts. Each case is measured in turns with its reference, in one run on one machine: the ratio means',
        "something, absolute figures drift from machine to machine. What is called is what the daemon calls. The bars of the",
        "picture end where the ratio is as a multiple of its target; left of the line is better than asked.", "",
        "![Each case against its target](speed.png)", "",
        "| case | what; beside what | ours | reference | ratio | target | met |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in json.loads(LATEST.read_text()):
        ours, reference = (f"{one[name]:,.4g} {one['unit']}" for name in ("ours", "reference"))
        what = f"{one['what']} ({one['details']})" if one["details"] else one["what"]
        met = "yes" if one["met"] else "**no**"
        lines.append(
            f"| `{one['name']}` | {what} | {ours} | {reference} | {one['ratio']:.3g} | {one['target']} | {met} |"
        )
    return "\n".join([*lines, "", (ROOT / "benchmarks" / "why.md").read_text().strip()]) + "\n"


WRITTEN = {"configuration.md": configuration, "commands.md": commands, "speed.md": speed}

if __name__ == "__main__":
    for name, made in WRITTEN.items():
        (DOCS / name).write_text(made())
