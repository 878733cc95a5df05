"""The audit holds every signal and its outcome, lets nobody change them, and names what was changed all the same."""

from __future__ import annotations

import gzip
import json

import msgspec
import pytest
import sqlalchemy as sa

from domain.errors import BadData, RevenantError, Unavailable
from domain.ids import Identity
from domain.records import PhantomClosed, PhantomOpened
from persistence.audit import Told, noted_head
from persistence.audit_check import archive, verify
from persistence.database import Database
from persistence.journal import Journal
from persistence.keyvalue import Redis
from persistence.phantom_mirror import ACTIVE, COMPLETED, OWNER
from persistence.phantom_trail import PhantomTrail
from persistence.state import RedisState, TableState
from tests.bot import until
from tests.unit.test_phantom_tracker import WHO, A, record, show, signal, tracker

STRATEGIES = ("scalp", "trend_pullback")
OTHER = Identity("synthetic", "synthetic", "2")


def told(count: int, ended: int, first: int = 0) -> list:
    """Return the records of so many phantoms, the first of which have ended."""
    held = tracker()
    opened, closed = [], []
    for number in range(first, first + count):
        one = record(held, signal(number), "score" if number % 2 else "", 40.5)
        opened.append(PhantomOpened(time=one.signal_time, phantom=msgspec.structs.replace(one)))
        if number < first + ended:
            (gone,) = show(held, number + 1, high=105 if number % 3 else 101, low=90 if number % 3 == 0 else 99)
            gone = msgspec.structs.replace(gone, features=None)
            closed.append(PhantomClosed(time=gone.exit_time, phantom=gone))
    return [*opened, *closed]


@pytest.fixture
def world(database_url, tmp_path):
    folder = tmp_path / "journal"
    folder.mkdir()
    database, state = Database(database_url), Database(f"sqlite:///{tmp_path / 'state.sqlite'}")
    yield (
        database,
        folder,
        lambda who=WHO, at=folder: PhantomTrail(database, who, at, TableState(state, "/".join(who)), STRATEGIES),
    )
    database.close()
    state.close()


def carry(trail: PhantomTrail) -> None:
    assert trail._settling.flush(0)
    trail._mirroring.flush(0)


def without_triggers(database: Database, statement: str) -> None:
    """Do what only somebody with every right over the database can."""
    with database.transaction() as connection:
        if database.is_postgres:
            connection.execute(sa.text("ALTER TABLE phantom_trades_live DISABLE TRIGGER USER"))
        else:
            for name in ("fixed", "kept"):
                connection.execute(sa.text(f"DROP TRIGGER phantom_trades_live_{name}"))
        connection.execute(sa.text(statement))


def test_rows_are_chained_each_once_and_verified(world):
    database, folder, make = world
    records = told(6, 4)
    trail = make()
    trail.add(records[:7])
    trail.add(records[:3])
    carry(trail)
    trail.add(records)
    carry(trail)
    verdict = verify(database, WHO, folder, records)
    assert (verdict.clean, verdict.rows, verdict.chains, verdict.unsettled) == (True, 10, 1, 0)
    # a start tells everything again
    again = make()
    assert again.restore(records)
    assert again.unsettled == 0
    assert again.audit.chain == trail.audit.chain
    newer = told(2, 0, first=10)
    assert not again.restore([*records, *newer])
    assert verify(database, WHO, folder, [*records, *newer]).unsettled == 2
    carry(again)
    assert verify(database, WHO, folder, [*records, *newer]).rows == 12
    assert noted_head(folder).n == 12


def test_the_database_refuses_to_change_or_forget_a_row(world):
    database, _, make = world
    trail = make()
    trail.add(told(2, 1))
    carry(trail)
    statements = ["UPDATE phantom_trades_live SET gate = 'x'", "DELETE FROM phantom_trades_live"]
    if database.is_postgres:
        statements.append("TRUNCATE phantom_trades_live")
    for statement in statements:
        with pytest.raises(RevenantError, match="append-only"), database.transaction() as connection:
            connection.execute(sa.text(statement))
    with database.transaction() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM phantom_trades_live")) == 3


