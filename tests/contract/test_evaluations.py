"""What is kept of evaluations comes back as it was, and a file that is none is named, whatever is in it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import ConfigError, Unavailable
from domain.proof import Evaluation
from domain.source import Source
from persistence import backup
from persistence.database import Database
from persistence.evaluations import BYTES_MAX, Evaluations

FOUND = Evaluation(
    strategy="breakout", code_hash="c0", terms_hash="7e", bars_hash="ba", source=Source.BYBIT,
    symbols=("BTC/USDT:USDT", "ETH/USDT:USDT"), beside=(), since=1_600_000_000_000, until=1_700_000_000_000, signals=329,
    mean_r=0.152, low=0.02, high=0.28, proven=True, reason="the interval of its mean R lies above zero",
    made_at=1_700_000_000_001,
)  # fmt: skip


@pytest.fixture
def held(tmp_path) -> Evaluations:
    return Evaluations(tmp_path)


def other(**changes) -> Evaluation:
    return msgspec.structs.replace(FOUND, **changes)


def test_a_folder_without_any_has_none(held):
    assert held.load() == ([], [])


def test_they_come_back_as_they_were_the_newest_first(held):
    newer = other(strategy="scalp", low=None, high=None, proven=False, made_at=FOUND.made_at + 5)
    held.keep(FOUND)
    held.keep(newer)
    assert held.load() == ([newer, FOUND], [])


def test_the_same_done_again_is_kept_once(held):
    held.keep(FOUND)
    again = other(made_at=FOUND.made_at + 9)
    assert held.keep(again) == held.keep(again)
    assert held.load() == ([again], [])


@given(name=st.text(max_size=60), mean=st.floats(-5, 5), low=st.none() | st.floats(-5, 5))
def test_any_name_and_any_figure_stay_in_the_folder_and_come_back(tmp_path_factory, name, mean, low):
    folder = tmp_path_factory.mktemp("any")
    found = other(strategy=name[:40], mean_r=mean, low=low, high=low)
    path = Evaluations(folder).keep(found)
    assert path.parent == folder / "evaluations"
    assert Evaluations(folder).load() == ([found], [])


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff", b"[]", b"{}", b'{"strategy": 1}', b"x" * (BYTES_MAX + 1), msgspec.json.encode({"a": "b"})],
    ids=["empty", "bytes", "list", "object", "type", "large", "foreign"],
)
def test_a_file_that_is_none_is_named_and_hides_no_other(held, tmp_path, content):
    held.keep(FOUND)
    path = tmp_path / "evaluations/breakout-0123456789abcdef.json"
    path.write_bytes(content)
    found, faults = held.load()
    assert found == [FOUND]
    assert len(faults) == 1
    assert str(path) in faults[0]
    assert "is no evaluation" in faults[0]


def test_one_that_was_changed_by_hand_is_none(held):
    path = held.keep(other(proven=False, low=-0.1))
    path.write_bytes(path.read_bytes().replace(b'"proven": false', b'"proven": true'))
    found, faults = held.load()
    assert found == []
    assert "changed by hand" in faults[0]


def test_one_of_a_later_version_with_more_in_it_is_named(held):
    path = held.keep(FOUND)
    path.write_bytes(path.read_bytes().replace(b"{", b'{"later": 1,', 1))
    assert "later" in held.load()[1][0]


def test_a_folder_that_cannot_be_written_is_said(held, tmp_path):
    (tmp_path / "evaluations").write_text("a file where the folder belongs")
    with pytest.raises((ConfigError, Unavailable), match="evaluations"):
        held.keep(FOUND)


def test_a_link_that_leads_nowhere_is_named(held, tmp_path):
    held.keep(FOUND)
    os.symlink(tmp_path / "gone", tmp_path / "evaluations/gone.json")
    found, faults = held.load()
    assert found == [FOUND]
    assert "gone.json" in faults[0]


def test_they_go_into_backups_and_come_back(held, tmp_path):
    folder = tmp_path / "data"
    kept = Evaluations(folder)
    path = kept.keep(FOUND)
    database = Database(f"sqlite:///{tmp_path / 'main.sqlite'}")
    database.migrate()
    made = backup.create(database, folder, tmp_path / "backups", bytes(32))
    with tarfile.open(made["path"]) as whole:
        assert f"data/evaluations/{path.name}" in whole.getnames()
    backup.restore(Path(made["path"]), Database(f"sqlite:///{tmp_path / 'new.sqlite'}"), tmp_path / "new", None)
    assert Evaluations(tmp_path / "new").load() == ([FOUND], [])
