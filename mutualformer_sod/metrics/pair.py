"""One saliency map and its ground truth, with the quantities that the metrics share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import to_levels
from mutualformer_sod.metrics.ground_truth import GroundTruth
from mutualformer_sod.metrics.joint_histogram import JointHistogram, joint_histogram

# Flags of the per-image file; the S-measure adds empty_quadrant and constant_quadrant.
EMPTY_GT, FULL_GT = "empty_gt", "full_gt"
CONSTANT_MAP, RESIZED, SINGLE_PIXEL = "constant_map", "resized", "single_pixel"
OTHER_ASPECT = "other_aspect"  # resized from another aspect ratio: perhaps another image's map
_ASPECT_TOLERANCE = 0.03  # relative; the rounding of a small map's sides stays below it
_TIE = 1e-9  # tolerance: above the rounding of a mean, below the distance of two levels


@dataclass(frozen=True)
class Counts:
    """Pixel counts of a map that is binarised at one or many thresholds.

    Attributes:
        true_positive, false_positive: foreground and background pixels at or above the threshold,
            int or (T,) int64.
        area: foreground pixels of the ground truth.
        pixels: pixels of the image.
    """

    true_positive: np.ndarray | int
    false_positive: np.ndarray | int
    area: int
    pixels: int

    @classmethod
    def of_thresholds(cls, quantised: np.ndarray) -> Counts:
        """Count at the thresholds 255..0, given counts as in `JointHistogram.quantised`."""
        false_positive, true_positive = np.cumsum(quantised[:, ::-1], axis=1)
        return cls(true_positive, false_positive, int(quantised[1].sum()), int(quantised.sum()))

    @classmethod
    def at(cls, by_class: np.ndarray, chosen: np.ndarray, pixels: int, outside: int = 0) -> Counts:
        """Sum (2, 256) counts over the chosen levels, and add ``outside`` background pixels."""
        false_positive, true_positive = by_class[:, chosen].sum(axis=1).tolist()
        return cls(true_positive, false_positive + outside, int(by_class[1].sum()), pixels)

    @property
    def true_negative(self) -> np.ndarray | int:
        """Background pixels below the threshold."""
        return self.pixels - self.area - self.false_positive

    @property
    def false_negative(self) -> np.ndarray | int:
        """Foreground pixels below the threshold."""
        return self.area - self.true_positive


class MapPair:
    """A saliency map and its ground truth, with quantities that are computed at the first use.

    Args:
        pred: (H, W) map: uint8, bool, or float in [0, 1], which is rounded to 8 bits as in a file.
            A map that differs in size from the ground truth is resized bilinearly.
        gt: (H, W) bool or uint8 (foreground > 128), or a `GroundTruth` shared by several maps.
        normalize: stretch the map to its own minimum and maximum.

    Attributes:
        levels: (H, W) uint8, the map at the size of the ground truth.
        flags: special conditions of the pair, e.g. "resized"; a metric may add flags.

    Raises:
        InputError: an array has a wrong rank, type or range, or values that are not finite.
    """

    def __init__(
        self, pred: np.ndarray, gt: np.ndarray | GroundTruth, normalize: bool = True
    ) -> None:
        self.gt = gt if isinstance(gt, GroundTruth) else GroundTruth(np.asarray(gt))
        levels = _eight_bits(np.asarray(pred))
        self.flags: list[str] = []
        if levels.shape != self.gt.shape:
            self.flags.append(RESIZED)
            stretch = levels.shape[0] * self.gt.shape[1] / (levels.shape[1] * self.gt.shape[0])
            if abs(np.log(stretch)) > _ASPECT_TOLERANCE:
                self.flags.append(OTHER_ASPECT)
            levels = cv2.resize(levels, self.gt.shape[::-1], interpolation=cv2.INTER_LINEAR)
        self.levels = levels
        self.histogram = joint_histogram(levels, self.gt, normalize)
        if self.gt.foreground == 0:
            self.flags.append(EMPTY_GT)
        elif self.gt.foreground == self.histogram.pixels:
            self.flags.append(FULL_GT)
        if np.count_nonzero(self.histogram.by_class.sum(axis=0)) == 1:
            self.flags.append(CONSTANT_MAP)
        if self.histogram.pixels == 1:
            self.flags.append(SINGLE_PIXEL)

    @cached_property
    def adaptive_threshold(self) -> float:
        """The adaptive threshold min(2 mean p, 1)."""
        by_class, values = self.histogram.by_class, self.histogram.values
        return adaptive_threshold(by_class, self.histogram, lambda: cv2.LUT(self.levels, values))

    @cached_property
    def adaptive(self) -> Counts:
        """Counts at the adaptive threshold: p >= threshold."""
        return self._count(self.histogram.values >= self.adaptive_threshold)

    @cached_property
    def half(self) -> Counts:
        """Counts at the threshold one half: p > 0.5."""
        return self._count(self.histogram.values > 0.5)

    @cached_property
    def half_map(self) -> np.ndarray:
        """The map binarised at p > 0.5, (H, W) uint8 of 0 and 1, which must not be changed."""
        return self.binary(self.histogram.values > 0.5)

    @cached_property
    def quantised_map(self) -> np.ndarray:
        """The map as floor(255 p), (H, W) uint8."""
        return cv2.LUT(self.levels, self.histogram.quantised_levels)

    def binary(self, chosen: np.ndarray) -> np.ndarray:
        """Return a binary map, (H, W) uint8, that is 1 at the levels ``chosen``, (256,) bool."""
        return cv2.LUT(self.levels, chosen.view(np.uint8))

    def _count(self, chosen: np.ndarray) -> Counts:
        return Counts.at(self.histogram.by_class, chosen, self.histogram.pixels)


def adaptive_threshold(
    by_class: np.ndarray, histogram: JointHistogram, float_map: Callable[[], np.ndarray]
) -> float:
    """Return the adaptive threshold min(2 mean p, 1) of a map with the counts ``by_class``.

    The mean computed from the counts may be wrong in the last bits. If a level equals the
    threshold, the mean of the float map, (H, W), is used, as in the reference.
    """
    counts, values = by_class.sum(axis=0), histogram.values
    threshold = 2.0 * float((counts * values).sum() / histogram.pixels)
    if np.abs(values[counts > 0] - threshold).min() < _TIE:
        threshold = 2.0 * float(float_map().mean())
    return min(threshold, 1.0)


def _eight_bits(pred: np.ndarray) -> np.ndarray:
    """Return the map as contiguous (H, W) uint8."""
    if pred.ndim != 2 or pred.size == 0:
        raise InputError(
            f"the saliency map has shape {pred.shape}. Fix: pass a non-empty (H, W) array."
        )
    if pred.dtype == np.uint8:
        return np.ascontiguousarray(pred)
    if pred.dtype == np.bool_:
        return pred.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(pred.dtype, np.floating):
        raise InputError(
            f"the saliency map has type {pred.dtype}. Fix: pass uint8, bool or float in [0, 1]."
        )
    if not (pred.min() >= 0 and pred.max() <= 1):  # false for NaN too
        raise InputError(
            "the float saliency map has values outside [0, 1] or NaN. Fix: apply the sigmoid first."
        )
    return to_levels(pred)
