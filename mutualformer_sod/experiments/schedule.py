"""Do all runs of a comparison, each in its own process, several at once.

A failed run does not stop the others. The processes are forked, if the system can, from a server
that has imported torch: an import takes longer than the test of a small network.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import FrameType
from typing import Protocol

from tqdm import tqdm

from mutualformer_sod.errors import Stopped
from mutualformer_sod.experiments.plan import Run


class Process(Protocol):
    """A run in progress; see `process.LoggedProcess`."""

    @property
    def sentinel(self) -> int:
        """Return the handle that becomes ready at the end of the process."""

    def problem(self) -> str | None:
        """Wait for the end; return the problem, or None for success."""

    def terminate(self) -> None:
        """Ask the process to save its state and end."""


@dataclass(frozen=True)
class _Working:
    run: Run
    process: Process
    since: float


def do_runs(
    runs: Sequence[Run],
    start: Callable[[Run], Process],
    *,
    at_once: int = 1,
    describe: Callable[[Run, float], str],
) -> dict[str, str]:
    """Do the runs that are not finished.

    A run that takes over a ratio of another run waits for it, and fails if that one failed.

    Args:
        runs: in the order of their start.
        start: starts a run.
        at_once: number of processes at a time.
        describe: returns a line about a finished run and the seconds it took.

    Returns:
        The problems of the failed runs by their names.

    Raises:
        Stopped, KeyboardInterrupt: the runs in progress were saved.
    """
    failed: dict[str, str] = {}
    todo = [run for run in runs if not run.finished]
    running: dict[int, _Working] = {}

    def fail(run: Run, problem: str) -> None:
        failed[run.name] = problem
        tqdm.write(f"FAILED {run.name}: {problem}", sys.stderr)
        bar.update()

    with (
        _ended_in_order(running),
        tqdm(total=len(runs), initial=len(runs) - len(todo), unit="run", disable=None) as bar,
    ):
        while todo or running:
            for run in [run for run in todo if _source(run) in failed]:
                todo.remove(run)
                fail(run, f"waits for {_source(run)}, which failed")
            while len(running) < at_once and (run := _next(todo, running)):
                process = start(run)
                running[process.sentinel] = _Working(run, process, time.monotonic())
            bar.set_description(", ".join(work.run.name for work in running.values()))
            for sentinel in wait(list(running)) if running else ():
                work = running.pop(sentinel)
                if problem := work.process.problem():
                    fail(work.run, problem)
                else:
                    tqdm.write(describe(work.run, time.monotonic() - work.since))
                    bar.update()
    return failed


def _source(run: Run) -> str | None:
    """Return the name of the run from which this one takes over a ratio."""
    return run.variant.matches and f"{run.variant.matches} seed {run.seed}"


def _next(todo: list[Run], running: dict[int, _Working]) -> Run | None:
    """Take the first run that does not wait for another."""
    waiting = {run.name for run in todo} | {work.run.name for work in running.values()}
    for run in todo:
        if _source(run) not in waiting:
            todo.remove(run)
            return run
    return None


@contextmanager
def _ended_in_order(running: dict[int, _Working]) -> Iterator[None]:
    """Turn SIGTERM into `Stopped`; at the end, let the runs in progress save their state."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Stopped(number, "finished runs are kept; the same command continues")

    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if in_main else None
    try:
        yield
    finally:
        for work in running.values():
            work.process.terminate()
        for work in running.values():
            work.process.problem()
        if in_main:
            signal.signal(signal.SIGTERM, before)
