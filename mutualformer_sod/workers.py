"""Processes that share the reading and scoring of many files."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext

import cv2


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Processes for functions and plain data; leaving its `with` block ends them."""
    return ProcessPoolExecutor(workers, mp_context=worker_context(), initializer=start_worker)


def worker_context() -> BaseContext:
    """How workers are started: fork takes milliseconds; what they do holds no threads or GPU."""
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    return multiprocessing.get_context(method)


def start_worker() -> None:
    """Make a new process one of many on this machine, to end with the one that started it."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent stops no worker: each would wait for tasks for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)
