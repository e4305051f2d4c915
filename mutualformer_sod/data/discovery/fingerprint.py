"""Fingerprint of the sets of a run, and images that two groups of sets share."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.decoding import read_bytes


def data_fingerprint(sets: Iterable[SodSet]) -> str:
    """Hash the names of sets and files and the sizes of the files, unread, to 64 hex digits.

    The fingerprint does not depend on the place or the order of the sets, so that it is equal on
    two machines with copies of the same data.

    Raises:
        InputError: a missing file.
    """
    digest = hashlib.sha256()
    for sod_set in sorted(sets, key=lambda item: item.name):
        digest.update(f"{sod_set.name}\n".encode())
        lines = {
            f"{role}\t{path.relative_to(sod_set.root).as_posix()}\t{_size(path)}\n"
            for sample in sod_set.samples
            for role in ("rgb", "depth", "gt")
            if (path := getattr(sample, role)) is not None
        }
        digest.update("".join(sorted(lines)).encode())
    return digest.hexdigest()


def find_overlap(
    train_sets: Iterable[SodSet], test_sets: Iterable[SodSet]
) -> list[tuple[Path, Path]]:
    """Find the colour images that two groups of sets share, byte for byte, under any name.

    Only files of equal size are read. Copies in another encoding are not found.

    Returns:
        (training file, test file), in the order of the training sets.

    Raises:
        InputError: a missing or unreadable file.
    """
    tests = _by_size(test_sets)
    trains = _by_size(train_sets)
    sizes = [size for size in trains if size in tests]
    count = sum(len(trains[size]) + len(tests[size]) for size in sizes)
    shared = []
    with tqdm(total=count, desc="looking for test images", leave=False, disable=None) as bar:
        for size in sizes:
            by_content: dict[bytes, Path] = {}
            for path in tests[size]:
                by_content.setdefault(_content(path), path)
                bar.update()
            for path in trains[size]:
                twin = by_content.get(_content(path))
                bar.update()
                if twin is not None:
                    shared.append((path, twin))
    order = {path: number for number, path in enumerate(p for s in trains.values() for p in s)}
    return sorted(shared, key=lambda pair: order[pair[0]])


def _by_size(sets: Iterable[SodSet]) -> dict[int, list[Path]]:
    """Group the colour images by the size of their file, each once."""
    paths = {t.rgb: None for s in sets for t in s.samples if t.rgb is not None}
    found: dict[int, list[Path]] = {}
    for path in paths:
        found.setdefault(_size(path), []).append(path)
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: unreadable ({error.strerror}). Fix: check the file") from None


def _content(path: Path) -> bytes:
    return hashlib.sha256(read_bytes(path)).digest()
