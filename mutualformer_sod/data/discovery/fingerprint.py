"""Compute the fingerprint of sets, and find the images that two groups of sets share."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.decoding import read_bytes


def data_fingerprint(sets: Iterable[SodSet]) -> str:
    """Hash set names, file names and file sizes to 64 hex digits, without reading files.

    The fingerprint does not depend on the location or the order of the sets.

    Raises:
        InputError: a file is missing.
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
    """Find the pairs (training image, test image) that are equal byte for byte, under any name.

    The pairs have the order of the training sets. Only files of equal size are read. Copies in
    another encoding are not found.

    Raises:
        InputError: a file is missing or unreadable.
    """
    tests, trains = (
        {t.rgb: _size(t.rgb) for s in sets for t in s.samples if t.rgb is not None}
        for sets in (test_sets, train_sets)
    )
    sizes = set(tests.values()) & set(trains.values())
    tests = [path for path, size in tests.items() if size in sizes]
    trains = [path for path, size in trains.items() if size in sizes]
    bar = tqdm([*tests, *trains], "looking for test images", leave=False, disable=None)
    contents = {path: hashlib.sha256(read_bytes(path)).digest() for path in bar}
    twins = {contents[path]: path for path in reversed(tests)}  # the first of equal files
    return [(path, twins[contents[path]]) for path in trains if contents[path] in twins]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: unreadable ({error.strerror}). Fix: check the file") from None
