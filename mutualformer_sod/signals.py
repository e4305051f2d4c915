"""Handle SIGTERM and Ctrl-C so that long work ends without loss of data."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from mutualformer_sod.errors import Stopped

PATIENCE = 3.0  # seconds after which a second Ctrl-C ends the process


class StopRequest:
    """Context in which SIGTERM and SIGINT are recorded instead of ending the process.

    torchrun forwards Ctrl-C, so a process receives the signal twice. Only a second Ctrl-C after
    ``PATIENCE`` seconds ends the process at once.
    """

    def __init__(self) -> None:
        self.signal: int | None = None  # number of the first signal
        self._came_at = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._came_at = number, now
        elif number == signal.SIGINT and now - self._came_at > PATIENCE:
            raise KeyboardInterrupt


@contextlib.contextmanager
def ctrl_c_deferred() -> Iterator[None]:
    """Context that delays Ctrl-C to its end: a worker that is starting would print a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def note(_: int, __: FrameType | None) -> None:
        nonlocal pressed
        pressed = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def ended_by_sigterm(message: str) -> Iterator[None]:
    """Context in which SIGTERM raises ``Stopped``, so that no partial file remains."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Stopped(number, message)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
