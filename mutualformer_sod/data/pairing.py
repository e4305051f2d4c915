"""Pairs the files of a set's folders by stem, and names every file that has no partner."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mutualformer_sod.errors import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
DEPTH_SUFFIXES = IMAGE_SUFFIXES | {".npy"}

_LABELS = {"rgb": "RGB", "depth": "depth", "gt": "GT"}
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
class Triplet:
    """The files of one image; None where the set has no folder of that kind.

    Attributes:
        stem: of the RGB file, or of the ground truth where there is no RGB.
    """

    stem: str
    rgb: Path | None
    depth: Path | None
    gt: Path | None


def pair_by_stem(
    folder: Path, rgb: Path | None = None, depth: Path | None = None, gt: Path | None = None
) -> tuple[Triplet, ...]:
    """Pair the files of up to three folders by stem, never by position in a sorted list.

    Endings that tell the kind ("_Depth", "-gt", "_rgb", ...) are looked through where the stems
    do not agree without that. At least one of ``rgb`` and ``gt`` is given.

    Args:
        folder: the set's folder, for messages.
        rgb: folder of colour images.
        depth: folder of depth maps.
        gt: folder of ground truths.

    Returns:
        One triplet an image, sorted by stem.

    Raises:
        InputError: no image, two files for one stem, files without partner, types not read.
    """
    roles = {"rgb": rgb, "depth": depth, "gt": gt}
    files = {role: _list_files(role, path) for role, path in roles.items() if path is not None}
    base_role = "rgb" if rgb is not None else "gt"
    base = _by_stem(roles[base_role], {}, files[base_role])
    if not any(files.values()):
        raise InputError(f"{folder}: the set's folders hold no image; fill or remove them")
    paired = {base_role: base}
    known = {stem: stem for stem in base} | _without_endings(base)
    for role, own in files.items():
        if role != base_role:
            paired[role] = _by_stem(roles[role], known, own)
    _refuse_unpaired(folder, base_role, paired)
    return tuple(
        Triplet(stem, *(paired[role][stem] if role in paired else None for role in roles))
        for stem in sorted(base)
    )


def _list_files(role: str, folder: Path) -> list[Path]:
    """The image files of a folder; notes and hidden files are no part of a set."""
    suffixes = DEPTH_SUFFIXES if role == "depth" else IMAGE_SUFFIXES
    with os.scandir(folder) as entries:
        shown = {e.name: e.is_file() for e in entries if not e.name.startswith(".")}
    names = sorted(name for name, is_file in shown.items() if is_file)
    no_files = sorted(shown.keys() - names)
    no_images = [name for name in no_files if Path(name).suffix.lower() in suffixes]
    if no_images:
        raise InputError(
            f"{folder}: {_named(no_images)}: named as images, but broken links or folders;"
            " replace them by the images, or remove them"
        )
    paths = [Path(folder, name) for name in names]
    odd = [p.name for p in paths if p.suffix.lower() not in suffixes | _NOTES]
    if odd:
        raise InputError(
            f"{folder}: {_named(odd)}: file types not read as {_LABELS[role]}; convert them"
            f" ({', '.join(sorted(s[1:] for s in suffixes))}) or move them away"
        )
    return [p for p in paths if p.suffix.lower() in suffixes]


def _without_endings(stems: Mapping[str, Path]) -> dict[str, str]:
    """Map each stem less its ending to the stem, where that is unique and not itself a stem."""
    groups: dict[str, list[str]] = defaultdict(list)
    for stem in stems:
        groups[_ENDING.sub("", stem)].append(stem)
    return {short: own[0] for short, own in groups.items() if len(own) == 1 and short not in stems}


def _by_stem(folder: Path, known: Mapping[str, str], paths: list[Path]) -> dict[str, Path]:
    """Files by the stem they pair with; their own stem if it is not among the ``known``."""
    found: dict[str, Path] = {}
    doubles = []
    for path in paths:
        stem = known.get(path.stem) or known.get(_ENDING.sub("", path.stem)) or path.stem
        other = found.setdefault(stem, path)
        if other is not path:
            doubles.append(f"{other.name} / {path.name}")
    if doubles:
        raise InputError(f"{folder}: two files for one image: {_named(doubles)}; keep one of each")
    return found


def _refuse_unpaired(folder: Path, base: str, paired: Mapping[str, Mapping[str, Path]]) -> None:
    problems = []
    for role, own in paired.items():
        lacking = [path.name for stem, path in sorted(paired[base].items()) if stem not in own]
        extra = [path.name for stem, path in sorted(own.items()) if stem not in paired[base]]
        if lacking:
            problems.append(f"{_LABELS[base]} without {_LABELS[role]}: {_named(lacking)}")
        if extra:
            problems.append(f"{_LABELS[role]} without {_LABELS[base]}: {_named(extra)}")
    if problems:
        raise InputError(
            f"{folder}: files without partner of the same name; {'; '.join(problems)};"
            " add the missing files or move the others away"
        )


def _named(names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _NAMED else f" ({len(names)})"
    return ", ".join(names[:_NAMED]) + more
