"""Processes that share the work on many files.

A fork copies the thread that forks and no other: a lock that another thread holds at that moment,
one of OpenCV's pool for example, is never released in the new process. No process is therefore
forked from this one, which may have used OpenCV, torch or numpy before.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext

import cv2

from mutualformer_sod.errors import InputError

_LIBRARIES = ("torch", "torchvision", "timm", "scipy", "cv2")
_IS_SERVER = "MUTUALFORMER_SOD_FORK_SERVER"


@contextlib.contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of processes for functions and plain data.

    Leaving the context drops the tasks that no process has begun, and ends the processes.

    Raises:
        InputError: a process was killed, or could not start.
    """
    pool = ProcessPoolExecutor(workers, mp_context=worker_context(), initializer=start_worker)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process ended before its work: killed, perhaps for lack of memory, or started"
            " by a script without 'if __name__ == \"__main__\":'. Fix: use fewer --workers, or add"
            " that line to the script"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    cores = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(cores(0)) if cores else os.cpu_count() or 1


def worker_context(preload: Sequence[str] = ()) -> BaseContext:
    """Return how processes are started: forked from a server of one thread, or started anew.

    The server imports the modules of this package that this process has imported, so that a worker
    starts in milliseconds. It outlives a SIGTERM, which a scheduler sends to all processes of a
    job: this process may still need its workers until it has saved. It ends with this process.

    Args:
        preload: modules that the server imports, too.
    """
    methods = multiprocessing.get_all_start_methods()
    if "forkserver" not in methods or sys.platform == "darwin":  # macOS: its libraries have threads
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    libraries = [name for name in _LIBRARIES if name in sys.modules]
    ours = sorted(name for name in sys.modules if name.partition(".")[0] == "mutualformer_sod")
    context.set_forkserver_preload([__name__, *libraries, *ours, *preload])
    from multiprocessing import forkserver  # not on Windows

    # numpy must start no threads in the server: its processes are forks, too.
    with _environment({_IS_SERVER: "1", "OPENBLAS_NUM_THREADS": "1"}):
        forkserver.ensure_running()
    return context


def start_worker() -> None:
    """Make a new process one of many on this machine, to end with the one that started it."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent stops no worker: each would wait for tasks for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Context whose new processes find these variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _accept_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


if os.environ.pop(_IS_SERVER, None):  # set for the server of `worker_context` alone
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    os.register_at_fork(after_in_child=_accept_sigterm)
