"""The append-only journal: every intent and fact on disk before anybody acts on it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import os
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import structlog

from domain import bounds
from domain.errors import BadData, ConfigError
from domain.records import Mended, Record
from persistence.files import AtomicFile, durable_folder, refused, sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from domain.ids import Identity

    SetAside = Callable[[Path, list[bytes]], object]
    """Takes what of a segment cannot be used: all of its lines at once."""

log = structlog.get_logger(__name__)

SCHEMA = 5
SEGMENT_BYTES = 8 << 20
RESERVE_BYTES = 1 << 20
LATE = b'"after":['
"""What a line written late has in it, and no other: inside a string its quotes would be escaped."""


class Header(msgspec.Struct, tag="header", frozen=True, omit_defaults=True):
    """First line of a segment; ``first`` is the number that its first record will bear, 0 if not told."""

    schema: int
    segment: int
    source: str
    mode: str
    account: str
    first: int = 0


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One record with its number; one written late has ``after``: the number it came after, its place among such."""

    n: int
    r: Record
    after: tuple[int, int] | None = None


class _RawLine(msgspec.Struct, frozen=True, omit_defaults=True):
    n: int
    r: msgspec.Raw
    after: tuple[int, int] | None = None


_decoder = msgspec.json.Decoder(Line)


@dataclass(slots=True)
class JournalState:
    """What was found and done.

    ``missing`` are numbers whose records are gone, ``doubtful_since`` is the market time of the last record before
    the first of them (None when nothing is missing), ``begins`` the number of the first record that is there.
    """

    records: int = 0
    quarantined: int = 0
    failures: int = 0
    segment: int = 0
    missing: int = 0
    doubtful_since: int | None = None
    begins: int = 1
    reserve_used: bool = False
    error: str = ""


