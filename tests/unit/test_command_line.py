"""The command line says what it is without touching anything."""

import pytest

from domain.version import VERSION
from tests.commands import Commands


@pytest.mark.parametrize("arguments", [["--version"], ["--version", "status"]])
def test_the_version_is_told_and_nothing_else_is_done(tmp_path, arguments):
    commands = Commands(tmp_path / "never", "", "http://127.0.0.1:9")
    assert commands.run(*arguments) == (0, f"revenant {VERSION}\n", "")
    assert not (tmp_path / "never").exists()
