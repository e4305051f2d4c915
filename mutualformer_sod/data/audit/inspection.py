"""Inspect the files of samples, in several processes."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.data.depth.holes import find_holes
from mutualformer_sod.data.depth.kind import DepthSample
from mutualformer_sod.data.depth.structure import is_unrelated
from mutualformer_sod.data.modality import DEPTH
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_rgb
from mutualformer_sod.imaging.masks import read_mask
from mutualformer_sod.workers import worker_pool

_CHUNK = 16  # images per task

HASH_BITS = 128  # 64 of a difference hash (dHash) and 64 of a cosine hash (pHash)
THUMBNAIL = 16  # side in pixels of the thumbnail of a descriptor


@dataclass
class Inspected:
    """Content of the files of one sample, with None for a missing or unreadable file."""

    sample: Sample
    errors: dict[str, str] = field(default_factory=dict)  # error message by role
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # (H, W) by role
    content: bytes | None = None  # hash of the file of the colour image
    descriptor: np.ndarray | None = None  # from `describe_picture`, of the colour image
    depth: DepthSample | None = None
    unrelated: bool = False  # whether the depth edges are unrelated to the colour image
    depth_range: tuple[float, float] | None = None  # least and largest finite value of the map
    gt_note: str | None = None  # interpretation of the mask, see `imaging.masks.read_mask`
    gt_ratio: float | None = None  # ratio of foreground pixels in the mask


def describe_picture(rgb: np.ndarray) -> np.ndarray:
    """Compute a descriptor of an image (H, W, 3) uint8 that hardly depends on size and encoding.

    The descriptor is (272,) uint8: 16 bytes of hash, then a grey thumbnail of 16 x 16 pixels.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    steps = cv2.resize(small, (9, 8), interpolation=cv2.INTER_AREA)
    waves = cv2.dct(cv2.resize(small, (32, 32), interpolation=cv2.INTER_AREA))[:8, :8].ravel()
    bits = np.concatenate([(steps[:, 1:] > steps[:, :-1]).ravel(), waves > np.median(waves[1:])])
    side = (THUMBNAIL, THUMBNAIL)
    thumbnail = np.rint(cv2.resize(small, side, interpolation=cv2.INTER_AREA)).astype(np.uint8)
    return np.concatenate([np.packbits(bits), thumbnail.ravel()])


def inspect_image(sample: Sample) -> Inspected:
    """Read the files of one sample, and record errors instead of raising them."""
    found = Inspected(sample)
    pixels: dict[str, np.ndarray] = {}
    for role, inspect in (("rgb", _inspect_rgb), ("depth", _inspect_depth), ("gt", _inspect_gt)):
        if path := getattr(sample, role):
            try:
                pixels[role] = inspect(found, path)
                found.sizes[role] = pixels[role].shape[:2]
            except InputError as error:
                found.errors[role] = str(error)
    if pixels.keys() >= {"rgb", "depth"} and sample.modality == DEPTH:
        found.unrelated = is_unrelated(pixels["rgb"], pixels["depth"])
    return found


def inspect_images(samples: Sequence[Sample], workers: int) -> Iterator[Inspected]:
    """Inspect samples in order, in ``workers`` processes; 1 uses only the current process."""
    workers = min(workers, -(-len(samples) // _CHUNK))
    if workers <= 1:
        yield from map(inspect_image, samples)
    else:
        with worker_pool(workers) as pool:
            yield from pool.map(inspect_image, samples, chunksize=_CHUNK)


def _inspect_rgb(found: Inspected, path: Path) -> np.ndarray:
    rgb = read_rgb(path)
    found.content = hashlib.sha256(path.read_bytes()).digest()
    found.descriptor = describe_picture(rgb)
    return rgb


def _inspect_depth(found: Inspected, path: Path) -> np.ndarray:
    depth = found.sample.modality.read(path)
    found.depth = DepthSample.of(depth)
    values = depth[~find_holes(depth, metric=False)]
    found.depth_range = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    return depth


def _inspect_gt(found: Inspected, path: Path) -> np.ndarray:
    mask, found.gt_note = read_mask(path)
    found.gt_ratio = float(mask.mean())
    return mask
