"""Training and test images of a comparison: generated, split by scene, or two folders of sets.

All variants and seeds use the same images, and no image is in both parts.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mutualformer_sod.data.audit.file_check import check_images
from mutualformer_sod.data.depth.polarity import encodings_by_name, with_encodings
from mutualformer_sod.data.discovery.benchmarks import matching_names
from mutualformer_sod.data.discovery.fingerprint import data_fingerprint, find_overlap
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets
from mutualformer_sod.data.discovery.split import hold_out
from mutualformer_sod.data.synthetic.scenes import KINDS, SET_NAME, write_samples
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments.plan import DATA_FILE, Options, read_data
from mutualformer_sod.files import write_json

SPLIT_SEED = 0
# Other seeds than those of the released weights: 0 for training, 2027 for tests.
TRAIN_SCENES_SEED, TEST_SCENES_SEED = 9001, 9002
WHOLE = "all"
_ROLES = {"rgb": "RGB", "depth": "depth", "gt": "GT"}
_KIND_NAMES = {"depth": "needs depth", "colour": "needs colour", "either": "either"}


def prepare_data(output: Path, options: Options) -> dict[str, Any]:
    """Generate, split or find the images; those of an earlier start are used again.

    Returns:
        "train" and "test", each with "data" (folders), "sets", "near" and "images" (by set), and a
        "fingerprint" of all files.

    Raises:
        InputError: unusable data, damaged test images, images that changed since the start, or test
            images that are also training images.
    """
    path = output / DATA_FILE
    record = read_data(output)
    if options.test_data:
        roots = (list(options.data), list(options.test_data))
    else:
        folder = output / ("split" if options.data else "scenes")
        train_root, test_root = folder / "train", folder / "test"
        if not options.data:
            anew = record is None
            write_samples(train_root, options.scenes, TRAIN_SCENES_SEED, overwrite=anew)
            write_samples(test_root, options.test_scenes, TEST_SCENES_SEED, overwrite=anew)
        elif record is None:
            _split(folder, options)
        roots = ([str(train_root)], [str(test_root)])
    if record is None:
        record = _describe(roots, options)
        check_images(find_sets(record["test"], "test"))  # training checks its own
        write_json(path, record)
    train, test = find_sets(record["train"], "train"), find_sets(record["test"], "test")
    if data_fingerprint(_both(train, test)) != record["fingerprint"]:
        raise InputError(
            f"`output` {output}: the images changed since the start (names or sizes of files). "
            "Fix: restore them, or pass another folder."
        )
    return record


def find_sets(sources: dict[str, Any], split: str) -> list[SodSet]:
    """Find the sets of one part of the record of `prepare_data`."""
    return discover_sets(sources["data"], sources["sets"], need_rgb=True, need_gt=True, split=split)


def groups_of(sod_set: str, stem: str, sets: int) -> list[str]:
    """Return the groups that an image is scored in: all, its set and its kind.

    Args:
        sod_set: name of its set.
        stem: of the image; the stem of a generated scene ends in its kind.
        sets: number of test sets.
    """
    kind = stem.rpartition("_")[2]
    groups = [WHOLE] if sets == 1 else [WHOLE, sod_set]
    if sod_set.rpartition("/")[2] == SET_NAME and kind in KINDS:
        groups.append(_KIND_NAMES[kind])
    return groups


def _describe(roots: tuple[list[str], list[str]], options: Options) -> dict[str, Any]:
    """Find the sets of both parts; decide their depth encodings once for all runs."""
    if options.data and not options.test_data:
        # Decided on the whole sets, which are more evidence than a part.
        whole = discover_sets(options.data, options.sets or None, split="train")
        train = discover_sets(roots[0], need_rgb=True, need_gt=True, split="train")
        test = discover_sets(roots[1], need_rgb=True, need_gt=True)
        near = _decide_near(whole, options.near)
        near = [near, [n for n in near if n.rpartition("=")[0] in {s.name for s in test}]]
    else:
        train = discover_sets(roots[0], options.sets or None, split="train")
        test = discover_sets(roots[1])
        given = options.near if options.data else ["white"]  # as scenes are drawn
        near = [_decide_near(part, _near_of(part, given)) for part in (train, test)]
        _refuse_overlap(train, test)
    parts = {
        name: {
            "data": root,
            "sets": [item.name for item in sets],
            "near": sides,
            "images": {item.name: len(item.samples) for item in sets},
        }
        for name, root, sets, sides in zip(
            ("train", "test"), roots, (train, test), near, strict=True
        )
    }
    return parts | {"fingerprint": data_fingerprint(_both(train, test))}


def _both(train: Iterable[SodSet], test: Iterable[SodSet]) -> list[SodSet]:
    """Return all sets, those of the test part under other names."""
    return [*train, *(replace(item, name=f"test/{item.name}") for item in test)]


def _decide_near(sets: Sequence[SodSet], near: Sequence[str]) -> list[str]:
    encodings = encodings_by_name(with_encodings(sets, near))
    for name, encoding in encodings.items():
        print(f"{name}: {encoding.noun} {encoding.describe()}")
    return [f"{n}={encoding.near}" for n, encoding in encodings.items() if encoding.near != "none"]


def _near_of(sets: Sequence[SodSet], near: Sequence[str]) -> list[str]:
    """Return the values of ``near`` without a set, or for one of these sets."""
    names = [item.name for item in sets]
    return [
        item for item in near if "=" not in item or matching_names(item.rpartition("=")[0], names)
    ]


def _refuse_overlap(train: Sequence[SodSet], test: Sequence[SodSet]) -> None:
    shared = find_overlap(train, test)
    if shared:
        raise InputError(
            f"`test_data`: {len(shared)} of its images are training images, for example "
            f"{shared[0][1]} is {shared[0][0]}. Fix: remove them from `data`, or pass other `sets`."
        )


def _split(folder: Path, options: Options) -> None:
    """Link the files of each set's training and test part in two folders."""
    parts: dict[str, list[SodSet]] = {"train": [], "test": []}
    wanted = options.sets or None
    for item in discover_sets(options.data, wanted, need_rgb=True, need_gt=True, split="train"):
        train, test = hold_out(item.samples, options.holdout, SPLIT_SEED)
        parts["train"].append(replace(item, samples=tuple(train)))
        if test:
            parts["test"].append(replace(item, samples=tuple(test)))
    if not parts["test"]:
        raise InputError("`data`: sets of one image cannot be split. Fix: pass `test_data`.")
    # Two scenes may hold copies of one image.
    copies = {path for path, _ in find_overlap(parts["train"], parts["test"])}
    if copies:
        print(f"split: {len(copies)} training images are copies of test images: left out")
    for name in ("train", "test"):
        shutil.rmtree(folder / name, ignore_errors=True)  # links of an interrupted start
        for item in parts[name]:
            kept = [sample for sample in item.samples if sample.rgb not in copies]
            _link(folder / name / item.name, replace(item, samples=tuple(kept)))


def _link(folder: Path, sod_set: SodSet) -> None:
    for role, label in _ROLES.items():
        files = [getattr(sample, role) for sample in sod_set.samples]
        label = "T" if role == "depth" and sod_set.thermal else label
        if files and files[0] is not None:
            (folder / label).mkdir(parents=True)
            for file in files:
                (folder / label / file.name).symlink_to(file.resolve())
