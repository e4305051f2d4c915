"""Search for data sets below a root, by the names of folders alone."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutualformer_sod.data.discovery.benchmarks import Split, canonical_name, last_part, name_key
from mutualformer_sod.data.discovery.layout import LAYOUTS, Layout
from mutualformer_sod.data.discovery.pairing import Matches, match_files
from mutualformer_sod.data.modality import Modality, modality_of
from mutualformer_sod.errors import InputError, together

_LEVELS: dict[str, Split] = {
    f"{split}{ending}": split
    for split in ("train", "test")
    for ending in ("", "set", "_data", "dataset", "ing")
} | {"rgbd_for_train": "train", "rgbd_for_test": "test"}
_PARTS: dict[str, Split] = {"vt5000train": "train", "vt5000test": "test"}  # these name a set, too
_MAX_LEVELS = 6  # maximum number of levels below a root


@dataclass(frozen=True, eq=False)  # one object per folder
class Candidate:
    """A folder that looks like a set, before its files are listed."""

    name: str  # canonical name, see `sets.SodSet`
    path: str  # path below the root, as on disk
    folder: Path  # the root joined with the path
    layout: Layout  # layout that recognised the folder
    split: Split | None  # split named by the path or by a folder of the set, or None
    roles: dict[str, tuple[Path, ...]]  # the folders of the set by role
    modality: Modality  # of the maps, from the names of the set and of the folder of maps

    def match(self, with_depth: bool = True) -> Matches:
        """Match the files of the set by stem; each role must have at most one folder."""
        folders = {r: own[0] for r, own in self.roles.items() if with_depth or r != "depth"}
        return match_files(folders, self.layout, self.modality)


def matching(
    name: str, candidates: Sequence[Candidate], split: Split | None = None
) -> list[Candidate]:
    """Find sets by name, alias or path below the root, or else by the last part of their names.

    With ``split``, a set of the other split is found only by its path.
    """
    here = [c for c in candidates if split is None or c.split in (None, split)]
    path, usual = name.strip("/"), canonical_name(name)
    return (
        [c for c in here if usual == c.name or path == c.path]
        or [c for c in candidates if path == c.path]
        or [c for c in here if usual == canonical_name(last_part(c.name))]
    )


def search(roots: Iterable[Path | str]) -> list[Candidate]:
    """Find all sets below the roots, each folder once, in a fixed order.

    Raises:
        InputError: a root is not a folder, or a set is damaged (see `layout.FolderLayout`).
    """
    found: dict[tuple[Path, Split | None], Candidate] = {}
    for root in together(_folder, map(Path, roots)):
        for candidate in _walk(root, (), frozenset()):
            found.setdefault((candidate.folder.resolve(), candidate.split), candidate)
    return list(found.values())


def _folder(root: Path) -> Path:
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "no such folder"
        raise InputError(f"{root}: {problem}. Fix: pass a folder of data sets to --data")
    return root


def _walk(root: Path, parts: tuple[str, ...], above: frozenset[str]) -> Iterator[Candidate]:
    folder = root.joinpath(*parts)
    real = os.path.realpath(folder)
    if real in above:  # a link to a parent folder, whose sets were found under shorter names
        return
    with os.scandir(folder) as entries:
        shown = {e.name: Path(e).is_dir() for e in entries if not e.name.startswith(".")}
    subfolders = sorted(name for name, is_dir in shown.items() if is_dir)
    files = sorted(shown.keys() - subfolders)
    taken: set[Path] = set()
    for layout in LAYOUTS.values():
        for part in layout.find(folder, subfolders, files):
            taken.update(path for own in part.roles.values() for path in own)
            if "rgb" in part.roles or "gt" in part.roles:
                name = name_of_set(root, parts)
                maps = [path.name for path in part.roles.get("depth", ())]
                modality = modality_of(maps, last_part(name))
                splits = [_LEVELS.get(p.casefold()) or _PARTS.get(name_key(p)) for p in parts]
                split = part.split or next(filter(None, reversed(splits)), None)
                path = "/".join(parts)
                yield Candidate(name, path, folder, layout, split, part.roles, modality)
    if len(parts) < _MAX_LEVELS:
        for name in subfolders:
            if folder / name not in taken:
                yield from _walk(root, (*parts, name), above | {real})


def name_of_set(root: Path, parts: Sequence[str]) -> str:
    """Return the name of a set from its root and the folders below, without split levels."""
    kept = [part for part in parts if part.casefold() not in _LEVELS]
    if not kept and parts and parts[-1].casefold().startswith("rgbd_for_"):
        kept = [parts[-1]]  # a merged folder, such as RGBD_for_train, names its set
    if not kept:
        above = [part for part in root.resolve().parts if part.casefold() not in _LEVELS]
        kept = [above[-1] if len(above) > 1 else root.resolve().name]  # "/test" is named test
    return canonical_name("/".join(kept))
