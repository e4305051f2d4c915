"""Capture the output of C libraries while a function runs.

libjpeg, as used by cv2, prints warnings to C's ``stderr`` without the name of the file. glibc lets
programs set this variable, here to a stream in memory. File descriptor 2 and Python's
``sys.stderr`` do not change, so that other threads can print.
"""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class _Stderr:
    """C's ``stderr``; several threads may capture it at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._own: int | None = None
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._is_settable = hasattr(library, "gnu_get_libc_version")
        if self._is_settable:
            library.calloc.restype = library.open_memstream.restype = ctypes.c_void_p
            # Never freed: the C library may write here after Python has ended.
            text = library.calloc(2, ctypes.sizeof(ctypes.c_void_p))
            length = text + ctypes.sizeof(ctypes.c_void_p)
            self._text = ctypes.c_void_p.from_address(text)
            self._length = ctypes.c_size_t.from_address(length)
            stream = library.open_memstream(ctypes.c_void_p(text), ctypes.c_void_p(length))
            self._stream = ctypes.c_void_p(stream)
            self._variable = ctypes.c_void_p.in_dll(library, "stderr")
            self._flush = library.fflush

    def listen(self, function: Callable[[], T]) -> tuple[T, str]:
        """Run a function and capture the output of C libraries.

        Args:
            function: called again if something was printed; must return the same.

        Returns:
            The result, and the printed text; "" without glibc, where the text is on the terminal.
        """
        if not self._is_settable:
            return function(), ""
        with self._captured():
            before = self._printed()
            result = function()
            if self._printed() == before:
                return result, ""
        with self._changed:  # again, alone: another thread may have printed
            self._changed.wait_for(lambda: not self._running)
            with self._captured():
                before = self._printed()
                result = function()
                printed = self._printed() - before  # may move the text
                text = ctypes.string_at(self._text.value + before, printed)
        return result, text.decode("utf-8", "replace").strip()

    @contextlib.contextmanager
    def _captured(self) -> Iterator[None]:
        with self._changed:
            if not self._running:
                self._own, self._variable.value = self._variable.value, self._stream.value
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                if not self._running:
                    self._variable.value = self._own
                    self._changed.notify_all()

    def _printed(self) -> int:
        self._flush(self._stream)
        return self._length.value


_stderr = _Stderr()
if hasattr(os, "register_at_fork"):  # a locked lock stays locked in the child
    os.register_at_fork(after_in_child=_stderr.__init__)

listen = _stderr.listen
