"""Collect the training and validation images of a training configuration."""

import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutualformer_sod.configs.model import ModelConfig
from mutualformer_sod.configs.options import recorded_options
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.data.audit.file_check import check_training_files
from mutualformer_sod.data.depth.polarity import encodings_by_name, with_encodings
from mutualformer_sod.data.discovery.fingerprint import data_fingerprint
from mutualformer_sod.data.discovery.sets import SodSet, limited, second_modality
from mutualformer_sod.data.discovery.split import hold_out
from mutualformer_sod.data.modality import DEPTH, Encoding, Modality
from mutualformer_sod.data.training.cache import CacheOptions, build_caches
from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.data.training.transforms import Augmentation
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.training import set_roles
from mutualformer_sod.training.sampler import count_replayed, epoch_order

# Ratio of the side of cached images to the training size; crops have 3/4 of a side or more.
_CACHE_SCALE = 1.25


@dataclass
class TrainingData:
    """Datasets of a run, and facts about these datasets for the user and the weights file."""

    train: SodDataset  # augmented
    val: SodDataset | None  # processed as in testing; None without validation images
    pool: int  # number of images at the end of ``train`` for replay
    replayed: int  # number of images that each epoch draws from the pool
    counts: dict[str, int]  # numbers of training and of validation images by set
    val_counts: dict[str, int]
    encodings: dict[str, Encoding]  # of each set
    modality: Modality | None  # of the maps; None if no set has maps
    sees_depth: bool  # False if ``config.modality`` hides the maps from the network
    repeats: dict[str, int]  # times that an epoch uses each image of a set, if above 1
    fingerprint: str  # of all files
    overlap: dict[str, int]  # training images in each test set, if the user allows an overlap
    cache: str  # description of the cache
    remarks: list[str]  # lines about the masks, for the user

    @property
    def epoch_images(self) -> int:
        """Number of images of an epoch."""
        return len(self.train) - self.pool + self.replayed

    def epoch_order(self, seed: int, epoch: int) -> list[int]:
        """Return the indices of an epoch's images in the order of `sampler.epoch_order`."""
        own = len(self.train) - self.pool
        return epoch_order(own, seed, epoch, self.replayed, self.pool)

    def describe(self) -> str:
        """Describe the sets in lines with numbers of images and depth polarity."""
        lines = []
        noun = (self.modality or DEPTH).name
        for name, count in self.counts.items():
            encoding = self.encodings.get(name)
            maps = f"{noun}: {encoding.describe()}" if encoding else f"no {noun}: RGB only"
            maps = maps if self.sees_depth else "RGB only"
            held = self.val_counts.get(name, 0)
            times = f", each {self.repeats[name]} times per epoch" if name in self.repeats else ""
            images = counted(count, "image")
            lines.append(f"train {name}: {images}{times}, {held} held out; {maps}")
        if self.replayed:
            lines.append(f"replay: each epoch has {self.replayed} of {self.pool} earlier images")
        lines += [
            f"validate {name}: {counted(count, 'image')}"
            for name, count in self.val_counts.items()
            if name not in self.counts
        ]
        lines += [
            f"OVERLAP: {counted(count, 'training image')} found in the test set {name}"
            for name, count in self.overlap.items()
        ]
        return "\n".join([*lines, *self.remarks])

    def protocol(self, config: TrainConfig) -> dict[str, Any]:
        """Return the record of the training that a weights file contains."""
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
            "repeat": self.repeats,
            "data_fingerprint": self.fingerprint,
            "test_images_trained_on": self.overlap,
            "cache": self.cache,
            "choice": choice,
            "near": {name: encoding.side for name, encoding in self.encodings.items()},
            "size": self.train.size[0],
            **recorded_options(config),
        }


