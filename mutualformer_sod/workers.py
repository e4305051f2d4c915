"""Worker processes and threads for many files.

A fork copies only one thread. A lock that another thread, for example of OpenCV's pool, holds at
the time of the fork is never released in the new process. Workers are therefore not forked
from this process, which may have used OpenCV, torch or numpy.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any

import cv2
from tqdm import tqdm

from mutualformer_sod.errors import InputError

_LIBRARIES = ("torch", "torchvision", "timm", "scipy", "cv2")
_BLOCKED = (signal.SIGTERM, signal.SIGINT)  # in the server of `worker_context`
_IS_SERVER, _NUMPY_THREADS = "MUTUALFORMER_SOD_FORK_SERVER", "OPENBLAS_NUM_THREADS"


@contextlib.contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Context that opens a pool of worker processes, for functions with plain data.

    Leaving the context drops the tasks that have not started, and ends the processes.

    Raises:
        InputError: a process was killed, or could not start.
    """
    pool = ProcessPoolExecutor(workers, mp_context=worker_context(), initializer=start_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process ended before its work was done: it was killed, perhaps for lack of "
            "memory, or started by a script without 'if __name__ == \"__main__\":'. Fix: use fewer "
            "`workers`, or add that line to the script"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def in_threads(
    function: Callable[[Any], Any], items: Sequence[Any], label: str, *, show_bar: bool = True
) -> list[Any]:
    """Apply a function to each item in threads, with a progress bar; stop at the first error."""
    pool = ThreadPoolExecutor(usable_cores())
    disable = None if show_bar else True  # None: no bar without a terminal
    try:
        results = pool.map(function, items)
        return list(tqdm(results, label, len(items), leave=False, disable=disable))
    finally:
        pool.shutdown(cancel_futures=True)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    cores = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(cores(0)) if cores else os.cpu_count() or 1


def worker_context(preload: Sequence[str] = ()) -> BaseContext:
    """Return the context that forks workers from a single-threaded server, or spawns workers.

    The server imports ``preload`` and the modules of this package that this process has imported,
    so that a worker starts in milliseconds. The server starts with SIGTERM and SIGINT blocked. A
    scheduler sends SIGTERM to all processes of a job, but this process may start workers until it
    has saved its state. Ctrl-C sends SIGINT to all processes, and would end the imports of the
    server with a traceback. The server ends when this process ends.
    """
    methods = multiprocessing.get_all_start_methods()
    if "forkserver" not in methods or sys.platform == "darwin":  # libraries of macOS have threads
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    libraries = [name for name in _LIBRARIES if name in sys.modules]
    ours = sorted(name for name in sys.modules if name.partition(".")[0] == "mutualformer_sod")
    context.set_forkserver_preload([__name__, *libraries, *ours, *preload])
    from multiprocessing import forkserver, resource_tracker  # not on Windows

    resource_tracker.ensure_running()  # a later start would unblock the signals
    before, mask = dict(os.environ), signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    # numpy must not start threads in the server, because workers are forked from it.
    os.environ.update({_IS_SERVER: "1", _NUMPY_THREADS: "1"})
    try:
        forkserver.ensure_running()
    finally:
        del os.environ[_IS_SERVER], os.environ[_NUMPY_THREADS]
        os.environ.update(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return context


def start_worker() -> None:
    """Set up a worker: use one thread, ignore Ctrl-C, and exit when the parent ends."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    end_with_parent(lambda: os._exit(1))


def end_with_parent(end: Callable[[], object]) -> None:
    """Call ``end`` when the parent process has ended, so that this process does not remain."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        end()

    threading.Thread(target=wait, daemon=True).start()


def _end_without(parent: int) -> None:
    if os.getppid() != parent:  # a worker would find no queues, and end with a traceback
        os._exit(0)


if os.environ.pop(_IS_SERVER, None):  # set only for the server of `worker_context`
    accept_signals = functools.partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, _BLOCKED)
    end_without_parent = functools.partial(_end_without, os.getppid())
    os.register_at_fork(before=end_without_parent, after_in_child=accept_signals)
