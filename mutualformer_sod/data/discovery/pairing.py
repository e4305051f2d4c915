"""Pairs the files of a set's folders by stem, and names every file that has no partner."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import refuse_all
from mutualformer_sod.imaging import IMAGE_SUFFIXES

DEPTH_SUFFIXES = IMAGE_SUFFIXES | {".npy"}


def role_labels(thermal: bool) -> dict[str, str]:
    """What the parts of a sample are called in messages, by role."""
    return {"rgb": "RGB", "depth": "thermal" if thermal else "depth", "gt": "GT"}


_NOTES = frozenset(
    {".txt", ".md", ".json", ".csv", ".log", ".html", ".db", ".ini", ".yaml", ".yml"}
)
_ENDING = re.compile(
    r"[_-](abs_depth|depth|disparity|disp|d|thermal|t|rgb|colou?r|image|img"
    r"|gt|ground_?truth|mask|label)$",
    re.IGNORECASE,
)
_NAMED = 10  # files that an error message names before it only counts


@dataclass(frozen=True)
class Matches:
    """The files of a set's folders by stem, and the names of those that spoil the set.

    Attributes:
        base: the role whose stems count: "rgb", or "gt" where there are no colour images.
        files: by role, then by stem; the first where several have one stem.
        broken: by role: named as images, but broken links or folders.
        odd: by role: of a type that is not read.
        hidden: by role: images that are left out because their names start with a dot.
        doubles: by role: pairs "kept / other" of one stem.
        thermal: whether the files in the place of depth are thermal images.
    """

    base: str
    files: dict[str, dict[str, Path]]
    broken: dict[str, list[str]]
    odd: dict[str, list[str]]
    hidden: dict[str, list[str]]
    doubles: dict[str, list[str]]
    thermal: bool = False

    def unpaired(self) -> list[tuple[str, list[str]]]:
        """What lacks what ("RGB without depth"), and the names of the files."""
        problems = []
        labels = role_labels(self.thermal)
        base = self.files[self.base]
        for role, own in self.files.items():
            lacking = [path.name for stem, path in sorted(base.items()) if stem not in own]
            extra = [path.name for stem, path in sorted(own.items()) if stem not in base]
            problems.append((f"{labels[self.base]} without {labels[role]}", lacking))
            problems.append((f"{labels[role]} without {labels[self.base]}", extra))
        return [(what, names) for what, names in problems if names]

    def samples(self) -> tuple[Sample, ...]:
        """One sample an image that has all its parts, sorted by stem."""
        whole = set.intersection(*(set(own) for own in self.files.values()))
        roles = ("rgb", "depth", "gt")
        return tuple(
            Sample(
                stem,
                *(self.files[r][stem] if r in self.files else None for r in roles),
                thermal=self.thermal,
            )
            for stem in sorted(whole)
        )


def match_by_stem(
    rgb: Path | None = None,
    depth: Path | None = None,
    gt: Path | None = None,
    *,
    thermal: bool = False,
) -> Matches:
    """Match the files of up to three folders as `pair_by_stem` does, refusing nothing."""
    folders = {"rgb": rgb, "depth": depth, "gt": gt}
    given = {role: path for role, path in folders.items() if path is not None}
    listed = {role: _list_files(role, path) for role, path in given.items()}
    base_role = "rgb" if rgb is not None else "gt"
    base, doubles = _by_stem({}, listed[base_role][0])
    found = {base_role: (base, doubles)}
    known = {stem: stem for stem in base} | _without_endings(base)
    for role in given:
        if role != base_role:
            found[role] = _by_stem(known, listed[role][0])
    return Matches(
        base_role,
        {role: own for role, (own, _) in found.items()},
        {role: broken for role, (_, broken, _, _) in listed.items()},
        {role: odd for role, (_, _, odd, _) in listed.items()},
        {role: hidden for role, (_, _, _, hidden) in listed.items()},
        {role: twice for role, (_, twice) in found.items()},
        thermal,
    )


def pair_by_stem(
    folder: Path,
    rgb: Path | None = None,
    depth: Path | None = None,
    gt: Path | None = None,
    *,
    thermal: bool = False,
) -> tuple[Sample, ...]:
    """Pair the files of up to three folders by stem, never by position in a sorted list.

    Endings that tell the kind ("_Depth", "-gt", "_rgb", ...) are looked through where the stems
    do not agree without that. At least one of ``rgb`` and ``gt`` is given.

    Args:
        folder: the set's folder, for messages.
        rgb: folder of colour images.
        depth: folder of depth maps.
        gt: folder of ground truths.
        thermal: whether the depth folder holds thermal images.

    Returns:
        One sample an image, sorted by stem.

    Raises:
        InputError: no image, two files for one stem, files without partner, types not read.
    """
    matches = match_by_stem(rgb, depth, gt, thermal=thermal)
    problems = _wrong_files(matches, {"rgb": rgb, "depth": depth, "gt": gt})
    unpaired = matches.unpaired()
    if unpaired:
        listed = "; ".join(f"{what}: {_named(names)}" for what, names in unpaired)
        problems.append(
            f"{folder}: files without partner of the same name; {listed};"
            " add the missing files or move the others away"
        )
    if not problems and not any(matches.files.values()):
        problems.append(f"{folder}: the set's folders hold no image; fill or remove them")
    refuse_all(problems)
    return matches.samples()


def bare_stem(stem: str) -> str:
    """A stem less the ending that tells the kind: "a_Depth" -> "a"."""
    return _ENDING.sub("", stem)


def _wrong_files(matches: Matches, folders: Mapping[str, Path | None]) -> list[str]:
    problems = []
    labels = role_labels(matches.thermal)
    for role in matches.files:
        if matches.broken[role]:
            problems.append(
                f"{folders[role]}: {_named(matches.broken[role])}: named as images, but broken"
                " links or folders; replace them by the images, or remove them"
            )
        if matches.odd[role]:
            read = ", ".join(sorted(suffix[1:] for suffix in _suffixes(role)))
            problems.append(
                f"{folders[role]}: {_named(matches.odd[role])}: file types not read as"
                f" {labels[role]}; convert them ({read}) or move them away"
            )
        if matches.doubles[role]:
            problems.append(
                f"{folders[role]}: two files for one image: {_named(matches.doubles[role])};"
                " keep one of each"
            )
    return problems


def _suffixes(role: str) -> frozenset[str]:
    return DEPTH_SUFFIXES if role == "depth" else IMAGE_SUFFIXES


def _list_files(role: str, folder: Path) -> tuple[list[Path], list[str], list[str], list[str]]:
    """A folder's images, broken, odd and hidden ones; notes and hidden files belong to no set."""
    suffixes = _suffixes(role)
    with os.scandir(folder) as entries:
        everything = {e.name: Path(e).is_file() for e in entries}
    shown = {name: is_file for name, is_file in everything.items() if not name.startswith(".")}
    hidden = sorted(n for n in everything.keys() - shown if Path(n).suffix.lower() in suffixes)
    names = sorted(name for name, is_file in shown.items() if is_file)
    no_files = sorted(shown.keys() - names)
    broken = [name for name in no_files if Path(name).suffix.lower() in suffixes]
    paths = [Path(folder, name) for name in names]
    odd = [p.name for p in paths if p.suffix.lower() not in suffixes | _NOTES]
    return [p for p in paths if p.suffix.lower() in suffixes], broken, odd, hidden


def _without_endings(stems: Mapping[str, Path]) -> dict[str, str]:
    """Map each stem less its ending to the stem, where that is unique and not itself a stem."""
    groups: dict[str, list[str]] = defaultdict(list)
    for stem in stems:
        groups[bare_stem(stem)].append(stem)
    return {short: own[0] for short, own in groups.items() if len(own) == 1 and short not in stems}


def _by_stem(known: Mapping[str, str], paths: list[Path]) -> tuple[dict[str, Path], list[str]]:
    """Files by the stem they pair with, their own if it is not among the ``known``; doubles."""
    found: dict[str, Path] = {}
    doubles = []
    for path in paths:
        stem = known.get(path.stem) or known.get(bare_stem(path.stem)) or path.stem
        other = found.setdefault(stem, path)
        if other is not path:
            doubles.append(f"{other.name} / {path.name}")
    return found, doubles


def _named(names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _NAMED else f" ({len(names)})"
    return ", ".join(names[:_NAMED]) + more
