"""Makes a strategy to begin with: the example of the documents under another name, and a test of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.user_strategies import origin, refusal
from domain.errors import ConfigError, of_system

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLE = Path(__file__).parents[1] / "strategies" / "examples" / "donchian.py"
TEST = '''"""{title} looks at no bar to come, forgets what it says it forgets, and gives signals."""

from pathlib import Path

from app.strategy_check import check_file

HERE = Path(__file__).parent


def test_nothing_is_found_wrong_with_it():
    assert check_file(HERE / "{name}.py").faults == []


def test_it_gives_signals_on_both_sides():
    found = check_file(HERE / "{name}.py")
    assert found.longs
    assert found.shorts
'''


def make(folder: Path, name: str) -> list[Path]:
    """Write a strategy and its test into a folder; return both files.

    Raises:
        ConfigError: for a name that is taken or none, or a folder that cannot be written.
    """
    fault = refusal(name) or (f"there is one already: {origin(folder, name)}" if origin(folder, name) else "")
    if fault:
        raise ConfigError(f"strategies new {name}: {fault}")
    title = "".join(part.capitalize() for part in name.split("_"))
    body = EXAMPLE.read_text().replace('"donchian"', f'"{name}"').replace("class Donchian:", f"class {title}:")
    files = {folder / f"{name}.py": body, folder / f"test_{name}.py": TEST.format(title=title, name=name)}
    try:
        _write(folder, files)
    except FileExistsError as error:
        raise ConfigError(f"{error.filename}: is there already; move it away, or take another name") from error
    except OSError as error:
        raise of_system(f"{folder}: cannot be written", error, "give strategies.folder one that can") from error
    return list(files)


def _write(folder: Path, files: Mapping[Path, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        with path.open("x") as out:
            out.write(text)
