"""Models are sealed data: what was touched, is another's, or is no model is refused, and the last good one stays."""

from __future__ import annotations

import base64
import pickle
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from domain.errors import BadData, Unavailable
from domain.lesson import Counts
from domain.order import Side
from domain.signal import Signal
from domain.training_run import DEMOTED, NOT_TRAINED, PROMOTED, REJECTED, spoken
from ml import training
from ml.envelope import MAGIC, digest, seal, unseal
from ml.features import FEATURES, NAMES, vector
from ml.job import Job, Outcome
from ml.judge import Bar, Judge
from ml.rule import COSTLY, RULES, UP, points
from ml.school import School
from ml.scorer import Scorer
from persistence.database import Database
from persistence.keyvalue import Redis
from persistence.lessons import LessonBook
from persistence.models import ModelStore
from persistence.registry import Registry
from persistence.state import Push, Put, RedisState, TableState
from tests.unit.test_training import NOW, TERMS, market

KEY = b"k" * 32
AT = {"strategy": "scalp", "source": "synthetic", "now_ms": NOW}


@pytest.fixture(scope="module")
def model():
    return training.train(market(300, edge=1.2), TERMS, NOW).model


def features(value: float = 0.0) -> dict[str, float]:
    return dict.fromkeys(NAMES, value)


def signal(strategy: str = "scalp") -> Signal:
    return Signal(strategy, "A/USDT:USDT", "3m", 0, 180_000, Side.LONG, 100, 99, 102)


def test_a_sealed_model_comes_back_whole_and_scores_the_same(model):
    blob = seal(model, KEY)
    assert unseal(blob, KEY, **AT) == model
    vectors = market(50).vectors
    assert (Scorer(unseal(blob, KEY, **AT)).probabilities(vectors) == Scorer(model).probabilities(vectors)).all()


def test_every_kind_of_wrong_blob_is_refused_with_its_reason(model):
    blob = seal(model, KEY)
    changed = msgspec.structs.replace
    flipped = bytearray(blob)
    flipped[-20] ^= 1
    for wrong, says in (
        (b"", "0 bytes are no model"),
        (blob[:30], "no model"),
        (blob[:-1], "seal is broken"),
        (blob + b" ", "seal is broken"),
        (bytes(flipped), "seal is broken"),
        (seal(model, b"x" * 32), "another MODEL_KEY"),
        (base64.b64encode(pickle.dumps({"a": list(range(100))})), "pickles"),
        (pickle.dumps(list(range(100))), "pickles"),
        (seal(changed(model, strategy="trend_pullback"), KEY), "scores trend_pullback on synthetic"),
        (seal(changed(model, source="bybit"), KEY), "scores scalp on bybit"),
        (seal(changed(model, schema="other"), KEY), "features other"),
        (seal(changed(model, format=0), KEY), "format 0"),
        (seal(changed(model, trained_at=NOW + 10**6), KEY), "future"),
    ):
        with pytest.raises(BadData, match=says):
            unseal(wrong, KEY, **AT)
    with pytest.raises(BadData, match="5 bytes"):
        seal(model, b"short")
    assert blob.startswith(MAGIC)


def test_every_single_changed_byte_breaks_the_seal(model):
    small = msgspec.structs.replace(model, heads=())
    blob = seal(small, KEY)
    for i in range(len(blob)):
        wrong = bytearray(blob)
        wrong[i] ^= 0x40
        with pytest.raises(BadData):
            unseal(bytes(wrong), KEY, **AT)


def test_a_graph_that_says_something_else_than_in_training_is_not_used(model):
    with pytest.raises(BadData, match="probe gives"):
        Scorer(msgspec.structs.replace(model, probe_p=model.probe_p + 0.01))
    broken = tuple(msgspec.structs.replace(head, onnx=b"nothing") for head in model.heads)
    with pytest.raises(BadData, match="cannot be run"):
        Scorer(msgspec.structs.replace(model, heads=broken))


