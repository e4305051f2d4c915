"""Joint histogram of a map and a ground truth for all default metrics except weighted F.

A saliency map has at most 256 levels, a ground truth has two, and the S-measure splits the image
into four quadrants. A table of 4 x 2 x 256 counts is enough for the mean absolute error, precision,
recall, F, E and S of an image of any size.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import cv2
import numpy as np

from mutualformer_sod.metrics.ground_truth import GroundTruth, Window, bounding_window

LEVELS = 256
_EXACT_COUNT = 1 << 24  # cv2 returns counts as float32, which is exact up to this number


@dataclass(frozen=True)
class JointHistogram:
    """Pixel counts by quadrant, ground truth and level, and the saliency of each level.

    Attributes:
        counts: (4, 2, 256) int64. Quadrants: top left, top right, bottom left, bottom right.
            Ground truth: background, foreground. Level: 0..255 of the 8-bit map.
        values: (256,) float64 in [0, 1], the saliency of a level after normalisation.
        window: rows and columns. Pixels outside this window are background with the lowest level.
    """

    counts: np.ndarray
    values: np.ndarray
    window: Window

    @cached_property
    def pixels(self) -> int:
        """Number of pixels, N."""
        return int(self.counts.sum())

    @cached_property
    def by_class(self) -> np.ndarray:
        """(2, 256) int64 counts over the complete image: background, foreground."""
        return self.counts.sum(axis=0)

    @cached_property
    def quantised_levels(self) -> np.ndarray:
        """The values floor(255 p), (256,) uint8, of the saliency p of each level.

        The product is rounded in float64 before the floor, as in the reference. Exact integer
        arithmetic returns another level in 1.4 % of the (value, minimum, maximum) cases.
        """
        return (self.values * 255).astype(np.uint8)

    @cached_property
    def quantised(self) -> np.ndarray:
        """(2, 256) int64 counts by floor(255 p), the levels at which maps are thresholded."""
        return self.quantise(self.by_class)

    def quantise(self, by_class: np.ndarray) -> np.ndarray:
        """Convert (2, 256) counts by level to (2, 256) int64 counts by floor(255 p)."""
        moved = np.zeros((2, LEVELS), np.int64)
        np.add.at(moved, (slice(None), self.quantised_levels), by_class)
        return moved


def level_values(low: int, high: int, normalize: bool = True) -> np.ndarray:
    """Return the saliency in [0, 1] of each 8-bit level, as (256,) float64.

    The order of the float operations is that of the reference: first v / 255, then the
    stretching to the minimum and maximum of the map, unless the map is constant. Without
    ``normalize``, the values are v / 255. ``low`` and ``high`` are the smallest and the largest
    level of the map.
    """
    values = np.arange(LEVELS) / 255
    if normalize and low != high:
        values = (values - values[low]) / (values[high] - values[low])
    return np.clip(values, 0.0, 1.0)  # levels outside [low, high] do not occur in the map


def joint_histogram(pred: np.ndarray, gt: GroundTruth, normalize: bool = True) -> JointHistogram:
    """Return the joint histogram of a map, (H, W) uint8, and a ground truth of the same size."""
    height, width = gt.shape
    row, column = gt.split
    low, high = int(pred.min()), int(pred.max())
    window = bounding_window((pred != low).view(np.uint8) | gt.bytes)
    counts = np.zeros((4, 2, LEVELS), np.int64)
    sides = (slice(0, row), slice(row, height)), (slice(0, column), slice(column, width))
    for index, (rows, columns) in enumerate(product(*sides)):
        busy = _overlap(rows, window[0]), _overlap(columns, window[1])
        part = pred[busy]
        if part.size:
            counts[index, 0] = _count(part, gt.inverse_bytes[busy])
            counts[index, 1] = _count(part, gt.bytes[busy])
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        counts[index, 0, low] += area - part.size
    return JointHistogram(counts, level_values(low, high, normalize), window)


def _overlap(first: slice, second: slice) -> slice:
    start = max(first.start, second.start)
    return slice(start, max(start, min(first.stop, second.stop)))


def _count(levels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the histogram of the levels under a 0/1 mask, (256,) int64, exact at any size."""
    rows = max(1, _EXACT_COUNT // levels.shape[1])
    total = np.zeros(LEVELS, np.int64)
    for start in range(0, levels.shape[0], rows):
        part = slice(start, start + rows)
        counted = cv2.calcHist([levels[part]], [0], mask[part], [LEVELS], [0, LEVELS])
        total += counted.ravel().astype(np.int64)
    return total
