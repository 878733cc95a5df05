"""The proof in small: each part of ``make torture`` with few rounds, so that every change meets it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.proof


def torture(tmp_path, part: str, run: str) -> dict:
    """Run a part as a process of its own: some of them fork, and want a parent without threads."""
    script = (
        "import json, sys, pathlib, structlog\n"
        "from tests.torture import " + part + "\n"
        "def drop(*_): raise structlog.DropEvent\n"
        "structlog.configure(processors=[drop], cache_logger_on_first_use=False)\n"
        "base = pathlib.Path(sys.argv[1])\n"
        f"print(json.dumps({part}.{run}, default=str))\n"
    )
    base = tmp_path / "torture"
    done = subprocess.run(
        [sys.executable, "-c", script, str(base)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=690
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(figures))
    return figures


@pytest.mark.parametrize("part_and_run", [
    ("kills", "run(base, 10, 11, real_starts=1)"),
    ("sigterm", "run(base, 6, 12)"),
    ("episodes", "run(500, 13)"),
    ("memory", "lives(6, 2, 15)"),
    ("machine", "run(150, 3_000)"),
    ("fuzz", "run(0.02, 14)"),
    ("handovers", "run(base, 9)"),
    ("model", "run(quick=True)"),
    ("storm", "run(base, 12)"),
], ids=lambda held: held[0])  # fmt: skip
def test_nothing_is_lost(tmp_path, part_and_run):
    figures = torture(tmp_path, *part_and_run)
    assert figures["clean"], figures


def test_no_bit_of_the_journal_is_misread(tmp_path):
    figures = torture(tmp_path, "syscalls", "corruption(25)")
    assert figures["clean"], figures
    assert figures["truncations"] > 1_000


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_no_failing_system_call_loses_an_acknowledged_trade(tmp_path):
    figures = torture(tmp_path, "syscalls", "run(100)")
    assert figures["clean"], figures
    assert figures["cases"] >= 10


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_no_power_cut_loses_what_was_acknowledged_whatever_was_written_of_the_rest(tmp_path):
    figures = torture(tmp_path, "power", "run(3, every=41, more=1)")
    assert figures["clean"], figures
    assert figures["cases"] >= 30
