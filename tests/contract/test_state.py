"""State keeps the same things in the same way in Redis and in SQLite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from domain.errors import Rejected, Unavailable
from persistence import schema
from persistence.database import Database
from persistence.keyvalue import Redis
from persistence.state import Drop, DropFields, Push, Put, PutFields, RedisState, TableState


@pytest.fixture(params=["redis", "redis of several accounts", "sqlite"])
def state(request, tmp_path):
    if request.param != "sqlite":
        redis = Redis(request.getfixturevalue("own_redis").url)
        yield RedisState(redis, "account:me" if "several" in request.param else "")
        redis.close()
    else:
        database = Database(f"sqlite:///{tmp_path / 'state.sqlite'}")
        yield TableState(database, "me")
        database.close()


def test_values_hashes_and_capped_lists(state):
    assert (state.get("a"), state.fields("h"), state.items("l")) == (None, {}, [])
    state.apply([Put("a", b"1"), PutFields("h", {"x": b"1", "y": b"\x00\xff"}), Push("l", [b"1", b"2", b"3"], 2)])
    assert (state.get("a"), state.fields("h"), state.items("l")) == (b"1", {"x": b"1", "y": b"\x00\xff"}, [b"3", b"2"])
    state.apply([Put("a", b"2"), PutFields("h", {"x": b"3"}), DropFields("h", ["y"]), Push("l", [b"4"], 2)])
    assert (state.get("a"), state.fields("h"), state.items("l")) == (b"2", {"x": b"3"}, [b"4", b"3"])
    assert state.keys("") == ["a", "h", "l"]
    assert state.keys("a_%") == []
    state.apply([Drop("a"), Drop("h"), PutFields("h", {}), DropFields("h", []), Push("l", [], 2)])
    assert (state.get("a"), state.fields("h"), state.items("l")) == (None, {}, [b"4", b"3"])


def test_accounts_that_share_a_redis_do_not_see_each_others_keys(own_redis):
    redis = Redis(own_redis.url)
    alone, mine, other = (RedisState(redis, space) for space in ("", "account:me", "account:other"))
    for number, state in enumerate((alone, mine, other)):
        state.apply([Put("a", str(number).encode()), PutFields("h", {"x": b"1"}), Push("l", [b"1"], 9)])
    other.apply([Drop("a"), DropFields("h", ["x"]), Push("l", [b"2"], 9)])
    assert (alone.get("a"), mine.get("a"), other.get("a")) == (b"0", b"1", None)
    assert (alone.fields("h"), mine.fields("h"), other.fields("h")) == ({"x": b"1"}, {"x": b"1"}, {})
    assert (alone.items("l"), mine.items("l"), other.items("l")) == ([b"1"], [b"1"], [b"2", b"1"])
    assert (mine.keys(""), other.keys("")) == (["a", "h", "l"], ["l"])
    assert alone.keys("a") == ["a", *(f"account:{who}" for who in ("me:a", "me:h", "me:l", "other:l"))]
    redis.close()


def test_changes_are_made_all_or_none(state, own_redis):
    state.apply([Put("a", b"1")])
    if state.name == "redis":
        own_redis.kill9()
        with pytest.raises(Unavailable):
            state.apply([Put("b", b"1"), Put("a", b"2")])
        own_redis.start()
        assert state.get("b") is None
    else:
        with pytest.raises((Rejected, Unavailable)):
            state.apply([Put("a", b"2"), PutFields("h", {"x": None})])
        assert state.get("a") == b"1"


def test_what_has_run_out_is_gone(state):
    state.apply([Put("a", b"1", 3_600), Put("b", b"1")])
    if state.name == "redis":
        assert 3_500 < state._redis.client.ttl(state._space + "a") <= 3_600
        assert state._redis.client.ttl(state._space + "b") == -1
        return
    with state._database.transaction() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(sa.update(schema.state).where(schema.state.c.key == "a").values(expires_at=past))
    assert (state.get("a"), state.get("b"), state.keys("")) == (None, b"1", ["b"])
    state.apply([Put("b", b"2")])
    with state._database.transaction() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(schema.state)) == 1


def test_owners_of_a_table_do_not_see_each_other(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'state.sqlite'}")
    mine, other = TableState(database, "me"), TableState(database, "you")
    mine.apply([Put("a", b"1")])
    other.apply([Drop("a")])
    assert (mine.get("a"), other.get("a")) == (b"1", None)
    database.close()
