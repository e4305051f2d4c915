"""Dataset of the samples of one or several sets, as tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from mutualformer_sod.data.depth.encoding import DepthRule, without_flat
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.modality import Encoding
from mutualformer_sod.data.sample import Sample, read_sample
from mutualformer_sod.data.training.cache import SetCache
from mutualformer_sod.data.training.copy_paste import add_twin, paste_object
from mutualformer_sod.data.training.pseudo_depth import invent_depth, mislead
from mutualformer_sod.data.training.transforms import Augmentation, augment_sample, resize_sample
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import check_size, image_size, read_depth

_ESTIMATED = 0.75  # ratio of invented maps with estimated surroundings


@dataclass(eq=False, repr=False)
class SodDataset(Dataset):
    """Samples of several sets, in the order of the sets.

    Each item is a dictionary:

    - ``rgb``: (3, h, w) float32 in [0, 1].
    - ``depth``: (1, h, w) float32 in [0, 1], near = 1, or a map of another modality; zeros if
      missing.
    - ``has_depth``: bool, true for a map that is read or invented; false for a missing, constant or
      empty map.
    - ``gt``: (1, h, w) float32 in [0, 1]; only with ``with_gt`` and ground truth in every set.
    - ``name``: ``"<set>/<stem>"``.
    - ``native_size``: (H, W) of the colour image and the ground truth.
    - ``key``: int64 drawn from (seed, epoch, index), for other random choices about the item.

    An item depends on (seed, epoch, index), but not on the workers or on a resumption of the run.

    Raises:
        InputError: a set has no colour images.
        ValueError: a set has depth but no encoding.
    """

    sets: InitVar[Sequence[SodSet]]  # with colour images; with encodings if they have depth
    size: int | tuple[int, int]  # (h, w) of the items, or one number for both
    _: KW_ONLY
    depth_rule: DepthRule = "minmax"  # of `depth.encoding.depth_to_unit`; not for cached maps
    augment: Augmentation | None = None  # training augmentations; None only resizes
    with_gt: bool = True  # whether ground truth is read if every set has ground truth
    seed: int = 0  # seed of the augmentations and of depth dropout
    depth_dropout: float = 0.0  # probability that an image loses its depth, drawn again each epoch
    # Folder of estimated maps SET/STEM.png, near = white. The map of an image, if any, replaces the
    # invented surroundings with probability `_ESTIMATED`.
    estimated_depth: Path | None = None
    # Caches by the name of the set, from `cache.build_caches`; other sets are read from files.
    caches: Mapping[str, SetCache] | None = None

    def __post_init__(self, sets: Sequence[SodSet]) -> None:
        self._items: list[tuple[str, Sample, Encoding | None]] = []
        self._peers: dict[str, range] = {}  # indices of the items of each set
        for sod_set in sets:
            if sod_set.samples and not sod_set.has_rgb:
                raise InputError(f"{sod_set.root} has no colour images. Fix: add an RGB folder")
            if sod_set.has_depth and sod_set.encoding is None:
                raise ValueError(f"{sod_set.name} has no depth encoding. Fix: call with_encodings")
            start = len(self._items)
            self._items += [(sod_set.name, item, sod_set.encoding) for item in sod_set.samples]
            self._peers[sod_set.name] = range(start, len(self._items))
        self.size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        self.with_gt = self.with_gt and all(sod_set.has_gt for sod_set in sets)
        # Shared memory lets a worker that outlives an epoch read the next epoch number.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch number, on which the random augmentations depend."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def names(self) -> list[str]:
        """Names ``SET/STEM`` of all items."""
        return [f"{set_name}/{sample.stem}" for set_name, sample, _ in self._items]

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]  # accept negative indices; a seed must not be negative
        set_name, sample, _ = self._items[index]
        sequence = np.random.SeedSequence([self.seed, int(self._epoch), index])
        rng = np.random.default_rng(sequence)
        with_depth = rng.random() >= self.depth_dropout
        rgb, depth, gt, native_size = self._load(index, with_depth)
        strength = self.augment or Augmentation()  # its zero ratios draw no random numbers
        is_depth = depth is not None and sample.modality.has_polarity

        def drawn(ratio: float) -> bool:
            return ratio > 0 and rng.random() < ratio

        if is_depth and gt is not None and drawn(strength.paste):
            donor = self._load(int(rng.choice(self._peers[set_name])))
            if donor[1] is not None:
                rgb, depth, gt = paste_object((rgb, depth, gt), donor[:3], rng)
        twinned = False
        if depth is None and with_depth and gt is not None and drawn(strength.invent_depth):
            depth = invent_depth(gt, rng, self._estimated(index, gt.shape, rng))
            if twinned := rng.random() < strength.twin:
                rgb, depth, gt = add_twin((rgb, depth, gt), rng)
        # In an image with a twin, only depth identifies the ground truth: depth must be right.
        misled = not twinned and depth is not None and drawn(strength.wrong_depth)
        if misled:
            peer = int(rng.choice(self._peers[set_name]))
            depth = mislead(depth, lambda: self._load(peer)[1], rng)
        if self.augment is None:
            rgb_tensor, depth_tensor, gt_tensor = resize_sample(rgb, depth, gt, self.size)
        else:
            rgb_tensor, depth_tensor, gt_tensor = augment_sample(
                *(rgb, depth, gt, self.size, rng, strength),
                depth_is_right=not misled,
                degradations=sample.modality.degradations,
            )
        item = {
            "rgb": rgb_tensor,
            "depth": torch.zeros(1, *self.size) if depth_tensor is None else depth_tensor,
            "has_depth": depth_tensor is not None,
            "name": f"{set_name}/{sample.stem}",
            "native_size": native_size,
            # A spawned sequence makes the key independent of the numbers drawn from rng.
            "key": int(sequence.spawn(1)[0].generate_state(1, np.uint64).view(np.int64)[0]),
        }
        return item if gt_tensor is None else item | {"gt": gt_tensor}

    def _estimated(
        self, index: int, size: tuple[int, int], rng: np.random.Generator
    ) -> np.ndarray | None:
        """Return estimated depth (h, w) of an image with probability `_ESTIMATED`, else None."""
        if self.estimated_depth is None or rng.random() >= _ESTIMATED:
            return None
        set_name, sample, _ = self._items[index]
        path = self.estimated_depth / set_name / f"{sample.stem}.png"
        if not path.exists():
            return None
        stored = read_depth(path)
        unit = np.float32(stored) / np.iinfo(stored.dtype).max
        return cv2.resize(unit, size[::-1], interpolation=cv2.INTER_LINEAR)

    def _load(
        self, index: int, with_depth: bool = True
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, tuple[int, int]]:
        """Load colours, depth in [0, 1] (None if constant), ground truth and native size."""
        set_name, sample, encoding = self._items[index]
        if self.caches and set_name in self.caches:
            rgb, depth, gt, native_size = self.caches[set_name].read(sample.stem)
            depth = without_flat(depth) if with_depth and depth is not None else None
            return rgb, depth, gt if self.with_gt else None, native_size
        wanted = replace(
            sample,
            depth=sample.depth if with_depth else None,
            gt=sample.gt if self.with_gt else None,
        )
        rgb, depth, gt = read_sample(wanted)
        if gt is None and sample.gt is not None:
            # Predictions have the colour image's size, so the ground truth must have this size.
            check_size(sample.gt, image_size(sample.gt), sample.rgb, rgb.shape[:2])
        if depth is not None:
            depth = without_flat(sample.modality.to_unit(depth, encoding, self.depth_rule))
        return rgb, depth, gt, rgb.shape[:2]
