"""The temporary folder of a running demo, from which old files are removed."""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
import uuid
from pathlib import Path

_SWEEP_SECONDS = 20.0
_NEW_SECONDS = 60  # empty folders up to this age stay, because files may still be written

_log = logging.getLogger(__name__)


class Scratch:
    """A folder of temporary files at ``path``, which the constructor creates.

    Args:
        keep_seconds: time from the writing of a file to its removal.
        most_bytes: maximum size of all files together; the oldest files are removed first.
    """

    def __init__(self, keep_seconds: float = 1800, most_bytes: int = 2 * 10**9) -> None:
        # Resolved, because gradio compares resolved paths.
        self.path = Path(tempfile.mkdtemp(prefix="mutualformer_demo_")).resolve()
        self._keep_seconds = keep_seconds
        self._most_bytes = most_bytes
        self._kept: set[Path] = set()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Protect the present files until `close`, and remove old files in the background."""
        self._kept = set(self.path.rglob("*"))
        threading.Thread(target=self._watch, name="scratch", daemon=True).start()

    def close(self) -> None:
        """Remove the folder."""
        self._stopped.set()
        shutil.rmtree(self.path, ignore_errors=True)

    def new_folder(self) -> Path:
        """Create a folder with a random name, because anyone with a file's URL can open it."""
        path = self.path / "results" / uuid.uuid4().hex
        path.mkdir(parents=True)
        return path

    def sweep(self) -> None:
        """Remove old files, then the oldest files until the total size is at most the limit."""
        now = time.time()
        files, folders = [], []
        for path in self.path.rglob("*"):
            with contextlib.suppress(OSError):  # removed meanwhile
                status = path.stat()
                if path.is_dir():
                    folders.append((path, status.st_mtime))
                elif path not in self._kept:
                    files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for written, size, path in sorted(files):
            if written >= now - self._keep_seconds and total <= self._most_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
        latest = now - min(self._keep_seconds, _NEW_SECONDS)
        for path, written in sorted(folders, reverse=True):
            if written < latest and path.name != "results":
                with contextlib.suppress(OSError):  # not empty, or gone
                    path.rmdir()

    def _watch(self) -> None:
        while not self._stopped.wait(_SWEEP_SECONDS):
            try:
                self.sweep()
            except OSError as error:  # a full disk must not end the thread
                _log.warning("%s: %s", self.path, error)


def prepare_gradio(folder: Path) -> None:
    """Configure gradio, before its import, to store files in a folder and contact no other host."""
    os.environ |= {
        "GRADIO_TEMP_DIR": str(folder),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }
    # gradio sends a request to its own server; this request must bypass a proxy.
    own = ["127.0.0.1", "localhost", "::1"]
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join([*filter(None, [os.environ.get(name)]), *own])
