"""Which folders below a root are data sets, by the names of their subfolders alone."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutualformer_sod.data.discovery.benchmarks import Split, canonical_name, is_thermal
from mutualformer_sod.errors import InputError, together

# The thermal image of an RGB-T set takes the place of depth, as in the papers that test on them.
_THERMAL = frozenset({"t", "thermal"})
_ROLES: dict[str, frozenset[str]] = {
    "rgb": frozenset({"rgb", "images", "image", "img", "imgs", "imgs_right"}),
    "depth": frozenset({"depth", "depths"}) | _THERMAL,
    "gt": frozenset({"gt", "masks", "mask", "ground_truth", "groundtruth", "gt_right"}),
}
# Only these: "train_rgb" and the like are as often the name of a folder of sets.
_DUT_FOLDERS: dict[str, tuple[Split, str]] = {
    f"{split}_{kind}": (split, role)
    for split in ("train", "test")
    for kind, role in (("images", "rgb"), ("depth", "depth"), ("masks", "gt"))
}
_LEVELS: dict[str, Split] = {
    f"{split}{ending}": split
    for split in ("train", "test")
    for ending in ("", "set", "_data", "dataset", "ing")
} | {"rgbd_for_train": "train", "rgbd_for_test": "test"}
_MAX_LEVELS = 6  # below a root


@dataclass(frozen=True, eq=False)  # one object a folder
class Candidate:
    """A folder that looks like a set, before its files are listed."""

    name: str
    path: str  # below the root, as it is on disk
    folder: Path
    split: Split | None  # of the level in the path or the file names; None where there is none
    roles: dict[str, tuple[Path, ...]]

    @property
    def thermal(self) -> bool:
        """Whether the files in the place of depth are thermal images, by the names."""
        named = any(path.name.casefold() in _THERMAL for path in self.roles.get("depth", ()))
        return named or is_thermal(self.last_part)

    @property
    def last_part(self) -> str:
        """The name less the folders above."""
        return self.name.rsplit("/", 1)[-1]

    def answers(self, name: str) -> bool:
        """Whether ``name`` is this set's name, an alias of it, or its path below the root."""
        return canonical_name(name) == self.name or name.strip("/") == self.path

    def answers_loosely(self, name: str) -> bool:
        """Whether ``name`` is the last part of this set's name, or an alias of that."""
        return canonical_name(name) == canonical_name(self.last_part)


def search(roots: Iterable[Path | str]) -> list[Candidate]:
    """All sets below the roots, each folder once, in a fixed order."""
    found: dict[tuple[Path, Split | None], Candidate] = {}
    for root in together(_folder, map(Path, roots)):
        for candidate in _walk(root, (), frozenset()):
            found.setdefault((candidate.folder.resolve(), candidate.split), candidate)
    return list(found.values())


def _folder(root: Path) -> Path:
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "no such folder"
        raise InputError(f"{root}: {problem}; give --data a folder that holds data sets")
    return root


def _walk(root: Path, parts: tuple[str, ...], above: frozenset[str]) -> Iterator[Candidate]:
    folder = root.joinpath(*parts)
    real = os.path.realpath(folder)
    if real in above:  # a link back up: what is below has its shorter name already
        return
    with os.scandir(folder) as entries:
        shown = {e.name: Path(e).is_dir() for e in entries if not e.name.startswith(".")}
    below = sorted(name for name, is_dir in shown.items() if is_dir)
    roles: dict[Split | None, dict[str, list[Path]]] = {}
    others = []
    for name in below:
        level, role = _role(name)
        if role is None:
            others.append(name)
        else:
            roles.setdefault(level, {}).setdefault(role, []).append(folder / name)
    _refuse_no_folders(folder, sorted(shown.keys() - below), roles)
    for level, own in roles.items():
        if "rgb" in own or "gt" in own:
            split = level or _split_of(parts)
            paths = {role: tuple(folders) for role, folders in own.items()}
            yield Candidate(_name_of(root, parts), "/".join(parts), folder, split, paths)
    if len(parts) < _MAX_LEVELS:
        for name in others:
            yield from _walk(root, (*parts, name), above | {real})


def _refuse_no_folders(
    folder: Path, names: Sequence[str], roles: dict[Split | None, dict[str, list[Path]]]
) -> None:
    """A broken link in place of the depth folder must not turn a set into an RGB-only one."""
    for name in names:
        level, role = _role(name)
        if role is not None and role not in roles.get(level, {role: []}):
            raise InputError(
                f"{folder / name}: a file or a broken link where the set's folder of {role}"
                " belongs; replace it by the folder, or remove it"
            )


def _role(folder_name: str) -> tuple[Split | None, str | None]:
    """Split and role of a folder: "RGB" -> (None, "rgb"), "test_masks" -> ("test", "gt")."""
    name = folder_name.casefold()
    if name in _DUT_FOLDERS:
        return _DUT_FOLDERS[name]
    return None, next((role for role, names in _ROLES.items() if name in names), None)


def _split_of(parts: Sequence[str]) -> Split | None:
    levels = [_LEVELS[part.casefold()] for part in parts if part.casefold() in _LEVELS]
    return levels[-1] if levels else None


def _name_of(root: Path, parts: Sequence[str]) -> str:
    kept = [part for part in parts if part.casefold() not in _LEVELS]
    if not kept and parts and parts[-1].casefold().startswith("rgbd_for_"):
        kept = [parts[-1]]  # the merged training folder, wherever its root lies
    if not kept:
        above = [part for part in root.resolve().parts if part.casefold() not in _LEVELS]
        kept = [above[-1] if len(above) > 1 else root.resolve().name]  # "/test" is named test
    return canonical_name("/".join(kept))
