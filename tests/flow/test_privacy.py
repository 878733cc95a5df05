"""Whatever the umask, what the bot, its practice exchange and its commands write is their owner's alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from tests.bot import PATIENCE, ROOT


def open_to_others(folder: Path) -> list[str]:
    return sorted(
        f"{path.relative_to(folder)} {stat.S_IMODE(path.lstat().st_mode):o}"
        for path in (folder, *folder.rglob("*"))
        if stat.S_IMODE(path.lstat().st_mode) & 0o077 and not path.is_symlink()
    )


def test_files_and_folders_are_the_owners_also_under_a_loose_umask(make_bot, tmp_path):
    bot = make_bot()
    bot.data.mkdir(mode=0o777)
    bot.data.chmod(0o777)
    # as an earlier version left it
    (bot.data / "trade_history.json").touch(0o666)
    (bot.data / "trade_history.json").chmod(0o666)
    with (bot.folder / "bot.log").open("ab") as log:
        bot.process = subprocess.Popen(
            [sys.executable, str(ROOT / "live_bot.py")], cwd=bot.folder, env=bot.environment, stdout=log, stderr=log,
            umask=0,
        )  # fmt: skip
    bot.wait_ready()
    bot.wait_for("a closed trade", lambda status: status["closed"] >= 1)
    commands = (
        ["backup", "create", "--to", str(tmp_path / "safe")],
        ["trades", "export", str(tmp_path / "trades.csv")],
    )
    for one in commands:
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *one], cwd=bot.folder, env=bot.environment, umask=0, check=False,
            capture_output=True, timeout=60 * PATIENCE,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert open_to_others(bot.data) == []
    assert open_to_others(tmp_path / "safe") == []
    assert open_to_others(tmp_path / "trades.csv") == []
    assert bot.stop() == 0
    assert open_to_others(bot.data) == []


def test_what_is_not_the_bots_keeps_its_mode(tmp_path):
    from bootstrap.assembly import make_folder

    for name in ("notes.txt", "model.key"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    (tmp_path / "coins.json").symlink_to(tmp_path / "notes.txt")
    make_folder(tmp_path)
    assert [stat.S_IMODE(os.lstat(tmp_path / name).st_mode) for name in ("notes.txt", "model.key")] == [0o644, 0o600]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
