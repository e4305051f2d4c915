"""What C libraries print while a function runs, as text instead of a line on the terminal.

cv2 leaves libjpeg's warnings where that puts them: on C's ``stderr``, without the file's name. With
glibc, ``stderr`` is a variable that programs may set. It is set here to a stream in memory. File
descriptor 2 and Python's ``sys.stderr`` stay as they are: bars and logs of other threads go on.
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
    """C's ``stderr``, kept from the terminal while functions run, in several threads at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._own: int | None = None
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._is_settable = hasattr(library, "gnu_get_libc_version")
        if self._is_settable:
            library.calloc.restype = library.open_memstream.restype = ctypes.c_void_p
            # Never freed: the C library writes there even after Python's own end.
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
        with self._changed:  # once more, alone: it may have been another thread's function
            self._changed.wait_for(lambda: not self._running)
            self._enter()
            try:
                before = self._printed()
                result = function()
                printed = self._printed() - before  # which may move the text
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
        """Bytes printed so far."""
        self._flush(self._stream)
        return self._length.value


_stderr = _Stderr()
if hasattr(os, "register_at_fork"):  # a lock that is held stays so in the child
    os.register_at_fork(after_in_child=_stderr.__init__)


def listen(function: Callable[[], T]) -> tuple[T, str]:
    """Run a function, and keep from the terminal what C libraries print meanwhile.

    Args:
        function: called a second time where something was printed; must give the same again.

    Returns:
        Its result, and what was printed. Without glibc "": the terminal gets it.
    """
    return _stderr.listen(function)
