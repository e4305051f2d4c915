"""Check data sets: report their content and their problems.

A damaged file does not stop the check: each error of reading becomes a finding.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from tqdm import tqdm

from mutualformer_sod.data.audit.copies import find_copies
from mutualformer_sod.data.audit.depth import DepthReport, check_depth
from mutualformer_sod.data.audit.findings import Finding, about
from mutualformer_sod.data.audit.images import check_counts, check_gt, check_readable, check_sizes
from mutualformer_sod.data.audit.inspection import Inspected, inspect_images
from mutualformer_sod.data.depth.near import chosen_sides
from mutualformer_sod.data.discovery.benchmarks import Split, is_known, usual_count
from mutualformer_sod.data.discovery.folders import Candidate, matching, search
from mutualformer_sod.data.discovery.pairing import role_labels
from mutualformer_sod.data.discovery.sets import nothing_found
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError

QUICK_IMAGES = 40  # maximum number of images of a set that a quick check reads


@dataclass
class CheckedSet:
    """One set and the results of its check."""

    label: str  # name of the set, and its part if the set has a training and a test part
    found: Candidate
    part: Split | None  # part of the set, from the path or the number of images; None if unknown
    samples: Sequence[Sample] = ()  # images that have all their files
    images: list[Inspected] = field(default_factory=list)  # the inspected images among the samples
    depth: DepthReport | None = None  # results for the maps of the set; None without maps

    @property
    def layout(self) -> dict[str, str]:
        """Names of the folders by role, with the name of the modality for "depth"."""
        return {
            self.found.modality.name if role == "depth" else role: ", ".join(p.name for p in own)
            for role, own in self.found.roles.items()
        }

    @property
    def count(self) -> int:
        """Number of images that have all their files."""
        return len(self.samples)

    @property
    def usual(self) -> int | None:
        """Number of images that papers report for this part; None if unknown."""
        return usual_count(self.found.name, self.part or "test")


@dataclass
class Check:
    """The checked sets and the findings."""

    sets: list[CheckedSet]
    findings: list[Finding]

    @property
    def problems(self) -> list[Finding]:
        """The findings that need attention."""
        return [finding for finding in self.findings if finding.level == "problem"]


def check_data(
    roots: Sequence[Path | str],
    names: Sequence[str] | None = None,
    near: Sequence[str] = (),
    *,
    workers: int = 1,
    quick: bool = False,
) -> Check:
    """Check the sets below some folders, both training and test sets.

    Args:
        names: sets to check, by name, alias or path below a root; None checks all sets.
        near: values of ``--near`` (`near.parse_near`), which are compared with the maps.
        workers: number of processes that read files.
        quick: read `QUICK_IMAGES` evenly spaced images of each set, and do not search for copies.

    Raises:
        InputError: a folder or set does not exist; a set is damaged (see `layout.FolderLayout`);
            ``near`` has an illegal value; or ``near`` has "strict", and the depth evidence of a set
            is weak or contradicts the units.
    """
    candidates = _wanted(search(roots), names, roots)
    labels = _labels(candidates)
    findings: list[Finding] = []
    sets = [_open(c, label, findings) for c, label in zip(candidates, labels, strict=True)]
    has_depth = any(t.depth for s in sets for t in s.samples)
    # A training and a test part of one name share the polarity, as in the other commands.
    names = list(dict.fromkeys(c.name for c in candidates))
    sides, strict = chosen_sides(names, near, has_depth)
    findings += _named_twice(sets)
    chosen = [_spread(s.samples, QUICK_IMAGES) if quick else s.samples for s in sets]
    work = list(chain(*chosen))
    reading = inspect_images(work, workers)
    bar = tqdm(reading, "reading", len(work), unit="image", leave=False, disable=None)
    images = iter(list(bar))
    for checked, samples in zip(sets, chosen, strict=True):
        checked.images = list(islice(images, len(samples)))
        findings += _check_set(checked, sides[checked.found.name], strict)
    if not quick:
        findings += find_copies({s.label: (s.part, s.images) for s in sets})
    return Check(sets, sorted(findings, key=lambda finding: finding.level != "problem"))


def _wanted(
    candidates: list[Candidate], names: Sequence[str] | None, roots: Sequence[Path | str]
) -> list[Candidate]:
    if not candidates:
        raise InputError(nothing_found(roots))
    if names is None:
        return candidates
    chosen: dict[Candidate, None] = {}
    for name in names:
        own = matching(name, candidates)
        if not own:
            found = ", ".join(dict.fromkeys(c.name for c in candidates))
            problem = f"--sets {name}: no such set below {', '.join(map(str, roots))}"
            raise InputError(f"{problem}. Fix: pass one of those found: {found}")
        chosen |= dict.fromkeys(own)
    return list(chosen)


def _labels(candidates: Sequence[Candidate]) -> list[str]:
    """Return the name of each set, followed by its part if another part has the same name."""
    parts = Counter(name for name, _ in {(c.name, c.split) for c in candidates})
    return [
        f"{c.name} ({c.split})" if c.split and parts[c.name] > 1 else c.name for c in candidates
    ]


def _open(candidate: Candidate, label: str, findings: list[Finding]) -> CheckedSet:
    """List the files of a set, and add problems of the list to the findings."""
    checked = CheckedSet(label, candidate, candidate.split)
    several = [", ".join(p.name for p in own) for own in candidate.roles.values() if len(own) > 1]
    if several:
        text = "several folders of one kind"
        findings += about("problem", "folders", label, text, "keep one of each", several)
        return checked
    matches = candidate.match()
    checked.samples = matches.samples()
    checked.part = candidate.split or _part_of(candidate, checked.count)
    for kind, _, text, remedy, files in matches.mistakes():
        findings.append(Finding("problem", kind, label, text, remedy, tuple(files)))
    labels = role_labels(candidate.modality)
    for role, own in matches.files.items():
        text = f"hidden {labels[role]} files, which do not belong to the set"
        findings += about("note", "hidden", label, text, "", own.hidden)
    return checked


def _part_of(candidate: Candidate, count: int) -> Split | None:
    """Return the part of a set, or None if the part is unknown.

    The number of images decides the part of a known set. Folder names such as "train_rgb" decide
    the part of other sets.
    """
    name = candidate.name
    if is_known(name):
        return next((s for s in ("test", "train") if usual_count(name, s) == count), "test")
    parts = [*candidate.folder.resolve().parts[-2:-1], *candidate.path.split("/")]
    named = (s for s in ("train", "test") if any(p.casefold().startswith(s) for p in parts))
    return next(named, None)


def _named_twice(sets: Sequence[CheckedSet]) -> list[Finding]:
    folders: dict[str, list[str]] = {}
    for checked in sets:
        folders.setdefault(checked.label, []).append(str(checked.found.folder))
    remedy = "omit all but one from --data"
    return [
        Finding("problem", "twice", label, f"{len(own)} folders under one name", remedy, tuple(own))
        for label, own in folders.items()
        if len(own) > 1
    ]


def _check_set(checked: CheckedSet, side: str, strict: bool) -> list[Finding]:
    label, name, images = checked.label, checked.found.name, checked.images
    has_rgb = "rgb" in checked.found.roles
    findings = check_counts(label, name, checked.part, checked.count, has_rgb)
    for role, text in (("depth", "no depth: colour alone is used"), ("gt", "no ground truth")):
        if has_rgb and role not in checked.found.roles:
            findings.append(Finding("note", f"no {role}", label, text))
    if not images:
        return findings
    for check in (check_readable, check_sizes, check_gt):
        findings += check(label, images)
    if any(image.depth is not None for image in images):
        checked.depth, found = check_depth(label, name, images, side, strict)
        findings += found
    return findings


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Choose at most ``count`` evenly spaced samples."""
    count = min(count, len(samples))
    return [samples[(2 * k + 1) * len(samples) // (2 * count)] for k in range(count)]
