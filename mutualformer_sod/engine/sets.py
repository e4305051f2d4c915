"""From a training configuration to the images to train on and those to validate on."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutualformer_sod.config import ModelConfig
from mutualformer_sod.data.cache import CacheOptions, SetCache, build_caches
from mutualformer_sod.data.dataset import SodDataset
from mutualformer_sod.data.depth import DepthEncoding, decide_encodings
from mutualformer_sod.data.layout import SodSet, discover_protocol, discover_sets
from mutualformer_sod.data.split import hold_out
from mutualformer_sod.errors import InputError
from mutualformer_sod.training_config import TrainConfig

_CACHE_SCALE = 1.25  # side of cached images, as a multiple of the training size


@dataclass
class TrainingData:
    """Datasets of a run and how they came about.

    Attributes:
        train: augmented.
        val: as in testing; None where nothing is held out.
        counts: training images by set; val_counts: validation images by set.
        encodings: how each set stores depth.
    """

    train: SodDataset
    val: SodDataset | None
    counts: dict[str, int]
    val_counts: dict[str, int]
    encodings: dict[str, DepthEncoding]

    def describe(self) -> str:
        """The sets with their counts and depth polarity, for the screen."""
        lines = []
        for name, count in self.counts.items():
            encoding = self.encodings.get(name)
            depth = encoding.describe() if encoding else "no depth: RGB only"
            held = self.val_counts.get(name, 0)
            lines.append(f"train {name}: {count} images, {held} held out; depth: {depth}")
        lines += [
            f"validate {name}: {count} images"
            for name, count in self.val_counts.items()
            if name not in self.counts
        ]
        return "\n".join(lines)

    def protocol(self, config: TrainConfig) -> dict[str, Any]:
        """What weights trained on these images are stamped with."""
        if config.val_sets:
            choice = f"best epoch on {', '.join(config.val_sets)}"
            if config.choose_on_test_set:
                choice += " (CHOSEN ON A TEST SET)"
        elif self.val is not None:
            choice = f"best epoch on a seeded hold-out of {len(self.val)} training images"
        else:
            choice = "last epoch"
        return {
            "name": config.protocol or "custom",
            "train_images": self.counts,
            "val_images": self.val_counts,
            "choice": choice,
            "near": {name: encoding.near for name, encoding in self.encodings.items()},
            "preset": config.preset,
            "size": self.train.size[0],
            "multi_scale": config.multi_scale,
            "batch_size": config.batch_size,
            "lr": config.lr,
            "loss": config.loss,
            "amp": config.amp,
            "modality": config.modality,
            "depth_dropout": config.depth_dropout,
            "seed": config.seed,
            "pretrained": config.pretrained,
        }


def gather_training_data(config: TrainConfig, model: ModelConfig) -> TrainingData:
    """Find the sets, decide their depth encodings, and split off what validates.

    Raises:
        InputError: sets missing, without ground truth, or test sets used to choose a checkpoint.
    """
    train_sets = _training_sets(config)
    val_sets = _validation_sets(config, train_sets)
    encodings = decide_encodings([*train_sets, *val_sets], config.near)
    train_sets = [dataclasses.replace(s, triplets=s.triplets[: config.limit]) for s in train_sets]
    train_parts, val_parts = [], list(val_sets)
    for sod_set in train_sets:
        share = 0.0 if val_sets else config.holdout
        train, held = hold_out(sod_set.triplets, share, config.seed, config.holdout_by)
        train_parts.append(dataclasses.replace(sod_set, triplets=tuple(train)))
        if held:
            val_parts.append(dataclasses.replace(sod_set, triplets=tuple(held)))
    common = {"encodings": encodings, "depth_rule": model.depth_rule, "seed": config.seed}
    common["caches"] = _caches([*train_sets, *val_sets], config, model, encodings)
    train = SodDataset(
        train_parts, model.image_size, augment=True, depth_dropout=config.depth_dropout, **common
    )
    val = SodDataset(val_parts, model.image_size, **common) if val_parts else None
    return TrainingData(
        train,
        val,
        {part.name: len(part.triplets) for part in train_parts},
        {part.name: len(part.triplets) for part in val_parts},
        encodings,
    )


def _caches(
    sets: list[SodSet],
    config: TrainConfig,
    model: ModelConfig,
    encodings: dict[str, DepthEncoding],
) -> dict[str, SetCache]:
    """Whole sets, before anything is held out: another hold-out finds the same files."""
    if config.cache == "off":
        return {}
    # A crop takes up to an eighth from each end of a side: 3/4 of it or more are left.
    side = config.cache_side or math.ceil(_CACHE_SCALE * model.image_size)
    folder = Path(config.cache_dir or Path(config.output).parent / "cache")
    options = CacheOptions(config.cache, side, folder)
    return build_caches(sets, options, encodings=encodings, depth_rule=model.depth_rule)


def _training_sets(config: TrainConfig) -> list[SodSet]:
    if config.protocol is None:
        if not config.train_sets:
            raise InputError("nothing to train on: give --train-sets A B, or --protocol NAME")
        return discover_sets(
            config.data, config.train_sets, need_gt=True, need_rgb=True, split="train"
        )
    if config.train_sets:
        raise InputError("--protocol names its training sets itself: leave --train-sets out")
    return discover_protocol(config.data, config.protocol)


def _validation_sets(config: TrainConfig, train_sets: list[SodSet]) -> list[SodSet]:
    if not config.val_sets:
        return []
    val_sets = discover_sets(config.data, config.val_sets, need_gt=True, need_rgb=True)
    for sod_set in val_sets:
        if sod_set.usual_count is not None and not config.choose_on_test_set:
            raise InputError(
                f"--val-sets {sod_set.name} is a test set: choosing a checkpoint on it makes its "
                "scores worthless; leave --val-sets out (a hold-out of the training set is used), "
                "or say --choose-on-test-set"
            )
    shared = {item.rgb for s in train_sets for item in s.triplets} & {
        item.rgb for s in val_sets for item in s.triplets
    }
    if shared:
        raise InputError(
            f"--val-sets holds {len(shared)} training images, for example {min(shared)}"
        )
    # The training and the test part of a set are two sets, whose depth may be stored differently.
    taken = {sod_set.name for sod_set in train_sets}
    return [
        dataclasses.replace(item, name=f"test/{item.name}") if item.name in taken else item
        for item in val_sets
    ]