@pytest.mark.parametrize(
    ("tampering", "says"),
    [
        ("UPDATE phantom_trades_live SET body = replace(body, '\"made\":', '\"made\" :') WHERE n = 3", "row 3 .* changed, its hash"),
        ("UPDATE phantom_trades_live SET outcome = 'win' WHERE n = 2", "row 2 .* column outcome"),
        ("UPDATE phantom_trades_live SET realized_rr = 9 WHERE n = 7", "row 7 .* column realized_rr"),
        ("DELETE FROM phantom_trades_live WHERE n = 4", "rows 4 to 4 are missing"),
        ("DELETE FROM phantom_trades_live WHERE n = 10", "rows 10 to 10 are missing at its end"),
        ("DELETE FROM phantom_trades_live", "rows 1 to 10 are missing at its end"),
        ("UPDATE phantom_trades_live SET n = CASE n WHEN 2 THEN 3 ELSE 2 END + 1000 WHERE n IN (2, 3)", "rows 2 to 3 are missing"),
        ("UPDATE phantom_trades_live SET body = 'x' WHERE n = 5", "row 5 .* column body"),
    ],
)  # fmt: skip
def test_what_was_changed_is_named(world, tampering, says):
    database, folder, make = world
    records = told(6, 4)
    trail = make()
    trail.add(records)
    carry(trail)
    without_triggers(database, tampering)
    faults = verify(database, WHO, folder, records).faults
    assert faults
    assert any(__import__("re").search(says, fault) for fault in faults), faults


def test_a_chain_that_was_forged_whole_differs_from_the_journal_and_the_noted_end(world):
    database, folder, make = world
    records = told(6, 4)
    trail = make()
    trail.add(records)
    carry(trail)
    note = (folder / "audit-head.json").read_bytes()
    without_triggers(database, "DELETE FROM phantom_trades_live")
    forged = [msgspec.structs.replace(one, phantom=msgspec.structs.replace(one.phantom, gate="")) for one in records]
    trail.add(forged)
    carry(trail)
    (folder / "audit-head.json").write_bytes(note)
    faults = verify(database, WHO, folder, records).faults
    assert any("another hash was noted" in fault for fault in faults)
    assert sum("the journal tells something else" in fault for fault in faults) == 5


def test_old_rows_are_put_away_and_the_rest_still_verifies(world, tmp_path):
    database, folder, make = world
    records = told(6, 4)
    trail = make()
    trail.add(records)
    carry(trail)
    cutoff = records[2].time + 1
    file = tmp_path / "old.jsonl.gz"
    assert archive(database, cutoff, file) == 3
    lines = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert [line["n"] for line in lines] == [1, 2, 3]
    verdict = verify(database, WHO, folder, records)
    assert (verdict.clean, verdict.rows, verdict.archived) == (True, 7, 3)
    # what the journal tells again is not taken for new
    assert make().restore(records)
    with pytest.raises(BadData, match="exists already"):
        archive(database, cutoff, file)
    with pytest.raises(RevenantError, match="append-only"), database.transaction() as connection:
        connection.execute(sa.text("DELETE FROM audit_archives"))
    with pytest.raises(RevenantError, match="append-only"), database.transaction() as connection:
        connection.execute(sa.text("DELETE FROM phantom_trades_live WHERE n > 3"))
    assert archive(database, 2**60, tmp_path / "all.jsonl.gz") == 7
    more = told(1, 0, first=20)
    trail = make()
    trail.add(more)
    carry(trail)
    verdict = verify(database, WHO, folder, [*records, *more])
    assert (verdict.faults, verdict.rows, noted_head(folder).n) == ([], 1, 11)


