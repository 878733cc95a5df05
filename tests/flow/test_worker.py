"""The regular jobs on Celery: a real worker, a real Redis, one task per series, no job twice at once."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domain.candle import Series
from domain.errors import ConfigError
from domain.source import Source
from history.jobs import JOBS, named
from persistence.database import Database
from persistence.history import CandleHistory
from persistence.jobs import JobBook
from settings import load
from tests.bot import PATIENCE, until
from tests.commands import Commands, candle_files
from tests.venues import served, walk
from workers.celery_app import make_app

ROOT = Path(__file__).parents[2]
STEP = 900_000


@pytest.fixture
def cluster(tmp_path, postgres_url, own_redis):
    with served() as venues:
        environment = {
            **os.environ, "DATABASE_URL": postgres_url, "REDIS_URL": own_redis.url, "DATA_SOURCE": "bybit",
            "REVENANT__DATA_DIR": str(tmp_path), "REVENANT__HISTORY__ARCHIVES": "false",
            "REVENANT__HISTORY__CHAIN": '["binance"]',
            "REVENANT__HISTORY__ADDRESSES": json.dumps({"binance": venues.address}),
        }  # fmt: skip
        yield venues, environment, Database(postgres_url)


def celery(environment: dict[str, str], *arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "worker", *arguments]


@contextlib.contextmanager
def working(environment: dict[str, str], log: Path):
    with log.open("w") as out:
        worker = subprocess.Popen(
            celery(environment, "worker", "-c", "2", "--without-gossip", "--without-mingle"), cwd=ROOT, env=environment,
            stdout=out, stderr=out,
        )  # fmt: skip
        try:
            app = make_app(load(environment=environment))
            until(lambda: app.control.ping(timeout=0.5), "the worker", 60)
            yield
        finally:
            worker.terminate()
            worker.wait(30 * PATIENCE)


def test_a_job_is_shared_out_by_series_and_done_once(cluster, tmp_path):
    venues, environment, database = cluster
    now = int(time.time() * 1000) // STEP * STEP
    store, names = CandleHistory(database), [f"COIN{n}/USDT:USDT" for n in range(5)]
    for n, name in enumerate(names):
        bars = walk(300, now - 300 * STEP, STEP, seed=n)
        venues.put("binance", name, "15m", bars, listed=int(bars.open_time[0]))
        store.save(Source.BINANCE, Series(name, "15m"), bars[:200])
    book = JobBook(database, "test")
    with working(environment, tmp_path / "worker.log"):
        for _ in range(2):
            subprocess.run(
                celery(environment, "call", "revenant.job", "--args", '["update"]'), cwd=ROOT, env=environment,
                check=True, capture_output=True,
            )  # fmt: skip
        state = until(lambda: (one := book.states().get("update")) and one.status == "COMPLETED" and one, "the job", 90)
    assert state.said.startswith("5 series, 0 failed")
    for name in names:
        assert len(store.times(Source.BINANCE, Series(name, "15m"))) in {299, 300}


def test_a_sweep_is_shared_out_to_those_who_see_the_same_bars(cluster, tmp_path):
    _, environment, _ = cluster
    commands = Commands(tmp_path, environment["DATABASE_URL"], "http://127.0.0.1:9")
    commands.environment |= environment
    assert commands.run("data", "import", *candle_files(tmp_path, days=12, symbols=1), "-s", "test")[0] == 0
    asked = ("backtest", "sweep", "-s", "test", "-p", "BTC/USDT:USDT", "--strategy", "mr", "--set", "mr.touch_atr=0.3,0.6",
             "--set", "risk.percent=0.5,1", "--walk-forward", "1")  # fmt: skip
    code, _, err = commands.run(*asked, "--celery")
    assert (code, "no Celery worker answers" in err) == (2, True)
    with working(environment, tmp_path / "worker.log"):
        shared = commands.json(*asked, "--celery")
    assert shared == commands.json(*asked)
    assert shared["tried"] == 4
    assert sum(row["trades"] for row in shared["trials"]) > 20
    elsewhere = {**environment, "DATABASE_URL": f"sqlite:///{tmp_path / 'other.sqlite'}"}
    with working(elsewhere, tmp_path / "other.log"):
        code, out, err = commands.run(*asked, "--celery")
    assert (code, "holds other bars" in out + err) == (1, True)


def test_the_table_is_the_same_on_celery():
    app = make_app(load(environment={"REDIS_URL": "redis://127.0.0.1:1"}))
    beat = app.conf.beat_schedule
    assert set(beat) == {job.name for job in JOBS}
    assert {name: entry["options"]["priority"] for name, entry in beat.items()} == {
        job.name: 9 - job.priority for job in JOBS
    }
    assert beat["validate"]["schedule"].day_of_week == {0}
    assert beat["consolidate"]["schedule"].day_of_month == {1}
    assert beat["collect"]["schedule"].hour == set(range(24))
    assert beat["quality"]["schedule"].hour == set(named("quality").hours)


def test_without_redis_it_says_what_to_do():
    with pytest.raises(ConfigError, match="REDIS_URL"):
        make_app(load(environment={}))
