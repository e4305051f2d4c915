"""Capture the output of C libraries while a function runs.

libjpeg, as used by cv2, prints warnings to C's ``stderr`` without the name of the file. In glibc
``stderr`` is a variable that programs may set; here it is set to a stream in memory. File
descriptor 2 and Python's ``sys.stderr`` do not change, so that progress bars and logs of other
threads continue.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class _Stderr:
    """Captures C's ``stderr`` while functions run, in several threads at once."""

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
        """See the function `listen`."""
        if not self._is_settable:
            return function(), ""
        with self._changed:
            self._enter()
        try:
            before = self._printed()
            result = function()
            is_silent = self._printed() == before
        finally:
            with self._changed:
                self._leave()
        if is_silent:
            return result, ""
        with self._changed:  # again, alone: another thread may have printed
            self._changed.wait_for(lambda: not self._running)
            self._enter()
            try:
                before = self._printed()
                result = function()
                printed = self._printed() - before  # may move the text
                text = ctypes.string_at(self._text.value + before, printed)
            finally:
                self._leave()
        return result, text.decode("utf-8", "replace").strip()

    def _enter(self) -> None:
        if not self._running:
            self._own, self._variable.value = self._variable.value, self._stream.value
        self._running += 1

    def _leave(self) -> None:
        self._running -= 1
        if not self._running:
            self._variable.value = self._own
            self._changed.notify_all()

    def _printed(self) -> int:
        """Return the number of bytes printed so far."""
        self._flush(self._stream)
        return self._length.value


_stderr = _Stderr()
if hasattr(os, "register_at_fork"):  # a locked lock stays locked in the child
    os.register_at_fork(after_in_child=_stderr.__init__)


def listen(function: Callable[[], T]) -> tuple[T, str]:
    """Run a function and capture the output of C libraries.

    Args:
        function: called again if something was printed; must return the same.

    Returns:
        The result, and the printed text; "" without glibc, where the text is on the terminal.
    """
    return _stderr.listen(function)
