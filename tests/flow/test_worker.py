"""The regular jobs on Celery: a real worker, a real Redis, parts of many series, no job twice at once, none lost."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog
from aiohttp import web

from app.backtest import Request, stored_span
from app.jobs import kept_series
from app.sweep import attempt
from bootstrap.history import History
from bootstrap.parts import keyvalue
from commands.times import FOREVER
from domain.candle import Series
from domain.coverage import Span
from domain.errors import ConfigError, Unavailable
from domain.job_parts import cut
from domain.source import Source
from history.jobs import JOBS, named
from persistence.cluster_state import QUEUES
from persistence.database import Database
from persistence.history import CandleHistory
from persistence.job_parts import JobParts
from persistence.jobs import JobBook
from settings import load
from tests.bot import PATIENCE, until
from tests.commands import Commands, candle_files, own_logging
from tests.venues import served, walk
from workers.beat import OneBeat
from workers.celery_app import begin, look, make_app, share_out
from workers.cluster import Cluster
from workers.download import share
from workers.part_worker import PartWorker

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
def working(environment: dict[str, str], log: Path, *arguments: str):
    with log.open("w") as out:
        worker = subprocess.Popen(
            celery(environment, "worker", "-c", "2", "--without-gossip", "--without-mingle", "-n", f"{log.stem}@here",
                   *arguments),
            cwd=ROOT, env=environment, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
        try:
            app = make_app(load(environment=environment))
            until(lambda: app.control.ping([f"{log.stem}@here"], timeout=0.5), "the worker", 60)
            yield worker
        finally:
            worker.terminate()
            try:
                worker.wait(30 * PATIENCE)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGKILL)


def stocked(venues, database, count: int) -> list[str]:
    """Give an exchange some coins, of which a third of the bars are not stored yet; return them."""
    now = int(time.time() * 1000) // STEP * STEP
    store, names = CandleHistory(database), [f"COIN{n}/USDT:USDT" for n in range(count)]
    for n, name in enumerate(names):
        bars = walk(300, now - 300 * STEP, STEP, seed=n)
        venues.put("binance", name, "15m", bars, listed=int(bars.open_time[0]))
        store.save(Source.BINANCE, Series(name, "15m"), bars[:200])
    return names


def finished(environment, log, database, job):
    """Have a worker with a beat do what is left of a job; return how it ended."""
    book = JobBook(database, "test")
    with working(environment, log, "-B"):
        return until(lambda: (one := book.states()[job]).ended_at and one, "the job", 90)


def keyvalue_of(server):
    return keyvalue(load(environment={"REDIS_URL": server.url})).client


def test_a_job_is_shared_out_by_series_and_done_once(cluster, tmp_path):
    venues, environment, database = cluster
    names, store = stocked(venues, database, 5), CandleHistory(database)
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


def waiting(app, redis_client):
    """Return the names of the jobs of which parts wait in Redis, by priority."""
    found = {}
    for place, name in enumerate(QUEUES):
        for raw in redis_client.lrange(name, 0, -1):
            job = json.loads(base64.b64decode(json.loads(raw)["body"]))[0][0]
            found.setdefault(job, place)
    return found


def test_what_is_due_by_the_databases_clock_is_begun_in_the_order_of_its_importance(postgres_url, own_redis):
    settings = load(environment={"REDIS_URL": own_redis.url, "DATABASE_URL": postgres_url, "DATA_SOURCE": "bybit"})
    app, client = make_app(settings), keyvalue(settings).client
    with History(settings) as history:
        book = JobBook(history.database, "long ago")
        for job in JOBS:
            book.claim(job)
            book.finish(job, "COMPLETED", "")
        look(app, history)
        assert waiting(app, client) == {}, "nothing is due"
        with history.database.transaction() as connection:
            connection.execute(sa.text("UPDATE jobs SET started_at = now() - interval '40 days'"))
        look(app, history)
        assert waiting(app, client) == {job.name: 9 - job.priority for job in JOBS}
        assert all(state.running for state in book.states().values())


def test_only_one_beat_sends_and_another_takes_over(own_redis, monkeypatch):
    app = make_app(load(environment={"REDIS_URL": own_redis.url}))
    one, other = OneBeat(app), OneBeat(app)
    monkeypatch.setattr(other, "_name", "other")
    queue = QUEUES
    with own_logging(), structlog.testing.capture_logs() as logs:
        one.tick()
        other.tick()
        one.tick()
    assert app.cluster_state.queued(queue) == 1, "one tick at a time waits for a worker"
    assert [line["what"] for line in logs] == ["another beat runs; this one stands by"]
    one.close()
    app.cluster_state.tick_begun()
    other.tick()
    assert app.cluster_state.queued(queue) == 2
    assert app.cluster_state.beat().name == "other"


def test_a_beat_that_is_hours_behind_is_told_and_does_no_harm(own_redis, monkeypatch):
    app = make_app(load(environment={"REDIS_URL": own_redis.url}))
    beat, real = OneBeat(app), time.time
    monkeypatch.setattr(time, "time", lambda: real() - 7_200)
    with own_logging(), structlog.testing.capture_logs() as logs:
        beat.tick()
    monkeypatch.undo()
    assert "clock is -7200 s off" in logs[0]["what"]
    assert round(app.cluster_state.beat().drift_s) == -7_200
    (task,) = [json.loads(raw) for name in QUEUES for raw in keyvalue_of(own_redis).lrange(name, 0, -1)]
    assert task["headers"]["expires"] is None, "a worker would discard it by its own clock"


def test_a_beat_outlives_redis(own_redis):
    app = make_app(load(environment={"REDIS_URL": own_redis.url}))
    beat = OneBeat(app)
    own_redis.kill9()
    with own_logging(), structlog.testing.capture_logs() as logs:
        beat.tick()
        beat.tick()
    assert len(logs) == 1
    own_redis.start()
    beat.tick()
    assert app.cluster_state.queued(QUEUES) == 1


def test_what_a_killed_worker_had_is_done_by_another(cluster, tmp_path):
    venues, environment, database = cluster
    names = stocked(venues, database, 3)
    app, settings = make_app(load(environment=environment)), load(environment=environment)
    with working(environment, tmp_path / "first.log") as first:

        def kill(_venue, request):
            if "klines" in request.path and first.poll() is None:
                os.killpg(first.pid, signal.SIGKILL)

        venues.spoil = kill
        with History(settings) as history:
            begin(app, history, named("update"))
        first.wait(60 * PATIENCE)
    venues.spoil = lambda *_: None
    book = JobParts(database, "test")
    assert JobBook(database, "test").states()["update"].running
    assert book.progress("update").parts == {"RUNNING": 1}
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE job_parts SET until = now() - interval '1 second'"))
    state = finished(environment, tmp_path / "second.log", database, "update")
    assert (state.status, state.said.split(",")[:2]) == ("COMPLETED", ["3 series", " 0 failed"])
    store = CandleHistory(database)
    assert all(len(store.times(Source.BINANCE, Series(name, "15m"))) >= 299 for name in names)


def test_a_redis_that_forgot_everything_costs_nothing(cluster, tmp_path, own_redis):
    venues, environment, database = cluster
    stocked(venues, database, 3)
    app, settings = make_app(load(environment=environment)), load(environment=environment)
    with History(settings) as history:
        assert begin(app, history, named("update")) == "begun: 3 series in 1 parts"
        assert begin(app, history, named("update")).startswith("SKIPPED")
    keyvalue_of(own_redis).flushall()
    own_redis.kill9()
    own_redis.start()
    assert app.cluster_state.queued(QUEUES) == 0
    state = finished(environment, tmp_path / "worker.log", database, "update")
    assert (state.status, state.said.split(",")[:2]) == ("COMPLETED", ["3 series", " 0 failed"])


def test_parts_share_a_client_and_wait_for_an_exchange_that_is_away(cluster):
    venues, environment, database = cluster
    stocked(venues, database, 2)
    settings = load(environment=environment)
    worker, app, book = PartWorker(settings), make_app(settings), JobParts(database, "test")
    now = int(time.time() * 1000)
    with History(settings) as history:
        names = [one for one in kept_series(history) if one.timeframe == "15m"]
        each = [cut("update", [Source.BINANCE], {one: Span(now - 300 * STEP, now)}, now)[0] for one in names]
        share_out(app, history, named("update"), each)
    venues.spoil = lambda _venue, request: web.Response(status=503) if "klines" in request.path else None
    said = [worker.work("update")]
    chain = worker._chain[2]
    said.append(worker.work("update"))
    assert all("COIN" in one and "15m: binance" in one for one in said), said
    assert (worker.work("update"), book.close(), book.takeable()) == ("", [], {}), "both wait for better times"
    venues.spoil = lambda *_: None
    # the exchange's rest, and the parts' pause, are over
    chain._resting.clear()
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE job_parts SET due_at = now() - interval '1 second'"))
    assert all("COMPLETED" in worker.work("update") for _ in each)
    assert JobBook(database, "test").states()["update"].said.startswith("2 series, 0 failed, ")
    assert worker._chain[2] is chain, "one for all parts"
    worker.close()


def test_a_database_that_goes_away_under_a_part_costs_no_series(tmp_path, own_postgres, own_redis, monkeypatch):
    own_postgres.sql("CREATE DATABASE cluster")
    refused, save = threading.Event(), CandleHistory.save

    def tried(*given):
        try:
            return save(*given)
        except Unavailable:
            refused.set()
            raise

    monkeypatch.setattr(CandleHistory, "save", tried)
    with served() as venues:
        settings = load(environment={
            "DATABASE_URL": own_postgres.dsn("cluster"), "REDIS_URL": own_redis.url, "DATA_SOURCE": "bybit",
            "REVENANT__DATA_DIR": str(tmp_path), "REVENANT__HISTORY__ARCHIVES": "false",
            "REVENANT__HISTORY__CHAIN": '["binance"]',
            "REVENANT__HISTORY__ADDRESSES": json.dumps({"binance": venues.address}),
        })  # fmt: skip
        database = Database(own_postgres.dsn("cluster"))
        stocked(venues, database, 3)
        worker, killed = PartWorker(settings), threading.Event()

        def kill(_venue, request):
            if "klines" in request.path and not killed.is_set():
                own_postgres.kill9()
                killed.set()

        with History(settings) as history:
            begin(make_app(settings), history, named("update"))
        venues.spoil = kill
        with ThreadPoolExecutor(1) as thread:
            working_on = thread.submit(worker.work, "update")
            assert killed.wait(60 * PATIENCE)
            assert refused.wait(60 * PATIENCE)
            own_postgres.start()
            said = working_on.result(180 * PATIENCE)
        assert "COIN" in said
        # connections of before are of no use any more, and each says so once
        database = Database(own_postgres.dsn("cluster"))
        book = JobBook(database, "test")
        assert book.states()["update"].running

        def done():
            # the pauses are over, the source's too
            worker._chain[2]._resting.clear()
            with database.transaction() as connection:
                connection.execute(sa.text("UPDATE job_parts SET due_at = now() - interval '1 second'"))
            with contextlib.suppress(Unavailable):
                worker.work("update")
            return (state := book.states()["update"]).ended_at and state

        state = until(done, "the rest")
        assert (state.status, state.said.split(",")[:2]) == ("COMPLETED", ["3 series", " 0 failed"])
        worker.close()


def test_a_download_is_shared_out_and_joined_by_who_asks_for_it_again(cluster, tmp_path):
    venues, environment, database = cluster
    names = stocked(venues, database, 3)
    commands = Commands(tmp_path, environment["DATABASE_URL"], venues.address)
    commands.environment |= environment
    asked = ("data", "download", "-s", "binance", "-p", ",".join(names), "-t", "15m", "--days", "4", "--celery")
    code, _, err = commands.run(*asked)
    assert (code, "no Celery worker answers" in err) == (2, True)
    app = make_app(load(environment=environment))
    code, out, _ = commands.run("data", "workers")
    assert (code, "beat: none was seen" in out) == (3, True)
    asked_for = [Source.BINANCE], {Series(name, "15m"): Span(0, FOREVER) for name in names}
    with working(environment, tmp_path / "worker.log", "-B"):
        (there,) = until(lambda: app.cluster_state.workers(), "the worker's sign", 30)
        assert (there.name, there.processes, there.lost) == ("worker@here", 2, False)
        until(app.cluster_state.beat, "the beat's sign", 30)
        code, out, _ = commands.run("data", "workers")
        assert (code, "worker@here" in out, "clock is 0 s ahead" in out.replace("-0", "0")) == (0, True, True)
        first = commands.json(*asked)
        seen = []
        joined = share(load(environment=environment, trading=False), *asked_for, seen.append)
        again = share(load(environment=environment, trading=False), *asked_for, seen.append)
    assert (first["status"], first["said"].split(",")[:2]) == ("COMPLETED", ["3 series", " 0 failed"])
    store = CandleHistory(database)
    assert all(len(store.times(Source.BINANCE, Series(name, "15m"))) >= 299 for name in names)
    assert joined.job == again.job != first["job"]
    assert joined.status == again.status == "COMPLETED"
    rows = {row["job"]: row["status"] for row in commands.json("data", "jobs")}
    assert (rows[first["job"]], rows[joined.job]) == ("COMPLETED", "COMPLETED")


def test_a_sweep_sends_the_trials_of_a_dead_worker_again(cluster, tmp_path):
    _, environment, _ = cluster
    commands = Commands(tmp_path, environment["DATABASE_URL"], "http://127.0.0.1:9")
    commands.environment |= environment
    assert commands.run("data", "import", *candle_files(tmp_path, days=12, symbols=1), "-s", "test")[0] == 0
    settings = load(environment=environment, trading=False)
    request = Request(Source.TEST, ("BTC/USDT:USDT",))
    request = replace(request, span=stored_span(settings, request))
    values = [{"risk.percent": text} for text in ("0.5", "1", "1.5")]
    with working(environment, tmp_path / "first.log") as first, Cluster(settings) as pool:
        # Redis gives what it gets first to those that wait for it, and that one will never take it up
        os.killpg(first.pid, signal.SIGSTOP)
        trials = [pool.submit(settings, request, one) for one in values]
        until(lambda: len(pool._app.cluster_state.tasks(QUEUES)) < len(values), "the frozen worker's share")
        with working(environment, tmp_path / "second.log"):
            done = [future.result(120 * PATIENCE) for future in trials]
        os.killpg(first.pid, signal.SIGKILL)
    assert [one.error for one in done] == ["", "", ""]
    assert [one.result_hash for one in done] == [attempt(settings, request, one).result_hash for one in values]


def test_without_redis_it_says_what_to_do():
    with pytest.raises(ConfigError, match="REDIS_URL"):
        make_app(load(environment={}))
