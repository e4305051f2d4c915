"""The folder of a running demo: old uploads and results are removed."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
import uuid
from pathlib import Path

KEEP_SECONDS = 1800.0
MOST_BYTES = 2 * 10**9

_log = logging.getLogger(__name__)


class Scratch:
    """A folder of temporary files; old ones are removed, and the oldest ones above a total size.

    Args:
        keep_seconds: time from the writing of a file to its removal.
        most_bytes: of all files together.
        every: seconds between two sweeps.

    Attributes:
        path: the folder; it is made by the constructor.
    """

    def __init__(
        self,
        keep_seconds: float = KEEP_SECONDS,
        most_bytes: int = MOST_BYTES,
        every: float = 20.0,
    ) -> None:
        # Resolved, because gradio compares resolved paths.
        self.path = Path(tempfile.mkdtemp(prefix="mutualformer_demo_")).resolve()
        self._keep_seconds = keep_seconds
        self._most_bytes = most_bytes
        self._every = every
        self._kept: frozenset[Path] = frozenset()
        self._stopped = threading.Event()

    def keep_what_is_there(self) -> None:
        """Exempt the present files from removal until `close`."""
        self._kept = frozenset(path for path in self.path.rglob("*") if path.is_file())

    def start(self) -> None:
        """Start to sweep in the background."""
        threading.Thread(target=self._watch, name="scratch", daemon=True).start()

    def close(self) -> None:
        """Remove the folder."""
        self._stopped.set()
        shutil.rmtree(self.path, ignore_errors=True)

    def new_folder(self) -> Path:
        """Make a folder with a random name: whoever has the address of a file can see it."""
        path = self.path / "results" / uuid.uuid4().hex
        path.mkdir(parents=True)
        return path

    def sweep(self) -> None:
        """Remove old files, then the oldest ones until the total size is below the limit."""
        oldest = time.time() - self._keep_seconds
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for written, size, path in files:
            if written >= oldest and total <= self._most_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._remove_empty_folders(oldest)

    def _files(self) -> list[tuple[float, int, Path]]:
        """Return the time, the size and the path of each file."""
        found = []
        for path in self.path.rglob("*"):
            try:
                status = path.stat()
            except OSError:  # removed meanwhile
                continue
            if path.is_file() and path not in self._kept:
                found.append((status.st_mtime, status.st_size, path))
        return found

    def _remove_empty_folders(self, oldest: float) -> None:
        # New folders stay: their files are about to be written.
        folders = [path for path in self.path.rglob("*") if path.is_dir()]
        for path in sorted(folders, reverse=True):
            try:
                if path.stat().st_mtime < max(oldest, time.time() - 60) and path.name != "results":
                    path.rmdir()
            except OSError:  # not empty, or gone
                continue

    def _watch(self) -> None:
        while not self._stopped.wait(self._every):
            try:
                self.sweep()
            except OSError as error:  # a full disk must not end the thread
                _log.warning("%s: %s", self.path, error)