def test_a_changed_row_is_never_archived(world, tmp_path):
    database, _, make = world
    trail = make()
    trail.add(told(3, 1))
    carry(trail)
    without_triggers(database, "UPDATE phantom_trades_live SET symbol = 'X' WHERE n = 2")
    with pytest.raises(BadData, match="column symbol"):
        archive(database, 2**60, tmp_path / "old.gz")
    assert not (tmp_path / "old.gz").exists()


def test_a_lost_journal_gets_its_phantoms_back_from_the_audit(world, tmp_path):
    database, _, make = world
    records = told(6, 4)
    trail = make()
    trail.add(records)
    carry(trail)
    new = tmp_path / "new journal"
    new.mkdir()
    heir = make(at=new)
    assert heir.audit.chain != trail.audit.chain
    found = heir.load()
    assert {one.phantom.phantom_id for one in found} == {one.phantom.phantom_id for one in records}
    assert [one for one in found if isinstance(one, PhantomClosed)] == records[6:]
    # in the new journal they are told again, and are no news
    heir.restore(found)
    more = told(1, 0, first=30)
    heir.add([*found, *more])
    carry(heir)
    verdict = verify(database, WHO, new, [*found, *more])
    assert (verdict.faults, verdict.chains, verdict.rows) == ([], 2, 11)
    assert (
        make(OTHER, tmp_path / "new journal 2").load() == [] if (tmp_path / "new journal 2").mkdir() is None else False
    )


def everything(redis) -> dict:
    found = {}
    for key in redis.client.keys("*"):
        kind = redis.client.type(key)
        read = {
            b"string": redis.client.get,
            b"hash": redis.client.hgetall,
            b"list": lambda k: redis.client.lrange(k, 0, -1),
        }
        found[key] = read[kind](key)
    return found


def test_what_redis_has_forgotten_is_made_again_of_the_audit_to_the_letter(world, own_redis):
    database, folder, _ = world
    redis = Redis(own_redis.url)
    trail = PhantomTrail(database, WHO, folder, RedisState(redis), STRATEGIES)
    trail.mirror._state.apply([])
    records = told(40, 30)
    for start in range(0, len(records), 7):
        trail.add(records[start : start + 7])
        carry(trail)
    before = everything(redis)
    assert redis.client.hlen(ACTIVE) == 10
    assert redis.client.llen(COMPLETED) == 30
    assert before[b"phantom:wr:scalp"].count(b"1") == 20
    assert before[b"phantom:owner"] == b"synthetic/synthetic/1"
    redis.client.flushall()
    trail.mirror.rest()
    assert everything(redis) == before
    redis.client.flushall()
    fresh = PhantomTrail(database, WHO, folder, RedisState(redis), STRATEGIES)
    assert fresh.mirror.load() == []
    fresh.mirror.rest()
    assert everything(redis) == before
    assert [one.phantom.phantom_id for one in fresh.mirror.load() if isinstance(one, PhantomClosed)] == [
        one.phantom.phantom_id for one in records[40:]
    ]
    redis.client.hdel(ACTIVE, redis.client.hkeys(ACTIVE)[0])
    fresh.mirror.rest()
    assert everything(redis) == before
    redis.close()


def test_refusals_are_counted_by_day_and_strategy_and_kept_for_a_while(world, own_redis):
    from datetime import UTC, datetime

    database, folder, _ = world
    redis = Redis(own_redis.url)
    trail = PhantomTrail(database, WHO, folder, RedisState(redis), STRATEGIES)
    now = datetime.now(UTC)
    today = int(now.timestamp() * 1000) // 180_000
    trail.add(told(5, 0, first=today - 5))
    carry(trail)
    key = f"phantom:blocked:{now:%Y%m%d}".encode()
    before = everything(redis)
    days = [
        int(value) for name, value in before.items() if name.startswith(b"phantom:blocked:") and name.count(b":") == 2
    ]
    assert sum(days) == sum((today - 5 + i) % 2 for i in range(5))
    assert all(0 < redis.client.ttl(name) <= 40 * 86_400 for name in before if name.startswith(b"phantom:blocked"))
    assert {name.split(b":")[-1] for name in before if name.count(b":") == 3} == {b"scalp"}
    assert key in before or now.hour == 0
    redis.client.flushall()
    trail.mirror.rest()
    assert everything(redis) == before
    redis.close()


