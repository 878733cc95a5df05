"""The questions of a first start, answered at a terminal or by options."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from settings import bare_environment
from tests.commands import ROOT


@pytest.fixture
def init(tmp_path):
    def run(*options: str, answers: str = "") -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, ROOT / "manage.py", "init", *options], cwd=tmp_path, env=bare_environment(), text=True,
            input=answers, capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    return run


def shown(folder) -> dict:
    done = subprocess.run(
        [sys.executable, ROOT / "manage.py", "show-config", "--json"], cwd=folder, env=bare_environment(), text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_answers_make_the_settings_that_a_bot_runs_on(init, tmp_path):
    """Wrong answers are asked for again; keys may be brought later."""
    answers = ["nowhere", "bybit", "live", "BTC eth", "nosuch", "breakout, scalp", "", "", "4711", "12:abc", "99",
               "mysql://x", "postgresql://me@db/x", ""]  # fmt: skip
    code, out, said = init(answers="\n".join(answers) + "\n")
    assert code == 0, said
    assert "there is no nosuch" in said
    assert "it begins with postgresql://" in said
    assert "BYBIT_API_KEY and BYBIT_API_SECRET in .env" in out
    assert "doctor --live" in out
    with (tmp_path / ".env").open("a") as environment:
        environment.write("BYBIT_API_KEY=k\nBYBIT_API_SECRET=s\n")
    found = shown(tmp_path)
    assert (found["source"], found["trading"]["mode"], found["live_confirm"]) == ("bybit", "live", "4711")
    assert (found["trading"]["symbols"], found["telegram"]["chat_ids"]) == (["BTC", "eth"], [99])
    used = {name: (one["enabled"], one["markets"]) for name, one in found["strategies"].items()}
    assert used == {
        "trend_pullback": (False, "practice"), "mean_reversion": (False, "practice"), "scalp": (True, "all"),
        "breakout": (True, "all"),
    }  # fmt: skip


def test_files_that_are_there_are_changed_only_when_that_is_wanted(init, tmp_path):
    (tmp_path / "config.yaml").write_text("# mine\ntrading:\n  top: 7\n")
    options = ("--source", "binance", "--symbols", "BTC", "--strategies", "breakout", "--telegram-token", "",
               "--database-url", "", "--redis-url", "")  # fmt: skip
    code, _, said = init(*options, answers="n\n")
    assert (code, said.strip().endswith("nothing was written")) == (2, True)
    assert (tmp_path / "config.yaml").read_text() == "# mine\ntrading:\n  top: 7\n"
    code, out, said = init(*options, "--json", answers="y\n")
    assert code == 0, said
    assert json.loads(out)["written"] == [str(tmp_path / "config.yaml")]
    found = shown(tmp_path)
    assert (found["source"], found["trading"]["symbols"], found["trading"]["top"]) == ("binance", ["BTC"], 7)
    assert (tmp_path / "config.yaml").read_text().startswith("# mine\n")


def test_whoever_leaves_is_left_without_files(init, tmp_path):
    code, _, said = init(answers="bybit\n")
    assert code != 0
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
