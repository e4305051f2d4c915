"""Find the training sets of the published protocols, and the known test sets."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from mutualformer_sod.data.discovery.benchmarks import TRAINING_PROTOCOLS, is_known, usual_count
from mutualformer_sod.data.discovery.folders import Candidate, search
from mutualformer_sod.data.discovery.sets import SodSet, choose, load
from mutualformer_sod.data.modality import DEPTH, modality_of_set
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError, counted, name_list, refuse_all, together


def discover_protocol(roots: Sequence[Path | str], protocol: str) -> list[SodSet]:
    """Find the training sets of a published protocol, with exactly the published image numbers.

    Sets that are not found by name may be merged in one folder. The number of images in a
    merged folder identifies its sets (2185 = NJU2K + NLPR).

    Raises:
        InputError: the protocol is unknown, or sets are missing or have other numbers of images.
    """
    if protocol not in TRAINING_PROTOCOLS:
        known = ", ".join(TRAINING_PROTOCOLS)
        raise InputError(f"protocol {protocol!r} is unknown. Fix: pass one of {known}")
    parts = TRAINING_PROTOCOLS[protocol]
    candidates = [c for c in search(roots) if c.split in (None, "train")]
    named = {part: choose(part, candidates, "train", roots, optional=True) for part in parts}
    missing = [part for part, candidate in named.items() if candidate is None]
    if missing:
        modality = modality_of_set(next(iter(parts))) or DEPTH
        alike = [c for c in candidates if c.modality == modality or "depth" not in c.roles]
        if whole := _merged(alike, sum(parts.values())):
            return [load(whole, "train", True, True)]
        rest = _merged(alike, sum(parts[part] for part in missing))
        if rest is None:
            raise InputError(
                f"protocol {protocol} uses {', '.join(f'{n} of {s}' for s, n in parts.items())};"
                f" not found below {name_list(roots)}: {', '.join(missing)}. Fix: add them;"
                f" found: {name_list(c.name for c in candidates)}"
            )
        named = {part: c for part, c in named.items() if c is not None} | {"": rest}
    loaded = together(lambda candidate: load(candidate, "train", True, True), named.values())
    sets = dict(zip(named, loaded, strict=True))
    refuse_all(
        [
            f"{found.root}: {counted(len(found.samples), 'image')}, but protocol {protocol} "
            f"uses {parts[part]} of {part}. Fix: pass --train-sets to train on these images"
            for part, found in sets.items()
            if part and len(found.samples) != parts[part]
        ]
    )
    return list(sets.values())


def discover_benchmarks(
    roots: Sequence[Path | str], trained_on: Collection[Path] = ()
) -> list[SodSet]:
    """Find the known test sets by name, with their colour images only.

    The sets are for a comparison with training images. Files are listed, not paired, so that
    incomplete sets are accepted. Folders of a training split are left out. A folder in
    ``trained_on`` whose path names no split is a test set if the set has no training split, or if
    the folder's number of images is usual only for the test split.

    Raises:
        InputError: a root is not a folder.
    """
    found = []
    for candidate in search(roots):
        if candidate.split == "train" or not is_known(candidate.name):
            continue
        folders = candidate.roles.get("rgb", ())
        files = [path for folder in folders for path in candidate.layout.images("rgb", folder)]
        is_open = candidate.split is None and candidate.folder in trained_on
        usual = usual_count(candidate.name, "test")
        trained = usual_count(candidate.name, "train")
        # Both parts of VT5000 have 2500 images: their number does not identify the part.
        is_test = usual if trained is None else usual == len(files) != trained
        if not is_open or is_test:
            samples = tuple(Sample(path.stem, path, None, None) for path in files)
            found.append(SodSet(candidate.name, candidate.folder, samples))
    return found


def _merged(candidates: Iterable[Candidate], count: int) -> Candidate | None:
    """Return the folder with ``count`` images and no known name; None if not exactly one exists."""
    found = [
        candidate
        for candidate in candidates
        if {"rgb", "gt"} <= candidate.roles.keys()
        and not is_known(candidate.name)
        and len(candidate.layout.images("gt", candidate.roles["gt"][0])) == count
    ]
    return found[0] if len(found) == 1 else None
