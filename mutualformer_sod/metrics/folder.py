"""Folders of saliency maps: where a method keeps a set's maps, and how they pair with the set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging import IMAGE_SUFFIXES

_LISTED = 10  # names in a message before "and N more"


@dataclass(frozen=True)
class MapFolder:
    """One method's maps of one set, paired by stem with the set's ground truths.

    Attributes:
        method: name of the method.
        set_name: name of the set.
        folder: where the maps lie; None where the method has no folder for the set.
        maps: stem -> file, for the stems of the set that have exactly one map.
        missing: stems of the set without a map.
        extra: file names that belong to no image of the set.
        duplicate: stems of the set with several maps (`a.png` and `a.jpg`).
    """

    method: str
    set_name: str
    folder: Path | None
    maps: dict[str, Path] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    duplicate: tuple[str, ...] = ()

    def part(self, stems: Iterable[str]) -> MapFolder:
        """The maps of these images alone; those of the set's other images are not extra."""
        kept = dict.fromkeys(stems)
        return replace(
            self,
            maps={stem: path for stem, path in self.maps.items() if stem in kept},
            missing=tuple(stem for stem in self.missing if stem in kept),
            duplicate=tuple(stem for stem in self.duplicate if stem in kept),
        )


def list_methods(maps_root: Path, wanted: Iterable[str] | None = None) -> list[str]:
    """Return the methods below a folder of maps, sorted: all its sub-folders, or those wanted.

    Raises:
        InputError: no such folder, a method without one, or no method at all.
    """
    if not maps_root.is_dir():
        raise InputError(f"--maps {maps_root}: no such folder")
    found = sorted(p.name for p in maps_root.iterdir() if p.is_dir() and p.name[0] not in "._")
    if wanted is not None:
        wanted = list(dict.fromkeys(wanted))
        absent = [name for name in wanted if not (maps_root / name).is_dir()]
        if absent:
            raise InputError(
                f"--methods {name_list(absent)}: no such folder in {maps_root}; "
                f"there: {name_list(found) or 'none'}"
            )
        return wanted
    if not found:
        raise InputError(
            f"--maps {maps_root}: no method; maps are expected as <method>/<set>/<stem>.png there"
        )
    return found


def find_map_folder(
    maps_root: Path,
    method: str,
    set_name: str,
    ground_truths: dict[str, Path],
    *,
    only_set: bool,
    canonical_name: Callable[[str], str] = str,
) -> MapFolder:
    """Find and pair one method's maps of one set.

    Args:
        maps_root: the folder that holds `<method>/<set>/<stem>.png`.
        method: name of the method's folder.
        set_name: name of the set, its alias, or its path relative to the data.
        ground_truths: stem -> file; a map may bear the file's stem too where that differs.
        only_set: one set alone is evaluated, so that `<method>/<stem>.png` will do.
        canonical_name: maps an alias of a set to its name.
    """
    home = maps_root / method
    candidates = [home / set_name, home / Path(set_name).name]
    candidates += sorted(
        p for p in home.iterdir() if p.is_dir() and canonical_name(p.name) == set_name
    )
    if only_set:
        candidates.append(home)
    for folder in candidates:
        if folder.is_dir() and (files := _map_files(folder)):
            return _pair(method, set_name, folder, files, ground_truths)
    return MapFolder(method, set_name, None, missing=tuple(ground_truths))


def _map_files(folder: Path) -> list[Path]:
    return sorted(
        p
        for p in folder.iterdir()
        if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
    )


def _pair(
    method: str, set_name: str, folder: Path, files: list[Path], ground_truths: dict[str, Path]
) -> MapFolder:
    stem_of = {gt.stem: stem for stem, gt in ground_truths.items()}
    stem_of |= {stem: stem for stem in ground_truths}
    found: dict[str, list[Path]] = {}
    for path in files:
        if path.stem in stem_of:
            found.setdefault(stem_of[path.stem], []).append(path)
    return MapFolder(
        method,
        set_name,
        folder,
        maps={s: found[s][0] for s in ground_truths if len(found.get(s, ())) == 1},
        missing=tuple(s for s in ground_truths if s not in found),
        extra=tuple(path.name for path in files if path.stem not in stem_of),
        duplicate=tuple(s for s in ground_truths if len(found.get(s, ())) > 1),
    )


def name_list(names: Iterable[str]) -> str:
    """Join names for a message: the first ten, then how many more."""
    names = list(names)
    listed = ", ".join(names[:_LISTED])
    return listed if len(names) <= _LISTED else f"{listed} and {len(names) - _LISTED} more"
