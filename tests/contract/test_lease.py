"""The right to send orders is one row: who took it last has it, and who finds it gone takes it again, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from domain.ids import Identity
from persistence import schema
from persistence.database import Database
from persistence.lease import DEAD_S, Holder, Lease

WHO = Identity("synthetic", "live", "1")


@pytest.fixture
def database(database_url):
    held = Database(database_url)
    yield held
    held.close()


def become(database: Database, **values) -> None:
    with database.transaction() as connection:
        connection.execute(sa.update(schema.leases).values(values))


def test_who_took_it_last_has_it(database):
    one, other = Lease(database, WHO, "one"), Lease(database, WHO, "other")
    assert one.holder() == Holder(0, "")
    assert one.take() == Holder(1, "one")
    assert one.renew(1) == Holder(1, "one")
    assert other.take() == Holder(2, "other")
    assert one.renew(1) == Holder(2, "other")
    assert one.alive(60) == "other"
    assert Lease(database, WHO._replace(account="2"), "third").take() == Holder(1, "third")


def test_who_finds_it_gone_takes_it_again_under_a_higher_number(database):
    one, other = Lease(database, WHO, "one"), Lease(database, WHO, "other")
    assert one.retake(7) == Holder(8, "one")
    # an older copy of the table: whoever had it then has given no sign of life since
    become(database, epoch=3, owner="earlier", renewed_at=datetime.now(UTC) - timedelta(seconds=DEAD_S + 1))
    assert one.retake(8) == Holder(9, "one")
    become(database, epoch=30, renewed_at=datetime.now(UTC) - timedelta(seconds=DEAD_S + 1))
    assert one.retake(9) == Holder(31, "one")
    # somebody who is alive keeps it, whatever its number
    become(database, epoch=1, owner="other", renewed_at=datetime.now(UTC))
    assert one.retake(31) == Holder(1, "other")
    assert other.renew(1) == Holder(1, "other")
