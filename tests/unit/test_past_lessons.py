"""Lessons of the past come back as they were kept, and spoilt ones are told of and left out."""

from __future__ import annotations

import numpy as np
import pytest

from domain.errors import BadData
from ml.features import NAMES, SCHEMA
from persistence.past_lessons import PastLessons
from tests.unit.test_training import market


def test_what_is_kept_comes_back_as_past(tmp_path):
    kept, file = market(40), tmp_path / "past" / "synthetic-scalp.npz"
    assert PastLessons(file, SCHEMA).load() is None
    PastLessons(file, SCHEMA).save(kept)
    found = PastLessons(file, SCHEMA).load()
    assert found.vectors.shape == (40, len(NAMES))
    for name in ("vectors", "r", "executed", "signal_time", "exit_time"):
        assert np.array_equal(getattr(found, name), getattr(kept, name))
    assert found.past.all()
    with pytest.raises(BadData, match="run ml bootstrap again"):
        PastLessons(file, "another").load()


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:100], lambda b: b"", lambda b: b"no archive at all", lambda b: b.replace(b"r.npy", b"q.npy")]
)
def test_a_spoilt_file_is_told_of(tmp_path, spoil):
    file = tmp_path / "scalp.npz"
    PastLessons(file, SCHEMA).save(market(40))
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(BadData, match="unreadable"):
        PastLessons(file, SCHEMA).load()
