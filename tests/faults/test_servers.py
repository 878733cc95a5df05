"""The harness itself: real servers survive being killed, and hang when frozen."""

import pytest
import redis


def test_postgres_comes_back_with_its_data_after_kill_9(own_postgres):
    own_postgres.sql("CREATE TABLE kept AS SELECT 1 AS x")
    own_postgres.kill9()

    own_postgres.start()

    assert own_postgres.sql("SELECT x FROM kept") == [(1,)]


def test_redis_comes_back_with_its_data_after_kill_9(own_redis):
    client = redis.Redis(port=own_redis.port)
    client.set("kept", "1")
    client.config_set("appendfsync", "always")
    client.set("kept", "2")
    client.close()
    own_redis.kill9()

    own_redis.start()

    client = redis.Redis(port=own_redis.port)
    assert client.get("kept") == b"2"
    client.close()


def test_frozen_redis_answers_nothing_until_thawed(own_redis):
    client = redis.Redis(port=own_redis.port, socket_timeout=0.3, retry=None)
    assert client.ping()
    own_redis.freeze()
    with pytest.raises(redis.exceptions.TimeoutError):
        client.ping()

    own_redis.thaw()

    assert own_redis.answers()
    client.close()
