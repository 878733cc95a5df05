"""One thread per blocking tier, so that a stuck tier costs one thread and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from domain.errors import Unavailable
from engine.lag import Lags

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class Tier:
    """A named thread that calls are made on, one after the other, each waited for at most ``deadline_s``.

    ``took`` counts how long calls took, waiting for the thread included.
    """

    def __init__(self, name: str, deadline_s: float) -> None:
        self._name, self._deadline_s = name, deadline_s
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self.took = Lags()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function; raises Unavailable when it takes too long (it then goes on by itself)."""
        return await self.within(self._deadline_s, function, *args, **kwargs)

    async def within(self, deadline_s: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function with a deadline of its own."""
        loop = asyncio.get_running_loop()
        work, begun = loop.run_in_executor(self._pool, lambda: function(*args, **kwargs)), loop.time()
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.shield(work)
        except TimeoutError:
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise Unavailable(f"{self._name}: no answer within {deadline_s:.0f} s") from None
        finally:
            self.took.note((loop.time() - begun) * 1000)

    def close(self) -> None:
        """Let the thread end once it has finished what it is doing."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def beside(function: Callable[[], T]) -> asyncio.Future[T]:
    """Call a blocking function on a thread that nobody waits for when the process ends."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(settle: Callable[[Any], None], what: object) -> None:
        if not answer.done():
            settle(what)

    def call() -> None:
        settle: Callable[[Any], None] = answer.set_result
        try:
            what: object = function()
        except BaseException as error:  # noqa: BLE001  whoever waits for the answer is told
            settle, what = answer.set_exception, error
        with contextlib.suppress(RuntimeError):
            # the loop may have been closed meanwhile
            loop.call_soon_threadsafe(tell, settle, what)

    threading.Thread(target=call, daemon=True).start()
    return answer
