"""The journal gives back what it acknowledged, whatever happens to its bytes."""

import contextlib
import errno
import os
import shutil
import threading
from decimal import Decimal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import ConfigError, Unavailable
from domain.ids import Identity
from domain.order import Cause, OrderSide
from domain.records import DayStarted, Fill, Level, Switch, SwitchState
from persistence.breaker import Breaker
from persistence.journal import Journal, read_records
from persistence.ledger import LayeredLedger

WHO = Identity("synthetic", "synthetic", "1")


def fill(number: int) -> Fill:
    return Fill(
        time=number, exec_id=f"x{number}", order_id="", venue_order_id="v", symbol="BTC/USDT:USDT", side=OrderSide.BUY,
        qty=Decimal("0.1"), price=Decimal("65000.10"), fee=Decimal("3.5750055"), closed_qty=Decimal(0), cause=Cause.ENTRY,
    )  # fmt: skip


def ledger(folder) -> tuple[Journal, LayeredLedger]:
    journal = Journal(folder, WHO)
    return journal, LayeredLedger(journal)


def written(folder, count: int) -> list[Fill]:
    journal, book = ledger(folder)
    records = [fill(i) for i in range(count)]
    assert [book.append(record).level for record in records] == [Level.JOURNALED] * count
    journal.close()
    return records


def reopened(folder) -> list:
    journal, _book = ledger(folder)
    held = list(journal.replay())
    journal.close()
    return held


def test_everything_acknowledged_comes_back_exactly(tmp_path):
    records = written(tmp_path, 5)
    more = [Switch(time=9, state=SwitchState.PAUSED, reason="é"), DayStarted(time=1, day=2, equity=Decimal("1.10"))]
    journal, book = ledger(tmp_path)
    for record in more:
        book.append(record)
    journal.close()
    assert reopened(tmp_path) == [*records, *more]


def test_sequence_numbers_go_on_after_a_restart(tmp_path):
    written(tmp_path, 3)
    journal, book = ledger(tmp_path)
    assert book.append(fill(9)).sequence == 4
    journal.close()


def test_every_truncation_loses_at_most_what_was_cut(tmp_path):
    records = written(tmp_path / "a", 3)
    (segment,) = (tmp_path / "a").glob("*.jsonl")
    data = segment.read_bytes()
    for size in range(len(data)):
        folder = tmp_path / f"t{size}"
        folder.mkdir()
        (folder / segment.name).write_bytes(data[:size])
        held = reopened(folder)
        complete = data[:size].count(b"\n") - 1
        assert held == records[: max(0, complete)]
        kept = b"".join(path.read_bytes() for path in (folder / "quarantine").glob("*"))
        tail = data[:size].rpartition(b"\n")[2]
        assert kept == tail


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_read_as_something_else(tmp_path_factory, position, bit):
    folder = tmp_path_factory.mktemp("flip")
    records = written(folder, 3)
    (segment,) = folder.glob("*.jsonl")
    data = bytearray(segment.read_bytes())
    data[int(position * len(data))] ^= 1 << bit
    segment.write_bytes(bytes(data))
    try:
        held = reopened(folder)
    except ConfigError:
        return
    assert all(record in records for record in held)
    assert len(held) >= len(records) - 2


