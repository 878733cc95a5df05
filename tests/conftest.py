"""What all tests share: real servers, and a bot or practice exchange that can be killed."""

from __future__ import annotations

import gc
import itertools
import os
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

from tests import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

# how long an example takes says something of the machine, nothing of the program
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_numbers = itertools.count(1)


def pytest_collection_finish() -> None:
    """Leave five thousand collected tests out of every later collection of garbage: they live to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """See that no test leaves logging set up in its way: what later tests of its worker log would go astray."""
    yield
    assert not structlog.is_configured()


@pytest.fixture(autouse=True)
def _umask_as_it_was() -> Iterator[None]:
    """Programs that a test runs in its own process set theirs."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


def _served(kind: type[servers.Server]) -> Iterator[servers.Server]:
    try:
        server = kind()
    except servers.NotFound as error:
        pytest.skip(str(error))
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Server]:
    """A PostgreSQL server for the whole run."""
    yield from _served(servers.Postgres)


@pytest.fixture
def own_postgres() -> Iterator[servers.Server]:
    """A PostgreSQL server for one test to kill and freeze."""
    yield from _served(servers.Postgres)


@pytest.fixture
def own_redis() -> Iterator[servers.Server]:
    """A Redis or Valkey server for one test to kill and freeze."""
    yield from _served(servers.Redis)


@pytest.fixture
def postgres_url(postgres: servers.Postgres) -> str:
    """The address of an empty PostgreSQL database."""
    name = f"test_{next(_numbers)}"
    postgres.sql(f"CREATE DATABASE {name}")
    return postgres.dsn(name)


@pytest.fixture(params=["postgresql", "sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path) -> str:
    """The address of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))
