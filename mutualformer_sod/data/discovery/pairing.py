"""Pair the files of a set by stem, and list every file without a partner."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mutualformer_sod.data.discovery.layout import Layout
from mutualformer_sod.data.modality import Modality
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import first_of
from mutualformer_sod.imaging import IMAGE_SUFFIXES

DEPTH_SUFFIXES = IMAGE_SUFFIXES | {".npy"}

_SUFFIXES = {"rgb": IMAGE_SUFFIXES, "depth": DEPTH_SUFFIXES, "gt": IMAGE_SUFFIXES}
_NOTES = {".txt", ".md", ".json", ".csv", ".log", ".html", ".db", ".ini", ".yaml", ".yml"}
_ENDING = re.compile(
    r"[_-](abs_depth|depth|disparity|disp|d|thermal|t|rgb|colou?r|image|img"
    r"|gt|ground_?truth|mask|label)$",
    re.IGNORECASE,
)
_NAMED = 10  # maximum number of files that an error message lists


def role_labels(modality: Modality) -> dict[str, str]:
    """Return the name of each role for messages."""
    return {"rgb": "RGB", "depth": modality.name, "gt": "GT"}


def bare_stem(stem: str) -> str:
    """Remove the ending that names the kind of image: "a_Depth" -> "a"."""
    return _ENDING.sub("", stem)


class Mistake(NamedTuple):
    """A mistake in the files of a set, with the names of the files."""

    kind: str
    folder: Path | None  # folder of the role; None for a mistake of the set
    text: str
    remedy: str
    names: list[str]

    def describe(self, set_folder: Path) -> str:
        """Return an error message with the first files."""
        listed = f": {first_of(self.names, _NAMED)}" if self.names else ""
        return f"{self.folder or set_folder}: {self.text}{listed}. Fix: {self.remedy}"


@dataclass
class RoleFiles:
    """The files in the folder of one role, without notes such as ``readme.txt``."""

    folder: Path
    by_stem: dict[str, Path] = field(default_factory=dict)  # the first image of each stem
    doubles: list[str] = field(default_factory=list)  # "NAME / NAME": same stem
    broken: list[str] = field(default_factory=list)  # images that are broken links or folders
    other_types: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)  # images whose names start with a dot


@dataclass(frozen=True)
class Matches:
    """The files of each role of a set, matched to the stems of the role ``base``, rgb or gt."""

    files: dict[str, RoleFiles]
    base: str
    modality: Modality

    def mistakes(self) -> list[Mistake]:
        """Find unusable files, files without a partner, and empty folders."""
        found = []
        labels = role_labels(self.modality)
        for role, own in self.files.items():
            label, types = labels[role], ", ".join(sorted(s[1:] for s in _SUFFIXES[role]))
            convert = f"convert them to a supported type ({types}) or move them away"
            broken = f"broken links or folders in place of {label} files"
            doubles = f"two {label} files for one image"
            found += [
                Mistake("broken", own.folder, broken, "replace or remove them", own.broken),
                Mistake(
                    "type", own.folder, f"file types not read as {label}", convert, own.other_types
                ),
                Mistake("double", own.folder, doubles, "keep one of each", own.doubles),
            ]
        base, base_label = self.files[self.base].by_stem, labels[self.base]
        for role, own in self.files.items():
            for one, other, text in (
                (base, own.by_stem, f"{base_label} without {labels[role]}"),
                (own.by_stem, base, f"{labels[role]} without {base_label}"),
            ):
                names = [path.name for stem, path in sorted(one.items()) if stem not in other]
                remedy = "add the missing files or move these away"
                found.append(Mistake("unpaired", None, text, remedy, names))
        found = [mistake for mistake in found if mistake.names]
        if not any(own.by_stem for own in self.files.values()):
            text = "the set's folders contain no image"
            found.append(Mistake("empty", None, text, "fill or remove them", []))
        return found

    def samples(self) -> tuple[Sample, ...]:
        """Return a sample for each image that has all its files, sorted by stem."""
        found = {role: files.by_stem for role, files in self.files.items()}
        complete = sorted(set.intersection(*map(set, found.values())))
        roles = ("rgb", "depth", "gt")
        return tuple(
            Sample(stem, *(found.get(role, {}).get(stem) for role in roles), self.modality)
            for stem in complete
        )


def match_files(folders: Mapping[str, Path], layout: Layout, modality: Modality) -> Matches:
    """Match the files of a set by stem, never by their position in a sorted list.

    Endings that name the kind of image ("_Depth", "-gt", "_rgb", ...) are ignored if the stems
    agree only without such endings. ``folders`` has "rgb", "gt" or both, and optionally "depth".
    """
    base = "rgb" if "rgb" in folders else "gt"
    own = _list_files(base, folders[base], layout, {})
    known = {stem: stem for stem in own.by_stem} | _without_endings(own.by_stem)
    files = {
        role: own if role == base else _list_files(role, folders[role], layout, known)
        for role in ("rgb", "depth", "gt")
        if role in folders
    }
    return Matches(files, base, modality)


def _list_files(role: str, folder: Path, layout: Layout, known: Mapping[str, str]) -> RoleFiles:
    """List the files of a role by their ``known`` stems, or by their own stems if unknown."""
    files = RoleFiles(folder)
    for path in sorted(folder.iterdir()):
        own = layout.stem(role, path)
        if own is None:
            continue
        suffix = path.suffix.lower()
        is_image, is_hidden = suffix in _SUFFIXES[role], path.name.startswith(".")
        if is_image and is_hidden:
            files.hidden.append(path.name)
        elif is_image and path.is_file():
            stem = known.get(own) or known.get(bare_stem(own)) or own
            kept = files.by_stem.setdefault(stem, path)
            if kept is not path:
                files.doubles.append(f"{kept.name} / {path.name}")
        elif is_image:
            files.broken.append(path.name)
        elif not is_hidden and path.is_file() and suffix not in _NOTES:
            files.other_types.append(path.name)
    return files


def _without_endings(stems: Iterable[str]) -> dict[str, str]:
    """Map shortened stems to stems, if the short form is unique and not itself a stem."""
    groups: dict[str, list[str]] = defaultdict(list)
    for stem in stems:
        groups[bare_stem(stem)].append(stem)
    return {short: own[0] for short, own in groups.items() if len(own) == 1 and short not in stems}
