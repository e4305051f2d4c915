"""Run jobs one at a time in a thread of their own; a bounded number of calls may wait."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")


class ClientGone(Exception):
    """The client has closed the connection, so that nobody waits for the result."""


class Jobs:
    """Places for calls, and the thread that runs their jobs. Call all methods in one event loop.

    A call takes its place before its body is read, so that the number of uploads is bounded, too.
    A job that is still running when its call has ended keeps a place.

    Args:
        waiting: number of calls that may wait besides the running one.
    """

    def __init__(self, waiting: int) -> None:
        self._most = 1 + waiting
        self._taken = 0
        self._seconds = 1.0  # duration of the last job
        self._pool = ThreadPoolExecutor(1, "network")

    @property
    def taken(self) -> int:
        """Number of places that are taken."""
        return self._taken

    @property
    def retry_seconds(self) -> int:
        """Expected time in s until the present calls are done, at least 1."""
        return max(1, math.ceil(self._taken * self._seconds))

    def enter(self) -> bool:
        """Take a place; return whether there was a free one."""
        if self._taken >= self._most:
            return False
        self._taken += 1
        return True

    def leave(self) -> None:
        """Give a place back."""
        self._taken -= 1

    async def run(
        self,
        job: Callable[[], _Result],
        seconds: float,
        gone: Awaitable[None],
        cleanup: Callable[[], None],
    ) -> _Result:
        """Run a job when its turn has come; pass on its exceptions.

        Args:
            job: called in the thread. It cannot be interrupted; its result may be ignored.
            seconds: maximum time from now to its end.
            gone: awaitable that ends when the client has gone.
            cleanup: called after the end of the job, from any thread; also if it never ran.

        Raises:
            asyncio.TimeoutError: the job has not ended in time.
            ClientGone: the client closed the connection before the end of the job.
        """
        future = self._pool.submit(self._timed, job)
        future.add_done_callback(lambda _: cleanup())
        waiting = asyncio.wrap_future(future)
        watching = asyncio.ensure_future(gone)
        try:
            await asyncio.wait(
                (waiting, watching), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if waiting.done():
                return waiting.result()
            raise ClientGone if watching.done() else asyncio.TimeoutError
        finally:
            watching.cancel()
            waiting.cancel()
            if not future.cancel() and not future.done():
                self._keep_place(future)

    def close(self) -> None:
        """Cancel the jobs that wait; the running job continues to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _keep_place(self, future: Future) -> None:
        loop = asyncio.get_running_loop()
        self._taken += 1
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self.leave))

    def _timed(self, job: Callable[[], _Result]) -> _Result:
        begun = time.monotonic()
        try:
            return job()
        finally:
            self._seconds = time.monotonic() - begun
