"""Find copies of images within a set and across sets."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mutualformer_sod.data.audit.duplicates import similar_pairs
from mutualformer_sod.data.audit.findings import Finding, about
from mutualformer_sod.data.audit.inspection import Inspected
from mutualformer_sod.data.discovery.benchmarks import Split

Pairs = dict[tuple[str, str], list[tuple[Path, Path]]]


def find_copies(sets: Mapping[str, tuple[Split | None, Sequence[Inspected]]]) -> list[Finding]:
    """Find copies of colour images: equal files, or the same picture in another encoding.

    Training images in test sets come first. A copy in two sets is a problem unless both are test
    sets, because one may be used for training and the other for testing. Within a set, equal files
    are a problem; similar pictures, such as frames of a film, are notes.

    Args:
        sets: part and images by the name of the set.
    """
    owners = [
        (name, image)
        for name, (_, images) in sets.items()
        for image in images
        if image.look is not None
    ]
    same: Pairs = {}
    like: Pairs = {}
    # Training images first: the finding names the image to leave out.
    owners.sort(key=lambda owner: sets[owner[0]][0] != "train")
    for one, other in similar_pairs([image.look for _, image in owners]):
        (first, a), (second, b) = owners[one], owners[other]
        if a.sample.rgb.samefile(b.sample.rgb):
            continue  # one file below two roots
        pairs = same if a.content == b.content else like
        pairs.setdefault((first, second), []).append((a.sample.rgb, b.sample.rgb))
    _add_plain_copies(owners, same)
    parts = {name: part for name, (part, _) in sets.items()}
    findings = [
        finding
        for pairs, exact in ((same, True), (like, False))
        for (first, second), found in pairs.items()
        for finding in _copies(first, second, parts, found, exact)
    ]
    return sorted(findings, key=lambda finding: finding.kind != "overlap")


def _add_plain_copies(owners: Sequence[tuple[str, Inspected]], same: Pairs) -> None:
    """Add equal files of uniform pictures, which have no descriptor, by their content."""
    known = {pair for found in same.values() for pair in found}
    by_content: dict[bytes, tuple[str, Path]] = {}
    for name, image in owners:
        first = by_content.setdefault(image.content, (name, image.sample.rgb))
        pair = (first[1], image.sample.rgb)
        if pair[0] is not pair[1] and pair not in known and not pair[0].samefile(pair[1]):
            same.setdefault((first[0], name), []).append(pair)


def _copies(
    first: str,
    second: str,
    parts: Mapping[str, Split | None],
    pairs: Sequence[tuple[Path, Path]],
    exact: bool,
) -> list[Finding]:
    named = [f"{one} = {other.name if first == second else other}" for one, other in pairs]
    how = "the same file" if exact else "the same picture, encoded anew or hardly another"
    if first == second:
        level = "problem" if exact else "note"
        text = f"{how}, twice in the set"
        return about(level, "copies", first, text, "keep one" if exact else "", named)
    both = f"{first} / {second}"
    if {parts[first], parts[second]} == {"train", "test"}:
        text = f"training images that are in the test set, {how}"
        return about("problem", "overlap", both, text, "leave them out of training", named)
    level = "note" if parts[first] == parts[second] == "test" else "problem"
    remedy = "" if level == "note" else "do not train on one and test on the other"
    return about(level, "copies", both, f"{how} in both sets", remedy, named)
