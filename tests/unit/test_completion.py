"""Completion in a real bash: what Tab offers is what the program has."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import typer

import manage
from commands.completion import Shell, script

BASH = shutil.which("bash")
ROOT = typer.main.get_command(manage.app)

pytestmark = pytest.mark.skipif(BASH is None, reason="there is no bash here")


def tab(*words: str) -> list[str]:
    """Return what bash offers after words, the last of which has been begun."""
    line = " ".join(f"'{word}'" for word in words)
    asked = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _manage; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    told = subprocess.run(
        [BASH, "--norc", "-u", "-c", f"{script(manage.app, Shell.BASH)}\n{asked}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stderr == ""
    return told.stdout.split()


def options(*path: str) -> set[str]:
    command = ROOT
    for name in path:
        command = command.commands[name]
    named = [one for one in command.params if one.param_type_name == "option"]
    return {name for one in named for name in (*one.opts, *one.secondary_opts)} | {"--help"}


@pytest.mark.parametrize(
    "program", [["manage.py"], ["./manage.py"], ["python", "manage.py"], [".venv/bin/python3", "./manage.py"]]
)
def test_commands_are_offered_however_the_program_is_called(program):
    assert set(tab(*program, "")) == set(ROOT.commands)
    assert tab(*program, "sta") == ["start", "stats", "status"]
    assert set(tab(*program, "trades", "")) == set(ROOT.commands["trades"].commands)
    assert tab(*program, "trades", "re") == ["rebuild", "reconcile"]
    assert tab(*program, "nothing-like-it") == []


def test_commands_of_groups_that_are_loaded_late_are_offered_too():
    assert set(tab("manage.py", "data", "")) == set(ROOT.commands["data"].commands)
    assert set(tab("manage.py", "backtest", "run", "-")) == options("backtest", "run")


def test_options_are_offered_when_one_is_begun_also_behind_others():
    assert tab("manage.py", "forceexit", "BTC", "--p") == ["--part"]
    assert set(tab("manage.py", "stats", "--json", "--days", "30", "-")) == options("stats")


def test_what_an_option_or_an_argument_may_be_is_offered():
    assert set(tab("manage.py", "data", "import", "--what", "")) == {"candles", "mark", "funding"}
    assert "bybit" in tab("manage.py", "backtest", "run", "--source", "by")
    assert tab("manage.py", "completion", "") == ["bash", "zsh", "fish"]


@pytest.mark.parametrize(
    "words", [["python", ""], ["python", "other.py", "tr"], ["python", "-m", "tra"], ["python3", "manage"]]
)
def test_other_programs_are_left_alone(words):
    assert tab(*words) == []


def test_bash_knows_for_what_it_completes():
    told = subprocess.run(
        [BASH, "--norc", "-c", f"{script(manage.app, Shell.BASH)}\ncomplete -p manage.py python python3"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    # what nothing is offered for is completed as a file
    assert [line.split()[-1] for line in told.splitlines() if "-o default -F _manage" in line] == [
        "manage.py",
        "python",
        "python3",
    ]


def test_the_other_shells_are_told_the_same():
    zsh, fish = script(manage.app, Shell.ZSH), script(manage.app, Shell.FISH)
    assert zsh.endswith(script(manage.app, Shell.BASH))
    # where zsh keeps the places of programs
    assert "path=" not in zsh
    for name in ROOT.commands:
        assert f"-n '__manage_path ' -a {name}\n" in fish
    assert "complete -c manage.py -n '__manage_path stats' -l by\n" in fish