class Journal:
    """A folder of segments of lines ``crc32 json``; one process at a time may hold it.

    ``write`` returns once the bytes are on disk (fdatasync). After a failed write or sync the descriptor is never
    trusted again: its file is cut back to the last good byte and a new segment takes over. On a full disk a reserve
    file is given up, so that exits can still be written down; ``low`` says so.
    """

    def __init__(self, directory: Path, who: Identity, reserve_bytes: int = RESERVE_BYTES) -> None:
        self.directory, self._who, self._reserve_bytes = directory, who, reserve_bytes
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size = 0
        self._set_aside: set[str] = set()
        self.last = 0
        self.state = JournalState()
        try:
            durable_folder(directory)
            self._device = directory.stat().st_dev
            self._guard = (directory / "lock").open("w")
        except OSError as error:
            raise refused(f"journal {directory}", directory, error, "give a writable data_dir") from error
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._guard.close()
            raise ConfigError(f"journal {directory} is held by another running bot; stop that one first") from None
        except OSError as error:
            self._guard.close()
            raise refused(f"journal {directory}", directory, error, "look at its disk") from error
        try:
            self._mend_tail()
        except OSError as error:
            self._guard.close()
            raise refused(f"journal {directory} cannot be read", directory, error, "look at its disk") from error
        self._keep_reserve()

    @property
    def low(self) -> bool:
        """Whether the disk is so full that the reserve had to be given up."""
        return self.state.reserve_used

    def close(self) -> None:
        """Let go of the folder."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            self._guard.close()

    def write(self, record: bytes, after: tuple[int, int] | None = None) -> int:
        """Put an encoded record on disk and return its number.

        Args:
            record: the record as JSON.
            after: the number it came after and its place among those, when it had to wait elsewhere.

        Raises:
            OSError: when the disk refuses it, also in a fresh segment.
        """
        with self._lock:
            line = _seal(msgspec.json.encode(_RawLine(self.last + 1, msgspec.Raw(record), after)))
            try:
                self._put(line)
            except OSError as error:
                self._failed(error)
                try:
                    self._put(line)
                except OSError as again:
                    self._failed(again)
                    raise
            self.last += 1
            self.state.records += 1
            self.state.error = ""
            return self.last

    def replay(self) -> Iterator[Record]:
        """Return every record in the order it happened; what is corrupt is counted, kept in quarantine, passed over.

        They are read as they are asked for; ``state`` is right once the last has come.
        """
        segments = self._segments()
        lines: Iterable[Line] = self._counted(segments)
        if any(LATE in path.read_bytes() for path in segments):
            lines = sorted(lines, key=_moment)
        return (line.r for line in lines)

    def set_aside(self, record: Record) -> None:
        """Keep a copy of a record that a replay could make no use of; it counts as missing from its time on."""
        self._quarantine(self.directory / "record", [msgspec.json.encode(record)])
        state = self.state
        state.missing += 1
        state.doubtful_since = record.time if state.doubtful_since is None else min(state.doubtful_since, record.time)

    def relieve(self) -> None:
        """Take a reserve again once the disk has room."""
        with self._lock:
            self._keep_reserve()

    @property
    def size(self) -> int:
        """Size of all segments."""
        return sum(path.stat().st_size for path in self._segments())

    def archive(self, live: Iterable[bytes]) -> int:
        """Begin anew with the records that still matter, and put all older segments into ``archive``.

        The newest of those goes first: killed in between, what is left is a beginning and the whole of what matters.
        Returns how many segments were put away. Raises OSError.
        """
        with self._lock:
            old = self._segments()
            try:
                self._open_next()
                for record in live:
                    line = _seal(msgspec.json.encode(_RawLine(self.last + 1, msgspec.Raw(record))))
                    self._put(line, sync=False)
                    self.last += 1
                self._open_next()
            except OSError as error:
                self._failed(error)
                raise
            folder = self.directory / "archive"
            durable_folder(folder)
            for path in reversed(old):
                path.rename(folder / path.name)
            sync_folder(folder)
            sync_folder(self.directory)
            return len(old)

    def _counted(self, segments: Sequence[Path]) -> Iterator[Line]:
        """Yield the lines as they were written, and find out which are missing."""
        header = _header_of(segments[0]) if segments else None
        expected, since, missing, count = header.first if header and header.first else 1, 0, 0, 0
        self.state.begins = expected
        doubtful: int | None = None
        for line in _lines(segments, self._quarantine):
            count += 1
            if line.n > expected:
                missing += line.n - expected
                doubtful = since if doubtful is None else doubtful
            if isinstance(line.r, Mended):
                missing, doubtful = 0, None
            if line.n >= expected:
                expected = line.n + 1
            since = max(since, line.r.time)
            yield line
        if expected <= self.last:
            missing += self.last + 1 - expected
            doubtful = since if doubtful is None else doubtful
        self.state.records, self.state.missing, self.state.doubtful_since = count, missing, doubtful

    def _put(self, line: bytes, *, sync: bool = True) -> None:
        if self._file is None or self._size >= SEGMENT_BYTES:
            self._open_next()
        assert self._file is not None
        written = os.write(self._file, line)
        if written != len(line):
            raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes fitted")
        if sync:
            os.fdatasync(self._file)
        if not os.fstat(self._file).st_nlink:
            # synced, and gone all the same as soon as it is closed
            raise OSError(errno.ENOENT, "the segment was deleted")
        self._size += len(line)

    def _failed(self, error: OSError) -> None:
        # nothing in this descriptor can be trusted any more: cut back, go on in a new segment
        self.state.failures += 1
        self.state.error = error.strerror or str(error)
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
                os.fsync(self._file)
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            with contextlib.suppress(OSError):
                (self.directory / "reserve").unlink()
            self.state.reserve_used = True
        log.critical("journal write failed", reason=self.state.error, way_out="free or repair the disk")

    def _open_next(self) -> None:
        if self._file is not None:
            os.fdatasync(self._file)
            os.close(self._file)
            self._file = None
        if not self._holds():
            self._take_anew()
        taken = [*self._segments(), *segments_of(self.directory / "archive")]
        number = max((int(path.stem) for path in taken), default=0) + 1
        path = self.directory / f"{number:06d}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        # without any segment before it, what went before was neither read nor put away: it is missing
        first = self.last + 1 if taken else 1
        header = _seal(msgspec.json.encode(Header(SCHEMA, number, *self._who, first=first)))
        self._size = 0
        if os.write(self._file, header) != len(header):
            raise OSError(errno.ENOSPC, "the header of a new segment did not fit")
        os.fdatasync(self._file)
        self._size = len(header)
        self.state.segment = number
        sync_folder(self.directory)

    def _holds(self) -> bool:
        """Return whether the lock in the folder is still the one that this process holds."""
        try:
            return (self.directory / "lock").stat().st_ino == os.fstat(self._guard.fileno()).st_ino
        except FileNotFoundError:
            return False

    def _take_anew(self) -> None:
        """Hold a folder that somebody deleted and that is made again; raises OSError where it cannot be ours.

        What it held is missing, which the next start finds by the new segment and asks the exchange for.
        """
        above = next(one for one in (self.directory, *self.directory.parents) if one.exists())
        if above.stat().st_dev != self._device:
            raise OSError(errno.ENODEV, f"the disk of {self.directory} is not mounted any more")
        durable_folder(self.directory)
        guard = (self.directory / "lock").open("w")
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            guard.close()
            raise
        self._guard.close()
        self._guard = guard
        log.critical("the journal's folder was deleted: a new one is begun", folder=str(self.directory))
        self._keep_reserve()

    def _keep_reserve(self) -> None:
        path = self.directory / "reserve"
        if path.exists() and path.stat().st_size >= self._reserve_bytes:
            self.state.reserve_used = False
            return
        try:
            with path.open("wb") as out:
                os.posix_fallocate(out.fileno(), 0, self._reserve_bytes)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            self.state.reserve_used = True
        else:
            self.state.reserve_used = False

    def _mend_tail(self) -> None:
        """Cut a torn last line off (into quarantine), learn the last number, refuse a journal that is not ours."""
        segments = self._segments()
        for path in segments:
            self._check_owner(path)
        for path in reversed(segments):
            self._cut_torn(path)
            header = _header_of(path)
            unusable: list[int] = []
            numbers = [line.n for line in read_segment(path, self._learning(unusable)) if line is not None]
            self.last = max(self.last, *numbers, *unusable, (header.first if header else 0) - 1)
            self.state.records += len(numbers)
            if self.last > 0:
                return

    def _cut_torn(self, path: Path) -> None:
        data = path.read_bytes()
        good = data.rfind(b"\n") + 1
        if good < len(data) and self._quarantine(path, [data[good:]]):
            with path.open("r+b") as out:
                out.truncate(good)
                os.fsync(out.fileno())

    def _check_owner(self, path: Path) -> None:
        header = _header_of(path)
        if header is None:
            return
        if header.schema > SCHEMA:
            raise ConfigError(
                f"journal {path} was written by a newer program (format {header.schema}); update this one"
            )
        if (header.source, header.mode, header.account) != tuple(self._who):
            raise ConfigError(f"journal {path} belongs to {header.source}/{header.mode}/{header.account}")

    def _learning(self, numbers: list[int]) -> SetAside:
        """Return what sets lines aside and notes the numbers of those that are whole: theirs are taken."""

        def set_aside(path: Path, lines: list[bytes]) -> None:
            self._quarantine(path, lines)
            numbers.extend(map(_number_of, lines))

        return set_aside

    def _quarantine(self, path: Path, lines: list[bytes]) -> bool:
        """Copy lines that cannot be used to where nobody deletes them; say whether they are safe there.

        They are one file: a journal that is broken from end to end must not hold up a start, or the kill switch, by
        two syncs a line.
        """
        data = b"".join(lines)
        target = self.directory / "quarantine" / f"{path.stem}-{zlib.crc32(data):08x}"
        self._set_aside.update(f"{path.stem}-{zlib.crc32(line):08x}" for line in lines)
        self.state.quarantined = len(self._set_aside)
        if target.exists():
            return True
        try:
            durable_folder(target.parent)
            AtomicFile(target).write(data)
        except OSError as error:
            log.error("journal bytes cannot be read, nor set aside: left in place", file=str(path), reason=str(error))
            return False
        log.error("journal bytes set aside", file=str(path), kept_in=str(target), lines=len(lines), bytes=len(data))
        return True

    def _segments(self) -> list[Path]:
        return segments_of(self.directory)


def segments_of(directory: Path) -> list[Path]:
    """Return a journal's segments, oldest first."""
    return sorted(directory.glob("[0-9]*.jsonl"))