def broken_disk(monkeypatch, number: int) -> None:
    def broken(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fdatasync", broken)


def test_a_full_disk_is_not_an_acknowledgement_and_costs_no_later_record(tmp_path, monkeypatch):
    """A short write is cut off again, so that the next record is not swallowed by its remains."""
    journal, book = ledger(tmp_path)
    book.append(fill(0))
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[: len(data) // 2]))
    assert book.append(fill(1)).level is Level.MEMORY
    assert not book.durable
    monkeypatch.setattr(os, "write", real)
    assert book.append(fill(2)).level is Level.JOURNALED
    book.heal()
    assert book.durable
    journal.close()
    assert reopened(tmp_path) == [fill(0), fill(1), fill(2)]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_failed_sync_is_final_for_its_file_and_the_record_goes_to_the_next(tmp_path, monkeypatch, number):
    journal, book = ledger(tmp_path)
    book.append(fill(0))
    real, left = os.fdatasync, [1]

    def once(handle):
        if left:
            left.pop()
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fdatasync", once)
    assert book.append(fill(1)).level is Level.JOURNALED
    assert journal.state.segment == 2
    journal.close()
    assert reopened(tmp_path) == [fill(0), fill(1)]


def test_a_segment_that_somebody_deletes_is_noticed_by_the_next_record(tmp_path):
    """What went into a deleted file was acknowledged, and gone with the process."""
    journal, book = ledger(tmp_path / "journal")
    book.append(fill(0))
    (tmp_path / "journal" / "000001.jsonl").unlink()
    assert book.append(fill(1)).level is Level.JOURNALED
    assert journal.state.failures == 1
    journal.close()
    journal, book = ledger(tmp_path / "journal")
    # and the next start asks the exchange for what is missing
    assert list(book.replay()) == [fill(1)]
    assert (book.missing, book.doubtful_since) == (1, 0)
    journal.close()


def test_a_folder_that_somebody_deletes_is_made_again_and_held_as_before(tmp_path):
    """Found by the whole bot: it told of a failing disk until it was restarted, and made no entry."""
    folder = tmp_path / "journal" / "account"
    journal, book = ledger(folder)
    book.append(fill(0))
    shutil.rmtree(tmp_path / "journal")
    assert book.append(fill(1)).level is Level.JOURNALED
    assert book.durable
    with pytest.raises(ConfigError, match="held by another"):
        Journal(folder, WHO)
    journal.close()
    journal, book = ledger(folder)
    assert list(book.replay()) == [fill(1)]
    assert book.missing == 1
    journal.close()


def test_a_folder_whose_disk_is_gone_or_that_another_bot_has_made_is_left_alone(tmp_path):
    journal, book = ledger(tmp_path / "journal")
    book.append(fill(0))
    shutil.rmtree(tmp_path / "journal")
    journal._device += 1
    assert book.append(fill(1)).level is Level.MEMORY
    assert not (tmp_path / "journal").exists()
    journal._device -= 1
    (tmp_path / "journal").mkdir()
    other = Journal(tmp_path / "journal", WHO)
    assert book.append(fill(2)).level is Level.MEMORY
    other.close()
    assert book.append(fill(3)).level is Level.JOURNALED
    journal.close()


def test_on_a_full_disk_the_reserve_lets_exits_be_written_and_stops_entries(tmp_path, monkeypatch):
    journal, book = ledger(tmp_path)
    reserve = tmp_path / "reserve"
    real = os.write

    def full(handle, data):
        if reserve.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data)

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: full(-1, b"") if not reserve.exists() else None)
    assert book.append(fill(0)).level is Level.JOURNALED
    assert not reserve.exists()
    assert not book.durable
    monkeypatch.undo()
    book.heal()
    assert reserve.exists()
    assert book.durable
    journal.close()


def test_a_record_that_is_gone_is_missed_and_the_doubtful_time_is_known(tmp_path):
    written(tmp_path, 5)
    (segment,) = tmp_path.glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:3] + lines[4:]))
    journal, book = ledger(tmp_path)
    assert list(book.replay()) == [fill(0), fill(1), fill(3), fill(4)]
    assert (journal.state.missing, journal.state.doubtful_since) == (1, 1)
    journal.close()


def test_a_segment_that_is_gone_is_missed(tmp_path):
    for number in range(3):
        journal, book = ledger(tmp_path)
        book.append(fill(number))
        journal.close()
    (tmp_path / "000002.jsonl").unlink()
    journal, book = ledger(tmp_path)
    assert list(book.replay()) == [fill(0), fill(2)]
    assert (journal.state.missing, journal.state.doubtful_since) == (1, 0)
    assert book.append(fill(3)).sequence == 4
    journal.close()


