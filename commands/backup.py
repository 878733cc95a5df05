"""Commands about backups."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from commands.progress import progress_bar
from commands.shared import AsJson, Config, load, show
from domain.lean import lazily

if TYPE_CHECKING:
    from bootstrap import assembly, keys, parts
    from persistence import backup
else:
    # --help of a group waits for none of these
    parts = lazily("bootstrap.parts")
    assembly = lazily("bootstrap.assembly")
    keys = lazily("bootstrap.keys")
    backup = lazily("persistence.backup")

app = typer.Typer(no_args_is_help=True)

Unsealed = Annotated[
    bool, typer.Option("--unsealed", help="Whoever made it: for your own files, of earlier versions or of a lost key.")
]
File = Annotated[Path, typer.Argument(help="The backup.", exists=True, dir_okay=False)]


@app.command()
def create(
    config: Config = None,
    as_json: AsJson = False,
    to: Annotated[Path | None, typer.Option("--to", help="Folder, instead of backup.folder.")] = None,
) -> None:
    """Copy database, journal, models and accounts into one file, while the bot runs or not, and prove it."""
    settings = load(config, trading=False)
    held = parts.database(settings)
    try:
        with progress_bar(as_json, "files") as bar:
            key = keys.backup_key(settings)
            made = backup.create(
                held, settings.data_dir, to or settings.backups, key, _told(bar, "copying"), settings.strategies_folder
            )
        backup.verify(Path(made["path"]), key)
    finally:
        held.close()
    show(_summary(made), as_json)


@app.command()
def verify(file: File, config: Config = None, as_json: AsJson = False, unsealed: Unsealed = False) -> None:
    """Read every byte of a backup, compare it with its manifest, and check who sealed it."""
    key = None if unsealed else keys.known_backup_key(load(config, trading=False))
    show({"whole": True, "seal_checked": not unsealed, **_summary(backup.verify(file, key))}, as_json)


@app.command()
def restore(file: File, config: Config = None, as_json: AsJson = False, unsealed: Unsealed = False) -> None:
    """Put a backup back, into an empty data folder and an empty database.

    It is believed only when it was sealed with BACKUP_KEY, or with the backup.key that lies in the folder.
    """
    settings = load(config, trading=False)
    key = None if unsealed else keys.known_backup_key(settings)
    assembly.make_folder(settings.data_dir)
    with contextlib.ExitStack() as stack:
        assembly.take_folder(settings.data_dir, stack)
        held = parts.database(settings)
        stack.callback(held.close)
        with progress_bar(as_json, "files") as bar:
            told = _told(bar, "restoring")
            made = backup.restore(file, held, settings.data_dir, key, told, settings.strategies_folder)
    show({"restored": str(settings.data_dir), "seal_checked": not unsealed, **_summary(made)}, as_json)


def _told(bar: Progress, what: str) -> Any:
    task = bar.add_task(what, total=None)
    return lambda name, done, of: bar.update(task, completed=done, total=of, description=f"{what} {name}"[:60])


def _summary(made: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in made.items() if name not in {"files", "seal", "rows"}}
    return {**kept, "files": len(made["files"]), "rows": sum(made.get("rows", {}).values())}
