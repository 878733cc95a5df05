"""Runs the operator's commands in this process."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import structlog

from domain.candle import resample
from persistence.database import Database
from persistence.history import CandleHistory
from sandbox.tape import GeneratedTape
from tests.practice import START

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DAY = 86_400_000


def candle_files(folder: Path, days: int = 20, symbols: int = 3) -> list[str]:
    tape = GeneratedTape(11, symbols, START)
    begin, paths = tape.span()[0], []
    for symbol in tape.instruments:
        path = folder / f"{symbol.split('/')[0]}_USDT_USDT-3m.csv"
        with path.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["timestamp", "open", "high", "low", "close", "volume", "turnover"])
            writer.writerows(resample(tape.bars(symbol, begin, begin + days * DAY), 180_000, 60_000).rows())
        paths.append(str(path))
    return paths


@contextlib.contextmanager
def own_logging() -> Iterator[None]:
    """Give back the logging of this process: a command sets it up for the whole of its own, which this is not.

    No logger may keep what it was given, or it would write to this command's stderr in all later tests.
    """
    configure, handlers = structlog.configure, logging.root.handlers[:]

    def uncached(**how: Any) -> None:
        configure(**how | {"cache_logger_on_first_use": False})

    with mock.patch.object(structlog, "configure", uncached):
        try:
            yield
        finally:
            structlog.reset_defaults()
            logging.root.handlers[:] = handlers


class Commands:
    """Runs manage.py on a data folder, with every source on loopback."""

    def __init__(self, folder: Path, database_url: str, address: str) -> None:
        self.url = database_url
        names = ("binance", "okx", "bybit", "coingecko", "cryptocompare", "alpaca", "polygon")
        self.environment = {
            **os.environ, "DATABASE_URL": database_url, "REVENANT__DATA_DIR": str(folder), "REDIS_URL": "",
            "REVENANT__HISTORY__ADDRESSES": json.dumps(dict.fromkeys(names, address)),
            "REVENANT__HISTORY__ARCHIVES": "false",
        }  # fmt: skip

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command as its own main does, in this process: loading ccxt anew each time would take most of it."""
        import manage

        out, err, code = io.StringIO(), io.StringIO(), 0
        with mock.patch.dict(os.environ, self.environment), mock.patch.object(sys, "argv", ["manage.py", *arguments]):
            with (
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
                contextlib.chdir(ROOT),
                own_logging(),
            ):
                try:
                    manage.main()
                except SystemExit as left:
                    code = int(left.code or 0)
        return code, out.getvalue(), err.getvalue()

    def json(self, *arguments: str, code: int = 0):
        found, out, err = self.run(*arguments, "--json")
        assert found == code, (out, err)
        return json.loads(out)

    def store(self) -> CandleHistory:
        return CandleHistory(Database(self.url))