class Shelf:
    """A refuge in memory that can be taken away."""

    level, name = Level.MIRRORED, "shelf"

    def __init__(self):
        self.kept, self.away = {}, False

    def _check(self):
        if self.away:
            raise Unavailable("away")

    def put(self, kept):
        self._check()
        self.kept[kept.key] = kept

    def held(self):
        self._check()
        return list(self.kept.values())

    def remove(self, keys):
        self._check()
        for key in keys:
            del self.kept[key]


def test_records_flee_to_a_refuge_and_come_home_in_their_old_place(tmp_path, monkeypatch):
    shelf = Shelf()
    journal = Journal(tmp_path, WHO)
    book = LayeredLedger(journal, [shelf])
    book.append(fill(0))
    with monkeypatch.context() as patch:
        broken_disk(patch, errno.EIO)
        assert book.append(fill(1)).level is Level.MIRRORED
        assert book.append(fill(2)).level is Level.MIRRORED
        assert book.durable
    shelf.away = True
    assert book.append(fill(3)).level is Level.JOURNALED
    shelf.away = False
    journal.close()

    journal = Journal(tmp_path, WHO)
    again = LayeredLedger(journal, [shelf])
    assert list(again.replay()) == [fill(0), fill(1), fill(2), fill(3)]
    assert shelf.kept == {}
    assert journal.state.missing == 0
    journal.close()
    assert list(read_records(tmp_path)) == [fill(0), fill(1), fill(2), fill(3)]


def test_a_refuge_that_hangs_keeps_no_record_waiting(tmp_path, monkeypatch):
    """Found by starting while somebody held a lock on the database: entries stopped, and exits waited 3 s each."""
    shelf, asked, free = Shelf(), threading.Event(), threading.Event()
    journal = Journal(tmp_path, WHO)
    book = LayeredLedger(journal, [shelf])
    with monkeypatch.context() as patch:
        broken_disk(patch, errno.EIO)
        assert book.append(fill(0)).level is Level.MIRRORED
    held = shelf.held

    def hangs():
        asked.set()
        assert free.wait(30)
        return held()

    shelf.held = hangs
    healing = threading.Thread(target=book.heal)
    healing.start()
    assert asked.wait(30)
    # whoever writes meets no lock: with one this would never come back
    assert [book.append(fill(i)).level for i in (1, 2)] == [Level.JOURNALED] * 2
    assert healing.is_alive()
    free.set()
    healing.join(30)
    assert (shelf.kept, sum(map(len, book._abroad.values()))) == ({}, 0)
    assert list(book.replay()) == [fill(0), fill(1), fill(2)]
    journal.close()


def test_a_dead_refuge_is_hardly_asked_any_more(tmp_path, monkeypatch):
    asked = []
    shelf = Shelf()
    shelf.put = lambda kept: asked.append(kept) or shelf._check()
    journal = Journal(tmp_path, WHO)
    book = LayeredLedger(journal, [shelf])
    book._refuges = [(shelf, Breaker(clock=lambda: 0.0, draw=lambda: 1.0))]
    shelf.away = True
    with monkeypatch.context() as patch:
        broken_disk(patch, errno.EROFS)
        levels = {book.append(fill(i)).level for i in range(50)}
    assert levels == {Level.MEMORY}
    assert book.unsafe == 50
    assert len(asked) == 3
    book.heal()
    assert book.unsafe == 0
    journal.close()
    assert reopened(tmp_path) == [fill(i) for i in range(50)]


def test_only_one_process_holds_a_journal(tmp_path):
    journal = Journal(tmp_path, WHO)
    with pytest.raises(ConfigError, match="another running bot"):
        Journal(tmp_path, WHO)
    journal.close()


def test_another_owners_journal_is_refused(tmp_path):
    written(tmp_path, 1)
    with pytest.raises(ConfigError, match="belongs to"):
        Journal(tmp_path, WHO._replace(mode="live"))


