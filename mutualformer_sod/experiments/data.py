"""Generate, split or find the training and test images of a comparison.

All variants and seeds use the same images, and no test image is a training image. For each
kind of misleading depth except "hidden", a copy of the test sets has other depth files.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer_sod.data.audit.file_check import check_images
from mutualformer_sod.data.depth.near import chosen_sides
from mutualformer_sod.data.depth.polarity import encodings_by_name, print_maps, with_encodings
from mutualformer_sod.data.discovery.benchmarks import matching_names
from mutualformer_sod.data.discovery.fingerprint import data_fingerprint, find_overlap
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets, limited
from mutualformer_sod.data.discovery.split import hold_out
from mutualformer_sod.data.modality import DEPTH, Modality
from mutualformer_sod.data.synthetic.scenes import SET_NAME, write_samples
from mutualformer_sod.errors import InputError, counted, name_list
from mutualformer_sod.experiments.plan import DATA_FILE, Options, read_data
from mutualformer_sod.files import write_json
from mutualformer_sod.imaging.io import image_size, write_map

SPLIT_SEED = 0
# The released weights used other seeds: 7 for training, 2027 for tests (weights/README.md).
TRAIN_SCENES_SEED, TEST_SCENES_SEED = 9001, 9002
HOLDOUT = 0.2  # default ratio of test images, without other test data
WHOLE, HELD_OUT = "all", "held-out"
_KIND_NAMES = {"depth": "needs depth", "colour": "needs colour", "either": "either"}


def prepare_data(output: Path, options: Options) -> dict[str, Any]:
    """Generate, split or find the images; images of an earlier start are reused.

    Returns:
        "train" and "test", each with "data" (folders), "sets", "near", "images" (by set) and
        "limit" (images per set, or None); the "fingerprint" of all files; and "depths", the test
        part for each kind of test depth except "hidden".

    Raises:
        InputError: the data are unusable, a test image is damaged, an image has changed since the
            start of the comparison, or a test image is also a training image.
    """
    record = read_data(output)
    roots = _roots(output, options, anew=record is None)
    if record is None:
        record = _describe(roots, options)
        check_images(find_sets(record["test"], "test"))  # training checks its own images
        record["depths"] = {
            kind: _write_depths(output / "test_depth" / kind, kind, record["test"])
            for kind in options.test_depth
            if kind != "hidden"
        }
        write_json(output / DATA_FILE, record)
    train, test = find_sets(record["train"], "train"), find_sets(record["test"], "test")
    if data_fingerprint(_both(train, test)) != record["fingerprint"]:
        raise InputError(
            f"`output` {output}: the images have changed since the start (names or sizes of "
            "files). Fix: restore the images, or pass another folder."
        )
    return record


def refuse_mixed(options: Options) -> None:
    """Raise InputError if the maps of the training and test sets have several modalities."""
    if not options.data:
        return
    train = _discover(options.data, options.sets or None, "train")
    tests = [item for root in options.test_data for item in _discover([root], None, "test")]
    named: dict[Modality, list[str]] = {}
    for item in [*train, *tests]:
        if item.modality is not None:
            named.setdefault(item.modality, []).append(item.name)
    if not any(item.modality for item in train):
        named.setdefault(DEPTH, ["expected by networks that were trained without maps"])
    if len(named) > 1:
        found = "; ".join(f"{modality.maps}: {name_list(own)}" for modality, own in named.items())
        raise InputError(
            f"`data`: the sets have maps of several modalities ({found}), not of one. "
            "Fix: pass `sets` and `test_data` of one modality."
        )


def _roots(output: Path, options: Options, anew: bool) -> tuple[list[str], list[str]]:
    """Return the folders of training and test sets; create folders of generated or split sets."""
    if options.test_data and options.holdout is None:
        return list(options.data), list(options.test_data)
    folder = output / ("split" if options.data else "scenes")
    train, test = folder / "train", folder / "test"
    if not options.data:
        write_samples(train, options.scenes, TRAIN_SCENES_SEED, overwrite=anew)
        write_samples(test, options.test_scenes, TEST_SCENES_SEED, overwrite=anew)
    elif anew:
        _split(folder, options)
    return [str(train)], [*options.test_data, str(test)]


def find_sets(sources: dict[str, Any], split: str) -> list[SodSet]:
    """Find the sets of one part of the record of `prepare_data`."""
    return limited(_discover(sources["data"], sources["sets"], split), sources.get("limit"))


def groups_of(sod_set: str, stem: str, sources: dict[str, Any]) -> list[str]:
    """Return the groups of an image.

    The groups are "all", the set of the image if there are several sets, and the kind of a
    generated scene, in which its stem ends. If there are several test folders, the only group of an
    image is its folder. ``sources`` is the test part of the record of `prepare_data`.
    """
    if sod_set in sources.get("folders", {}):
        return [sources["folders"][sod_set]]
    kind = stem.rpartition("_")[2]
    groups = [WHOLE] if len(sources["sets"]) == 1 else [WHOLE, sod_set]
    if sod_set.rpartition("/")[2] == SET_NAME and kind in _KIND_NAMES:
        groups.append(_KIND_NAMES[kind])
    return groups


def _describe(roots: tuple[list[str], list[str]], options: Options) -> dict[str, Any]:
    """Find training and test sets, and decide their depth encodings once for all runs."""
    near = options.near if options.data else ("white",)  # polarity of generated scenes
    wanted = options.sets or None
    is_split = bool(options.data) and roots[0] != list(options.data)
    train = _discover(roots[0], None if is_split else wanted, "train")
    # Both parts of a set together have more evidence than one part.
    whole = _discover(options.data, wanted, "train") if is_split else train
    tests = [_discover([root], None, "test") for root in roots[1]]
    held_out = tests[-1] if is_split else []
    others = [item for sets in (tests[:-1] if is_split else tests) for item in sets]
    # An error is raised if a name in --near does not match exactly one set, or if --near sets a
    # polarity although no set has depth.
    every = [*whole, *others]
    chosen_sides([item.name for item in every], near, any(item.has_depth for item in every))
    train_near, test_near = _decide_near(whole, near), _decide_near(others, near)
    names = {item.name for item in held_out}
    test_near += [item for item in train_near if item.rpartition("=")[0] in names]
    _refuse_overlap(train, others)
    train = limited(train, options.limit)
    test = limited([*others, *held_out], options.test_limit)
    parts = {
        "train": _part(roots[0], train, train_near) | {"limit": options.limit},
        "test": _part(roots[1], test, test_near) | {"limit": options.test_limit},
    }
    if len(tests) > 1:
        labels = [Path(root).name for root in options.test_data] + [HELD_OUT] * is_split
        parts["test"]["folders"] = {
            item.name: label for label, sets in zip(labels, tests, strict=True) for item in sets
        }
    return parts | {"fingerprint": data_fingerprint(_both(train, test))}


def _discover(roots: Sequence[str], names: Sequence[str] | None, split: str) -> list[SodSet]:
    return discover_sets(roots, names, need_rgb=True, need_gt=True, split=split)


def _part(roots: Sequence[str], sets: Sequence[SodSet], near: list[str]) -> dict[str, Any]:
    images = {item.name: len(item.samples) for item in sets}
    return {"data": list(roots), "sets": list(images), "near": near, "images": images}


def _write_depths(folder: Path, kind: str, sources: dict[str, Any]) -> dict[str, Any]:
    """Write copies of the test sets with misleading depth; return the record of the copies."""
    shutil.rmtree(folder, ignore_errors=True)  # files of an interrupted start
    for item in find_sets(sources, "test"):
        count = len(item.samples)
        if not item.has_depth or count == 1:
            continue
        _link(folder / item.name, item, ("rgb", "gt"))
        depths = folder / item.name / item.modality.folder
        depths.mkdir()
        for number, sample in enumerate(item.samples):
            if kind == "exchanged":  # half a set away: neighbours may be frames of one scene
                other = item.samples[(number + count // 2) % count].depth
                (depths / f"{sample.stem}{other.suffix}").symlink_to(other.resolve())
            else:
                drawn = _drawn(kind, image_size(sample.rgb), number)
                write_map(depths / f"{sample.stem}.png", drawn)
    record = _part([str(folder)], _discover([str(folder)], None, "test"), sources["near"])
    return record | {"folders": sources.get("folders", [])}


def _drawn(kind: str, size: tuple[int, int], seed: int) -> np.ndarray:
    """Draw a map (H, W) in [0, 1] without information on the scene."""
    if kind == "noise":
        return np.random.default_rng(seed).random(size)
    flat = np.full(size, 0.5)
    flat[0, 0], flat[-1, -1] = 0, 1  # a constant map counts as missing
    return flat


def _both(train: Iterable[SodSet], test: Iterable[SodSet]) -> list[SodSet]:
    """Return training and test sets, with the prefix "test/" in the names of test sets."""
    return [*train, *(replace(item, name=f"test/{item.name}") for item in test)]


def _decide_near(sets: Sequence[SodSet], near: Sequence[str]) -> list[str]:
    """Decide the polarity of each set with depth, using ``near``; return "SET=POLARITY"."""
    names = [item.name for item in sets]
    own = [
        item for item in near if "=" not in item or matching_names(item.rpartition("=")[0], names)
    ]
    sets = with_encodings(sets, own if any(item.has_depth for item in sets) else ())
    print_maps(sets)
    encodings = encodings_by_name(sets)
    return [f"{n}={encoding.side}" for n, encoding in encodings.items() if encoding.near != "none"]


def _refuse_overlap(train: Sequence[SodSet], test: Sequence[SodSet]) -> None:
    shared = find_overlap(train, test)
    if shared:
        raise InputError(
            f"`test_data`: {len(shared)} of its images are training images, for example "
            f"{shared[0][1]} equals {shared[0][0]}. Fix: remove copies from `data`, or pass other "
            "`sets`."
        )


def _split(folder: Path, options: Options) -> None:
    """Split the sets by scene, and link the training and test files in two folders."""
    parts: dict[str, list[SodSet]] = {"train": [], "test": []}
    whole = _discover(options.data, options.sets or None, "train")
    chosen = [name for asked in options.holdout_sets for name in _named(asked, whole)]
    for item in whole:
        is_split = item.name in chosen if chosen else item.has_depth or not options.test_data
        ratio = (options.holdout or HOLDOUT) if is_split else 0.0
        train, test = hold_out(item.samples, ratio, SPLIT_SEED)
        parts["train"].append(replace(item, samples=tuple(train)))
        if test:
            parts["test"].append(replace(item, samples=tuple(test)))
    if not parts["test"]:
        raise InputError(
            "`data`: no set can be split: each has one image or, with `test_data`, no depth. "
            "Fix: pass `test_data` without `holdout`."
        )
    # Two scenes may contain copies of the same image.
    copies = {path for path, _ in find_overlap(parts["train"], parts["test"])}
    if copies:
        left_out = counted(len(copies), "training image")
        print(f"split: {left_out} left out (copies of test images)")
    for name, sets in parts.items():
        shutil.rmtree(folder / name, ignore_errors=True)  # links of an interrupted start
        for item in sets:
            kept = [sample for sample in item.samples if sample.rgb not in copies]
            _link(folder / name / item.name, replace(item, samples=tuple(kept)))


def _named(asked: str, sets: Sequence[SodSet]) -> list[str]:
    names = [item.name for item in sets]
    found = matching_names(asked, names)
    if not found:
        raise InputError(
            f"`holdout_sets` {asked}: names no set. Fix: pass one of {', '.join(names)}."
        )
    return found


def _link(folder: Path, sod_set: SodSet, roles: Iterable[str] = ("rgb", "depth", "gt")) -> None:
    labels = {"rgb": "RGB", "gt": "GT", "depth": sod_set.modality and sod_set.modality.folder}
    for role in roles:
        files = [getattr(sample, role) for sample in sod_set.samples]
        if files and files[0] is not None:
            target = folder / labels[role]
            target.mkdir(parents=True)
            for file in files:
                (target / file.name).symlink_to(file.resolve())
