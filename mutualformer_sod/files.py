"""Write files atomically, and diagnose unreadable weights files."""

import contextlib
import functools
import hashlib
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mutualformer_sod.errors import InputError

_WRAPPERS = {"module.": "DataParallel", "_orig_mod.": "torch.compile"}
_MAX_HEADER = 10**8  # bytes; the limit of safetensors


@contextlib.contextmanager
def replacing(path: Path | str, *, sync: bool = False) -> Iterator[Path]:
    """Context that yields a path for a temporary file, renamed to ``path`` after success.

    The file at ``path`` is never incomplete, even if the process is killed. The temporary file has
    the suffix of ``path``, because image writers choose the format by suffix. With ``sync``, the
    context waits until the data are on the disk, as weights and caches require.
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
    """Context that names ``path`` in an OSError without a file, or with a file of ``others``."""
    try:
        yield
    except OSError as error:
        if error.filename is not None and str(error.filename) not in map(str, others):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def check_writable(folder: Path, argument: str = "output") -> None:
    """Raise an InputError that names ``argument`` if files cannot be written to a folder.

    The folder need not exist, and is not created.
    """
    home = folder.absolute()
    while not os.path.lexists(home):
        home = home.parent
    try:
        descriptor, name = tempfile.mkstemp(prefix=".writable", dir=home)
        os.close(descriptor)
        Path(name).unlink()
    except OSError as error:
        raise InputError(
            f"`{argument}` {folder}: cannot be written to ({error.strerror}). "
            "Fix: pass another folder."
        ) from error


def escaped(name: str) -> str:
    """Escape the bytes of a file name that are not Unicode, as `write_text` does."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 file atomically, with non-Unicode names escaped."""
    with replacing(path) as temporary:
        temporary.write_text(escaped(text), encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def load_torch_file(path: Path | str) -> Any:
    """Read a file of ``torch.save`` on the CPU; return None for other files and pickled code."""
    import torch  # imported here, because the other functions need no torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception:  # other content raises errors of many types
        return None


def why_unreadable(path: Path) -> str:
    """Return the reason why a weights file is unusable; "" if its bytes show no reason."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
        if not head:
            return "an empty file. Fix: copy or download the file again"
        if head.startswith(b"version https://git-lfs"):
            return "a Git LFS pointer, not the weights. Fix: run git lfs pull, or download the file"
        if b"<html" in head.lower() or head.lower().startswith(b"<!doctype"):
            return "a web page, not the weights. Fix: download the file that the page offers"
        if head.startswith(b"PK\x03\x04"):
            whole = zipfile.is_zipfile(path)  # the table of contents is at the end
            return "" if whole else f"truncated after {size} bytes. Fix: copy or download again"
        wanted = _safetensors_size(head, size, path)
    if wanted is None or wanted == size:
        return ""
    word = "truncated" if size < wanted else "damaged"
    return (
        f"{word}: the file has {size} bytes instead of {wanted}. "
        "Fix: copy or download the file again"
    )


def _safetensors_size(head: bytes, size: int, path: Path) -> int | None:
    """Return the file size that a safetensors header requires; None for another file format."""
    length = int.from_bytes(head[:8], "little")
    if head[8:9] != b"{" or length > _MAX_HEADER:
        return None
    if size < 8 + length:
        return 8 + length
    with path.open("rb") as file:
        try:
            header = json.loads(file.read(8 + length)[8:])
            ends = [item["data_offsets"][1] for name, item in header.items() if name[:2] != "__"]
            return 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return None


def without_wrappers(state: Mapping[str, Any], source: object) -> dict[str, Any]:
    """Remove the prefixes of wrapper modules from the names of tensors, and log a warning."""
    names, removed = list(state), []
    if not names:
        return {}
    while wrapper := next((w for w in _WRAPPERS if all(n.startswith(w) for n in names)), None):
        names = [name.removeprefix(wrapper) for name in names]
        removed.append(f"{_WRAPPERS[wrapper]} ({wrapper!r})")
    if removed:
        wrappers = ", ".join(removed)
        _report(f"{source}: saved from {wrappers}; wrapper prefixes are removed from tensor names")
    return dict(zip(names, state.values(), strict=True))


@functools.cache
def _report(line: str) -> None:
    """Log a warning only once, because a network of two streams reads one file twice."""
    logging.getLogger(__name__).warning(line)


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()  # hashlib.file_digest needs Python 3.11
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
