"""Unpacks what a file holds, never more than a bound."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from typing import IO, TYPE_CHECKING

from domain.errors import BadData

if TYPE_CHECKING:
    from pathlib import Path

BYTES_MAX = 512 * 1024**2
"""Ten years of minutes as text have this size; tables in memory take several times as much."""
ROWS_MAX = 20_000_000
UNREADABLE = (
    OSError, ValueError, EOFError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, RuntimeError,
    MemoryError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What damaged, encrypted, deep and impossible files make the libraries that read them raise."""


def unpacked(path: Path) -> bytes:
    """Return a file's bytes, unzipped where its name ends in .gz. Raises BadData."""
    if path.suffix.lower() != ".gz":
        return path.read_bytes()
    with gzip.open(path) as packed:
        return _at_most(packed)


def from_archive(path: Path) -> bytes:
    """Return the csv in a zip, whose checksum must be right where a file beside it tells one. Raises BadData."""
    beside = path.with_name(f"{path.name}.CHECKSUM")
    if beside.is_file():
        expected = [*beside.read_text(errors="replace").split(), ""][0].lower()
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
        if expected != actual:
            raise BadData(f"its sha256 is {actual[:16]}..., its checksum file says {expected[:16]}...; fetch it again")
    with zipfile.ZipFile(path) as packed:
        inside = [entry for entry in packed.infolist() if entry.filename.lower().endswith(".csv")]
        if len(inside) != 1:
            raise BadData(f"holds {len(inside)} csv files; an archive holds one")
        with packed.open(inside[0]) as member:
            return _at_most(member)


def _at_most(packed: IO[bytes] | gzip.GzipFile) -> bytes:
    text = packed.read(BYTES_MAX + 1)
    if len(text) > BYTES_MAX:
        raise BadData(f"unpacks to more than {BYTES_MAX} bytes; split it")
    return text
