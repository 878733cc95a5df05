"""The demonstration shows what it says, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def test_the_demo_kills_a_bot_brings_it_back_and_leaves_nothing_behind(tmp_path):
    """Whatever the settings of this shell say, it never touches the folder or the account of a real bot."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "DATA_SOURCE": "bybit", "BYBIT_API_KEY": "of somebody"}
    command = [sys.executable, str(ROOT / "manage.py"), "demo", "--trades", "1"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    told = done.stdout
    assert done.returncode == 0, (told, done.stderr)
    for part in ("ready", "killed", "back", "lost 0, doubled 0, missing 0, differing 0", "nothing lost"):
        assert part in told
    assert list(tmp_path.iterdir()) == []
    left = [
        one.info["cmdline"]
        for one in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(one.info["cmdline"] or ())
    ]
    assert left == []
