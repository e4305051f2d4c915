"""Start one process for each run of a comparison, several at the same time.

A failed run does not stop other runs. If the system can fork, the processes are forked from a
server that has imported torch, because the import takes longer than the test of a small network.
"""

import contextlib
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tqdm import tqdm

from mutualformer_sod.errors import InputError, Stopped, one_line, with_flags
from mutualformer_sod.experiments.plan import Run
from mutualformer_sod.signals import ended_by_sigterm
from mutualformer_sod.workers import end_with_parent, worker_context

_PRELOADED = ["torch", "torchvision", "timm", "cv2", "mutualformer_sod.experiments.runs"]


class LoggedProcess:
    """A process that calls one function and appends its output to a log.

    ``function`` is "module.function" in `mutualformer_sod.experiments`. ``threads`` is the number
    of threads on a CPU. The folder of the log is created.
    """

    def __init__(self, function: str, arguments: tuple, log: Path, threads: int) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        context = worker_context(_PRELOADED)
        self._log = log
        self._outcome, outcome = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_work, args=(function, arguments, str(log), threads, outcome)
        )
        self._process.start()
        outcome.close()
        self.sentinel: int = self._process.sentinel
        self.terminate = self._process.terminate

    def problem(self) -> str | None:
        """Wait for the end of the process; return the problem in one line, or None for success."""
        self._process.join()
        try:
            problem = self._outcome.recv()
        except EOFError:  # killed, or an unexpected error whose traceback is in the log
            problem = self._end()
        return problem and f"{problem} (see {self._log})"

    def _end(self) -> str:
        """Return the signal that ended the process, or else the last line of the log."""
        status = self._process.exitcode
        if status < 0:
            name = signal.Signals(-status).name
            return f"ended by {name}{', perhaps out of memory' if name == 'SIGKILL' else ''}"
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().split("\n")
        return lines[-1].strip() or "no output"


def _work(function: str, arguments: tuple, log: str, threads: int, outcome: Connection) -> None:
    """Call the function in the new process; send the parent the problem in one line, or None."""
    with Path(log).open("a", encoding="utf-8", buffering=1) as file:
        for descriptor in (1, 2):  # the output of libraries too
            os.dup2(file.fileno(), descriptor)
    end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))  # an orphan would keep the lock
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    module, _, name = function.rpartition(".")
    problem = None
    try:
        getattr(importlib.import_module(f"{__package__}.{module}"), name)(*arguments)
    except (InputError, OSError, Stopped) as error:
        problem = f"error: {with_flags(one_line(error))}"
        print(problem, file=sys.stderr)
    outcome.send(problem)


@dataclass(frozen=True)
class _Working:
    run: Run
    process: LoggedProcess
    since: float


def do_runs(
    runs: Sequence[Run],
    start: Callable[[Run], LoggedProcess],
    *,
    at_once: int = 1,
    describe: Callable[[Run, float], str],
) -> dict[str, str]:
    """Start the unfinished runs and wait; return name -> problem of the runs that failed.

    Up to ``at_once`` processes work at a time. A run that uses the exchange ratio of another run
    waits for the other run, and fails if the other run failed. ``describe`` takes a finished run
    and its time in s, and returns the text to print.

    Raises:
        Stopped, KeyboardInterrupt: SIGTERM or Ctrl-C arrived; the runs in progress were saved.
    """
    failed: dict[str, str] = {}
    todo = [run for run in runs if not run.finished]
    running: dict[int, _Working] = {}

    def fail(run: Run, problem: str) -> None:
        failed[run.name] = problem
        tqdm.write(f"FAILED {run.name}: {problem}", sys.stderr)
        bar.update()

    with (
        ended_by_sigterm("finished runs remain; the same command continues the comparison"),
        contextlib.ExitStack() as at_the_end,
        tqdm(total=len(runs), initial=len(runs) - len(todo), unit="run", disable=None) as bar,
    ):
        at_the_end.callback(_stop, running)  # also after SIGTERM and Ctrl-C
        while todo or running:
            for run in [run for run in todo if _source(run) in failed]:
                todo.remove(run)
                fail(run, f"needs {_source(run)}, which failed")
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
    """Return the name of the earlier run that determines the exchange ratio, or None."""
    return run.variant.matches and f"{run.variant.matches} seed {run.seed}"


def _next(todo: list[Run], running: dict[int, _Working]) -> Run | None:
    """Remove and return the first run that does not wait for another run, or None."""
    waiting = {run.name for run in todo} | {work.run.name for work in running.values()}
    for run in todo:
        if _source(run) not in waiting:
            todo.remove(run)
            return run
    return None


def _stop(running: dict[int, _Working]) -> None:
    """Stop the runs in progress, which save their state."""
    for work in running.values():
        work.process.terminate()
    for work in running.values():
        work.process.problem()
