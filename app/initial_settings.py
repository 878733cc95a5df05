"""Writes the first config.yaml and .env: what somebody has answered, put into the shipped file with its comments."""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from dotenv import dotenv_values

import settings as settings_module
from domain.errors import ConfigError, of_system
from persistence.files import AtomicFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from settings import Settings

SHIPPED = Path(__file__).parents[1] / "config.yaml"
LINE = re.compile(r"(?P<indent> *)(?P<key>[\w-]+):(?P<gap>\s*)(?P<value>.*?)(?P<comment>\s+#.*)?$")
PLAIN = re.compile(r"[\w@%+=:,./-]*")
COMMENTS = {
    "DATABASE_URL": "PostgreSQL; without it SQLite files in the data folder",
    "REDIS_URL": "without it the same is kept in SQLite",
    "BYBIT_API_KEY": "may trade, may not withdraw; SECURITY.md",
    "LIVE_CONFIRM": "the account's uid: without it no real order is sent",
    "TELEGRAM_BOT_TOKEN": "from BotFather; docs/telegram.md",
    "TELEGRAM_CHAT_ID": "the chat that is told and may ask",
}


@dataclass(frozen=True)
class Answers:
    """What was answered: settings by dotted name for config.yaml, and variables for .env."""

    configured: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """Both files as they would be written."""

    config: str
    environment: str

    def files(self, folder: Path) -> dict[Path, str]:
        """Return what is written where; a .env with nothing in it is none."""
        named = {folder / "config.yaml": self.config}
        return named | {folder / ".env": self.environment} if self.environment else named


def draft(answers: Answers, folder: Path) -> Draft:
    """Return both files of a folder with the answers in them; what else stands in them stays.

    Raises:
        ConfigError: when a bot could not start on them; nothing has been written.
    """
    config = edited(_text(folder / "config.yaml") or SHIPPED.read_text(), answers.configured)
    environment = _text(folder / ".env")
    # a variable that stands there already would beat what has been answered
    standing = beaten(answers, variables_of(environment))
    values = {name: _environment_text(answers.configured[key]) for name, key in standing.items()} | answers.variables
    return Draft(config, assigned(environment, values) if values else environment)


def beaten(answers: Answers, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that beat an answer, and the name of the setting that each sets."""
    names = {".".join(keys): name for name, keys in settings_module.ENVIRONMENT.items()}
    found = {}
    for key in answers.configured:
        for name in (names.get(key, ""), settings_module.PREFIX + key.replace(".", "__").upper()):
            if environment.get(name):
                found[name] = key
    return found


def edited(text: str, values: Mapping[str, Any]) -> str:
    """Return YAML with some values changed, by dotted name; its comments and everything else stay as they are.

    A name that is not there yet is added at the beginning of its section.
    """
    lines, left = text.split("\n"), dict(values)
    path: list[str] = []
    for number, line in enumerate(lines):
        found = LINE.fullmatch(line)
        if found is None:
            continue
        depth = len(found["indent"]) // 2
        path = [*path[:depth], found["key"]]
        name = ".".join(path)
        if name in left:
            lines[number] = _with_value(found, _yaml(left.pop(name)))
    for name, value in left.items():
        lines = _added(lines, name.split("."), value)
    changed = "\n".join(lines)
    expected = yaml.safe_load(text) or {}
    for name, value in values.items():
        _put(expected, name.split("."), value)
    if yaml.safe_load(changed) != expected:
        raise ConfigError(f"config.yaml: {', '.join(values)} cannot be set there by itself; edit the file by hand")
    return changed


def assigned(text: str, values: Mapping[str, str]) -> str:
    """Return a .env with some variables set; its other lines stay as they are. Raises ConfigError where it cannot."""
    lines = (
        text.split("\n")
        if text
        else ["# Secrets and addresses; they beat config.yaml. Keep this file to yourself.", ""]
    )
    for name, value in values.items():
        line = f"{name}={_quoted(value)}"
        place = next((i for i, one in enumerate(lines) if re.match(rf"\s*(export\s+)?{name}\s*=", one)), None)
        if place is not None:
            lines[place] = line
            continue
        comment = [f"# {COMMENTS[name]}"] if name in COMMENTS else []
        lines[-1:] = [*comment, line, ""] if lines[-1] == "" else [lines[-1], *comment, line, ""]
    made = "\n".join(lines)
    read = variables_of(made)
    for name, value in values.items():
        if read.get(name) != value:
            raise ConfigError(f"{name}: a value with ${{...}} in it cannot stand in .env; set it in the environment")
    return made


def checked(made: Draft, folder: Path, *, trading: bool) -> Settings:
    """Return the settings of these files, which a bot is to run on if ``trading``. Raises ConfigError."""
    scratch = folder / f".config-{os.getpid()}.yaml"
    try:
        scratch.write_text(made.config)
        return settings_module.load(scratch, variables_of(made.environment), trading=trading)
    except OSError as error:
        raise of_system(f"{folder}: cannot be written", error, "go to a folder that can") from error
    finally:
        scratch.unlink(missing_ok=True)


def variables_of(text: str) -> dict[str, str]:
    """Return what a .env sets."""
    return {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value is not None}


def write(made: Draft, folder: Path) -> list[Path]:
    """Write both files, the second one for its owner's eyes alone; return them. Raises ConfigError."""
    files = made.files(folder)
    try:
        for path, text in files.items():
            AtomicFile(path).write(text.encode())
        if made.environment:
            (folder / ".env").chmod(0o600)
    except OSError as error:
        raise of_system(f"{folder}: cannot be written", error, "go to a folder that can") from error
    return list(files)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error


def _with_value(line: re.Match[str], value: str) -> str:
    """Return a line with another value, its comment where it was if there is room."""
    head, comment = f"{line['indent']}{line['key']}:{line['gap'] or ' '}", line["comment"] or ""
    if not comment:
        return f"{head}{value}"
    told = comment.lstrip()
    return f"{head}{value}".ljust(line.start("comment") + len(comment) - len(told) - 1) + f" {told}"


def _added(lines: list[str], keys: list[str], value: Any) -> list[str]:
    """Return lines with a key more, below the deepest of its sections that is there."""
    for depth in range(len(keys) - 1, 0, -1):
        place = _line_of(lines, keys[:depth])
        if place is not None:
            rest: Any = value
            for key in reversed(keys[depth + 1 :]):
                rest = {key: rest}
            return [*lines[: place + 1], f"{'  ' * depth}{keys[depth]}: {_yaml(rest)}", *lines[place + 1 :]]
    rest = value
    for key in reversed(keys[1:]):
        rest = {key: rest}
    return [*lines, f"{keys[0]}: {_yaml(rest)}", ""]


def _line_of(lines: list[str], keys: list[str]) -> int | None:
    path: list[str] = []
    for number, line in enumerate(lines):
        found = LINE.fullmatch(line)
        if found is not None:
            path = [*path[: len(found["indent"]) // 2], found["key"]]
            if path == keys and not found["value"]:
                return number
    return None


def _put(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value


def _yaml(value: Any) -> str:
    """Return a value on one line of YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def _environment_text(value: Any) -> str:
    return value if isinstance(value, str) else _yaml(value)


def _quoted(value: str) -> str:
    if PLAIN.fullmatch(value):
        return value
    inner = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{inner}'"
