"""A backup's file: the names it may hold, its manifest and seal, and how it is read without trusting it."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import hmac
import itertools
import json
import os
import re
import shutil
import tarfile
import zlib
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import msgspec

from domain.errors import BadData
from persistence import migration, schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FORMAT = 1
MANIFEST = "manifest.json"
KEY_FILE = "backup.key"
STRATEGIES = "strategies"
"""The part of a backup that has the strategies that people brought."""
KEY_BYTES_MIN = 32
CHUNK = 1 << 20
MANIFEST_MAX = 16 << 20
MEMBERS_MAX = 100_000
UNPACKED_LEAST, RATIO_MAX = 1 << 30, 200
"""So many bytes may any backup unpack to, a larger one so many times its own size: a bomb makes a thousand times."""
RESERVE = 256 << 20
"""What must stay free on a disk on which one is unpacked."""
SEALED = b"revenant backup 1\n"

_NAME, _STEM = r"[A-Za-z0-9_][A-Za-z0-9_.-]*", r"[A-Za-z0-9_-]+"
_DATABASE = "|".join(["main.sqlite", *(rf"{name}\.csv" for name in sorted(schema.metadata.tables))])
_IN_FOLDER = (
    r"(revenant|spill|state)\.sqlite", r"model\.key", r"(trade_history|telegram|coins)\.json",
    rf"(owner|rules)-{_STEM}\.json", rf"(page|telegram)-audit(-{_STEM})?\.jsonl", rf"past/{_NAME}\.npz",
    rf"journal/{_NAME}/((archive/)?\d+\.jsonl|quarantine/{_NAME}|lock|reserve|(audit-head|paper-account)\.json)",
    rf"backtests/{_NAME}/(report\.html|trades\.csv|(summary|result)\.json)", rf"evaluations/{_NAME}\.(html|json)",
    rf"practice-{_STEM}/(exchange\.sqlite|arguments\.json|lock|practice-exchange\.log)",
)  # fmt: skip
_WRITTEN = re.compile(rf"database/({_DATABASE})|data/({'|'.join(_IN_FOLDER)})|{STRATEGIES}/{_STEM}\.py", re.ASCII)


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """Size and digest of one file."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a backup holds; ``seal`` proves who made it, ``rows`` are those of each table of the database.

    Both are empty in those of earlier versions.
    """

    format: int
    made_at: str
    kind: str
    version: str
    files: dict[str, Entry]
    seal: str = ""
    rows: dict[str, int] = {}

    def sealed(self, key: bytes) -> Manifest:
        """Return it with the seal of a key over everything else, and so over every byte of every file."""
        return msgspec.structs.replace(self, seal=self._mac(key))

    def check_seal(self, key: bytes, path: Path) -> None:
        """Raise BadData unless it was sealed with this key."""
        if not self.seal:
            raise BadData(
                f"{path}: it has no seal, so nobody can tell who made it (backups of earlier versions have none); "
                f"if you know where it has been since, say --unsealed"
            )
        if not hmac.compare_digest(self.seal.encode(), self._mac(key).encode()):
            raise BadData(
                f"{path}: it was sealed with another key, or changed; give the key of the bot that made it "
                f"(BACKUP_KEY, or its {KEY_FILE} in the data folder), or, if you know where it has been, say --unsealed"
            )

    def as_row(self) -> dict[str, Any]:
        """Return it as plain values."""
        body: dict[str, Any] = msgspec.to_builtins(self)
        return body

    def _mac(self, key: bytes) -> str:
        if len(key) < KEY_BYTES_MIN:
            raise BadData(f"BACKUP_KEY has {len(key)} bytes; give it {KEY_BYTES_MIN} or more")
        body = {name: value for name, value in self.as_row().items() if name != "seal"}
        return hmac.digest(key, SEALED + json.dumps(body, sort_keys=True).encode(), "sha256").hex()


class Found(NamedTuple):
    """A member of a backup: its name, its size in bytes, and its body in pieces."""

    name: str
    size: int
    body: Iterator[bytes]


def written(name: str) -> bool:
    """Whether a member's name is one that the program writes; all others lead elsewhere, or nowhere."""
    return _WRITTEN.fullmatch(name) is not None