def read_records(directory: Path, *, archived: bool = False) -> Iterator[Record]:
    """Yield the records of a journal that somebody else may be writing; corrupt lines are passed over.

    With ``archived`` also those that were put away; a record that was carried over comes twice then.
    """
    paths = [*(segments_of(directory / "archive") if archived else []), *segments_of(directory)]
    # hundreds of thousands of new objects would make the collector look at all of them again and again
    collecting = gc.isenabled()
    gc.disable()
    try:
        lines = sorted(_lines(paths, lambda _path, _lines: None), key=_moment)
    finally:
        if collecting:
            gc.enable()
    for line in lines:
        yield line.r


def read_pieces(directory: Path) -> Iterator[list[Record]]:
    """Yield all that a journal tells that somebody else may be writing, put away or not, a segment at a time.

    Corrupt lines are passed over, and what was written late comes late.
    """
    for path in (*segments_of(directory / "archive"), *segments_of(directory)):
        yield [line.r for line in read_segment(path, lambda _path, _lines: None) if line is not None]


def _lines(paths: Iterable[Path], corrupt: SetAside) -> Iterator[Line]:
    return (line for path in paths for line in read_segment(path, corrupt) if line is not None)


def read_segment(path: Path, corrupt: SetAside) -> Iterator[Line | None]:
    """Yield a segment's lines, None for each that cannot be used; a torn tail is left out.

    Those are handed to ``corrupt`` together, once the segment has been read.

    A line that is whole and tells what cannot be true is of no more use than one whose checksum is wrong: nobody can
    reckon with it, and an earlier program may have written it.
    """
    data = path.read_bytes()
    lines, unusable = data[: data.rfind(b"\n") + 1].split(b"\n"), []
    for i, line in enumerate(lines[:-1]):
        body = _unseal(line)
        if i == 0 and body is not None:
            continue
        try:
            yield _believed(_decoder.decode(body or b""))
        except (msgspec.MsgspecError, ValueError):
            unusable.append(line + b"\n")
            yield None
    if unusable:
        corrupt(path, unusable)


def _believed(line: Line) -> Line:
    if reason := bounds.doubt(line.r):
        raise ValueError(reason)
    return line


def _number_of(data: bytes) -> int:
    """Return the number of a line, 0 when it cannot even be told."""
    try:
        return msgspec.json.decode(_unseal(data.rstrip(b"\n")) or b"", type=_RawLine).n
    except (msgspec.MsgspecError, ValueError):
        return 0


def _moment(line: Line) -> tuple[int, int]:
    return line.after or (line.n, 0)


def _header_of(path: Path) -> Header | None:
    with path.open("rb") as file:
        body = _unseal(file.readline().rstrip(b"\n"))
    if body is None:
        return None
    try:
        return msgspec.json.decode(body, type=Header)
    except msgspec.MsgspecError as error:
        raise BadData(f"journal {path}: {error}") from error


def _seal(body: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _unseal(line: bytes) -> bytes | None:
    body = line[9:]
    return body if line[:9] == b"%08x " % zlib.crc32(body) else None
