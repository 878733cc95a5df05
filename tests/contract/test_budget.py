"""A host's limit is shared by all processes on a machine, and the more important come first."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import os
import time

import pytest

from domain.errors import Unavailable
from persistence import budget as module
from persistence.budget import SharedBudget


def spend(path, requests, done):
    async def run():
        held = SharedBudget(path, 200, 1.0)
        for _ in range(requests):
            await held.take(1)

    asyncio.run(run())
    done.put(requests)


def test_several_processes_together_stay_within_one_limit(tmp_path):
    context = multiprocessing.get_context("fork")
    done, begun = context.Queue(), time.monotonic()
    # each would get so many at once from a limit of its own
    users = [context.Process(target=spend, args=(tmp_path / "host.rate", 70, done)) for _ in range(3)]
    for user in users:
        user.start()
    total = sum(done.get(timeout=90) for _ in users)
    lasted = time.monotonic() - begun
    for user in users:
        user.join()
    # a burst of 80, then 120 a second: a slow machine only takes longer
    assert total == 210
    assert total <= 80 + 120 * lasted + 3


async def test_history_leaves_a_reserve_that_trading_may_use(tmp_path):
    ours, theirs = (SharedBudget(tmp_path / "host.rate", 100, 1000.0, reserve) for reserve in (0.5, 0.0))
    for _ in range(20):
        await ours.take()
    assert ours._try(1, 20) > 0
    for _ in range(20):
        assert theirs._try(1, 0) == 0
    assert theirs._try(1, 0) > 0


async def test_a_ban_holds_for_everybody_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 5.0)
    one, other = SharedBudget(tmp_path / "host.rate", 100, 1.0), SharedBudget(tmp_path / "host.rate", 100, 1.0)
    one.ban(60)
    with pytest.raises(Unavailable, match="no room for"):
        await other.take()


async def test_the_hosts_own_count_lowers_ours(tmp_path):
    held = SharedBudget(tmp_path / "host.rate", 100, 1000.0)
    held.told(95)
    assert held._try(10, 0) > 0
    assert held._try(5, 0) == 0


async def test_a_costly_request_waits_for_a_full_bucket_and_then_goes_out(tmp_path):
    held = SharedBudget(tmp_path / "host.rate", 100, 1.0)
    await asyncio.wait_for(held.take(1_000), 10)
    slow = SharedBudget(tmp_path / "slow.rate", 100, 10_000.0)
    await slow.take(1_000)
    assert slow._try(1_000, 0) > 0


async def test_another_boots_or_a_torn_file_starts_afresh(tmp_path):
    path = tmp_path / "host.rate"
    path.write_bytes(module._RECORD.pack(0.0, 2**60, 2**60))
    assert SharedBudget(path, 100, 1.0)._try(1, 0) == 0
    path.write_bytes(b"torn")
    assert SharedBudget(path, 100, 1.0)._try(1, 0) == 0


@pytest.mark.parametrize("call", ["pwrite", "pread", "flock", "open"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.ENOLCK])
def test_a_broken_disk_holds_up_no_request_and_the_limit_still_holds(tmp_path, monkeypatch, call, number):
    """Found by a full disk under the running bot: no request went out any more, exits among them."""

    def refuse(*_arguments, **_named):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "host.rate"
    held = SharedBudget(path, 100, 1000.0)
    assert held._try(10, 0) == 0
    with monkeypatch.context() as broken:
        broken.setattr(module.fcntl if call == "flock" else module.os, call, refuse)
        mine = SharedBudget(path, 100, 1000.0) if call == "open" else held
        taken = 0
        while taken < 50 and mine._try(1, 0) == 0:
            taken += 1
        assert 29 <= taken <= 40
        assert mine.banned_s() == 0
        mine.ban(60)
        assert mine.banned_s() > 50
    assert SharedBudget(path, 100, 1000.0)._locked() is not None, "the lock was kept"
