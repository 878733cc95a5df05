"""Looks at a Redis that records rest on."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from domain.finding import Finding, State

REDIS_S = 2.0


def check_redis(url: str) -> Finding:
    """Connect to Redis and look at its eviction and persistence."""
    if not url:
        return Finding("redis", State.OK, "not configured: state lives in SQLite files")
    try:
        client = redis.Redis.from_url(
            url, socket_timeout=REDIS_S, socket_connect_timeout=REDIS_S, retry=Retry(NoBackoff(), 0)
        )
    except ValueError as error:
        return Finding("redis", State.FAIL, f"REDIS_URL: {error}; write redis://host:6379/0 or rediss://")
    try:
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "unknown")
        limit = int(str(client.config_get("maxmemory").get("maxmemory") or 0))
        info = client.info("persistence")
    except redis.exceptions.AuthenticationError as error:
        return Finding("redis", State.FAIL, f"refused us: {error}; check REDIS_URL")
    except redis.exceptions.RedisError as error:
        return Finding("redis", State.WARN, f"no answer: {error}")
    finally:
        client.close()
    if limit and str(policy).startswith("allkeys"):
        return Finding("redis", State.WARN, f"maxmemory-policy {policy} may silently drop records; set noeviction")
    kept = "append-only file" if info.get("aof_enabled") else "snapshots only: up to minutes are lost in a crash"
    return Finding("redis", State.OK if info.get("aof_enabled") else State.WARN, f"eviction {policy}; {kept}")
