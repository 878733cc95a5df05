"""A host's limit is one of an address: several machines on it share it through Redis, and an exit waits for none."""

from __future__ import annotations

import asyncio
import multiprocessing

import pytest
import structlog

from bootstrap.sources import Budgets
from domain.errors import Unavailable
from history.sources.dialects import Host
from persistence import address_budget, budget
from persistence.budget import BURST
from settings import load
from tests.bot import PATIENCE
from tests.commands import own_logging

# so wide a window that next to nothing trickles in while a test runs
BYBIT = Host("api.bybit.com", 600, 5e7)
BURST_OF_ALL = round(BURST * 600)


def machine(folder, url: str, reserve: float = 0.0, address: str = "default"):
    """Return the budgets of a machine with a data folder of its own."""
    told = {"REVENANT__DATA_DIR": str(folder), "REDIS_URL": url, "OUTGOING_ADDRESS": address}
    return Budgets(load(environment=told, trading=False), reserve)


async def used_up(held, reserve: float, most: int = 10_000) -> int:
    """Take what there is without waiting; return how much that was."""
    for taken in range(most):
        try:
            await held.take(1, reserve=reserve)
        except Unavailable:
            return taken
    return most


def spend(folder, url, address, done):
    budget.PATIENCE_S = 0.0
    # however slow this machine is, Redis's word is waited for
    address_budget.ASK_S = 60.0
    held = machine(folder, url, 0.1, address)
    done.put(asyncio.run(used_up(held(BYBIT), 0.1)))
    held.close()


def spent(tmp_path, url, addresses) -> int:
    """Let a process on each of several machines take all that it gets at once; return the sum."""
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    users = [
        context.Process(target=spend, args=(tmp_path / str(number), url, address, done))
        for number, address in enumerate(addresses)
    ]
    for user in users:
        user.start()
    total = sum(done.get(timeout=60 * PATIENCE) for _ in users)
    for user in users:
        user.join()
    return total


def test_three_machines_on_one_address_stay_within_its_limit(tmp_path, own_redis):
    # a burst, and what trickles in later: no window ever sees more than the limit
    assert spent(tmp_path, own_redis.url, ["default"] * 3) == BURST_OF_ALL * 0.9


def test_machines_on_other_addresses_have_limits_of_their_own(tmp_path, own_redis):
    assert spent(tmp_path, own_redis.url, ["one", "one", "other"]) == 2 * BURST_OF_ALL * 0.9


@pytest.fixture
def hasty(monkeypatch):
    """Nobody waits for a limit, and everybody for Redis."""
    monkeypatch.setattr(budget, "PATIENCE_S", 0.0)
    monkeypatch.setattr(address_budget, "ASK_S", 60.0)


async def test_exits_have_a_reserve_and_what_they_take_is_taken_from_all(tmp_path, own_redis, hasty):
    ours, theirs = machine(tmp_path / "a", own_redis.url), machine(tmp_path / "b", own_redis.url)
    assert await used_up(ours(BYBIT), 0.5) == BURST_OF_ALL / 2
    assert await used_up(theirs(BYBIT), 0.5) == 0
    assert await used_up(theirs(BYBIT), 0.0, 20) == 20
    # only after what was reported before
    theirs._rates._thread.submit(lambda: None).result(60)
    assert await used_up(ours(BYBIT), 0.1) == BURST_OF_ALL * 0.4 - 20
    ours.close()
    theirs.close()


@pytest.mark.parametrize("harm", ["kill9", "freeze"])
async def test_without_redis_this_machine_keeps_the_limit_and_says_so_once(tmp_path, own_redis, harm, monkeypatch):
    monkeypatch.setattr(budget, "PATIENCE_S", 0.0)
    held = machine(tmp_path, own_redis.url)
    mine = held(BYBIT)
    await mine.take(10, reserve=0.1)
    getattr(own_redis, harm)()
    with own_logging(), structlog.testing.capture_logs() as logs:
        monkeypatch.setattr(address_budget, "REST_S", 0.0)
        await mine.take(10, reserve=0.1)
        await mine.take(10, reserve=0.1)
        monkeypatch.setattr(address_budget, "REST_S", 600.0)
        await mine.take(10, reserve=0.1)
        assert await used_up(mine, 0.1) == BURST_OF_ALL * 0.9 - 40
        held.close()
    assert [line["event"] for line in logs] == [
        "rate limits are kept on this machine alone while Redis does not answer"
    ]


async def test_an_exit_never_waits_for_redis(tmp_path, own_redis, monkeypatch):
    monkeypatch.setattr(address_budget, "ASK_S", 10_000.0)
    held = machine(tmp_path, own_redis.url)
    own_redis.freeze()
    taken = 0
    async with asyncio.timeout(60):
        for _ in range(address_budget.PENDING_MAX + 10):
            await held(BYBIT).take(1, reserve=0.0)
            taken += 1
    assert taken == address_budget.PENDING_MAX + 10
    held.close()


async def test_redis_that_comes_back_is_asked_again(tmp_path, own_redis, hasty, monkeypatch):
    monkeypatch.setattr(address_budget, "REST_S", 0.0)
    ours, theirs = machine(tmp_path / "a", own_redis.url), machine(tmp_path / "b", own_redis.url)
    own_redis.kill9()
    with own_logging(), structlog.testing.capture_logs() as logs:
        await ours(BYBIT).take(1, reserve=0.1)
        own_redis.start()
        assert await used_up(theirs(BYBIT), 0.1) == BURST_OF_ALL * 0.9
        assert await used_up(ours(BYBIT), 0.1) == 0
    assert [line["log_level"] for line in logs] == ["warning", "info"]
    ours.close()
    theirs.close()


async def test_a_ban_and_the_hosts_own_word_hold_on_all_machines(tmp_path, own_redis, hasty):
    ours, theirs = machine(tmp_path / "a", own_redis.url), machine(tmp_path / "b", own_redis.url)
    ours(BYBIT).told(500)
    ours._rates._thread.submit(lambda: None).result(60)
    assert await used_up(theirs(BYBIT), 0.1) == 100 - BURST_OF_ALL * 0.1
    ours(BYBIT).ban(60)
    ours._rates._thread.submit(lambda: None).result(60)
    with pytest.raises(Unavailable, match="no room"):
        await theirs(BYBIT).take(1, reserve=0.1)
    assert theirs(BYBIT).banned_s() > 50
    ours.close()
    theirs.close()