def gather_training_data(config: TrainConfig, model: ModelConfig) -> TrainingData:
    """Find the sets, decide their depth encodings, and split off the validation images.

    Raises:
        InputError: a set is missing or has no ground truth, a test set would select a checkpoint,
            or `check_training_files` finds files or masks that cannot be used.
    """
    train_sets = limited(set_roles.training_sets(config), config.limit)
    earlier_sets = limited(set_roles.replay_sets(config, train_sets), config.limit)
    trained_sets = [*train_sets, *earlier_sets]
    val_sets = limited(set_roles.validation_sets(config, trained_sets), config.limit)
    repeats = set_roles.parse_repeat(config.repeat, [sod_set.name for sod_set in train_sets])
    overlap = set_roles.count_overlap(config, trained_sets, val_sets)
    sets = [*trained_sets, *val_sets]
    estimated_depth = _estimated_folder(config, train_sets)
    sees_depth = config.modality != "rgb"
    modality = second_modality(sets)
    sets = with_encodings(sets, config.near, quiet=not sees_depth)
    own, trained = len(train_sets), len(trained_sets)
    train_sets, earlier_sets, val_sets = sets[:own], sets[own:trained], sets[trained:]
    first = os.environ.get("RANK", "0") == "0"
    remarks = check_training_files(sets, show_bar=first)
    train_parts, val_parts, counts = [], list(val_sets), {}
    for sod_set in train_sets:
        ratio = 0.0 if val_sets else config.holdout
        by = config.holdout_by
        if by == "auto":  # photographs show different scenes; frames of a depth camera share scenes
            by = "scene" if sod_set.has_depth else "image"
        train, held = hold_out(sod_set.samples, ratio, config.seed, by)
        counts[sod_set.name] = len(train)
        train *= repeats.get(sod_set.name, 1)  # each repetition has its own index and augmentation
        train_parts.append(dataclasses.replace(sod_set, samples=tuple(train)))
        if held:
            val_parts.append(dataclasses.replace(sod_set, samples=tuple(held)))
    pool = sum(len(sod_set.samples) for sod_set in earlier_sets)
    replayed = count_replayed(sum(len(p.samples) for p in train_parts), pool, config.replay)
    counts |= {sod_set.name: len(sod_set.samples) for sod_set in earlier_sets}
    options = _cache_options(config, model)
    common: dict[str, Any] = {"depth_rule": model.depth_rule, "seed": config.seed}
    if options is not None:
        report = print if first else lambda line: None
        common["caches"] = build_caches(sets, options, depth_rule=model.depth_rule, report=report)
    train = SodDataset(
        [*train_parts, *earlier_sets],
        model.image_size,
        augment=Augmentation(
            paste=config.paste,
            invent_depth=config.invent_depth,
            wrong_depth=config.wrong_depth,
            poor_colour=config.poor_colour,
        ),
        depth_dropout=config.depth_dropout,
        estimated_depth=estimated_depth,
        **common,
    )
    return TrainingData(
        train=train,
        val=SodDataset(val_parts, model.image_size, **common) if val_parts else None,
        pool=pool,
        replayed=replayed,
        counts=counts,
        val_counts={part.name: len(part.samples) for part in val_parts},
        encodings=encodings_by_name(sets),
        modality=modality,
        sees_depth=sees_depth,
        repeats=repeats,
        fingerprint=data_fingerprint(sets),
        overlap=overlap,
        cache=f"{config.cache}, at most {options.side} pixels per side" if options else "off",
        remarks=remarks,
    )


def _estimated_folder(config: TrainConfig, sets: Sequence[SodSet]) -> Path | None:
    """Return the folder of estimated depth; None if ``estimated_depth`` is not set.

    Raises:
        InputError: the folder has no subfolder for any training set without depth.
    """
    folder = None if config.estimated_depth is None else Path(config.estimated_depth)
    if folder and not any((folder / s.name).is_dir() for s in sets if not s.has_depth):
        raise InputError(
            f"`estimated_depth` {folder}: has no folder named after a training set without depth. "
            "Fix: write the maps with tools/estimate_depth.py maps."
        )
    return folder


def _cache_options(config: TrainConfig, model: ModelConfig) -> CacheOptions | None:
    if config.cache == "off":
        return None
    side = config.cache_side or math.ceil(_CACHE_SCALE * model.image_size)
    folder = Path(config.cache_dir or Path(config.output).parent / "cache")
    copies = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return CacheOptions(config.cache, side, folder, copies, shared=config.workers > 0)
