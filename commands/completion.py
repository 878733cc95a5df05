"""Completion of commands, options and choices in a shell, by a script that knows them all: Tab waits for no program."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROGRAM = "manage.py"
BASH = r"""# completion of manage.py, for `manage.py ...` and `python manage.py ...`
_manage_words() {
  case "$1" in
@WORDS@
  esac
}

_manage_options() {
  case "$1" in
@OPTIONS@
  esac
}

_manage_choices() {
  case "$1" in
@CHOICES@
  esac
}

_manage() {
  local at=1 chain="" word found cur="${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=()
  case "${COMP_WORDS[0]##*/}" in python*) at=2 ;; esac
  if (( at == 2 )) && { (( COMP_CWORD < 2 )) || [[ "${COMP_WORDS[1]##*/}" != manage.py ]]; }; then return 0; fi
  for (( ; at < COMP_CWORD; at++ )); do
    for word in $(_manage_words "$chain"); do
      if [[ "$word" == "${COMP_WORDS[at]}" ]]; then chain="${chain:+$chain }$word"; break; fi
    done
  done
  found="$(_manage_choices "$chain ${COMP_WORDS[COMP_CWORD-1]}")"
  if [[ -z "$found" && "$cur" == -* ]]; then found="$(_manage_options "$chain")"; fi
  if [[ -z "$found" ]]; then found="$(_manage_words "$chain")"; fi
  COMPREPLY=( $(compgen -W "$found" -- "$cur") )
}

complete -o default -F _manage manage.py python python3
"""
ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


class Shell(StrEnum):
    """Shells that completion is written for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def script(app: typer.Typer, shell: Shell) -> str:
    """Return what a shell has to read to complete the commands of an app."""
    found = list(_walk(typer.main.get_command(app), ()))
    if shell is Shell.FISH:
        return "\n".join(_fish(found)) + "\n"
    words = [(" ".join(path), held) for path, command in found if (held := _words(command))]
    options = [(" ".join(path), _options(command)) for path, command in found]
    choices = [
        (" ".join((*path, name)), values)
        for path, command in found for one in _given(command, "option") if (values := _choices(one))
        for name in one.opts
    ]  # fmt: skip
    told = BASH.replace("@WORDS@", _cases(words)).replace("@OPTIONS@", _cases(options))
    return (ZSH if shell is Shell.ZSH else "") + told.replace("@CHOICES@", _cases(choices))


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, one in sorted(getattr(command, "commands", {}).items()):
        yield from _walk(one, (*path, name))


def _given(command: Any, kind: str) -> list[Any]:
    return [one for one in command.params if one.param_type_name == kind]


def _words(command: Any) -> list[str]:
    """Return what may follow a command: those of its group, or what its arguments may be."""
    choices = [name for one in _given(command, "argument") for name in _choices(one)]
    return sorted(getattr(command, "commands", {})) or choices


def _options(command: Any) -> list[str]:
    names = {name for one in _given(command, "option") for name in (*one.opts, *one.secondary_opts)}
    return sorted({*names, "--help"})


def _choices(parameter: Any) -> list[str]:
    """Return what may be given for a parameter, nothing when that is anything."""
    known = getattr(parameter.type_descriptor, "choices", None) or ()
    return [str(getattr(one, "value", one)) for one in known]


def _cases(rows: Iterable[tuple[str, Iterable[str]]]) -> str:
    return "\n".join(f'    "{name}") echo "{" ".join(values)}" ;;' for name, values in rows)


def _fish(found: Iterable[tuple[tuple[str, ...], Any]]) -> Iterator[str]:
    yield "# completion of manage.py, for `manage.py ...` and `python manage.py ...`"
    yield "function __manage_path"
    yield "    set -l words (commandline -opc)"
    yield "    string match -q -r '^(.*/)?python' -- $words[1]; and set -e words[1]"
    yield f"    string match -q -r '(^|/){PROGRAM}$' -- $words[1]; or return 1"
    yield "    set -l path (string match -v -r '^-' -- $words[2..])"
    yield '    test "$path" = "$argv"'
    yield "end"
    for path, command in found:
        when = f"-n '__manage_path {' '.join(path)}'"
        for program in (PROGRAM, "python", "python3"):
            for name in _words(command):
                yield f"complete -c {program} -f {when} -a {name}"
            for name in _options(command):
                kind = "-l" if name.startswith("--") else "-s"
                yield f"complete -c {program} {when} {kind} {name.lstrip('-')}"
