"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path | str, *, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it over ``path`` if the block succeeds.

    A reader, or a run that was killed, never meets half a file. The temporary file keeps the
    suffix, because image writers choose the format by it. ``sync`` waits for the disk, which a
    checkpoint needs and thousands of maps do not.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        with naming(path, temporary):
            yield temporary
            if sync:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path, *others: Path) -> Iterator[None]:
    """Context in which an error of writing names ``path``; "No space left on device" alone does not
    tell what to make room for.

    Args:
        path: the file that is written.
        others: temporary names of it, which mean nothing to a user.

    Raises:
        OSError: one that named no file, or one of ``others``, names ``path``.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None and str(error.filename) not in map(str, others):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def load_torch_file(path: Path | str) -> Any:
    """What ``torch.save`` wrote, on the CPU; None if the file is anything else or holds code.

    ``weights_only`` refuses pickled code; on bytes that are no pickle at all it fails with errors
    of many kinds, which mean the same to whoever named the file.
    """
    import torch  # here: the rest of this module serves callers without torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception:
        return None
