"""Pair the files of the folders of a set by stem; name every file without partner."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import refuse_all
from mutualformer_sod.imaging import IMAGE_SUFFIXES

DEPTH_SUFFIXES = IMAGE_SUFFIXES | {".npy"}

_NOTES = frozenset(
    {".txt", ".md", ".json", ".csv", ".log", ".html", ".db", ".ini", ".yaml", ".yml"}
)
_ENDING = re.compile(
    r"[_-](abs_depth|depth|disparity|disp|d|thermal|t|rgb|colou?r|image|img"
    r"|gt|ground_?truth|mask|label)$",
    re.IGNORECASE,
)
_NAMED = 10  # files that an error message lists before it gives their number only


def role_labels(thermal: bool) -> dict[str, str]:
    """Return the name of each role in messages."""
    return {"rgb": "RGB", "depth": "thermal" if thermal else "depth", "gt": "GT"}


def bare_stem(stem: str) -> str:
    """Remove the ending that names the kind of image: "a_Depth" -> "a"."""
    return _ENDING.sub("", stem)


@dataclass
class RoleFiles:
    """The files in the folder of one role.

    Attributes:
        folder: of the role.
        paths: images, sorted.
        broken: names of images that are broken links or folders.
        odd: names of files of other types.
        hidden: names of images that are left out because they start with a dot.
        by_stem: the images by the stem they are paired by; the first where several have one stem.
        doubles: "kept / other" for images of one stem.
    """

    folder: Path
    paths: list[Path]
    broken: list[str]
    odd: list[str]
    hidden: list[str]
    by_stem: dict[str, Path]
    doubles: list[str]


@dataclass(frozen=True)
class Matches:
    """The files of a set by role, matched by stem.

    Attributes:
        files: by role.
        thermal: whether the files in the place of depth are thermal images.
    """

    files: dict[str, RoleFiles]
    thermal: bool = False

    @property
    def base(self) -> str:
        """The role whose stems count: "rgb", or "gt" where there are no colour images."""
        return "rgb" if "rgb" in self.files else "gt"

    def unpaired(self) -> list[tuple[str, list[str]]]:
        """Files without partner: the kind of mismatch ("RGB without depth") and their names."""
        problems = []
        labels = role_labels(self.thermal)
        base = self.files[self.base].by_stem
        for role, files in self.files.items():
            own = files.by_stem
            lacking = [path.name for stem, path in sorted(base.items()) if stem not in own]
            extra = [path.name for stem, path in sorted(own.items()) if stem not in base]
            problems.append((f"{labels[self.base]} without {labels[role]}", lacking))
            problems.append((f"{labels[role]} without {labels[self.base]}", extra))
        return [(kind, names) for kind, names in problems if names]

    def samples(self) -> tuple[Sample, ...]:
        """Return a sample for each image that has all its parts, sorted by stem."""
        found = {role: files.by_stem for role, files in self.files.items()}
        complete = sorted(set.intersection(*map(set, found.values())))
        roles = ("rgb", "depth", "gt")
        return tuple(
            Sample(stem, *(found.get(role, {}).get(stem) for role in roles), thermal=self.thermal)
            for stem in complete
        )

    def all_samples(self, folder: Path) -> tuple[Sample, ...]:
        """Return a sample for each image; refuse a set with any mistake.

        Args:
            folder: of the set, for messages.

        Raises:
            InputError: no image, two files for one stem, files without partner, types not read.
        """
        problems = self._wrong_files()
        unpaired = self.unpaired()
        if unpaired:
            listed = "; ".join(f"{kind}: {_named(names)}" for kind, names in unpaired)
            problems.append(
                f"{folder}: files without partner of the same name; {listed}."
                " Fix: add the missing files, or move the others away"
            )
        if not problems and not any(files.by_stem for files in self.files.values()):
            problems.append(
                f"{folder}: the set's folders contain no image. Fix: fill or remove them"
            )
        refuse_all(problems)
        return self.samples()

    def _wrong_files(self) -> list[str]:
        problems = []
        labels = role_labels(self.thermal)
        for role, own in self.files.items():
            types = ", ".join(sorted(suffix[1:] for suffix in _suffixes(role)))
            for names, problem in (
                (
                    own.broken,
                    "named as images, but broken links or folders. Fix: replace them by the images,"
                    " or remove them",
                ),
                (
                    own.odd,
                    f"file types not read as {labels[role]}. Fix: convert them ({types}) or move"
                    " them away",
                ),
            ):
                if names:
                    problems.append(f"{own.folder}: {_named(names)}: {problem}")
            if own.doubles:
                problems.append(
                    f"{own.folder}: two files for one image: {_named(own.doubles)}."
                    " Fix: keep one of each"
                )
        return problems


def match_files(
    folders: Mapping[str, Path],
    stem_of: Callable[[str, Path], str | None] = lambda role, path: path.stem,
    *,
    thermal: bool = False,
) -> Matches:
    """Match the files of a set by stem, never by their position in a sorted list.

    Endings that name the kind of image ("_Depth", "-gt", "_rgb", ...) are ignored where the stems
    do not agree with them.

    Args:
        folders: by role: "rgb" or "gt", or both, and possibly "depth".
        stem_of: see `layout.Layout.stem`.
        thermal: whether the depth folder contains thermal images.
    """
    roles = [role for role in ("rgb", "depth", "gt") if role in folders]
    matches = Matches({r: _list_files(r, folders[r], stem_of) for r in roles}, thermal)
    base = matches.files[matches.base]
    _index(base, matches.base, stem_of, {})
    known = {stem: stem for stem in base.by_stem} | _without_endings(base.by_stem)
    for role, files in matches.files.items():
        if role != matches.base:
            _index(files, role, stem_of, known)
    return matches


def _suffixes(role: str) -> frozenset[str]:
    return DEPTH_SUFFIXES if role == "depth" else IMAGE_SUFFIXES


def _list_files(role: str, folder: Path, stem_of: Callable[[str, Path], str | None]) -> RoleFiles:
    """List the files of a role. Notes and hidden files are no part of a set."""
    suffixes = _suffixes(role)
    with os.scandir(folder) as entries:
        is_file = {Path(folder, e.name): Path(e).is_file() for e in entries}
    own = sorted(path for path in is_file if stem_of(role, path) is not None)
    hidden = [path for path in own if path.name.startswith(".")]
    shown = [path for path in own if not path.name.startswith(".")]
    images = {path for path in own if path.suffix.lower() in suffixes}
    return RoleFiles(
        folder,
        paths=[path for path in shown if is_file[path] and path in images],
        broken=[path.name for path in shown if not is_file[path] and path in images],
        odd=[
            path.name
            for path in shown
            if is_file[path] and path.suffix.lower() not in suffixes | _NOTES
        ],
        hidden=[path.name for path in hidden if path in images],
        by_stem={},
        doubles=[],
    )


def _index(
    files: RoleFiles,
    role: str,
    stem_of: Callable[[str, Path], str | None],
    known: Mapping[str, str],
) -> None:
    """Fill ``by_stem`` and ``doubles``; a file whose stem is not ``known`` keeps its own stem."""
    for path in files.paths:
        own = stem_of(role, path)
        stem = known.get(own) or known.get(bare_stem(own)) or own
        kept = files.by_stem.setdefault(stem, path)
        if kept is not path:
            files.doubles.append(f"{kept.name} / {path.name}")


def _without_endings(stems: Iterable[str]) -> dict[str, str]:
    """Map each stem without its ending to the stem, where that is unique and no stem itself."""
    groups: dict[str, list[str]] = defaultdict(list)
    for stem in stems:
        groups[bare_stem(stem)].append(stem)
    return {short: own[0] for short, own in groups.items() if len(own) == 1 and short not in stems}


def _named(names: list[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > _NAMED else f" ({len(names)})"
    return ", ".join(names[:_NAMED]) + more