def test_the_keys_of_another_bot_are_left_alone_until_it_is_gone(world, own_redis):
    database, folder, _ = world
    redis = Redis(own_redis.url)
    redis.client.set(OWNER, "bybit/paper/paper", ex=100)
    redis.client.hset(ACTIVE, "theirs", "{}")
    trail = PhantomTrail(database, WHO, folder, RedisState(redis), STRATEGIES)
    trail.add(told(2, 1))
    carry(trail)
    assert redis.client.hkeys(ACTIVE) == [b"theirs"]
    (state,) = [one for name, one in trail.tiers().items() if "redis" in name]
    assert "a database of its own" in state["reason"]
    assert trail.mirror.load() == []
    redis.client.delete(OWNER)
    trail.mirror.rest()
    assert redis.client.hlen(ACTIVE) == 1
    assert redis.client.hget(ACTIVE, "theirs") is None
    redis.close()


def test_only_what_was_not_carried_is_carried_again_unless_the_table_is_another(world, tmp_path):
    _, folder, make = world
    records = told(6, 4)
    trail = make()
    trail.add(records[:7])
    carry(trail)
    again = make()
    assert not again.restore(records)
    assert again.unsettled == 3
    carry(again)
    # killed between the row and its note, the table is ahead of the note: that is no other table
    note = (folder / "audit-head.json").read_bytes()
    more = told(2, 0, first=20)
    again.add(more)
    carry(again)
    (folder / "audit-head.json").write_bytes(note)
    late = make()
    assert not late.restore([*records, *more])
    assert late.unsettled == 2
    carry(late)
    other = Database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    moved = PhantomTrail(other, WHO, folder, TableState(other, "x"), STRATEGIES)
    assert not moved.restore([*records, *more])
    assert moved.unsettled == 12
    carry(moved)
    assert verify(other, WHO, folder, [*records, *more]).clean
    other.close()


@pytest.mark.parametrize("gone", ["", " WHERE n > 6", " WHERE n > 12"])
@pytest.mark.parametrize("more", [0, 3])
@pytest.mark.parametrize("killed", [False, True])
def test_what_the_table_has_lost_is_appended_again_of_the_journal(world, gone, more, killed, monkeypatch):
    """Found by emptying the database under a running bot: the audit went on with what came after, and the state with
    nothing at all.
    """
    database, folder, make = world
    journal = Journal(folder, WHO)
    trail, records = make(), told(8, 5)
    for one in records:
        journal.write(msgspec.json.encode(one))
    trail.add(records)
    carry(trail)
    without_triggers(database, f"DELETE FROM phantom_trades_live{gone}")
    late = told(more, 0, first=50)
    for one in late:
        journal.write(msgspec.json.encode(one))
    trail.add(late)
    if killed:
        # it dies in the middle of it, and the next life knows that it is not done
        monkeypatch.setattr(trail.audit, "_journaled", lambda: iter([records[:2], None]))
        with pytest.raises(TypeError):
            trail._settling.flush(0)
        journal.close()
        journal = Journal(folder, WHO)
        trail = make()
        trail.restore([*journal.replay()])
    carry(trail)
    carry(trail)
    verdict = verify(database, WHO, folder, [*records, *late])
    assert verdict.clean, verdict.faults
    assert verdict.rows == 13 + more
    state = trail.mirror._state
    assert len(state.fields(ACTIVE)) == 3 + more
    assert len(state.items(COMPLETED)) == 5
    journal.close()


