"""What the disk refuses at a start is told in its own words, and ends it for good only where somebody must change it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

import pytest

from bootstrap.assembly import make_folder, take_folder
from domain.errors import ConfigError, Unavailable, of_system
from domain.ids import Identity
from persistence.database import Database
from persistence.files import refused
from persistence.journal import Journal
from sandbox.store import SandboxStore
from settings import load

WHO = Identity("synthetic", "synthetic", "1")
PASSING = {
    errno.EIO: "the disk fails", errno.ENOLCK: "no lock can be had", errno.ENOSPC: "the disk is full",
    errno.EMFILE: "", errno.ESTALE: "", errno.ENOMEM: "",
}  # fmt: skip
LASTING = {errno.EACCES: "", errno.ENOTDIR: "", errno.EROFS: "read-only"}


def journal(folder: Path) -> None:
    Journal(folder / "journal", WHO).close()


def lock(folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        take_folder(folder, stack)


def configuration(folder: Path) -> None:
    path = folder / "config.yaml"
    path.touch()
    load(path, {})


STARTS = [
    (make_folder, Path, "mkdir"), (lock, Path, "open"), (lock, fcntl, "flock"), (journal, fcntl, "flock"),
    (journal, Path, "mkdir"), (lambda folder: Database(f"sqlite:///{folder / 'x' / 'a.sqlite'}"), Path, "mkdir"),
    (lambda folder: SandboxStore(folder / "x" / "a.sqlite"), Path, "mkdir"), (configuration, Path, "read_text"),
]  # fmt: skip


@pytest.mark.parametrize("number", [*PASSING, *LASTING])
@pytest.mark.parametrize(("start", "module", "name"), STARTS)
def test_only_what_somebody_must_change_counts_as_configuration(tmp_path, monkeypatch, start, module, name, number):
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, name, fails)
    kind, words = (Unavailable, PASSING[number]) if number in PASSING else (ConfigError, LASTING[number])
    with pytest.raises(kind) as told:
        start(tmp_path)
    assert words in str(told.value)
    assert os.strerror(number) in str(told.value)
    assert "another" not in str(told.value)


def test_what_is_anothers_says_whose_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    told = refused("data_dir: x", tmp_path / "a" / "b", PermissionError(errno.EACCES, "Permission denied"), "-")
    assert isinstance(told, ConfigError)
    assert f"{tmp_path} belongs to user {os.getuid()}, and this runs as user 4711" in str(told)


@pytest.mark.parametrize("inner", ["", "inside"])
def test_a_link_to_nowhere_may_lead_somewhere_once_its_disk_is_mounted(tmp_path, inner):
    link = tmp_path / "data"
    link.symlink_to(tmp_path / "disk")
    with pytest.raises(Unavailable, match=r"leads to .*/disk, which is not there; is its disk mounted\?"):
        make_folder(link / inner)
    assert not (tmp_path / "disk").exists()
    (tmp_path / "disk").mkdir()
    make_folder(link / inner)


def test_an_error_without_number_may_pass():
    assert isinstance(of_system("x", OSError("strange"), "wait"), Unavailable)