def test_one_signal_is_scored_as_it_would_be_among_many(model):
    scorer = Scorer(model)
    many = [features(edge) for edge in (-2.0, -0.3, 0.0, 0.7, 1.0, 3.0)]
    alone = [scorer.probability(one) for one in many]
    assert alone == pytest.approx(scorer.probabilities(np.array([vector(one) for one in many])).tolist(), abs=1e-6)
    assert len(set(alone)) > 1


def test_the_judge_asks_the_model_for_what_is_expected_after_fees(model):
    scorer = Scorer(model)
    judge = Judge(Bar(0.1, 30, 50, rule_trades=True), lambda one: features(one.entry / 100))
    judge.scorers["scalp"] = scorer
    p = scorer.probability(features(1.0))
    seen = judge(signal())
    assert seen.score == pytest.approx(100 * p)
    assert seen.expected_r == pytest.approx(p * model.gain_r + (1 - p) * model.loss_r)
    assert seen.by == model.run_id
    assert (seen.gate == "") == (seen.expected_r >= 0.1 and seen.score >= 30)
    for bar, passes in ((Bar(-9, 0, 0, True), True), (Bar(9, 0, 0, True), False), (Bar(-9, 99.5, 0, True), False),
                        (Bar(9, 100, 100, False, enabled=False), True)):  # fmt: skip
        judge.bar = bar
        assert (judge(signal()).gate == "") == passes
    judge.bar = Bar(9, 0, 0, True)
    assert "expected" in judge(signal()).detail


def test_without_a_model_the_rule_judges_or_signals_are_followed_only():
    costly = {**features(), "cost_r": 0.3}
    judge = Judge(Bar(0, 30, 50, rule_trades=True), lambda one: None if one.entry > 100 else costly)
    seen = judge(signal())
    assert (seen.gate, seen.by, seen.expected_r) == ("score", "rule", None)
    assert "by the rule" in seen.detail
    judge.bar = Bar(0, 30, 20, rule_trades=True)
    assert judge(signal()).gate == ""
    judge.bar = Bar(0, 30, 20, rule_trades=False)
    assert judge(signal()).gate == "untrained"
    late = Signal("scalp", "A/USDT:USDT", "3m", 0, 180_000, Side.LONG, 101, 99, 103)
    assert judge(late) == judge(late).__class__("untrained", None, None, "rule", judge(late).detail, None)
    judge.bar = Bar(0, 30, 50, rule_trades=True)
    assert judge(late).gate == ""


def test_the_rule_knows_its_features_and_stays_within_bounds():
    known = {feature.name for feature in FEATURES}
    for name, facts in RULES.items():
        assert {fact.feature for fact in facts} <= known
        for value in (-1e9, 0.0, 1e9):
            assert 0 <= points(name, features(value)) <= 100
    assert points("mine", features()) == 50
    assert points("mine", {**features(), "cost_r": 0.25}) == 30


