"""Training checkpoints, which store the complete state of a run in one file with a checksum.

The file name ends in the first half of the content's SHA-256, which reveals a truncated or altered
file. One rename publishes content and checksum together.
"""

import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any

import torch

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import file_sha256, load_torch_file

_RESTORE = "Fix: restore the file, or start a run with another `output`."
_NAME = re.compile(r"(last|best)-(\d{6,})-([0-9a-f]{32})\.pt")


def save_checkpoint(folder: Path, kind: str, number: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint under a temporary name, flush the file to the disk and rename the file.

    Args:
        folder: folder of the run's checkpoints; created if missing.
        kind: "last" or "best".
        number: number of the checkpoint, larger than all earlier numbers of the kind.

    Returns:
        Path of the file ``<kind>-<number>-<checksum>.pt``.

    Raises:
        InputError: the file cannot be written, for example because the disk is full. Earlier
            checkpoints are not changed.
    """
    temporary = folder / f".{kind}.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _HashingWriter(temporary) as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"{kind}-{number:06d}-{file.hash.hexdigest()[:32]}.pt"
        temporary.replace(path)
        _sync_folder(folder)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        cause = error if isinstance(error, OSError) else file.error
        if cause is None:
            raise
        raise InputError(
            f"{folder}: a checkpoint could not be written ({cause.strerror}). Fix: free disk "
            "space, then continue with `resume`; the earlier checkpoints are unchanged."
        ) from cause
    return path


def load_checkpoint(path: Path, remedy: str = _RESTORE) -> dict[str, Any]:
    """Read a checkpoint to CPU tensors without executing pickled code.

    Raises:
        InputError: the file is missing or damaged; the message ends with ``remedy``.
    """
    if not path.is_file() or not _NAME.fullmatch(path.name):
        raise InputError(f"{path}: no such checkpoint. {remedy}")
    if not is_intact(path):
        raise InputError(
            f"{path}: damaged: its content does not match the checksum in its name. {remedy}"
        )
    return load_torch_file(path)


def is_intact(path: Path) -> bool:
    """Return whether the content of a checkpoint has the checksum in the file name."""
    return file_sha256(path)[:32] == _NAME.fullmatch(path.name)[3]


def find_checkpoints(folder: Path, kind: str) -> list[Path]:
    """Return the paths of the checkpoints of a kind, "last" or "best", newest first."""
    found = [path for path in folder.glob(f"{kind}-*.pt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=_number, reverse=True)


def _number(path: Path) -> int:
    return int(_NAME.fullmatch(path.name)[2])


def drop_old_checkpoints(folder: Path) -> None:
    """Remove temporary files and all checkpoints except the newest two of each kind."""
    kept = {path for kind in ("last", "best") for path in find_checkpoints(folder, kind)[:2]}
    for path in folder.iterdir():
        leftover = path.name.startswith(".") and path.suffix == ".tmp"
        if leftover or (_NAME.fullmatch(path.name) and path not in kept):
            path.unlink(missing_ok=True)


def drop_later_checkpoints(folder: Path, last: int, best: int) -> None:
    """Remove "last" checkpoints with numbers above ``last``, and "best" ones above ``best``."""
    for kind, number in (("last", last), ("best", best)):
        for path in find_checkpoints(folder, kind):
            if _number(path) > number:
                path.unlink(missing_ok=True)


class _HashingWriter(io.BufferedWriter):
    """A writable file that computes the SHA-256 of its content."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "wb"))
        self.hash = hashlib.sha256()
        self.error: OSError | None = None  # torch replaces the OSError by a RuntimeError

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


def _sync_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that a rename survives a power failure."""
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
