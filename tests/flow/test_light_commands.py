"""Help and plain looks load nothing heavy: what they need not, nobody waits for."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.bot import ROOT, Bot

HEAVY = {
    "aiohttp", "alembic", "ccxt", "celery", "fastapi", "lightgbm", "matplotlib", "onnx", "onnxruntime", "optuna", "pandas",
    "pyarrow", "redis", "scipy", "sklearn", "starlette", "talib", "telegram", "uvicorn", "websockets",
}  # fmt: skip
SETTINGS = {"numpy", "sqlalchemy", "structlog", "yaml"}
"""What no --help needs, for it reads neither settings nor database; pydantic may be there, since typer uses it."""
SEEN = """
import json, sys
import manage
try:
    manage.main()
except SystemExit as ended:
    code = ended.code or 0
print("\\n" + json.dumps([code, sorted(name for name in sys.modules if "." not in name)]))
"""


def loaded(folder, *arguments: str) -> tuple[int, set[str]]:
    """Return how a command ended, and which packages it had loaded by then."""
    bot = Bot(folder)
    done = subprocess.run(
        [sys.executable, "-c", SEEN, *arguments], cwd=folder, env={**os.environ, **bot.environment, "PYTHONPATH": str(ROOT)},
        text=True, capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    code, names = json.loads(done.stdout.splitlines()[-1])
    return code, set(names)


@pytest.mark.parametrize("arguments", [("--help",), ("status", "--help"), ("trades", "--help"), ("--version",)])
def test_help_loads_neither_settings_nor_database_nor_anything_heavy(tmp_path, arguments):
    code, names = loaded(tmp_path, *arguments)
    assert code == 0
    assert names & (HEAVY | SETTINGS) == set()


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("stats",), ("stats", "--by", "day"), ("stats", "--days", "7", "--json"), ("trades", "list"),
     ("trades", "export", "all.csv"), ("show-config",), ("trades", "list", "--json")],
)  # fmt: skip
def test_plain_looks_load_nothing_that_only_trading_or_learning_needs(tmp_path, arguments):
    assert loaded(tmp_path, "migrate")[0] == 0
    code, names = loaded(tmp_path, *arguments)
    assert code == (1 if arguments == ("status",) else 0)
    assert names & HEAVY == set()


GROUPS = ["backtest", "backup", "data", "ml", "sources", "strategies"]


@pytest.mark.parametrize("group", GROUPS)
def test_help_of_a_group_loads_no_database_and_nothing_heavy(tmp_path, group):
    code, names = loaded(tmp_path, group, "--help")
    assert code == 0
    assert names & (HEAVY | {"sqlalchemy"}) == set()


@pytest.mark.parametrize("group", GROUPS)
def test_groups_that_are_loaded_late_have_their_commands(tmp_path, group):
    bot = Bot(tmp_path)
    told = bot.manage(group, "--help")
    assert told.returncode == 0, told.stderr
    unknown = bot.manage(group, "no-such-command")
    assert unknown.returncode == 2
    assert "no-such-command" in unknown.stderr