def test_the_table_in_the_documentation_is_the_rule():
    text = (Path(__file__).parents[2] / "docs" / "learning.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    for name, facts in RULES.items():
        told = [f"`{one.feature}` {'>=' if one.how == UP else '<='} {one.level:g}: {one.points:+g}" for one in facts]
        assert [one for one in told if one not in rows[name]] == []
        assert rows[name].count("`") == 2 * len(facts)
    assert all(f"`{one.feature}` >= {one.level:g}: {one.points:+g}" in rows["all"] for one in COSTLY)


@pytest.mark.parametrize(("mode", "untrained", "trades"), [
    ("live", "phantom", False), ("live", "rule", True), ("paper", "phantom", True), ("paper", "rule", True),
])  # fmt: skip
def test_real_money_is_not_risked_on_a_rule_unless_the_operator_says_so(mode, untrained, trades, tmp_path):
    from bootstrap.learning import judge_of
    from settings import load

    config = tmp_path / "config.yaml"
    config.write_text(f"source: bybit\ntrading: {{mode: {mode}}}\nml: {{untrained: {untrained}}}\n")
    settings = load(config, {"BYBIT_API_KEY": "k", "BYBIT_API_SECRET": "s"})
    assert judge_of(settings, {}, lambda _: None, ()).bar.rule_trades == trades


class World:
    """A school on real tables, with no lessons in them."""

    def __init__(self, database, state, redis=None):
        self.store = ModelStore(TableState(state, "models"), redis)
        self.registry, self.now, self.database = Registry(database, "synthetic"), NOW, database
        self.judge = Judge(Bar(0, 30, 50, rule_trades=True), lambda _: features())
        self.school = self.start()

    def start(self) -> School:
        self.judge.scorers.clear()
        book = LessonBook(self.database, "synthetic", NAMES, "x")
        return School(
            self.judge, book, self.store, self.registry, key=KEY, database="sqlite:///x",
            terms={"scalp": TERMS}, lessons_max=100, clock=lambda: self.now,
        )  # fmt: skip


@pytest.fixture
def world(tmp_path):
    database, state = Database(f"sqlite:///{tmp_path / 'main.sqlite'}"), Database(f"sqlite:///{tmp_path / 's.sqlite'}")
    yield World(database, state)
    database.close()
    state.close()


def outcome(model, verdict: str = PROMOTED) -> Outcome:
    report = {"lessons": 300, "executed": 90, "phantoms": 210, "data_from": 1, "data_until": 2, "folds": [{"auc": 0.6}]}
    blob = seal(model, KEY) if verdict == PROMOTED else b""
    return Outcome(verdict, "because", report, 1.5, blob, model.run_id if blob else "")


def test_a_promoted_model_is_used_kept_and_found_again(world, model):
    run = world.school.settle("scalp", outcome(model))
    assert world.judge.scorers["scalp"].model == model
    assert (run.digest, run.lessons) == (digest(seal(model, KEY)), 300)
    assert world.store.numbers("scalp") == {
        "completed_trades": 90, "last_train_count": 300, "last_train_ts": NOW / 1000, "threshold": 30, "phantom_weight": 0.8,
    }  # fmt: skip
    again = world.start()
    again.open("scalp")
    assert world.judge.scorers["scalp"].model == model
    assert again.runs("scalp") == [run]
    assert again.model("scalp")["run_id"] == model.run_id
    job = msgspec.json.decode(again.job("scalp"), type=Job)
    assert (job.terms, job.current) == (TERMS, seal(model, KEY))


def test_what_is_kept_stays_and_what_is_demoted_goes_for_good(world, model):
    world.school.settle("scalp", outcome(model))
    world.now += 1
    world.school.settle("scalp", outcome(model, REJECTED))
    world.start().open("scalp")
    assert "scalp" in world.judge.scorers
    blob = world.store.found("scalp")["sqlite"]
    world.now += 1
    world.school.settle("scalp", outcome(model, DEMOTED))
    assert world.store.found("scalp") == {}
    world.start().open("scalp")
    assert world.judge.scorers == {}
    # not even when somebody puts the old one back
    world.store.keep("scalp", blob, {})
    world.start().open("scalp")
    assert world.judge.scorers == {}
    assert [run.verdict for run in world.school.runs("scalp")] == [DEMOTED, REJECTED, PROMOTED]


def test_what_an_earlier_version_stored_is_told_in_todays_words(world, model):
    run = world.school.settle("scalp", outcome(model, REJECTED))
    for number, (stored, word) in enumerate({"kept": REJECTED, "refused": NOT_TRAINED, DEMOTED: DEMOTED}.items()):
        old = run._replace(run_id=str(number), verdict=stored, trained_at=run.trained_at + timedelta(days=1 + number))
        world.registry.add(old)
        assert world.school.runs("scalp")[0] == old._replace(verdict=word)
    assert world.registry.standing("scalp").verdict == DEMOTED
    assert [spoken(word, model_in_use=True) for word in (PROMOTED, REJECTED, NOT_TRAINED)] == [
        "promoted", "rejected (previous model stays)", "not trained",
    ]  # fmt: skip
    assert spoken(REJECTED, model_in_use=False) == "rejected"


def test_an_older_model_that_comes_back_is_stale(world, model):
    world.school.settle("scalp", outcome(model))
    old = world.store.found("scalp")["sqlite"]
    world.now += 10
    world.school.settle("scalp", outcome(msgspec.structs.replace(model, run_id="newer", trained_at=NOW + 5)))
    world.store.keep("scalp", old, {})
    world.start().open("scalp")
    assert world.judge.scorers == {}


def test_a_promoted_model_that_cannot_be_used_leaves_the_last_good_one(world, model):
    world.school.settle("scalp", outcome(model))
    bad = msgspec.structs.replace(model, run_id="bad", probe_p=0.9)
    with pytest.raises(BadData, match="probe"):
        world.school.settle("scalp", outcome(bad))
    assert world.judge.scorers["scalp"].model == model
    world.start().open("scalp")
    assert world.judge.scorers["scalp"].model == model


def test_runs_wait_for_a_registry_that_is_away(world, model):
    real, calls = world.registry.add, []

    def away(run):
        calls.append(run)
        raise Unavailable("away")

    world.registry.add = away
    world.school.settle("scalp", outcome(model))
    assert world.judge.scorers["scalp"].model == model
    world.school.heal()
    assert len(calls) == 2
    world.registry.add = real
    world.school.heal()
    assert [run.verdict for run in world.school.runs("scalp")] == [PROMOTED]


def test_a_model_whose_run_could_not_be_written_down_any_more_is_used_all_the_same(world, model):
    world.school.settle("scalp", outcome(model))
    newer = msgspec.structs.replace(model, run_id="newer", trained_at=NOW + 5)
    world.store.keep("scalp", seal(newer, KEY), {})
    world.start().open("scalp")
    assert world.judge.scorers["scalp"].model == newer


def test_redis_gets_a_copy_forgets_it_and_is_healed(tmp_path, own_redis, model):
    database, state = Database(f"sqlite:///{tmp_path / 'main.sqlite'}"), Database(f"sqlite:///{tmp_path / 's.sqlite'}")
    redis = Redis(own_redis.url)
    world = World(database, state, RedisState(redis))
    world.school.settle("scalp", outcome(model))
    blob = seal(model, KEY)
    assert redis.client.get("ml:scalp:model") == blob
    assert redis.client.get("ml:scalp:last_train_count") == b"300"
    redis.client.flushall()
    world.school.heal()
    assert redis.client.get("ml:scalp:model") == blob
    # tampered there, the one here is used; lost here, the one there
    redis.client.set("ml:scalp:model", blob[:-5])
    world.start().open("scalp")
    assert world.judge.scorers["scalp"].model == model
    redis.client.set("ml:scalp:model", blob)
    other = Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
    fresh = World(database, other, RedisState(redis))
    fresh.school.open("scalp")
    assert fresh.judge.scorers["scalp"].model == model
    own_redis.kill9()
    world.start().open("scalp")
    assert world.judge.scorers["scalp"].model == model
    world.school.settle("scalp", outcome(model))
    own_redis.start()
    for one in (database, state, other, redis):
        one.close()


def test_numbers_of_an_earlier_program_are_taken_over_and_its_pickles_left_alone(tmp_path, own_redis, caplog):
    state = Database(f"sqlite:///{tmp_path / 's.sqlite'}")
    redis = Redis(own_redis.url)
    kept = RedisState(redis)
    evil = base64.b64encode(pickle.dumps(SimpleNamespace(x=1)))
    kept.apply([
        Put("tml:completed_trades", b"41"), Put("tml:threshold", b"72.5"), Put("tml:model", evil),
        Put("tml:last_train_count", evil), Push("tml:trades", [b'{"outcome":1,"features":{}}', b"junk", b'{"outcome":0}'], 9),
        Put("ml:completed_trades:scalp", b"7"), Push("ml:threshold:scalp", [b"1"], 9), Put("ml:trend:model", evil),
    ])  # fmt: skip
    store = ModelStore(TableState(state, "models"), kept)
    assert store.import_legacy("trend_pullback") == {
        "completed_trades": 41, "threshold": 72.5, "legacy_trades": 2, "legacy_wins": 1,
    }  # fmt: skip
    assert store.import_legacy("scalp") == {"completed_trades": 7}
    assert store.import_legacy("scalp") == {}
    assert store.numbers("trend_pullback")["threshold"] == 72.5
    assert redis.client.get("tml:model") == evil
    # and a pickle under a key of ours is no model
    with pytest.raises(BadData, match="pickles"):
        unseal(store.found("trend_pullback")["redis"], KEY, strategy="trend_pullback", source="synthetic", now_ms=NOW)
    store.keep("scalp", None, {"completed_trades": 9})
    assert store.numbers("scalp") == {"completed_trades": 9}
    state.close()
    redis.close()


def test_a_signal_that_several_accounts_followed_is_one_lesson(database_url, tmp_path):
    from persistence.phantom_trail import PhantomTrail
    from tests.contract.test_audit import carry, told
    from tests.unit.test_phantom_tracker import WHO

    database, state = Database(database_url), Database(f"sqlite:///{tmp_path / 's.sqlite'}")
    for name, ended in (("alice", 4), ("bob", 6)):
        folder = tmp_path / name
        folder.mkdir()
        mine = WHO._replace(account=name)
        trail = PhantomTrail(database, mine, folder, TableState(state, name), ["scalp"])
        records = told(6, ended)
        if name == "bob":
            # it traded the second, which the other one only followed
            for record in records:
                if record.phantom.signal_time == records[1].phantom.signal_time:
                    record.phantom.gate = ""
        trail.add(records)
        carry(trail)
    book = LessonBook(database, "synthetic", ["rsi"], records[0].phantom.schema)
    lessons = book.load("scalp", 100)
    assert lessons.signal_time.tolist() == [record.phantom.signal_time for record in records[:6]]
    assert lessons.executed.tolist() == [True, True, True, False, True, False]
    assert book.counts() == {"scalp": Counts(executed=4, phantoms=2)}
    database.close()
    state.close()


def test_lessons_are_counted_and_read_in_order(tmp_path):
    from persistence.phantom_trail import PhantomTrail
    from tests.contract.test_audit import carry, told
    from tests.unit.test_phantom_tracker import WHO

    database, state = Database(f"sqlite:///{tmp_path / 'main.sqlite'}"), Database(f"sqlite:///{tmp_path / 's.sqlite'}")
    trail = PhantomTrail(database, WHO, tmp_path, TableState(state, "x"), ["scalp"])
    records = told(6, 4)
    trail.add(records)
    carry(trail)
    version = records[0].phantom.schema
    book = LessonBook(database, "synthetic", ["rsi"], version)
    assert book.counts() == {"scalp": Counts(2, 2)}
    lessons = book.load("scalp", 100)
    assert lessons.signal_time.tolist() == [record.phantom.signal_time for record in records[:4]]
    assert lessons.vectors.tolist() == [[0.5]] * 4
    assert lessons.executed.tolist() == [True, False, True, False]
    assert len(book.load("scalp", 3)) == 3
    assert len(book.load("mine", 3)) == 0
    assert LessonBook(database, "bybit", ["rsi"], version).counts() == {}
    assert len(LessonBook(database, "synthetic", ["rsi"], "other").load("scalp", 9)) == 0
    with pytest.raises(BadData, match="audit verify"):
        LessonBook(database, "synthetic", ["adx"], version).load("scalp", 9)
    # what a trade really made counts instead of its phantom
    import sqlalchemy as sa

    from domain import ids
    from persistence import schema
    from persistence.trade_table import TradeTable
    from tests.unit.test_phantom_tracker import real, signal

    phantom_r = book.load("scalp", 100).r.tolist()
    own = {"source": "synthetic", "mode": "synthetic", "account": "1"}
    # one that a hand has shaped says nothing of its signal
    shaped = msgspec.structs.replace(real(signal(2), "9"), touched="reduced", **own)
    TradeTable(database, WHO).write([msgspec.structs.replace(real(signal(0), "-0.25"), **own), shaped])
    with database.transaction() as connection:
        stored = set(connection.scalars(sa.select(schema.trades.c.trade_id)))
    assert stored == {ids.trade_id(records[number].phantom.phantom_id) for number in (0, 2)}
    assert np.round(book.load("scalp", 100).r, 6).tolist() == [-0.25, *np.round(phantom_r[1:], 6).tolist()]
    database.close()
    state.close()
