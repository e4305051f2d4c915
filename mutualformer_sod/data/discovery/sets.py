"""Find data sets below folders and pair their files by stem, without reading an image."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutualformer_sod.data.discovery.benchmarks import Split, last_part, other_version, usual_count
from mutualformer_sod.data.discovery.folders import Candidate, matching, search
from mutualformer_sod.data.discovery.pairing import DEPTH_SUFFIXES
from mutualformer_sod.data.modality import Encoding, Modality
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError, name_list, refuse_all, together

_NAMED_FOLDERS = 6  # maximum number of folders that a message lists


@dataclass(frozen=True)
class SodSet:
    """The images of one data set."""

    name: str  # canonical name, or the path below the root, e.g. "train_rgbd/HOTS"
    root: Path  # the folder of the set, with its RGB, depth and GT folders
    samples: tuple[Sample, ...]  # sorted by stem; all samples have the same parts
    split: Split = "test"  # the requested split
    # None in a set without maps, or before `depth.polarity.with_encodings` has decided the encoding
    encoding: Encoding | None = None

    @property
    def has_rgb(self) -> bool:
        """Whether each sample has a colour image, without which a set can only score maps."""
        return bool(self.samples) and self.samples[0].rgb is not None

    @property
    def has_depth(self) -> bool:
        """Whether each sample has a depth map or a map of another modality."""
        return bool(self.samples) and self.samples[0].depth is not None

    @property
    def modality(self) -> Modality | None:
        """The modality of the maps; None in a set without maps."""
        return self.samples[0].modality if self.has_depth else None

    @property
    def has_gt(self) -> bool:
        """Whether each sample has a ground truth."""
        return bool(self.samples) and self.samples[0].gt is not None

    @property
    def usual_count(self) -> int | None:
        """Number of images that papers report for this set and split; None for a custom set."""
        return usual_count(self.name, self.split)

    @property
    def other_version(self) -> str:
        """Description of the version with this unusual number of images; "" if none is known."""
        return other_version(self.name, self.split, len(self.samples))


def discover_sets(
    roots: Sequence[Path | str],
    names: Sequence[str] | None = None,
    *,
    need_gt: bool = False,
    need_rgb: bool = False,
    with_depth: bool = True,
    split: Split = "test",
) -> list[SodSet]:
    """Find the data sets below one or several folders, in any layout of `layout.LAYOUTS`.

    A set is a root or a folder at most six levels below a root, with an RGB or GT folder; a depth
    folder is optional. A set below a "train" level is left out of a search for test sets, and vice
    versa, unless ``names`` contains its path.

    Args:
        names: wanted sets, by name, alias or path below a root, in the order of the result; None
            for all, in the order of roots and paths.
        need_gt, need_rgb: whether to refuse a set without ground truth or colour images.
        with_depth: whether to use the folders of depth and other maps.

    Raises:
        InputError: a root or set does not exist, a name fits several sets, two sets have the same
            name, or a set is damaged (see `layout.FolderLayout`) or refused by `load`.
    """
    candidates = search(roots)
    if names is None:
        chosen = [c for c in candidates if c.split in (None, split)]
        if not chosen:
            raise InputError(nothing_found(roots, candidates, split))
    else:
        named = together(lambda name: choose(name, candidates, split, roots), names)
        chosen = list(dict.fromkeys(named))
    counts = Counter(candidate.name for candidate in chosen)
    refuse_all(
        [
            f"{name} is found {count} times:"
            f" {name_list(c.folder for c in chosen if c.name == name)}."
            " Fix: leave all but one out of --data"
            for name, count in counts.items()
            if count > 1
        ]
    )
    return together(lambda candidate: load(candidate, split, need_rgb, need_gt, with_depth), chosen)


def limited(sets: Sequence[SodSet], limit: int | None) -> list[SodSet]:
    """Keep the first ``limit`` images of each set, or all images if ``limit`` is None."""
    return [dataclasses.replace(item, samples=item.samples[:limit]) for item in sets]


def second_modality(sets: Iterable[SodSet]) -> Modality | None:
    """Return the modality of the maps of all sets, or None; raise InputError for two modalities."""
    first: dict[Modality, str] = {}
    for item in sets:
        if item.modality is not None:
            first.setdefault(item.modality, item.name)
    if len(first) > 1:
        found = ", ".join(f"{name} has {modality.maps}" for modality, name in first.items())
        problem = f"the sets have maps of several modalities: {found}"
        raise InputError(f"{problem}. Fix: pass sets of one modality")
    return next(iter(first), None)


def refuse_other_modality(
    sets: Iterable[SodSet],
    expected: str,
    network: str,
    remedy: str = "pass other weights or other `sets`, or `modality` rgb for colour alone",
) -> None:
    """Raise InputError if maps do not have the modality that a network was trained on.

    ``expected`` is the name of the network's second modality, and ``remedy`` follows "Fix:".
    """
    other = [item for item in sets if item.modality and item.modality.name != expected]
    if other:
        found = f"these sets have {other[0].modality.maps}: {name_list(o.name for o in other)}"
        raise InputError(f"{network} was trained on {expected} maps, but {found}. Fix: {remedy}")


def keep_images(sets: Sequence[SodSet], list_file: Path) -> list[SodSet]:
    """Keep the images that a file lists, one ``SET/STEM`` per line, such as the hold-out of a run.

    Only the last part of the name of a set counts, so that a list is valid below any root.

    Raises:
        InputError: the file cannot be read, or lists an image that these sets do not have.
    """
    flag = f"--images {list_file}"
    try:
        lines = list_file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        raise InputError(f"{flag}: unreadable. Fix: pass a text file of SET/STEM lines") from None
    names = [line.strip() for line in lines if line.strip()]
    if wrong := [name for name in names if "/" not in name]:
        raise InputError(f"{flag}: {wrong[0]!r} is not SET/STEM. Fix: write one SET/STEM per line")
    wanted = {tuple(name.rsplit("/", 2)[-2:]) for name in names}
    remedy = "Fix: list images of these sets"
    kept = []
    for sod_set in sets:
        name = last_part(sod_set.name)
        samples = tuple(t for t in sod_set.samples if (name, t.stem) in wanted)
        missing = {stem for owner, stem in wanted if owner == name} - {t.stem for t in samples}
        if missing:
            text = f"{sod_set.root} has no image {min(missing)} ({len(missing)} missing)"
            raise InputError(f"{flag}: {text}. {remedy}")
        if samples:
            kept.append(dataclasses.replace(sod_set, samples=samples))
    if not kept:
        raise InputError(f"{flag}: the file lists no image of these sets. {remedy}")
    return kept


def choose(
    name: str,
    candidates: Sequence[Candidate],
    split: Split,
    roots: Sequence[Path | str],
    *,
    optional: bool = False,
) -> Candidate | None:
    """Find one set by `folders.matching`; raise InputError for several, or none if not optional."""
    matches = matching(name, candidates, split)
    if not matches and not optional:
        found = name_list(c.name for c in candidates if c.split in (None, split))
        problem = f"no {split} set {name!r} below {name_list(roots)}; found: {found}"
        raise InputError(f"{problem}. Fix: check the name.")
    if len(matches) > 1:
        folders = name_list(c.folder for c in matches)
        raise InputError(f"{name!r} is ambiguous: {folders}. Fix: leave all but one out of --data")
    return matches[0] if matches else None


def nothing_found(
    roots: Sequence[Path | str], candidates: Sequence[Candidate] = (), split: Split = "test"
) -> str:
    """Return the message for a search that found no set of the split."""
    if candidates:
        folders = name_list(c.folder for c in candidates)
        return f"no {split} set below {name_list(roots)}, only {folders}. Fix: pass one by its path"
    found = [  # the first folders with images, at most two levels below the roots
        f"{folder.relative_to(root)}"
        for root in map(Path, roots)
        for pattern in ("*", "*/*")
        for folder in sorted(root.glob(pattern))
        if folder.is_dir() and any(p.suffix.lower() in DEPTH_SUFFIXES for p in folder.iterdir())
    ][:_NAMED_FOLDERS]
    names = f"; pictures are in {', '.join(found)}" if found else ""
    remedy = "rename or link these folders, or pass" if found else "pass"
    return (
        f"no data set below {name_list(roots)}: expected <set>/RGB, <set>/depth, <set>/GT{names}."
        f" Fix: {remedy} --data a folder in one of the layouts of docs/data.md"
    )


def load(
    candidate: Candidate, split: Split, need_rgb: bool, need_gt: bool, with_depth: bool = True
) -> SodSet:
    """Pair the files of a set; raise InputError for missing or double folders or unpaired files."""
    for role, found in candidate.roles.items():
        if len(found) > 1 and (with_depth or role != "depth"):
            label = candidate.modality.name if role == "depth" else role
            problem = f"several folders for {label}: {name_list(p.name for p in found)}"
            raise InputError(f"{candidate.folder}: {problem}. Fix: keep one of them")
    for role, label, needed in (
        ("rgb", "colour images (RGB)", need_rgb),
        ("gt", "ground truth (GT)", need_gt),
    ):
        if needed and role not in candidate.roles:
            raise InputError(f"{candidate.folder}: the set has no folder of {label}. Fix: add it")
    matches = candidate.match(with_depth)
    refuse_all([mistake.describe(candidate.folder) for mistake in matches.mistakes()])
    return SodSet(candidate.name, candidate.folder, matches.samples(), split)
