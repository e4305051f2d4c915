"""The training sets of the published protocols, and the test sets of the field."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from mutualformer_sod.data.discovery.benchmarks import TRAINING_PROTOCOLS, is_known, usual_count
from mutualformer_sod.data.discovery.folders import Candidate, search
from mutualformer_sod.data.discovery.sets import SodSet, choose, listed, load
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError, refuse_all, together
from mutualformer_sod.imaging import IMAGE_SUFFIXES


def discover_protocol(roots: Sequence[Path | str], protocol: str) -> list[SodSet]:
    """Find the training sets of a published protocol, with exactly its numbers of images.

    Sets that are not found under their own name may lie merged in one folder, whose number of
    images then tells which they are (2185 = NJU2K + NLPR).

    Args:
        roots: folders to search.
        protocol: a key of `TRAINING_PROTOCOLS`.

    Raises:
        InputError: unknown protocol, or the folders do not hold its images.
    """
    if protocol not in TRAINING_PROTOCOLS:
        raise InputError(f"unknown protocol {protocol!r}; known: {', '.join(TRAINING_PROTOCOLS)}")
    parts = TRAINING_PROTOCOLS[protocol]
    candidates = [c for c in search(roots) if c.split in (None, "train")]
    named = {part: choose(part, candidates, "train", roots, optional=True) for part in parts}
    missing = [part for part, candidate in named.items() if candidate is None]
    if missing:
        whole = _merged(candidates, sum(parts.values()))
        if whole is not None:
            return [load(whole, "train", True, True)]
        rest = _merged(candidates, sum(parts[part] for part in missing))
        if rest is None:
            raise InputError(
                f"protocol {protocol} takes {', '.join(f'{n} of {s}' for s, n in parts.items())};"
                f" not found below {listed(roots)}: {', '.join(missing)}; found:"
                f" {listed(c.name for c in candidates)}"
            )
        named = {part: c for part, c in named.items() if c is not None} | {"": rest}
    loaded = together(lambda candidate: load(candidate, "train", True, True), named.values())
    sets = dict(zip(named, loaded, strict=True))
    refuse_all(
        [
            f"{found.root}: holds {len(found.samples)} images, protocol {protocol} takes"
            f" {parts[part]} of {part}; name the sets with --train-sets to train on these"
            for part, found in sets.items()
            if part and len(found.samples) != parts[part]
        ]
    )
    return list(sets.values())


def discover_benchmarks(
    roots: Sequence[Path | str], trained_on: Collection[Path] = ()
) -> list[SodSet]:
    """Find the test sets of the field by name, with their colour images alone.

    For a comparison with training images: files are listed, not paired, so that a set that is
    incomplete does no harm. Folders of a training part are left out.

    Args:
        roots: folders to search.
        trained_on: folders of sets in use as training sets. Where the path of such a folder does
            not say which part it is, it is a test set if the field trains on no part of that set,
            or if it holds exactly the usual number of test images.

    Raises:
        InputError: no such folder.
    """
    found = []
    for candidate in search(roots):
        if candidate.split == "train" or not is_known(candidate.last_part):
            continue
        files = sorted(
            path
            for folder in candidate.roles.get("rgb", ())
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        )
        samples = tuple(Sample(path.stem, path, None, None) for path in files)
        test_set = SodSet(candidate.name, candidate.folder, samples)
        is_open = candidate.split is None and candidate.folder in trained_on
        has_training_part = usual_count(candidate.last_part, "train") is not None
        is_test = test_set.usual_count == len(files) if has_training_part else test_set.usual_count
        if not is_open or is_test:
            found.append(test_set)
    return found


def _merged(candidates: Iterable[Candidate], count: int) -> Candidate | None:
    """The one folder under no known set's name that holds ``count`` images."""
    found = [
        candidate
        for candidate in candidates
        if {"rgb", "gt"} <= candidate.roles.keys()
        and not is_known(candidate.last_part)
        and _count_files(candidate) == count
    ]
    return found[0] if len(found) == 1 else None


def _count_files(candidate: Candidate) -> int:
    with os.scandir(candidate.roles["gt"][0]) as entries:
        return sum(Path(entry.name).suffix.lower() in IMAGE_SUFFIXES for entry in entries)
