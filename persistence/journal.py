"""The append-only journal: every intent and fact on disk before anybody acts on it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog

from domain.errors import BadData, ConfigError
from domain.records import Level, Receipt, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from domain.ids import Identity

log = structlog.get_logger(__name__)

SCHEMA = 1
SEGMENT_BYTES = 8 << 20

_decoder = msgspec.json.Decoder(Record)


class _Header(msgspec.Struct, tag="header", frozen=True):
    schema: int
    segment: int
    source: str
    mode: str
    account: str


class _Line(msgspec.Struct, frozen=True):
    n: int
    r: msgspec.Raw


@dataclass(slots=True)
class JournalState:
    """What was found and done."""

    records: int = 0
    quarantined: int = 0
    failures: int = 0
    segment: int = 0


class Journal:
    """A folder of segments of lines ``crc32 json``; one process at a time may hold it.

    An append returns JOURNALED once its bytes are on disk (fdatasync), MEMORY when the disk refused them.
    """

    def __init__(self, directory: Path, who: Identity) -> None:
        self._directory, self._who = directory, who
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size = 0
        self._sequence = 0
        self.state = JournalState()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._guard = (directory / "lock").open("w")
        except OSError as error:
            raise ConfigError(f"journal {directory}: {error.strerror}; give a writable data_dir") from error
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._guard.close()
            raise ConfigError(f"journal {directory} is held by another running bot; stop that one first") from None
        self._mend_tail()

    def close(self) -> None:
        """Let go of the folder."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            self._guard.close()

    def append(self, record: Record) -> Receipt:
        """Write a record to disk and say where it rests."""
        with self._lock:
            try:
                self._write(record)
            except OSError as error:
                self.state.failures += 1
                log.critical("journal write failed", reason=str(error), way_out="free or repair the disk")
                self._abandon()
                return Receipt(Level.MEMORY)
            return Receipt(Level.JOURNALED, self._sequence)

    def replay(self) -> Iterator[Record]:
        """Yield every record, oldest first; corrupt lines are counted, kept in quarantine and passed over."""
        for path in self._segments():
            for _, record in _read(path, self._quarantine):
                if record is not None:
                    yield record

    def _write(self, record: Record) -> None:
        if self._file is None or self._size >= SEGMENT_BYTES:
            self._open_next()
        assert self._file is not None
        line = _seal(msgspec.json.encode(_Line(self._sequence + 1, msgspec.Raw(msgspec.json.encode(record)))))
        written = os.write(self._file, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes fitted")
        os.fdatasync(self._file)
        self._size += len(line)
        self._sequence += 1
        self.state.records += 1

    def _abandon(self) -> None:
        # after a failed write or sync nothing in this descriptor can be trusted: cut back, go on in a new segment
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None

    def _open_next(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        number = max((int(path.stem) for path in self._segments()), default=0) + 1
        path = self._directory / f"{number:06d}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.open(path, flags, 0o600)
        header = _seal(msgspec.json.encode(_Header(SCHEMA, number, *self._who)))
        self._size = 0
        os.write(self._file, header)
        os.fdatasync(self._file)
        self._size = len(header)
        self.state.segment = number
        _sync_folder(self._directory)

    def _mend_tail(self) -> None:
        """Count what is there, cut a torn last line off (into quarantine) and refuse a journal that is not ours."""
        segments = self._segments()
        for path in segments:
            self._check_header(path)
            for sequence, record in _read(path, self._quarantine):
                self._sequence = max(self._sequence, sequence)
                self.state.records += record is not None
        if segments:
            self._cut_torn(segments[-1])

    def _cut_torn(self, path: Path) -> None:
        data = path.read_bytes()
        good = data.rfind(b"\n") + 1
        if good < len(data):
            self._quarantine(path, data[good:])
            with path.open("r+b") as out:
                out.truncate(good)
                os.fsync(out.fileno())

    def _check_header(self, path: Path) -> None:
        with path.open("rb") as held:
            first = held.readline()
        body = _open(first)
        if body is None:
            return
        try:
            header = msgspec.json.decode(body, type=_Header)
        except msgspec.MsgspecError as error:
            raise BadData(f"journal {path}: {error}") from error
        if header.schema > SCHEMA:
            raise ConfigError(
                f"journal {path} was written by a newer program (format {header.schema}); update this one"
            )
        if (header.source, header.mode, header.account) != tuple(self._who):
            raise ConfigError(f"journal {path} belongs to {header.source}/{header.mode}/{header.account}")

    def _quarantine(self, path: Path, data: bytes) -> None:
        folder = self._directory / "quarantine"
        folder.mkdir(exist_ok=True)
        target = folder / f"{path.stem}-{zlib.crc32(data):08x}"
        if not target.exists():
            target.write_bytes(data)
            self.state.quarantined += 1
            log.error("journal bytes set aside", file=str(path), kept_in=str(target), bytes=len(data))

    def _segments(self) -> list[Path]:
        return sorted(self._directory.glob("[0-9]*.jsonl"))


def read_records(directory: Path) -> Iterator[Record]:
    """Yield the records of a journal that somebody else may be writing; corrupt lines are passed over."""
    for path in sorted(directory.glob("[0-9]*.jsonl")):
        for _, record in _read(path, lambda _path, _data: None):
            if record is not None:
                yield record


def _read(path: Path, quarantine: Callable[[Path, bytes], None]) -> Iterator[tuple[int, Record | None]]:
    data = path.read_bytes()
    for i, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(keepends=True)):
        body = _open(line)
        if i == 0 and body is not None:
            continue
        try:
            held = msgspec.json.decode(body or b"", type=_Line)
            yield held.n, _decoder.decode(held.r)
        except (msgspec.MsgspecError, ValueError):
            quarantine(path, line)
            yield 0, None


def _seal(body: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _open(line: bytes) -> bytes | None:
    body = line[9:-1]
    return body if line.endswith(b"\n") and line[:9] == b"%08x " % zlib.crc32(body) else None


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
