"""Call a function of this package in its own process, with its output in a log file."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from mutualformer_sod.errors import InputError, Stopped, with_flags
from mutualformer_sod.workers import worker_context

_PRELOADED = ["torch", "torchvision", "timm", "cv2", "mutualformer_sod.experiments.runs"]


class LoggedProcess:
    """A process that calls one function and appends its output to a log.

    Args:
        function: "module.function" in `mutualformer_sod.experiments`.
        arguments: of the function.
        log: file of the output; its folder is made.
        threads: of the process on a CPU.
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

    @property
    def sentinel(self) -> int:
        """Return the handle that becomes ready at the end of the process."""
        return self._process.sentinel

    def terminate(self) -> None:
        """Ask the process to save its state and end."""
        self._process.terminate()

    def problem(self) -> str | None:
        """Wait for the end; return the problem in one line, or None for success."""
        self._process.join()
        status = self._process.exitcode
        try:
            problem = self._outcome.recv()
        except EOFError:  # killed, or an unexpected error whose traceback is in the log
            problem = _signal_name(status) if status < 0 else _last_line(self._log)
        return problem and f"{problem} (see {self._log})"


def _signal_name(status: int) -> str:
    name = signal.Signals(-status).name
    return f"ended by {name}{', perhaps out of memory' if name == 'SIGKILL' else ''}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def _work(function: str, arguments: tuple, log: str, threads: int, outcome: Connection) -> None:
    """Call the function in the new process; send the problem in one line, or None."""
    with Path(log).open("a", encoding="utf-8", buffering=1) as file:
        for descriptor in (1, 2):  # the output of libraries too
            os.dup2(file.fileno(), descriptor)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    module, _, name = function.rpartition(".")
    problem = None
    try:
        getattr(importlib.import_module(f"{__package__}.{module}"), name)(*arguments)
    except (InputError, OSError, Stopped) as error:
        problem = f"error: {with_flags(' '.join(str(error).split()))}"
        print(problem, file=sys.stderr)
    outcome.send(problem)


def _end_with_parent() -> None:
    """End with a killed parent: a run that goes on would keep its folder locked."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