def test_the_audit_waits_for_a_database_that_is_away(tmp_path, own_postgres):
    database, state = Database(own_postgres.dsn("postgres")), Database(f"sqlite:///{tmp_path / 'state.sqlite'}")
    (tmp_path / "j").mkdir()
    trail = PhantomTrail(database, WHO, tmp_path / "j", TableState(state, "x"), STRATEGIES)
    trail.start()
    records = told(3, 2)
    trail.add(records[:2])
    until(lambda: trail.unsettled == 0, "the first to arrive")
    own_postgres.kill9()
    trail.add(records)
    until(lambda: trail.tiers()["audit"]["state"] == "down", "the outage to be noticed")
    assert not trail.restore(records)
    own_postgres.start()
    until(lambda: trail.unsettled == 0, "the rest to arrive")
    assert verify(database, WHO, tmp_path / "j", records).clean
    until(lambda: len(trail.mirror._state.fields(ACTIVE)) == 1, "the state to follow")
    trail.close(1)
    with pytest.raises(Unavailable):
        own_postgres.kill9()
        verify(database, WHO, tmp_path / "j", records)
    assert A in {one.phantom.symbol for one in records}
    database.close()
    state.close()


def test_an_archive_of_another_account_hides_nothing_of_ours(world, tmp_path):
    database, folder, make = world
    longer = Identity("synthetic", "synthetic", "10")
    (tmp_path / "longer").mkdir()
    theirs = make(longer, tmp_path / "longer")
    theirs.add(told(6, 4))
    carry(theirs)
    assert archive(database, 2**60, tmp_path / "theirs.gz") == 10
    ours = make()
    records = told(6, 4)
    ours.add(records)
    carry(ours)
    verdict = verify(database, WHO, folder, records)
    assert (verdict.faults, verdict.rows, verdict.unsettled) == ([], 10, 0)


def test_a_phantom_that_was_open_when_rows_were_put_away_still_gets_its_end(world, tmp_path):
    database, folder, make = world
    records = told(6, 4)
    late = records[-1]
    trail = make()
    trail.add(records[:-1])
    carry(trail)
    assert archive(database, 2**60, tmp_path / "old.gz") == 9
    # its last bars were missing: it ends long after others, at an old time
    again = make()
    again.add(records)
    carry(again)
    verdict = verify(database, WHO, folder, records)
    assert (verdict.faults, verdict.rows) == ([], 1)
    with database.transaction() as connection:
        found = connection.execute(sa.text("SELECT phantom_id, kind FROM phantom_trades_live")).all()
    assert [tuple(row) for row in found] == [(late.phantom.phantom_id, "closed")]
    assert archive(database, 2**60, tmp_path / "rest.gz") == 1
    once_more = make()
    once_more.add(records)
    carry(once_more)
    assert verify(database, WHO, folder, records).rows == 0


def test_rows_that_arrive_while_the_state_is_being_made_count_once(world, monkeypatch):
    _, _, make = world
    trail = make()
    records = told(12, 9)
    trail.add(records)
    carry(trail)
    expected = trail.mirror._state
    wanted = [expected.items(key) for key in (COMPLETED, "phantom:wr:scalp")], expected.fields(ACTIVE)
    blocked = {key: expected.get(key) for key in expected.keys("phantom:blocked:")}
    fresh = make()
    rows = [Told(n, record) for n, record in enumerate(records, 1)]
    # the newest row was read first; more came before the rest was read
    monkeypatch.setattr(fresh.audit, "last", lambda: 15)
    fresh.mirror.write(rows)
    held = fresh.mirror._state
    assert ([held.items(key) for key in (COMPLETED, "phantom:wr:scalp")], held.fields(ACTIVE)) == wanted
    assert {key: held.get(key) for key in held.keys("phantom:blocked:")} == blocked


def test_a_single_forgotten_key_is_put_back_too(world, own_redis):
    database, folder, _ = world
    redis = Redis(own_redis.url)
    trail = PhantomTrail(database, WHO, folder, RedisState(redis), STRATEGIES)
    trail.add(told(12, 9))
    carry(trail)
    before = everything(redis)
    for key in ("phantom:wr:scalp", "phantom:blocked:19700101"):
        redis.client.delete(key)
        trail.mirror.rest()
        assert everything(redis) == before
    redis.close()
