"""Models are trained when there is enough new to learn from, in a process of their own, whatever becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from domain.errors import Unavailable
from domain.lesson import Counts
from domain.records import PhantomClosed, PhantomOpened
from domain.training_run import BY_HAND, DEMOTED, FAILED, NOT_TRAINED, PROMOTED, REJECTED, TrainingRun
from engine.learning import RETRY, Learning
from engine.threads import Tier
from ml.envelope import seal, unseal
from ml.features import NAMES, SCHEMA
from ml.job import Job, Outcome, Terms
from persistence.database import Database
from persistence.past_lessons import PastLessons
from persistence.phantom_trail import PhantomTrail
from persistence.state import TableState
from processes import trainer
from processes.trainer import TrainingProcess
from tests.bot import until
from tests.contract.test_audit import carry
from tests.torture.episodes import Inline
from tests.unit.test_phantom_tracker import WHO, show, signal, tracker
from tests.unit.test_training import market

TERMS = Terms("scalp", "synthetic", 0)
KEY = b"k" * 32


class Pupils:
    """A school whose lessons and last runs a test sets."""

    def __init__(self, **counts):
        self.strategies, self.held = ["scalp", "trend_pullback"], counts
        self.opened, self.settled, self.healed, self.past = [], [], 0, {}

    def terms(self, _):
        return TERMS

    def counts(self):
        if self.held is None:
            raise Unavailable("away")
        return self.held

    def open(self, name):
        self.opened.append(name)

    def job(self, name):
        return name.encode()

    def settle(self, name, outcome, *, by_hand):
        self.settled.append((name, outcome))
        counts = self.held[name]
        return TrainingRun("r", "synthetic", name, outcome, "so", "", datetime(2026, 3, 1, tzinfo=UTC), 1.0,
                           counts.total, *counts, 0, 0, {BY_HAND: True} if by_hand else {})  # fmt: skip

    def heal(self):
        self.healed += 1

    def runs(self, name):
        return self.past.get(name, [])

    def model(self, _):
        return None


class Process:
    def __init__(self):
        self.jobs, self.answer = [], REJECTED

    async def __call__(self, job, progress=None):
        self.jobs.append(job.decode())
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def learner(school, process, **more) -> Learning:
    return Learning(school, Inline(), process, every=50, **more)


async def test_training_begins_with_enough_lessons_and_goes_on_with_enough_new_ones():
    school, process = Pupils(scalp=Counts(20, 30)), Process()
    held = learner(school, process)
    await held.look()
    assert process.jobs == []
    info = held.get_retrain_info("scalp")["scalp"]
    assert (info["can_train"], info["trades_until_next_retrain"], info["next_retrain_at"]) == (False, 1, 51)
    school.held = {"scalp": Counts(20, 34)}
    await held.look()
    await held.look()
    assert process.jobs == ["scalp"]
    info = held.get_retrain_info()["scalp"]
    assert (info["can_train"], info["completed"], info["executed"], info["phantom"]) == (True, 54, 20, 34)
    assert (info["trades_until_next_retrain"], info["next_retrain_at"]) == (50, 104)
    assert info["last_result"]["verdict"] == REJECTED
    school.held = {"scalp": Counts(20, 83), "trend_pullback": Counts(30, 0)}
    await held.look()
    assert process.jobs == ["scalp", "trend_pullback"]
    school.held["scalp"] = Counts(20, 84)
    await held.look()
    assert process.jobs[2:] == ["scalp"]


async def test_a_refusal_waits_for_new_lessons_and_a_failure_for_time(monkeypatch):
    school, process = Pupils(scalp=Counts(40, 0)), Process()
    held = learner(school, process)
    process.answer = NOT_TRAINED
    await held.look()
    await held.look()
    assert len(process.jobs) == 1
    school.held = {"scalp": Counts(90, 0)}
    process.answer = Unavailable("killed")
    with pytest.raises(Unavailable):
        await held.look()
    await held.look()
    assert len(process.jobs) == 2
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now + RETRY.first_s + 1)
    process.answer = FAILED
    await held.look()
    await held.look()
    assert len(process.jobs) == 3
    monkeypatch.setattr(loop, "time", lambda: now + 4 * RETRY.first_s)
    process.answer = PROMOTED
    await held.look()
    assert len(process.jobs) == 4
    assert held.get_retrain_info("scalp")["scalp"]["trades_until_next_retrain"] == 50


@pytest.mark.parametrize("ended", [PROMOTED, REJECTED, NOT_TRAINED, FAILED, Unavailable("killed")])
async def test_asking_by_hand_never_postpones_the_training_that_is_due(ended):
    """Whatever came of it, before or after a restart, training is due when it would have been without."""
    school, process = Pupils(scalp=Counts(40, 0)), Process()
    held = learner(school, process)
    await held.look()
    school.held = {"scalp": Counts(80, 0)}
    process.answer = ended
    for _ in range(3):
        with contextlib.suppress(Unavailable):
            school.past.setdefault("scalp", []).insert(0, await held.train("scalp"))
    asked = len(process.jobs)
    process.answer = PROMOTED
    await held.look()
    assert len(process.jobs) == asked
    assert held.get_retrain_info("scalp")["scalp"]["trades_until_next_retrain"] == 10
    school.held = {"scalp": Counts(90, 0)}
    for one in (learner(school, process), held):
        await one.recollect()
        await one.look()
    assert len(process.jobs) == asked + 2


async def test_what_was_learned_before_is_remembered_and_without_learning_nothing_is_trained():
    school, process = Pupils(scalp=Counts(60, 0)), Process()
    school.past["scalp"] = [
        TrainingRun(
            "r", "synthetic", "scalp", DEMOTED, "", "", datetime(2026, 3, 1, tzinfo=UTC), 1.0, 50, 50, 0, 0, 0, {}
        )
    ]
    held = learner(school, process)
    await held.begin()
    await held.begin()
    await held.recollect()
    assert school.opened == ["scalp", "trend_pullback"]
    assert held.get_retrain_info("scalp")["scalp"]["trades_until_next_retrain"] == 40
    await held.look()
    assert process.jobs == []
    off = learner(Pupils(scalp=Counts(60, 0)), process, enabled=False)
    await off.look()
    assert process.jobs == []
    school.held = None
    with pytest.raises(Unavailable):
        await held.look()
    with pytest.raises(Unavailable):
        await learner(school, process).recollect()


async def test_the_database_is_asked_only_when_a_signal_has_ended():
    school, process, ended = Pupils(scalp=Counts(1, 0)), Process(), [0]
    held = learner(school, process, ended=lambda: ended[0])
    await held.look()
    school.held = {"scalp": Counts(40, 0)}
    await held.look()
    assert process.jobs == []
    ended[0] = 1
    await held.look()
    assert process.jobs == ["scalp"]


async def test_while_it_runs_it_heals_recollects_and_looks(monkeypatch):
    school, process = Pupils(scalp=Counts(40, 0)), Process()
    held = learner(school, process)
    monkeypatch.setattr("engine.learning.LOOK_S", 0)
    running = asyncio.ensure_future(held.run())
    while school.healed < 3:
        await asyncio.sleep(0)
    running.cancel()
    assert process.jobs == ["scalp"]


async def test_strategies_are_trained_one_at_a_time():
    school, most, busy = Pupils(scalp=Counts(60, 0), trend_pullback=Counts(60, 0)), [0], [0]

    async def process(job, progress=None):
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        for _ in range(5):
            await asyncio.sleep(0)
        busy[0] -= 1
        return REJECTED

    held = Learning(school, Tier("learning", 5), process, every=50)
    await asyncio.gather(held.train("scalp"), held.look(), held.train("trend_pullback"))
    assert most == [1]
    assert len(school.settled) >= 2


def teach(folder, count: int, edge: float = 1.5) -> Database:
    """Return a database whose audit holds so many lessons with an edge."""
    lessons, held, records = market(count, edge=edge), tracker(), []
    for number, vector in enumerate(lessons.vectors):
        named = dict(zip(NAMES, map(float, vector), strict=True))
        one = held.record_signal(
            "A/USDT:USDT", signal(number), None, number % 2 == 0, named, "scalp", "score" if number % 2 else ""
        )
        records.append(PhantomOpened(time=one.signal_time, phantom=msgspec.structs.replace(one)))
        won = lessons.won[number]
        (gone,) = show(held, number + 1, high=105 if won else 101, low=99 if won else 90)
        records.append(PhantomClosed(time=gone.exit_time, phantom=msgspec.structs.replace(gone, features=None)))
    folder.mkdir(exist_ok=True)
    database = Database(f"sqlite:///{folder / 'main.sqlite'}")
    trail = PhantomTrail(
        database, WHO, folder, TableState(Database(f"sqlite:///{folder / 'state.sqlite'}"), "x"), ["scalp"]
    )
    trail.add(records)
    carry(trail)
    return database


async def test_the_process_reads_its_lessons_and_answers_with_a_sealed_model(tmp_path):
    database = teach(tmp_path / "a", 300)
    steps, kept = [], tmp_path / "past.npz"
    # a file of past lessons that is spoilt is told of and does no harm
    kept.write_bytes(b"spoilt")
    job = Job(database.address, KEY, TERMS, 10_000, b"", str(kept))
    outcome = await TrainingProcess(600)(msgspec.json.encode(job), lambda *step: steps.append(step))
    assert (outcome.verdict, outcome.report["lessons"]) == (PROMOTED, 300)
    assert outcome.report["past_lessons"] == 0
    assert "run ml bootstrap again" in outcome.report["past_unread"]
    model = unseal(outcome.blob, KEY, strategy="scalp", source="synthetic", now_ms=2**60)
    assert model.run_id == outcome.run_id
    assert (model.gain_r, model.loss_r) == (2.0, -1.0)
    assert steps[-1][0] == steps[-1][1]
    # with that model in use, the same lessons make no better one
    again = Job(database.address, KEY, TERMS, 10_000, seal(model, KEY))
    outcome = await TrainingProcess(600)(msgspec.json.encode(again))
    assert (outcome.verdict, outcome.blob) == (REJECTED, b"")
    # lessons of the past are learned from too
    past = PastLessons(kept, SCHEMA)
    before = market(400, edge=1.5, seed=5)
    past.save(replace(before, signal_time=before.signal_time - 10**12, exit_time=before.exit_time - 10**12))
    outcome = await TrainingProcess(600)(msgspec.json.encode(job))
    assert (outcome.verdict, outcome.report["lessons"], outcome.report["past_lessons"]) == (PROMOTED, 300, 400)
    assert "past_unread" not in outcome.report
    outcome = await TrainingProcess(600)(
        msgspec.json.encode(Job("postgresql://me:secret@127.0.0.1:1/x", KEY, TERMS, 10))
    )
    assert outcome.verdict == FAILED
    assert "127.0.0.1" in outcome.reason
    assert "secret" not in outcome.reason
    database.close()


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import sys; sys.stdin.read(); raise SystemExit(3)", "ended with 3 and no outcome"),
        ("import os; os.kill(os.getpid(), 9)", "ended with -9 and no outcome"),
        ("raise ValueError('something broke')", "something broke"),
        ('print(\'{"type": "step"}\', flush=True); input()', "nobody understands"),
        ("import time; time.sleep(60)", "longer than 2 s"),
    ],
)
async def test_a_process_that_dies_hangs_or_talks_nonsense_is_told_of(monkeypatch, tmp_path, program, says):
    (tmp_path / "processes").mkdir()
    (tmp_path / "processes" / "training.py").write_text(program)
    monkeypatch.setattr(trainer, "ROOT", tmp_path)
    with pytest.raises(Unavailable, match=says):
        await TrainingProcess(2)(b"x" * 1_000_000)


async def test_the_process_ends_with_whoever_waits_for_it(monkeypatch, tmp_path):
    (tmp_path / "processes").mkdir()
    program = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    (tmp_path / "processes" / "training.py").write_text(program)
    monkeypatch.setattr(trainer, "ROOT", tmp_path)
    task = asyncio.ensure_future(TrainingProcess(60)(b"{}"))
    async with asyncio.timeout(30):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pid = int((tmp_path / "pid").read_text())

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    until(gone, "the process to end")
    assert sys.executable


def test_an_outcome_survives_its_journey():
    outcome = Outcome(PROMOTED, "so", {"a": [1.5]}, 2.0, b"\x00\xff", "r")
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome
