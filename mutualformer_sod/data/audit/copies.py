"""Find copies of images within a set and across sets, by content and perceptual hash."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mutualformer_sod.data.audit.findings import Finding, about
from mutualformer_sod.data.audit.inspection import HASH_BITS, THUMBNAIL, Inspected
from mutualformer_sod.data.discovery.benchmarks import Split

_MOST_BITS = 20  # maximum number of different bits in the hashes of copies
_LEAST_LIKENESS = 0.97  # minimum correlation of the thumbnails of copies with similar hashes
_ROWS = 512  # number of images whose hashes are compared with all others at once
_PLAIN = 4.0  # standard deviation in grey levels below which an image is uniform

_Pairs = defaultdict[tuple[bool, str, str], list[tuple[Path, Path]]]
"""Pairs of copies by whether the files are equal, and by the names of the two sets."""


def similar_pairs(descriptors: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Yield the two indices of each pair of copies, the smaller index first.

    A matrix product of the hashes selects candidates among all pairs (10 000 images take seconds).
    The correlation of the thumbnails decides which candidates are copies. Uniform images are in no
    pair. ``descriptors`` come from `inspection.describe_picture`.
    """
    if len(descriptors) < 2:
        return
    table = np.stack(descriptors)
    signs = np.unpackbits(table[:, : HASH_BITS // 8], axis=1).astype(np.float32) * 2 - 1
    thumbnails = table[:, HASH_BITS // 8 :].astype(np.float32)
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    deviation = np.sqrt((thumbnails**2).mean(axis=1, keepdims=True))
    seen = (deviation > _PLAIN).ravel()
    unit = thumbnails / np.maximum(deviation, 1e-6) / THUMBNAIL
    least = HASH_BITS - 2 * _MOST_BITS  # the product of hashes that differ in _MOST_BITS bits
    with tqdm(
        total=len(table), desc="searching copies", unit="image", leave=False, disable=None
    ) as bar:
        for start in range(0, len(table), _ROWS):
            products = signs[start : start + _ROWS] @ signs[start:].T
            for one, other in np.argwhere(products >= least) + start:
                like = one < other and seen[one] and seen[other]
                if like and unit[one] @ unit[other] >= _LEAST_LIKENESS:
                    yield int(one), int(other)
            bar.update(len(products))


def find_copies(sets: Mapping[str, tuple[Split | None, Sequence[Inspected]]]) -> list[Finding]:
    """Find copies of colour images: equal files, or the same image in another encoding.

    Findings on training images in test sets come first. A copy in two sets is a problem, because
    one set may be used for training and the other for testing. A copy in two test sets is a note.
    Within a set, equal files are a problem; similar images, such as video frames, are a note.
    ``sets`` maps the name of each set to its part and its images.
    """
    # Training images come first, because the finding names the first image as the one to omit.
    ordered = sorted(sets.items(), key=lambda item: item[1][0] != "train")
    owners = [(n, i) for n, (_, images) in ordered for i in images if i.descriptor is not None]
    pairs = _Pairs(list)
    for one, other in similar_pairs([image.descriptor for _, image in owners]):
        (first, a), (second, b) = owners[one], owners[other]
        if not a.sample.rgb.samefile(b.sample.rgb):  # one file may be below two roots
            exact = a.content == b.content
            pairs[exact, first, second].append((a.sample.rgb, b.sample.rgb))
    _add_plain_copies(owners, pairs)
    parts = {name: part for name, (part, _) in sets.items()}
    findings = []
    for key in sorted(pairs, key=lambda key: not key[0]):  # equal files first
        findings += _copies(*key, parts, pairs[key])
    return sorted(findings, key=lambda finding: finding.kind != "overlap")


def _add_plain_copies(owners: Sequence[tuple[str, Inspected]], pairs: _Pairs) -> None:
    """Add equal files of uniform images, which `similar_pairs` ignores."""
    known = set(chain(*pairs.values()))
    by_content: dict[bytes, tuple[str, Path]] = {}
    for name, image in owners:
        path = image.sample.rgb
        first, original = by_content.setdefault(image.content, (name, path))
        if (original, path) not in known and not original.samefile(path):
            pairs[True, first, name].append((original, path))


def _copies(
    exact: bool,
    first: str,
    second: str,
    parts: Mapping[str, Split | None],
    pairs: Sequence[tuple[Path, Path]],
) -> list[Finding]:
    named = [f"{one} = {other.name if first == second else other}" for one, other in pairs]
    how = "the same file" if exact else "a re-encoded or nearly identical picture"
    if first == second:
        level = "problem" if exact else "note"
        text = f"{how}, twice in the set"
        return about(level, "copies", first, text, "keep one" if exact else "", named)
    both = f"{first} / {second}"
    if {parts[first], parts[second]} == {"train", "test"}:
        text = f"training images that are in the test set ({how})"
        return about("problem", "overlap", both, text, "leave them out of training", named)
    level = "note" if parts[first] == parts[second] == "test" else "problem"
    remedy = "" if level == "note" else "do not train on one and test on the other"
    return about(level, "copies", both, f"{how} in both sets", remedy, named)
