"""Handle SIGTERM and Ctrl-C so that long work ends without loss of data."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from mutualformer_sod.errors import Stopped

PATIENCE = 3.0  # seconds after which a second Ctrl-C ends the process


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *numbers: int) -> Iterator[None]:
    """Context that handles signals in the main thread, and does nothing in another thread."""
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers if in_main}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


class StopRequest:
    """Context in which SIGTERM and SIGINT are recorded instead of ending the process.

    torchrun forwards Ctrl-C, so a process receives the signal twice. A further Ctrl-C ends the
    process at once only if more than ``PATIENCE`` seconds have passed since the first signal.
    """

    def __init__(self) -> None:
        self.signal: int | None = None  # number of the first signal
        self._came_at = 0.0
        self._handlers = contextlib.ExitStack()

    def __enter__(self) -> "StopRequest":
        self._handlers.enter_context(_handled(self._note, signal.SIGTERM, signal.SIGINT))
        return self

    def __exit__(self, *_: object) -> None:
        self._handlers.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._came_at = number, now
        elif number == signal.SIGINT and now - self._came_at > PATIENCE:
            raise KeyboardInterrupt


@contextlib.contextmanager
def ctrl_c_deferred() -> Iterator[None]:
    """Delay Ctrl-C until the context ends, because a starting worker would print a traceback."""
    pressed = []
    with _handled(lambda number, _: pressed.append(number), signal.SIGINT):
        yield
    if pressed:
        signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def ended_by_sigterm(message: str) -> Iterator[None]:
    """Context in which SIGTERM raises ``Stopped``, so that no partial file remains."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Stopped(number, message)

    with _handled(stop, signal.SIGTERM):
        yield
