"""Find the saliency maps of a method on a set, and pair the maps with the images of the set."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from mutualformer_sod.errors import InputError, counted, name_list
from mutualformer_sod.imaging import image_files

_COMPARED = 20  # number of missing images whose stem is searched for in other names
_SEPARATORS = "_-. "
_ARRAYS = {  # array files that are not read, and functions that load them
    ".mat": "scipy.io.loadmat",
    ".npz": "numpy.load",
    ".h5": "h5py",
    ".hdf5": "h5py",
    ".pt": "torch.load",
    ".pth": "torch.load",
}


@dataclass(frozen=True)
class MapFolder:
    """One method's maps of one set, paired by stem with the set's ground truths.

    Attributes:
        folder: the folder of the maps; None if the method has no maps for the set.
        maps: stem -> file, for the stems of the set that have exactly one map.
        missing: stems of the set without a map.
        extra: file names that belong to no image of the set.
        duplicate: stems of the set with several maps (`a.png` and `a.jpg`).
        hint: message that names the files found in place of missing maps, and the fix; may be "".
        affixes: text before and after the stem in the names of the maps.
        training: the training protocol in the run.json of the method; None without a run.json.
    """

    method: str
    set_name: str
    folder: Path | None
    maps: dict[str, Path] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    duplicate: tuple[str, ...] = ()
    hint: str = ""
    affixes: tuple[str, str] = ("", "")
    training: object | None = None

    def part(self, stems: Iterable[str]) -> MapFolder:
        """Return the folder with only the maps of some images.

        Maps of other images of the set do not count as extra.
        """
        kept = dict.fromkeys(stems)
        missing = tuple(stem for stem in self.missing if stem in kept)
        return replace(
            self,
            maps={stem: path for stem, path in self.maps.items() if stem in kept},
            missing=missing,
            hint=self.hint if missing else "",
            duplicate=tuple(stem for stem in self.duplicate if stem in kept),
        )


def list_methods(maps_root: Path, wanted: Iterable[str] | None = None) -> list[str]:
    """Return the names of all methods in a folder of maps, or only the ``wanted`` names.

    Raises:
        InputError: the folder does not exist, has no method, or lacks a wanted method.
    """
    if not maps_root.is_dir():
        raise InputError(
            f"`maps` {maps_root}: no such folder. Fix: pass a folder of <method>/<set>/<stem>.png."
        )
    found = sorted(p.name for p in maps_root.iterdir() if p.is_dir() and p.name[0] not in "._")
    if wanted is not None:
        wanted = list(dict.fromkeys(wanted))
        if absent := [name for name in wanted if not (maps_root / name).is_dir()]:
            raise InputError(
                f"`methods` {name_list(absent)}: no such folder in {maps_root}. "
                f"Fix: choose from: {name_list(found, 'none')}"
            )
        return wanted
    if not found:
        raise InputError(
            f"`maps` {maps_root}: no method found. Fix: store maps as <method>/<set>/<stem>.png."
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
    affixes: tuple[str, str] | None = None,
) -> MapFolder:
    """Find the maps of one method on one set, and pair the maps with the images.

    Args:
        maps_root: folder of `<method>/<set>/<stem>.png`.
        set_name: name of the set, its alias, or its path relative to the data.
        ground_truths: stem -> file. A map may be named like the image or the ground truth.
        only_set: accept `<method>/<stem>.png`, because a single set is evaluated.
        canonical_name: function that maps an alias of a set to the name of the set.
        affixes: text before and after the stem in the names of the maps, e.g. ("", "_sal"); None
            detects affixes that all maps share, if no map is named like an image.
    """
    home = maps_root / method
    candidates = [home / set_name, home / Path(set_name).name]
    candidates += sorted(
        p for p in home.iterdir() if p.is_dir() and canonical_name(p.name) == set_name
    )
    if only_set:
        candidates.append(home)
    candidates = [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]
    unpaired = MapFolder(method, set_name, None, training=_training_protocol(home))
    for folder in candidates:
        if files := map_files(folder):
            return _pair(unpaired, folder, files, ground_truths, affixes)
    shown = (path for path in home.iterdir() if not path.name.startswith("."))
    names = sorted(path.name + "/" * path.is_dir() for path in shown)
    hints = (_hint_of_types(folder, ground_truths, arrays=True) for folder in candidates)
    hint = next(filter(None, hints), f"{home} contains: {name_list(names)}")
    return replace(unpaired, missing=tuple(ground_truths), hint=hint)


def map_files(folder: Path) -> list[Path]:
    """Return the images in a folder or, if there are no images, the ``.npy`` arrays, sorted."""
    return image_files(folder) or sorted(
        p for p in folder.iterdir() if p.suffix.lower() == ".npy" and not p.name.startswith(".")
    )


def _pair(
    unpaired: MapFolder,
    folder: Path,
    files: list[Path],
    ground_truths: dict[str, Path],
    affixes: tuple[str, str] | None,
) -> MapFolder:
    names = {gt.stem: stem for stem, gt in ground_truths.items()}
    names |= {stem: stem for stem in ground_truths}
    affixes = affixes or _shared_affixes([path.stem for path in files], names)
    before, after = affixes
    stem_of = {before + name + after: stem for name, stem in names.items()}
    found: dict[str, list[Path]] = {stem: [] for stem in ground_truths}
    for path in files:
        if path.stem in stem_of:
            found[stem_of[path.stem]].append(path)
    missing = tuple(stem for stem, paths in found.items() if not paths)
    extra = tuple(path.name for path in files if path.stem not in stem_of)
    return replace(
        unpaired,
        folder=folder,
        maps={stem: paths[0] for stem, paths in found.items() if len(paths) == 1},
        missing=missing,
        extra=extra,
        duplicate=tuple(stem for stem, paths in found.items() if len(paths) > 1),
        hint=_hint_of_names(missing, extra, affixes) or _hint_of_types(folder, missing),
        affixes=affixes,
    )


def _shared_affixes(files: Sequence[str], names: Collection[str]) -> tuple[str, str]:
    """Return the text around the stems that all files share, e.g. ("", "_sal"), or ("", "")."""
    if not set(files).isdisjoint(names):
        return "", ""
    candidates = {
        (files[0][:start], files[0][start + len(name) :])
        for name in names
        for start in range(len(files[0]))
        if files[0].startswith(name, start)
    }
    for before, after in sorted(candidates):
        apart = before[-1:] in _SEPARATORS and after[:1] in _SEPARATORS
        if apart and {before + name + after for name in names}.issuperset(files):
            return before, after
    return "", ""


def _hint_of_types(folder: Path, stems: Collection[str], arrays: bool = False) -> str:
    """Return a hint on unread files that have ``stems`` or, if ``arrays``, are arrays."""
    wanted, read = set(stems), {path.name for path in map_files(folder)}
    found = sorted(
        p.name
        for p in folder.iterdir()
        if (p.stem in wanted or (arrays and p.suffix.lower() in _ARRAYS))
        and p.is_file()
        and p.name not in read
    )
    if not found:
        return ""
    suffix, stem = Path(found[0]).suffix.lower(), Path(found[0]).stem
    fix = f"save them as 8-bit PNG, e.g. {stem}.png"
    if suffix in _ARRAYS:
        fix = f"load them with {_ARRAYS[suffix]}, and save each map as {stem}.png or {stem}.npy"
    elif suffix == ".npy":
        fix = "remove the images, or save the arrays as 8-bit PNG: only one kind of file is read"
    return f"{folder} contains {name_list(found)}: types that are not read as maps. Fix: {fix}"


def _hint_of_names(missing: Sequence[str], extra: Sequence[str], affixes: tuple[str, str]) -> str:
    """Return a hint if maps are probably misnamed, such as "im0_sal.png" for "im0"; else ""."""
    others = {Path(name).stem for name in extra}
    if any(affixes) and (plain := others.intersection(missing)):
        return (
            f"{counted(len(plain), 'map')} found with the names of the images, instead of "
            f"{'STEM'.join(affixes)}. Fix: leave the prefix and the suffix out"
        )
    numbers = {int(stem) for stem in others if stem.isdecimal()}
    for stem, name in product(missing[:_COMPARED], extra):
        other = Path(name).stem
        if (around := _around(stem, other)) is not None:
            alike = sum(around[0] + s + around[1] in others for s in missing)
        elif stem.isdecimal() and other.isdecimal() and int(stem) == int(other):
            alike = sum(s.isdecimal() and int(s) in numbers for s in missing)
        else:
            continue
        fix = f"name maps like their images: {stem}{Path(name).suffix}"
        if any(affixes) and around is not None:
            fix = f"pass the prefix {around[0]!r} and the suffix {around[1]!r}"
        return (
            f"{name} seems to be the map of {stem} ({max(alike, 1)} of {len(missing)} missing maps "
            f"likewise). Fix: {fix}"
        )
    return ""


def _around(stem: str, name: str) -> tuple[str, str] | None:
    """Return the text before and after a stem in a name, or None if the name lacks the stem."""
    before, found, after = name.lower().partition(stem.lower())
    apart = before[-1:] in _SEPARATORS and after[:1] in _SEPARATORS  # "" is in every string
    if not (found and apart):
        return None
    return name[: len(before)], name[len(name) - len(after) :]


def _training_protocol(method_folder: Path) -> object | None:
    """Return the "protocol" of the run.json that tools/test.py writes beside the maps."""
    try:
        text = (method_folder / "run.json").read_text(encoding="utf-8")
        # JSON has no NaN; scores.json must not have NaN either.
        return json.loads(text, parse_constant=str)["protocol"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "run.json not readable"
