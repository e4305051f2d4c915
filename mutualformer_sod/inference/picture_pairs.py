"""Find a user's pictures, and pair them with maps of depth or another modality."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutualformer_sod.data.discovery.pairing import DEPTH_SUFFIXES, bare_stem
from mutualformer_sod.data.modality import DEPTH, Modality, refuse_named_otherwise
from mutualformer_sod.errors import InputError, first_of, name_list, refuse_all
from mutualformer_sod.imaging.photos import PHOTO_SUFFIXES
from mutualformer_sod.imaging.refused import DEPTH_CONTAINERS, REFUSED_SUFFIXES, container_remedy

_NAMED_FILES = 5  # maximum number of files that a message names; other files are counted
_NAMED_GROUPS = 100  # maximum number of listed groups of files with the same stem


@dataclass(frozen=True)
class Picture:
    """The files of a picture and of its map, if any, and the stem of the output names."""

    stem: str
    rgb: Path
    depth: Path | None


def pair_pictures(
    rgb: Sequence[Path], depth: Path | None, modality: Modality = DEPTH
) -> tuple[list[Picture], list[str]]:
    """Pair pictures with their maps by stem.

    Files with equal stems are paired first; then, endings such as ``_rgb`` and ``_depth`` are
    ignored for the other files.

    Args:
        rgb: files, and folders of pictures (without their subfolders).
        depth: the map of a single picture, a folder of maps, or None.
        modality: modality of the maps; messages use its name as the argument's name.

    Returns:
        The pictures, sorted by stem, and remarks for the user.

    Raises:
        InputError: a missing file or folder, no picture, a folder without a matching map, or
            several files with the same stem. All problems are reported at once.
    """
    problems, remarks = [], []
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in rgb:
        if not path.exists():
            problems.append(f"`rgb` {path}: no such file or folder. Fix: check the path")
            continue
        pictures = [path]
        if path.is_dir():
            pictures, others = _split_by_suffix(path, PHOTO_SUFFIXES | REFUSED_SUFFIXES, remarks)
            if others:
                names = _listed(others)
                remarks.append(f"{path}: {names} skipped: the suffix is not that of a picture")
        for picture in pictures:
            by_stem[picture.stem].append(picture)
    problems += _equal_stems("`rgb`: pictures whose outputs would get one name", by_stem)
    if not problems and not by_stem:
        problems = [f"`rgb` {name_list(rgb)}: no picture found. Fix: pass pictures or folders."]
    chosen = {stem: found[0] for stem, found in by_stem.items()}
    depths: dict[str, Path] = {}
    if chosen and depth is not None:
        try:
            depths = _depths_for(chosen, rgb, depth, modality, remarks)
        except InputError as error:
            problems.append(str(error))
    refuse_all(problems)
    return [Picture(stem, chosen[stem], depths.get(stem)) for stem in sorted(chosen)], remarks


def depth_beside(picture: Path) -> Path | None:
    """Return the depth map beside a picture (x_depth.png for x.jpg); None for 0 or several maps."""
    found = [
        path
        for path in picture.parent.iterdir()
        if path.suffix.lower() in DEPTH_SUFFIXES
        and path.stem != picture.stem
        and "depth" in path.stem.lower()
        and bare_stem(path.stem) == bare_stem(picture.stem)
    ]
    return found[0] if len(found) == 1 else None


def _depths_for(
    pictures: dict[str, Path],
    rgb: Sequence[Path],
    depth: Path,
    modality: Modality,
    remarks: list[str],
) -> dict[str, Path]:
    noun, maps = modality.name, modality.maps
    given = f"`{noun}` {depth}"
    if not depth.exists():
        raise InputError(f"{given}: no such file or folder. Fix: check the path.")
    if not depth.is_dir():
        if len(pictures) > 1:
            raise InputError(f"{given}: is one file for several pictures. Fix: pass a folder.")
        return dict.fromkeys(pictures, depth)
    if any(folder.is_dir() and folder.samefile(depth) for folder in rgb):
        remedy = f"move the {maps} to another folder"
        raise InputError(f"{given}: is the folder of the pictures. Fix: {remedy}.")
    refuse_named_otherwise(depth, modality)
    files, others = _split_by_suffix(depth, DEPTH_SUFFIXES, remarks)
    found = _paired(pictures, files, modality)
    containers = [path for path in others if path.suffix.lower() in DEPTH_CONTAINERS]
    unread = _paired(pictures.keys() - found, containers, modality)
    if not found and files:
        problem = f"{given}: no file belongs to a picture: {_listed(files)}"
        raise InputError(f"{problem}. Fix: name {maps} like their pictures (x.jpg, x.png).")
    if not found and containers:
        remedy = container_remedy(containers[0].suffix.lower(), noun)
        raise InputError(f"{given}: unsupported {noun} files: {_listed(containers)}. Fix: {remedy}")
    if not found:
        raise InputError(f"{given}: no {modality.one_map} found. Fix: pass another folder.")
    others = [path for path in others if path not in unread.values()]
    if others:
        kind = modality.one_map
        remarks.append(f"{depth}: {_listed(others)} skipped: the suffix is not that of a {kind}")
    spare = sorted(set(files) - set(found.values()))
    if spare:
        remarks.append(f"{depth}: {_listed(spare)}: no picture matches this {noun}")
    return found | unread  # reading an unsupported container fails with a remedy of its own


def _paired(pictures: Collection[str], files: list[Path], modality: Modality) -> dict[str, Path]:
    """Return the file of each picture, by stem; raise InputError for two files of one picture."""
    by_bare = defaultdict(list)
    for stem in pictures:
        by_bare[bare_stem(stem)].append(stem)
    stems = {bare: own[0] for bare, own in by_bare.items() if len(own) == 1}
    stems |= {stem: stem for stem in pictures}
    found: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        stem = stems.get(file.stem) or stems.get(bare_stem(file.stem))
        if stem is not None:
            found[stem].append(file)
    refuse_all(_equal_stems(f"`{modality.name}`: several {modality.maps} of one picture", found))
    return {stem: own[0] for stem, own in found.items()}


def _split_by_suffix(
    folder: Path, suffixes: frozenset[str], remarks: list[str]
) -> tuple[list[Path], list[Path]]:
    """Return the files with one of the suffixes, and the other visible entries, each sorted."""
    hidden, wanted, others = [], [], []
    for path in sorted(folder.iterdir()):
        has_suffix = path.suffix.lower() in suffixes
        if path.name.startswith("."):
            if has_suffix:
                hidden.append(path)
        elif has_suffix and not path.is_dir():
            wanted.append(path)
        else:
            others.append(path)
    if hidden:
        remarks.append(f"{folder}: {_listed(hidden)} skipped: hidden, the name starts with a dot")
    return wanted, others


def _equal_stems(problem: str, files: Mapping[str, Sequence[Path]]) -> list[str]:
    """Return a list with one message about files with equal stems, or an empty list."""
    groups = [" and ".join(map(str, own)) for _, own in sorted(files.items()) if len(own) > 1]
    message = f"{problem}: {first_of(groups, _NAMED_GROUPS)}. Fix: rename or remove files."
    return [message] if groups else []


def _listed(paths: Sequence[Path]) -> str:
    return first_of([path.name or str(path) for path in paths], _NAMED_FILES)
