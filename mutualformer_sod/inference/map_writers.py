"""Maps are resized, encoded and written by threads while the network works on."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import Queue
from types import TracebackType

from torch import Tensor

from mutualformer_sod.imaging.io import write_map
from mutualformer_sod.inference.predictor import native_saliency

_AHEAD = 32  # logits that may wait: 19 MB at 384 x 384

_Job = tuple[Path, Tensor, tuple[int, int]]


class MapWriters:
    """Context of a pool of threads behind a bounded queue: a slow disk holds the network back.

    torch and cv2 release the interpreter's lock where the time goes. A map does not depend on the
    thread that makes it. The context's end waits for what is queued; where an error ends it, what
    is queued is dropped, and no file is left half written.

    Args:
        threads: how many; 0 to write at once, in the caller's thread.
    """

    def __init__(self, threads: int) -> None:
        self._queue: Queue[_Job | None] = Queue(_AHEAD)
        # daemon: they must not keep a process alive whose main thread is gone.
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        self._error: Exception | None = None
        self._dropping = False

    def __enter__(self) -> MapWriters:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._dropping |= error is not None
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
        if error is None:
            self._raise_error()

    def write(self, path: Path, logits: Tensor, native_size: tuple[int, int]) -> None:
        """Have a map written, see ``data.io.write_map``; waits while the queue is full.

        Args:
            path: of the map, ``.png``.
            logits: (1, 1, h, w) float32 of one image, on the CPU.
            native_size: (H, W) of the map.

        Raises:
            OSError: this map, or one given before, could not be written.
        """
        self._raise_error()
        if self._threads:
            self._queue.put((path, logits, native_size))
        else:
            _write(path, logits, native_size)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if self._dropping:  # on to the end: a full queue must not block the main thread
                continue
            try:
                _write(*job)
            except Exception as error:  # whatever it is, the main thread raises it
                self._error = self._error or error
                self._dropping = True

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _write(path: Path, logits: Tensor, native_size: tuple[int, int]) -> None:
    write_map(path, native_saliency(logits, native_size))
