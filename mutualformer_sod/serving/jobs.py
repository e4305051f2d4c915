"""Run jobs one at a time in a separate thread, with a bounded number of waiting calls."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")


class ClientGone(Exception):
    """The client has closed the connection, so that nobody waits for the result."""


class Jobs:
    """A limited number of places for calls, and the thread that runs their jobs one after another.

    All methods must be called in the same event loop. Up to ``waiting`` calls may wait besides the
    running call. A call occupies a place before the body of the request is read, so that the number
    of uploads is bounded, too. A job that runs longer than its call occupies a place until its end.
    """

    def __init__(self, waiting: int) -> None:
        self.taken = 0  # number of occupied places
        self._most = 1 + waiting
        self._seconds = 1.0  # duration of the last job
        self._pool = ThreadPoolExecutor(1, "network")

    @property
    def retry_seconds(self) -> int:
        """Expected time in s until the present calls are done, at least 1."""
        return max(1, math.ceil(self.taken * self._seconds))

    def enter(self) -> bool:
        """Occupy a place; return whether a place was free."""
        if self.taken >= self._most:
            return False
        self.taken += 1
        return True

    def leave(self) -> None:
        """Free a place."""
        self.taken -= 1

    async def run(
        self,
        job: Callable[[], _Result],
        seconds: float,
        gone: Awaitable[None],
        cleanup: Callable[[], None],
    ) -> _Result:
        """Run a job after the earlier jobs; return its result or raise its exception.

        Args:
            job: function called in the thread, where it cannot be interrupted.
            seconds: maximum time in s from now to the end of the job.
            gone: awaitable that ends when the client has gone.
            cleanup: called from any thread after the end of the job, or if the job never ran.

        Raises:
            asyncio.TimeoutError: the job did not end in time.
            ClientGone: the client closed the connection before the end of the job.
        """
        future = self._pool.submit(self._timed, job)
        future.add_done_callback(lambda _: cleanup())
        waiting = asyncio.wrap_future(future)
        watching = asyncio.ensure_future(gone)
        both = waiting, watching
        try:
            await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            raise ClientGone if watching.done() else asyncio.TimeoutError
        finally:
            watching.cancel()
            waiting.cancel()
            if not future.cancel() and not future.done():  # the job still occupies a place
                loop = asyncio.get_running_loop()
                self.taken += 1
                future.add_done_callback(lambda _: loop.call_soon_threadsafe(self.leave))

    def close(self) -> None:
        """Cancel the jobs that wait; the running job continues to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _timed(self, job: Callable[[], _Result]) -> _Result:
        begun = time.monotonic()
        try:
            return job()
        finally:
            self._seconds = time.monotonic() - begun
