"""Read, check and decode image files as stored.

The content of a file determines the format, because many JPEGs of the sets are named ``.png``.
Orientation tags are ignored, because depth maps and masks have no such tag and match the stored
orientation of their colour images.
"""

import contextlib
import ctypes
import functools
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.containers import check_whole, without_notes, without_padding

_CHROMA_NOISE = 16  # maximum difference in levels between channels of a grey image due to JPEG
_GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
_LOG_LEVEL_LOCK = threading.Lock()
_DAMAGE = re.compile(r"Corrupt JPEG data: (?!bad ICC)|Premature end of JPEG file")  # of libjpeg

_Result = TypeVar("_Result")


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a file; raise InputError if it is missing or unreadable."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Fix: check the path") from None
    except OSError as error:
        raise InputError(f"{path}: unreadable ({error.strerror}). Fix: check the file") from None


def check_file(path: Path | str, data: bytes) -> tuple[int, int] | None:
    """Run `containers.check_whole`, and raise InputError instead of ValueError."""
    try:
        return check_whole(data)
    except ValueError as error:
        raise InputError(f"{path}: the file {error}. Fix: replace it by an intact copy") from None


def decode(path: Path | str, data: bytes, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """Decode the content of a complete image file, with the flags of ``cv2.imdecode``.

    A JPEG with damaged data is decoded as far as possible, and the damage is logged once for each
    file. The path is used in messages only.

    Returns:
        (H, W) or (H, W, channels in cv2's order), of any dtype.

    Raises:
        InputError: `check_file` fails, or the image cannot be decoded.
    """
    whole = check_file(path, data) is not None
    try:
        with contextlib.nullcontext() if whole else quiet_decoder():
            image, complaint = _imdecode(without_notes(data) if whole else data, flags)
            if "extraneous bytes before marker 0xd9" in complaint:  # the end marker
                _, complaint = _imdecode(without_padding(data), flags)
    except cv2.error:  # for example, too many pixels
        image = None
    if image is None or image.size == 0:
        raise InputError(f"{path}: the image cannot be decoded. Fix: replace it or save it again")
    if _DAMAGE.match(complaint):
        _warn_of_damage(str(path), complaint.removeprefix("Corrupt JPEG data: "))
    return image


def _imdecode(data: bytes, flags: int) -> tuple[np.ndarray | None, str]:
    return _stderr.listen(lambda: cv2.imdecode(np.frombuffer(data, np.uint8), flags))


@functools.lru_cache(4096)  # warn once per file; the cache is limited, because servers run long
def _warn_of_damage(path: str, damage: str) -> None:
    logging.getLogger(__name__).warning(
        "%s: damaged JPEG data (%s): part of the image may be wrong. Fix: inspect the image, and"
        " replace the file by an intact copy or save it again.",
        path,
        damage,
    )


def one_channel(path: Path | str, data: bytes, image: np.ndarray) -> np.ndarray | None:
    """Return the grey values (H, W) of an image from `decode`; None for a colour image.

    Transparency is removed. An image whose channels differ only by JPEG noise is decoded again as
    grey, as in other tools. Decoders weight the channels differently from a conversion after
    decoding. ``path`` and ``data`` are those of `decode`.
    """
    if image.ndim == 2:
        return image
    spread = channel_spread(image[..., :3])
    if spread == 0:
        return np.ascontiguousarray(image[..., 0])
    noise = _CHROMA_NOISE if image.dtype == np.uint8 else 0
    return decode(path, data, _GREY) if spread <= noise else None


def varying_alpha(image: np.ndarray) -> np.ndarray | None:
    """Return the alpha channel (H, W) if it is not constant, else None."""
    if image.ndim != 3 or image.shape[2] != 4:
        return None
    alpha = np.ascontiguousarray(image[..., 3])
    return alpha if alpha.min() != alpha.max() else None


def channel_spread(image: np.ndarray) -> float:
    """Return the largest difference between channels of a pixel.

    For types other than uint8 and uint16, the result is 0 or infinity.
    """
    first, *others = (np.ascontiguousarray(image[..., k]) for k in range(image.shape[2]))
    if image.dtype in (np.uint8, np.uint16):
        return max((cv2.norm(first, other, cv2.NORM_INF) for other in others), default=0.0)
    same = all(np.array_equal(first, other, equal_nan=True) for other in others)
    return 0.0 if same else float("inf")


@contextlib.contextmanager
def quiet_decoder() -> Iterator[None]:
    """Suppress messages of cv2 about a file, because this package reports file errors."""
    with _LOG_LEVEL_LOCK:  # all threads share the level
        logs = cv2 if hasattr(cv2, "getLogLevel") else cv2.utils.logging  # OpenCV 4, 5
        level = logs.getLogLevel()
        logs.setLogLevel(0)  # silent
        try:
            yield
        finally:
            logs.setLogLevel(level)


class _Stderr:
    """The C variable ``stderr``, set to a stream in memory while a thread captures the output."""

    # libjpeg, as used by cv2, prints warnings to stderr without the name of the file. File
    # descriptor 2 and Python's sys.stderr do not change, so that other threads can print.
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._is_settable = hasattr(library, "gnu_get_libc_version")
        if self._is_settable:
            library.calloc.restype = library.open_memstream.restype = ctypes.c_void_p
            # This memory is never freed: the C library may write to it after Python has ended.
            text = library.calloc(2, ctypes.sizeof(ctypes.c_void_p))
            length = text + ctypes.sizeof(ctypes.c_void_p)
            self._text = ctypes.c_void_p.from_address(text)
            self._length = ctypes.c_size_t.from_address(length)
            stream = library.open_memstream(ctypes.c_void_p(text), ctypes.c_void_p(length))
            self._stream = ctypes.c_void_p(stream)
            self._variable = ctypes.c_void_p.in_dll(library, "stderr")
            self._flush = library.fflush

    def listen(self, function: Callable[[], _Result]) -> tuple[_Result, str]:
        """Run a function, and return its result and the text that C libraries printed.

        If text is printed, the function is run again alone, to exclude the text of other threads.
        """
        if not self._is_settable:  # without glibc, C libraries print to the terminal
            return function(), ""
        with self._captured():
            before = self._printed()
            result = function()
            if self._printed() == before:
                return result, ""
        with self._changed:  # run again alone: the text may be from another thread
            self._changed.wait_for(lambda: not self._running)
            with self._captured():
                before = self._printed()
                result = function()
                printed = self._printed() - before  # flushing may move the text in memory
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
