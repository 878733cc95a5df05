"""Looks at what records rest on: database rights, the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from domain.errors import ConfigError, RevenantError
from domain.finding import Finding, State

if TYPE_CHECKING:
    from persistence.database import Database

FREE_WARN = 2 << 30
FREE_FAIL = 100 << 20
EPHEMERAL = ("DYNO", "RAILWAY_ENVIRONMENT")
VOLATILE = {"tmpfs", "ramfs", "overlay"}


def check_database(database: Database) -> list[Finding]:
    """Connect, compare the schema version, and try every right that the bot needs."""
    try:
        version = database.version()
        kind = f"{database.kind} behind a pooler" if database.pooled else database.kind
        findings = [Finding("database", State.OK, f"{kind} answers ({database})")]
        if version == database.head():
            findings.append(Finding("schema", State.OK, f"version {version}"))
        else:
            findings.append(
                Finding(
                    "schema",
                    State.WARN,
                    f"version {version or 'none'}, newest is {database.head()}: run manage.py migrate",
                )
            )
        findings.append(_rights(database) if version else Finding("rights", State.WARN, "not tried before migrate"))
    except ConfigError as error:
        return [Finding("database", State.FAIL, str(error))]
    except RevenantError as error:
        return [Finding("database", State.WARN, f"{error}: the bot would start without it")]
    return findings


def check_folder(folder: Path) -> list[Finding]:
    """Write, sync and remove a file in the data folder; look at the free space and at how long the disk lives."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".doctor"
        with probe.open("wb") as out:
            out.write(b"x" * 4096)
            out.flush()
            os.fsync(out.fileno())
        probe.unlink()
    except OSError as error:
        return [Finding("data folder", State.FAIL, f"{folder}: {error.strerror}; set data_dir to a writable folder")]
    free = shutil.disk_usage(folder).free
    state = State.FAIL if free < FREE_FAIL else State.WARN if free < FREE_WARN else State.OK
    findings = [
        Finding("data folder", State.OK, f"{folder} can be written and synced"),
        Finding("free space", state, f"{free / (1 << 30):.1f} GiB"),
    ]
    return findings + check_disk(folder)


def check_disk(folder: Path) -> list[Finding]:
    """Say whether what is written to a folder outlives the container, as far as that can be told."""
    host = next((name for name in EPHEMERAL if name in os.environ), None)
    volume = os.environ.get("RAILWAY_VOLUME_MOUNT_PATH")
    if host and volume and folder.resolve().is_relative_to(volume):
        return [Finding("disk", State.OK, f"{volume} is a volume: the journal outlives the container")]
    kind = _file_system(folder)
    if host or kind in VOLATILE:
        reason = f"on {host}" if host else f"file system {kind}"
        advice = "the journal survives kill -9 only; put data_dir on a volume, or keep DATABASE_URL elsewhere"
        return [Finding("disk", State.WARN, f"does not outlive the container ({reason}): {advice}")]
    return [Finding("disk", State.OK, f"file system {kind}: the journal survives kill -9 and a power cut")]


def _file_system(folder: Path) -> str:
    """Return the type of the file system that a folder lies on."""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return "unknown"
    mounts = [line.split()[1:3] for line in lines]
    lying = [(place, kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return max(lying, key=lambda one: len(one[0]))[1] if lying else "unknown"


def _rights(database: Database) -> Finding:
    try:
        with database.transaction() as connection:
            nested = connection.begin_nested()
            connection.execute(
                sa.text("INSERT INTO series (source, symbol, timeframe) VALUES ('test', 'DOCTOR', '1m')")
            )
            connection.execute(sa.text("UPDATE series SET listed = 0 WHERE symbol = 'DOCTOR'"))
            connection.execute(sa.text("DELETE FROM series WHERE symbol = 'DOCTOR'"))
            if database.is_postgres:
                connection.execute(sa.text("CREATE TEMP TABLE doctor (x integer)"))
            nested.rollback()
    except RevenantError as error:
        return Finding("rights", State.FAIL, f"{error}; grant SELECT, INSERT, UPDATE, DELETE, CREATE and TEMP")
    return Finding("rights", State.OK, "may insert, update, delete and stage")