def contents(path: Path, stage: Path | None = None) -> Manifest:
    """Read every byte of a backup; with ``stage`` put its files there. Return its manifest, its seal not yet checked.

    Raises:
        BadData: naming what is missing, superfluous or changed, or what a backup never holds.
    """
    seen: dict[str, Entry] = {}
    rows: dict[str, int] = {}
    manifest: Manifest | None = None
    with _in_our_terms(path):
        for name, size, body in _members(path):
            if manifest is not None or name in seen or (name != MANIFEST and not written(name)):
                raise BadData(f"{path}: {name[:200]!r} does not belong into a backup")
            if name == MANIFEST:
                manifest = _manifest(path, size, body)
            else:
                records = Records()
                seen[name] = _kept(path, size, map(records.passed, body), None if stage is None else stage / name)
                if name.startswith("database/") and name.endswith(".csv"):
                    rows[name.removeprefix("database/").removesuffix(".csv")] = records.count - 1
    if manifest is None or manifest.format != FORMAT:
        raise BadData(f"{path}: no manifest of format {FORMAT}; it was cut short, or is no backup of this program")
    _compare(path, manifest.files, seen)
    if rows and manifest.rows:
        compare_rows(str(path), manifest.rows, rows)
    if manifest.version and manifest.version not in migration.revisions():
        raise BadData(f"{path}: its schema {manifest.version[:40]!r} is not known; is this program older than it?")
    return manifest


def _members(path: Path) -> Iterator[Found]:
    most = max(UNPACKED_LEAST, RATIO_MAX * path.stat().st_size)
    with _Unpacked(path, most) as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as archive:
        for number in itertools.count():
            member = archive.next()
            if member is None:
                return
            # links, devices, folders and sparse files are never written; what a name says is checked by the caller
            plain = member.type in {tarfile.REGTYPE, tarfile.AREGTYPE} and member.sparse is None
            if not plain or member.size < 0 or number >= MEMBERS_MAX:
                raise BadData(f"{path}: {member.name[:200]!r} does not belong into a backup")
            content = archive.extractfile(member)
            assert content is not None
            yield Found(member.name, member.size, iter(functools.partial(content.read, CHUNK), b""))
            # the list of what was seen is for those who look twice
            archive.members = []  # type: ignore[attr-defined]


@contextlib.contextmanager
def _in_our_terms(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, tarfile.TarError, EOFError, ValueError, zlib.error, RecursionError) as error:
        raise BadData(f"{path}: cannot be read as a backup: {error}") from error


def _manifest(path: Path, size: int, body: Iterator[bytes]) -> Manifest:
    if size > MANIFEST_MAX:
        raise BadData(f"{path}: a manifest of {size} bytes does not belong into a backup")
    try:
        return msgspec.json.decode(b"".join(body), type=Manifest)
    except msgspec.MsgspecError as error:
        raise BadData(f"{path}: cannot be read as a backup: its manifest: {error}") from error


def _kept(path: Path, size: int, body: Iterator[bytes], target: Path | None) -> Entry:
    digest, length = hashlib.sha256(), 0
    with contextlib.ExitStack() as stack:
        out: IO[bytes] | None = None
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(target.parent).free - size < RESERVE:
                raise BadData(f"{path}: {size} bytes of {target.name} do not fit on the disk of {target.parent}")
            out = stack.enter_context(target.open("xb"))
        for chunk in body:
            digest.update(chunk)
            length += len(chunk)
            if out is not None:
                out.write(chunk)
    return Entry(length, digest.hexdigest())


def _compare(path: Path, told: Mapping[str, Entry], seen: Mapping[str, Entry]) -> None:
    wrong = sorted({name for name in told.keys() | seen.keys() if told.get(name) != seen.get(name)})
    if wrong:
        raise BadData(f"{path}: missing or changed: {', '.join(name[:200] for name in wrong[:10])}")


def compare_rows(where: str, told: Mapping[str, int], seen: Mapping[str, int]) -> None:
    """Raise BadData, naming tables, unless there are as many rows of each as a manifest tells."""
    wrong = sorted({name for name in told.keys() | seen.keys() if told.get(name, 0) != seen.get(name, 0)})
    if wrong:
        counts = ", ".join(f"{name[:64]} {seen.get(name, 0)} of {told.get(name, 0)}" for name in wrong[:10])
        raise BadData(f"{where}: not all rows are there: {counts}")


class Records:
    """Counts the records of CSV that passes by in pieces: line ends outside of quotes."""

    def __init__(self) -> None:
        self.count, self._quoted = 0, False

    def passed(self, chunk: bytes) -> bytes:
        """Return a piece that was counted."""
        for number, part in enumerate(chunk.split(b'"')):
            self._quoted ^= number > 0
            self.count += 0 if self._quoted else part.count(b"\n")
        return chunk


class _Unpacked(gzip.GzipFile):
    """Unpacked bytes: never more than ``most`` of them, nor many in one piece, whatever a header asks for."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path)
        self._most = most

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= CHUNK:
            raise BadData(f"{self.name}: a header of {size} bytes does not belong into a backup")
        self._allow(self.tell() + size)
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._allow(offset)
        return super().seek(offset, whence)

    def _allow(self, place: int) -> None:
        if place > self._most + CHUNK:
            raise BadData(f"{self.name}: it unpacks to far more than a backup does")
