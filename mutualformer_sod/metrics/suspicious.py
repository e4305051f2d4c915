"""Find maps and ground truths that are probably wrong although they can be scored."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_saliency
from mutualformer_sod.imaging.masks import read_mask
from mutualformer_sod.metrics.evaluator import ImageScores
from mutualformer_sod.metrics.pair import CONSTANT_MAP, EMPTY_GT, FULL_GT

_LEVELS = np.arange(256)
_POOR_IOU = 0.3  # maps with a larger IoU are not suspected
_KEPT = 40  # number of maps of a set, those with the lowest IoU, that are compared in pairs
_SIDE = 32  # side of the compared thumbnails in pixels
_GOOD_FIT, _GAIN = 0.6, 0.4  # minimum correlation with the other ground truth, and gain


def suspicions(image: ImageScores) -> list[str]:
    """Return the kinds of errors that a map probably has.

    - "black": all black, although the image has foreground.
    - "constant": constant, but not black.
    - "zero_one": only the values 0 and 1, scored as v/255.
    - "inverted": the mean is higher on the background than on the foreground.
    """
    if CONSTANT_MAP in image.flags:
        if image.brightest > 0:
            return ["constant"]
        return [] if EMPTY_GT in image.flags else ["black"]
    found = ["zero_one"] if image.brightest <= 1 else []
    if EMPTY_GT in image.flags or FULL_GT in image.flags:
        return found
    on_background, on_foreground = image.quantised @ _LEVELS / image.quantised.sum(axis=1)
    return [*found, "inverted"] if on_background > on_foreground else found


@dataclass(frozen=True)
class Thumbnails:
    """A map and its ground truth, small enough to compare many pairs.

    Attributes:
        shapes: (H, W) in pixels of the map and of the ground truth.
        saliency, mask: (32, 32) float64, mean 0 and norm 1; all 0 if constant.
    """

    shapes: tuple[tuple[int, int], tuple[int, int]]
    saliency: np.ndarray
    mask: np.ndarray

    @classmethod
    def of(cls, saliency: np.ndarray, mask: np.ndarray) -> Thumbnails:
        """Shrink a map (H, W) uint8 and its ground truth (H, W) bool."""
        shapes = saliency.shape, mask.shape
        return cls(shapes, _thumbnail(saliency), _thumbnail(mask * np.uint8(255)))


def is_suspect(iou: float) -> bool:
    """Return whether the IoU is so small that the map may belong to another image."""
    return iou < _POOR_IOU


class SwapSearch:
    """The maps of one method on one set that may be swapped, those with the lowest IoU.

    The map of each image of a swapped pair matches the ground truth of the other far better.
    """

    def __init__(self) -> None:
        self._poorest: list[tuple[float, str, Path, Path, Thumbnails | None]] = []

    def add(
        self, stem: str, iou: float, map_path: Path, gt_path: Path, thumbnails: Thumbnails | None
    ) -> None:
        """Add a map of a set.

        Only the maps with the lowest IoU are stored. The files of a map without thumbnails are read
        later.
        """
        if is_suspect(iou):
            heapq.heappush(self._poorest, (-iou, stem, map_path, gt_path, thumbnails))
            if len(self._poorest) > _KEPT:
                heapq.heappop(self._poorest)

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of stems whose maps are probably swapped."""
        suspects = []
        for _, stem, map_path, gt_path, thumbnails in sorted(self._poorest, key=lambda e: e[1]):
            if thumbnails is None:
                try:
                    saliency, mask = read_saliency(map_path), read_mask(gt_path).foreground
                except InputError:
                    continue
                thumbnails = Thumbnails.of(saliency, mask)
            suspects.append((stem, thumbnails))
        return [
            (first, second)
            for (first, one), (second, other) in combinations(suspects, 2)
            if one.shapes == other.shapes and _fits_better(one, other) and _fits_better(other, one)
        ]


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Resize an image to 32 x 32 with mean 0 and norm 1, or with all values 0 if constant."""
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    small -= small.mean()
    return small / (np.sqrt((small**2).sum()) or 1.0)


def _fits_better(one: Thumbnails, other: Thumbnails) -> bool:
    """Return whether the map of ``one`` matches ``other.mask`` far better than ``one.mask``."""
    own = float((one.saliency * one.mask).sum())
    foreign = float((one.saliency * other.mask).sum())
    return foreign > _GOOD_FIT and foreign - own > _GAIN