def test_a_reader_beside_the_writer_sees_what_is_complete(tmp_path):
    journal, book = ledger(tmp_path)
    book.append(fill(0))
    assert list(read_records(tmp_path)) == [fill(0)]
    journal.close()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="data_dir"):
        Journal(tmp_path / "file" / "journal", WHO)


def test_an_archive_puts_everything_else_away_and_begins_with_what_matters(tmp_path):
    records = written(tmp_path, 5)
    journal = Journal(tmp_path, WHO)
    book = LayeredLedger(journal, archive_bytes=1)
    assert book.archive([record for record in book.replay() if record.time >= 4]) == 1
    assert journal.state.missing == 0
    book.append(fill(5))
    journal.close()
    journal, book = ledger(tmp_path)
    assert list(book.replay()) == [fill(4), fill(5)]
    assert journal.state.missing == 0
    assert book.append(fill(6)).sequence == 8
    journal.close()
    assert set(map(str, read_records(tmp_path, archived=True))) == set(map(str, [*records, fill(5), fill(6)]))


@pytest.mark.parametrize("at", range(1, 7))
def test_an_archive_that_fails_half_way_loses_nothing(tmp_path, monkeypatch, at):
    records = written(tmp_path, 5)
    journal, book = ledger(tmp_path)
    live = [msgspec.json.encode(record) for record in records[2:]]
    with monkeypatch.context() as patch:
        breaks(patch, at)
        with contextlib.suppress(OSError):
            journal.archive(live)
    assert book.append(fill(9)).level is Level.JOURNALED
    journal.close()
    journal, book = ledger(tmp_path)
    told = list(dict.fromkeys(book.replay()))
    assert told in ([*records, fill(9)], [*records[2:], fill(9)])
    assert (journal.state.missing, journal.state.quarantined) == (0, 0)
    journal.close()


def breaks(patch, at):
    """Let the so-manieth write to a disk stop half way."""
    real, calls = os.write, iter(range(1, 1_000))

    def write(handle, data):
        if next(calls) != at:
            return real(handle, data)
        real(handle, data[: len(data) // 2])
        raise OSError(errno.EIO, "Input/output error")

    patch.setattr(os, "write", write)


def test_a_folder_that_cannot_be_read_is_one_clear_line(tmp_path, monkeypatch):
    written(tmp_path, 1)

    def unreadable(_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("persistence.journal.segments_of", unreadable)
        with pytest.raises(Unavailable, match="cannot be read: Input/output error; the disk fails: look"):
            Journal(tmp_path, WHO)
    assert reopened(tmp_path) == [fill(0)]


def test_the_name_of_a_new_journal_is_synced_before_anything_is_acknowledged(tmp_path, monkeypatch):
    """Found by a power cut after the first records: all of them were on disk, in a folder whose name was not."""
    synced, real = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(os.readlink(f"/proc/self/fd/{handle}")), real(handle))
    )
    journal = Journal(tmp_path / "data" / "journal", WHO)
    assert {str(tmp_path), str(tmp_path / "data")} <= set(synced)
    synced.clear()
    journal.write(msgspec.json.encode(fill(0)))
    journal.archive([])
    # the archive's own name, before anything is moved there
    assert str(tmp_path / "data" / "journal") in synced
    journal.close()


@pytest.mark.parametrize("every", [1, 2, 50])
def test_what_a_broken_journal_costs_does_not_grow_with_its_lines(tmp_path, monkeypatch, every):
    """Found by a journal of which every byte was turned over: two syncs a line, and ``panic`` had ten minutes to wait."""
    count = 400
    written(tmp_path, count)
    (segment,) = tmp_path.glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    broken = [line.replace(b'"', b"'") if n and n % every == 0 else line for n, line in enumerate(lines)]
    segment.write_bytes(b"".join(broken))
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), real(file))[1])
    journal, book = ledger(tmp_path)
    assert len(list(book.replay())) == count - count // every
    assert journal.state.quarantined == count // every
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert kept.read_bytes() == b"".join(line for line, was in zip(broken, lines, strict=True) if line != was)
    assert len(synced) < 20
    journal.close()
