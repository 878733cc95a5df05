"""The journal gives back what it acknowledged, whatever happens to its bytes."""

import os
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import ConfigError
from domain.ids import Identity
from domain.order import Cause, OrderSide
from domain.records import DayStarted, Fill, Level, Switch, SwitchState
from persistence.journal import Journal, read_records

WHO = Identity("synthetic", "synthetic", "1")


def fill(number: int) -> Fill:
    return Fill(
        time=number, exec_id=f"x{number}", order_id="", venue_order_id="v", symbol="BTC/USDT:USDT", side=OrderSide.BUY,
        qty=Decimal("0.1"), price=Decimal("65000.10"), fee=Decimal("3.5750055"), closed_qty=Decimal(0), cause=Cause.ENTRY,
    )  # fmt: skip


def written(folder, count: int) -> list[Fill]:
    journal = Journal(folder, WHO)
    records = [fill(i) for i in range(count)]
    assert [journal.append(record).level for record in records] == [Level.JOURNALED] * count
    journal.close()
    return records


def reopened(folder) -> list:
    journal = Journal(folder, WHO)
    held = list(journal.replay())
    journal.close()
    return held


def test_everything_acknowledged_comes_back_exactly(tmp_path):
    records = written(tmp_path, 5)
    more = [Switch(time=9, state=SwitchState.PAUSED, reason="é"), DayStarted(time=1, day=2, equity=Decimal("1.10"))]
    journal = Journal(tmp_path, WHO)
    for record in more:
        journal.append(record)
    journal.close()
    assert reopened(tmp_path) == [*records, *more]


def test_sequence_numbers_go_on_after_a_restart(tmp_path):
    written(tmp_path, 3)
    journal = Journal(tmp_path, WHO)
    assert journal.append(fill(9)).sequence == 4
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


def test_a_full_disk_is_not_an_acknowledgement_and_costs_no_later_record(tmp_path, monkeypatch):
    """A short write is cut off again, so that the next record is not swallowed by its remains."""
    journal = Journal(tmp_path, WHO)
    journal.append(fill(0))
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[: len(data) // 2]))
    assert journal.append(fill(1)).level is Level.MEMORY
    monkeypatch.setattr(os, "write", real)
    assert journal.append(fill(2)).level is Level.JOURNALED
    journal.close()
    assert reopened(tmp_path) == [fill(0), fill(2)]


def test_a_failed_sync_is_final_for_its_file(tmp_path, monkeypatch):
    journal = Journal(tmp_path, WHO)
    journal.append(fill(0))

    def broken(_):
        raise OSError(5, "Input/output error")

    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", broken)
    assert journal.append(fill(1)).level is Level.MEMORY
    monkeypatch.setattr(os, "fdatasync", real)
    journal.append(fill(2))
    assert journal.state.segment == 2
    journal.close()
    assert fill(2) in reopened(tmp_path)


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
    journal = Journal(tmp_path, WHO)
    journal.append(fill(0))
    assert list(read_records(tmp_path)) == [fill(0)]
    journal.close()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="data_dir"):
        Journal(tmp_path / "file" / "journal", WHO)
