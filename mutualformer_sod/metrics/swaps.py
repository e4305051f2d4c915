"""Maps that were probably swapped: each fits the other image's ground truth far better."""

from __future__ import annotations

import heapq
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.images import read_ground_truth, read_saliency

_POOR_IOU = 0.3  # maps that overlap their ground truth more than this are not suspected
_KEPT = 40  # the poorest maps of a set that are compared with each other's ground truths
_SIDE = 32  # pixels of the thumbnails that are compared
_GOOD_FIT, _GAIN = 0.6, 0.4  # correlation with the other's ground truth, and its lead over its own


class SwapSearch:
    """Collects the poorest maps of one method on one set, and finds swapped pairs among them."""

    def __init__(self) -> None:
        self._poorest: list[tuple[float, str, Path, Path]] = []

    def add(self, stem: str, iou: float, map_path: Path, gt_path: Path) -> None:
        """Note a map; only the poorest are kept."""
        if iou < _POOR_IOU:
            heapq.heappush(self._poorest, (-iou, stem, map_path, gt_path))
            if len(self._poorest) > _KEPT:
                heapq.heappop(self._poorest)

    def pairs(self) -> list[tuple[str, str]]:
        """Return the stems of maps that each fit the other's ground truth far better."""
        thumbnails = []
        for _, stem, map_path, gt_path in sorted(self._poorest, key=lambda entry: entry[1]):
            try:
                saliency, mask = read_saliency(map_path), read_ground_truth(gt_path)[0]
            except InputError:
                continue
            shapes = saliency.shape, mask.shape
            thumbnails.append((stem, shapes, _thumbnail(saliency), _thumbnail(mask * 255.0)))
        return [
            (first[0], second[0])
            for first, second in combinations(thumbnails, 2)
            if first[1] == second[1] and _fits_better(first, second) and _fits_better(second, first)
        ]


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """The image at 32 x 32, of mean 0 and norm 1; all 0 if it is constant."""
    small = cv2.resize(image.astype(np.float64), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    small -= small.mean()
    norm = float(np.sqrt((small**2).sum()))
    return small / norm if norm > 0 else small


def _fits_better(one: tuple, other: tuple) -> bool:
    """Whether the map of one image fits the ground truth of the other far better than its own."""
    own, foreign = float((one[2] * one[3]).sum()), float((one[2] * other[3]).sum())
    return foreign > _GOOD_FIT and foreign - own > _GAIN
