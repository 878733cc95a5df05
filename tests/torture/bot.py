"""The daemon as a fresh process, with the strategy that trades all the time, and its event loop watched."""

import asyncio
import mmap
import os
import struct
import sys
from pathlib import Path

import live_bot
from daemon import live
from tests.torture import world

FROZEN = struct.Struct("=d")
LOOK_S = 0.02


async def watch(page: mmap.mmap) -> None:
    """Note the longest time in seconds for which the loop did not turn; waiting for a processor does not count."""
    loop, waits = asyncio.get_running_loop(), Path("/proc/thread-self/schedstat")
    while True:
        due, before = loop.time() + LOOK_S, int(waits.read_text().split()[1])
        await asyncio.sleep(LOOK_S)
        late = loop.time() - due - (int(waits.read_text().split()[1]) - before) / 1e9
        if late > FROZEN.unpack(page[:])[0]:
            page[:] = FROZEN.pack(late)


def watched(page: mmap.mmap) -> None:
    """Have the loop of the daemon watched from its beginning."""
    run = live.run

    async def run_watched(*arguments: object) -> int:
        task = asyncio.create_task(watch(page))
        try:
            return await run(*arguments)  # type: ignore[arg-type]
        finally:
            task.cancel()

    live.run = run_watched  # type: ignore[assignment]


if __name__ == "__main__":
    world.learn_churn()
    here = world.World.__new__(world.World)
    here.acks = Path(sys.argv[1])
    here.log_acknowledgements()
    if len(sys.argv) > 2:
        with Path(sys.argv[2]).open("r+b") as opened:
            watched(mmap.mmap(opened.fileno(), FROZEN.size))
    os._exit(live_bot.main([]))
