"""All runs of a comparison, each in a process of its own, so many at once; none stops the others.

The processes are forked from one that has imported torch, where the system can: an import takes
longer than the testing of a small network.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from mutualformer_sod.errors import InputError, Stopped
from mutualformer_sod.experiments.plan import Job
from mutualformer_sod.workers import worker_context

_RUNS = "mutualformer_sod.experiments.runs"
_PRELOADED = ["torch", "torchvision", "timm", "cv2", _RUNS]


@dataclass(frozen=True)
class _Working:
    """A run in progress."""

    job: Job
    process: Any
    since: float


def do_jobs(
    jobs: Sequence[Job],
    function: str,
    arguments: Callable[[Job], tuple],
    *,
    at_once: int = 1,
    threads: int = 1,
    say: Callable[[Job, float], str],
) -> dict[str, str]:
    """Do those of the runs that are not finished.

    A run that takes over something of another waits for it, and is not done if that failed.

    Args:
        jobs: in the order to do them in.
        function: of ``runs``, called in a process of its own.
        arguments: that function's, for a run.
        at_once: processes at a time.
        threads: of each on a CPU.
        say: a line about a run that has ended well, and the seconds it took.

    Returns:
        What was wrong with those that failed, by their name.

    Raises:
        Stopped, KeyboardInterrupt: the runs in progress were saved.
    """
    failed: dict[str, str] = {}
    todo = [job for job in jobs if not job.finished]
    running: dict[int, _Working] = {}

    def fail(job: Job, message: str) -> None:
        failed[job.name] = message
        tqdm.write(f"FAILED {job.name}: {message}", sys.stderr)
        bar.update()

    with (
        _ended_in_order(running),
        tqdm(total=len(jobs), initial=len(jobs) - len(todo), unit="run", disable=None) as bar,
    ):
        while todo or running:
            for job in [job for job in todo if _before(job) in failed]:
                todo.remove(job)
                fail(job, f"waits for {_before(job)}, which failed")
            while len(running) < at_once and (job := _next(todo, running)):
                process = start(function, arguments(job), job.log, threads)
                running[process.sentinel] = _Working(job, process, time.monotonic())
            bar.set_description(", ".join(work.job.name for work in running.values()))
            for sentinel in wait(list(running)) if running else ():
                work = running[sentinel]
                work.process.join()
                del running[sentinel]
                if work.process.exitcode == 0:
                    tqdm.write(say(work.job, time.monotonic() - work.since))
                    bar.update()
                else:
                    fail(work.job, why(work.process.exitcode, work.job.log))
    return failed


def start(function: str, arguments: tuple, log: Path, threads: int) -> Any:
    """Start a function of ``runs`` in a process of its own, which prints to the end of ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    process = worker_context(_PRELOADED).Process(
        target=_work, args=(function, arguments, str(log), threads)
    )
    process.start()
    return process


def why(status: int, log: Path) -> str:
    """What a process that failed said last."""
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"ended by {name}{hint}; see {log}"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return f"{last} (see {log})"


def _before(job: Job) -> str | None:
    """Name of the run that this one takes something over of."""
    return job.variant.matches and f"{job.variant.matches} seed {job.seed}"


def _next(todo: list[Job], running: dict[int, _Working]) -> Job | None:
    """Take the first run that waits for none."""
    waiting = {job.name for job in todo} | {work.job.name for work in running.values()}
    for job in todo:
        if _before(job) not in waiting:
            todo.remove(job)
            return job
    return None


@contextmanager
def _ended_in_order(running: dict[int, _Working]) -> Iterator[None]:
    """Context that SIGTERM leaves as Ctrl-C does; the runs in progress save themselves first."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Stopped(number, "finished runs are kept, the same command goes on")

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if in_main else None
    try:
        yield
    finally:
        for work in running.values():
            work.process.terminate()
        for work in running.values():
            work.process.join()
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _work(function: str, arguments: tuple, log: str, threads: int) -> None:
    """In the new process: call the function; its mistakes become one line and status 2."""
    with Path(log).open("a", encoding="utf-8", buffering=1) as file:
        for descriptor in (1, 2):  # what libraries print, too
            os.dup2(file.fileno(), descriptor)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import importlib

    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        getattr(importlib.import_module(_RUNS), function)(*arguments)
    except (InputError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except Stopped as stop:
        print(f"stopped: {stop}", file=sys.stderr)
        sys.exit(128 + stop.signal)


def _end_with_parent() -> None:
    """A killed parent stops no run: it would hold its folder against the next start."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
