"""Threads that resize, encode and write maps while the network computes the next ones."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from torch import Tensor

from mutualformer_sod.imaging.saliency import write_map
from mutualformer_sod.inference.predictor import native_saliency

QUEUE_SIZE = 32
"""Maps that are waiting or being written: 19 MB of logits at 384 x 384."""


class MapWriters:
    """Context manager of a pool of threads behind a bounded queue.

    A slow disk slows the network down, so that memory stays bounded. A map does not depend on the
    thread that writes it. The end of the context waits for the queue; after an error the queue is
    dropped, and no half-written file is left. torch and cv2 release Python's global lock.

    Args:
        threads: number of threads; 0 writes in the caller's thread.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads) if threads else None
        self._slots = threading.Semaphore(QUEUE_SIZE)
        self._error: BaseException | None = None

    def __enter__(self) -> MapWriters:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=error is not None)
        if error is None:
            self._raise_error()

    def write(self, path: Path, logits: Tensor, native_size: tuple[int, int]) -> None:
        """Write a map, see `saliency.write_map`; waits while the queue is full.

        Args:
            path: of the map, ``.png``.
            logits: (1, 1, h, w) float32 of one image, on the CPU.
            native_size: (H, W) of the map.

        Raises:
            OSError: this map or an earlier one could not be written.
        """
        self._raise_error()
        if self._pool is None:
            _write(path, logits, native_size)
            return
        self._slots.acquire()
        self._pool.submit(_write, path, logits, native_size).add_done_callback(self._done)

    def _done(self, written: Future[None]) -> None:
        self._slots.release()
        if not written.cancelled():
            self._error = self._error or written.exception()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _write(path: Path, logits: Tensor, native_size: tuple[int, int]) -> None:
    write_map(path, native_saliency(logits, native_size))
