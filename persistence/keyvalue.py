"""Redis with every wait bounded, and errors in our own terms."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from domain.errors import ConfigError, Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

CALL_S = 0.5


class Redis:
    """A Redis server; each call waits at most half a second and is never repeated behind our back."""

    def __init__(self, url: str) -> None:
        try:
            self.client: Any = redis.Redis.from_url(
                url, socket_timeout=CALL_S, socket_connect_timeout=CALL_S, retry=Retry(NoBackoff(), 0),
                decode_responses=False, health_check_interval=0,
            )  # fmt: skip
        except ValueError as error:
            raise ConfigError(f"REDIS_URL: {error}; write redis://host:6379/0 or rediss://") from error

    def close(self) -> None:
        """Close all connections."""
        self.client.close()

    @contextlib.contextmanager
    def pipeline(self) -> Iterator[Any]:
        """Give a pipeline that is executed as one transaction when the block ends.

        Raises:
            Unavailable: no answer in time, out of memory, read-only, or still loading.
            Rejected: a key holds something of another type, or the server refuses us.
        """
        with self.translated(), self.client.pipeline(transaction=True) as pipe:
            yield pipe
            pipe.execute()

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            raise Rejected(f"Redis refused us: {error}") from error
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            raise Unavailable(f"Redis: {error}") from error
        except redis.exceptions.ResponseError as error:
            if "WRONGTYPE" in str(error):
                raise Rejected(f"Redis: {error}") from error
            raise Unavailable(f"Redis: {error}") from error
        except redis.exceptions.RedisError as error:
            raise Unavailable(f"Redis: {error}") from error
