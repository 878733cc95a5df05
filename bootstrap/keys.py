"""The keys that models and backups are sealed with: given, or made once and kept in the data folder."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import structlog

from domain.errors import ConfigError
from domain.finding import State
from persistence.backup_file import KEY_FILE
from persistence.checkup import check_disk
from persistence.files import refused, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

    from settings import Settings

log = structlog.get_logger(__name__)


def model_key(settings: Settings) -> bytes:
    """Return the key that models are sealed with: MODEL_KEY, or one made once and kept in the data folder.

    Raises:
        ConfigError: when it can be neither read nor made.
        Unavailable: when that may pass.
    """
    lost = "models are lost with this disk: set MODEL_KEY to keep those in Redis"
    return _key(settings.model_key.get_secret_value(), settings.data_dir / "model.key", "MODEL_KEY", lost)


def backup_key(settings: Settings) -> bytes:
    """Return the key that backups are sealed with: BACKUP_KEY, or one made once and kept in the data folder.

    Raises:
        ConfigError: when it can be neither read nor made.
        Unavailable: when that may pass.
    """
    lost = f"what seals backups is lost with this disk: keep a copy of {KEY_FILE}, or set BACKUP_KEY"
    return _key(settings.backup_key.get_secret_value(), settings.data_dir / KEY_FILE, "BACKUP_KEY", lost)


def known_backup_key(settings: Settings) -> bytes:
    """Return the key that backups are sealed with; none is made, since it would fit none that there are.

    Raises:
        ConfigError: when there is none, or it cannot be read.
    """
    path = settings.data_dir / KEY_FILE
    if not settings.backup_key.get_secret_value() and not path.exists():
        raise ConfigError(
            f"BACKUP_KEY: not set, and there is no {path}; give the one of the bot that made the backup, or, "
            f"if you know where the file has been since, say --unsealed"
        )
    return backup_key(settings)


def _key(given: str, path: Path, name: str, lost: str) -> bytes:
    if given:
        return given.encode()
    try:
        if not path.exists():
            _make(path)
            for finding in check_disk(path.parent):
                if finding.state is not State.OK:
                    log.warning(lost, disk=finding.detail)
        return path.read_bytes().strip()
    except OSError as error:
        raise refused(str(path), path, error, f"make it readable, or set {name}") from error


def _make(path: Path) -> None:
    scratch = path.with_name(f"{path.name}.new")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, secrets.token_hex(32).encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    scratch.replace(path)
    sync_folder(path.parent)
