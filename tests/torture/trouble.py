"""Troubles of one process's host, switched while it runs: a clock that is off, a disk that refuses every write."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("trouble.c")
PAGE = struct.Struct("=qq")


def compiler() -> str | None:
    """Return the C compiler of this machine; without one none of this can be had."""
    return shutil.which("cc") or shutil.which("gcc")


class Trouble:
    """A library that is preloaded into a process, and the page by which it is told what is wrong now."""

    def __init__(self, base: Path, folder: Path) -> None:
        found = compiler()
        assert found is not None
        library, page = base / "trouble.so", base / "trouble.page"
        subprocess.run([found, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
        page.write_bytes(PAGE.pack(0, 0))
        with page.open("r+b") as opened:
            self._page = mmap.mmap(opened.fileno(), PAGE.size)
        self.environment = {
            "LD_PRELOAD": str(library), "TROUBLE_PAGE": str(page), "TROUBLE_FOLDER": str(folder.resolve()),
        }  # fmt: skip

    def tell(self, *, ahead_ms: int = 0, disk: int = 0) -> None:
        """Put the clock so far ahead (UTC ms), and have every write to the folder fail with an errno; 0 for none."""
        self._page[:] = PAGE.pack(ahead_ms, disk)
