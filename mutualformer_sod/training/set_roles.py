"""Find the sets that a training configuration names for training, replay and validation."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.data.discovery.benchmarks import matching_names
from mutualformer_sod.data.discovery.fingerprint import find_overlap
from mutualformer_sod.data.discovery.protocols import discover_benchmarks, discover_protocol
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets
from mutualformer_sod.errors import InputError, counted, name_list


def _discover(config: TrainConfig, names: Sequence[str], split: str) -> list[SodSet]:
    return discover_sets(config.data, names, need_gt=True, need_rgb=True, split=split)


def training_sets(config: TrainConfig) -> list[SodSet]:
    """Find the sets of ``train_sets`` or ``protocol``.

    Raises:
        InputError: both options or neither option is set, or ``data`` lacks a set.
    """
    if config.protocol is None:
        if not config.train_sets:
            found = name_list([item.name for item in discover_sets(config.data, split="train")])
            raise InputError(
                f"no training set is selected from the sets of `data` ({found}). Fix: pass "
                "`train_sets` or `protocol`."
            )
        return _discover(config, config.train_sets, "train")
    if config.train_sets:
        raise InputError("`protocol` and `train_sets` exclude each other. Fix: pass one option.")
    return discover_protocol(config.data, config.protocol)


def replay_sets(config: TrainConfig, train_sets: list[SodSet]) -> list[SodSet]:
    """Find the sets of ``replay_sets``; raise InputError if a set is also a training set."""
    if not config.replay_sets:
        return []
    found = _discover(config, config.replay_sets, "train")
    if twice := sorted({item.name for item in found} & {item.name for item in train_sets}):
        raise InputError(f"`replay_sets` {twice[0]}: also a training set. Fix: leave the set out.")
    return found


def validation_sets(config: TrainConfig, train_sets: list[SodSet]) -> list[SodSet]:
    """Find the sets of ``val_sets``; sets with the name of a training set become ``test/NAME``.

    Raises:
        InputError: a set is a test set and ``choose_on_test_set`` is not set, or a set contains a
            training image.
    """
    if not config.val_sets:
        return []
    val_sets = _discover(config, config.val_sets, "test")
    for sod_set in val_sets:
        if sod_set.usual_count is not None and not config.choose_on_test_set:
            raise InputError(
                f"`val_sets` {sod_set.name} is a test set: its scores are worthless once a "
                "checkpoint is chosen on it. Fix: leave `val_sets` out to use a hold-out of the "
                "training set, or pass `choose_on_test_set`."
            )
    trained, validated = (
        {sample.rgb for item in part for sample in item.samples} for part in (train_sets, val_sets)
    )
    if shared := trained & validated:
        raise InputError(
            f"`val_sets` has {counted(len(shared), 'training image')}, for example {min(shared)}. "
            "Fix: pass other sets."
        )
    # The training and the test part of a set may have different depth encodings.
    taken = {sod_set.name for sod_set in train_sets}
    return [
        dataclasses.replace(item, name=f"test/{item.name}") if item.name in taken else item
        for item in val_sets
    ]


def parse_repeat(items: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Return how many times an epoch uses each image, by set, from values SET=K.

    SET may be an alias or the last part of one of ``names``.

    Raises:
        InputError: a value is not SET=K with K > 0, a set does not exist, or a set occurs twice.
    """
    repeats: dict[str, int] = {}
    for item in items:
        asked, _, times = item.rpartition("=")
        named = matching_names(asked, names)
        if len(named) != 1 or named[0] in repeats or not times.isdecimal() or int(times) < 1:
            raise InputError(
                f"`repeat` {item}: cannot be used. Fix: pass SET=K once per set, where SET is "
                f"one of {', '.join(names)}."
            )
        repeats[named[0]] = int(times)
    return repeats


def count_overlap(
    config: TrainConfig, train_sets: list[SodSet], val_sets: list[SodSet]
) -> dict[str, int]:
    """Count the training images in each test set below ``data`` and in ``val_sets``.

    Raises:
        InputError: a test set contains training images, and ``allow_overlap`` is not set.
    """
    own = {sod_set.root for sod_set in train_sets}
    sets = [*val_sets, *discover_benchmarks(config.data, own)]
    shared = find_overlap(train_sets, sets)
    if shared and not config.allow_overlap:
        train_file, test_file = shared[0]
        raise InputError(
            f"{counted(len(shared), 'training image')} found in a test set, for example "
            f"{train_file}, a copy of {test_file}. Fix: omit the copies, or pass `allow_overlap`, "
            "which the weights record."
        )
    owner = {sample.rgb: item.name for item in sets for sample in item.samples}
    return dict(Counter(owner[test_file] for _, test_file in shared))
