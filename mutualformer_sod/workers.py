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
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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


def worker_context(preload: Sequence[str] = ()) -> BaseContext:
    """Return how processes are started: forked from a server of one thread, or started anew.

    The server imports the modules of this package that this process has imported, so that a worker
    starts in milliseconds. Its processes begin with SIGINT and SIGTERM blocked, because a terminal
    or a scheduler sends them to all processes of a job: call `accept_signals` in them.

    Args:
        preload: modules that the server imports, too.
    """
    methods = multiprocessing.get_all_start_methods()
    if "forkserver" not in methods or sys.platform == "darwin":  # macOS: its libraries have threads
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    libraries = [name for name in _LIBRARIES if name in sys.modules]
    ours = sorted(name for name in sys.modules if name.partition(".")[0] == "mutualformer_sod")
    context.set_forkserver_preload([*libraries, *ours, *preload])
    from multiprocessing import forkserver, resource_tracker  # not on Windows

    resource_tracker.ensure_running()  # it would unblock the signals
    with _blocked_signals(), _one_blas_thread():
        forkserver.ensure_running()
    return context


def start_worker() -> None:
    """Make a new process one of many on this machine, to end with the one that started it."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    accept_signals()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def accept_signals() -> None:
    """Let a process of `worker_context` receive the signals that it begins without."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _end_with_parent() -> None:
    """A killed parent stops no worker: each would wait for tasks for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Context whose new processes begin with SIGINT and SIGTERM blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Context whose new processes import numpy without starting threads."""
    name = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
