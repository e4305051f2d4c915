"""Maps that were probably swapped: each fits the other image's ground truth far better."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.masks import read_mask
from mutualformer_sod.imaging.saliency import read_saliency

_POOR_IOU = 0.3  # maps that overlap their ground truth more than this are not suspected
_KEPT = 40  # the poorest maps of a set that are compared with each other's ground truths
_SIDE = 32  # pixels of the thumbnails that are compared
_GOOD_FIT, _GAIN = 0.6, 0.4  # correlation with the other's ground truth, and its lead over its own


@dataclass(frozen=True)
class Thumbnails:
    """What is compared of a map and its ground truth.

    Attributes:
        shapes: (H, W) in pixels of the map and of the ground truth.
        saliency, mask: (32, 32) float64, of mean 0 and norm 1; all 0 where constant.
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
    """Whether a map overlaps its ground truth so little that it may be another image's."""
    return iou < _POOR_IOU


class SwapSearch:
    """Collects the poorest maps of one method on one set, and finds swapped pairs among them."""

    def __init__(self) -> None:
        self._poorest: list[tuple[float, str, Path, Path, Thumbnails | None]] = []

    def add(
        self, stem: str, iou: float, map_path: Path, gt_path: Path, thumbnails: Thumbnails | None
    ) -> None:
        """Note a map; only the poorest are kept. Without thumbnails it is read again, if need be.

        Args:
            stem: of the image, unlike any other's.
            iou: of the map and its ground truth.
            map_path, gt_path: their files.
            thumbnails: where the images were at hand.
        """
        if is_suspect(iou):
            heapq.heappush(self._poorest, (-iou, stem, map_path, gt_path, thumbnails))
            if len(self._poorest) > _KEPT:
                heapq.heappop(self._poorest)

    def pairs(self) -> list[tuple[str, str]]:
        """Return the stems of maps that each fit the other's ground truth far better."""
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
    """The image at 32 x 32, of mean 0 and norm 1; all 0 if it is constant."""
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float64)
    small -= small.mean()
    norm = float(np.sqrt((small**2).sum()))
    return small / norm if norm > 0 else small


def _fits_better(one: Thumbnails, other: Thumbnails) -> bool:
    """Whether the map of one image fits the ground truth of the other far better than its own."""
    own = float((one.saliency * one.mask).sum())
    foreign = float((one.saliency * other.mask).sum())
    return foreign > _GOOD_FIT and foreign - own > _GAIN
