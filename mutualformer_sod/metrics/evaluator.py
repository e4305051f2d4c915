"""All measures of one map, and their aggregation over a set of images.

evaluator = Evaluator()
for pred, gt in pairs:
    evaluator.step(pred, gt)
print(evaluator.results()["s_measure"])
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.e_measure import e_measure
from mutualformer_sod.metrics.f_measure import (
    adaptive_f,
    counts_above,
    f_score,
    precision_recall,
    threshold_counts,
)
from mutualformer_sod.metrics.ground_truth import GroundTruth
from mutualformer_sod.metrics.joint_histogram import JointHistogram, joint_histogram
from mutualformer_sod.metrics.mae import mae
from mutualformer_sod.metrics.overlap import overlap
from mutualformer_sod.metrics.s_measure import s_measure
from mutualformer_sod.metrics.weighted_f import weighted_f

MEASURES_VERSION = 1  # of the numbers: raised when any of them changes, so that caches notice

# Averaged over the images as they are; the maxima and means of curves are not, see `results`.
MEAN_MEASURES = (
    "mae",
    "s_measure",
    "adaptive_f",
    "weighted_f",
    "adaptive_e",
    "adaptive_precision",
    "adaptive_recall",
    "iou",
    "dice",
    "ber",
)
CURVES = ("precision", "recall", "f", "e")
_TIE = 1e-9  # distance to a threshold far above the rounding of a mean, far below that of levels
# What the per-image file notes; the S-measure adds empty_quadrant and constant_quadrant.
EMPTY_GT, FULL_GT = "empty_gt", "full_gt"
CONSTANT_MAP, RESIZED, SINGLE_PIXEL = "constant_map", "resized", "single_pixel"
OTHER_ASPECT = "other_aspect"  # resized from another aspect ratio: perhaps another image's map
_ASPECT_TOLERANCE = 0.03  # relative; rounding a small map's sides explains no more


@dataclass(frozen=True)
class ImageScores:
    """The measures of one map.

    Attributes:
        scores: measure -> value; of the curves their own maximum and mean over the 256 thresholds.
        quantised: (2, 256) int64 counts by floor(255 p), background and foreground: the curves'
            source, kept because a set averages curves before it takes a maximum.
        flags: what was special about the pair, e.g. "empty_gt" or "resized".
    """

    scores: dict[str, float]
    quantised: np.ndarray
    flags: tuple[str, ...]

    @cached_property
    def curves(self) -> dict[str, np.ndarray]:
        """Precision, recall, F and E at the thresholds 255..0, each (256,) float64."""
        return threshold_curves(self.quantised)


def threshold_curves(quantised: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall, F and E at the thresholds 255..0 from (2, 256) counts by level."""
    precision, recall = precision_recall(quantised)
    false_positive, true_positive = threshold_counts(quantised)
    area, pixels = int(quantised[1].sum()), int(quantised.sum())
    e = e_measure(true_positive, false_positive, area, pixels)
    return {"precision": precision, "recall": recall, "f": f_score(precision, recall), "e": e}


def score_image(
    pred: np.ndarray,
    gt: np.ndarray | GroundTruth,
    *,
    normalize: bool = True,
    with_weighted_f: bool = True,
) -> ImageScores:
    """Compute every measure of one saliency map.

    Args:
        pred: (H, W) map: uint8, or bool, or float in [0, 1], which is rounded to 8 bits as a map
            written to a file would be. Resized bilinearly where its size is not the ground truth's.
        gt: (H, W) bool or uint8 (foreground > 128), or a `GroundTruth` shared by several maps.
        normalize: stretch the map to its own minimum and maximum.
        with_weighted_f: compute the weighted F too, half of the time.

    Raises:
        InputError: wrong rank, type or range, or values that are not finite.
    """
    gt = gt if isinstance(gt, GroundTruth) else GroundTruth(np.asarray(gt))
    levels = _eight_bits(np.asarray(pred))
    flags = []
    if levels.shape != gt.shape:
        flags.append(RESIZED)
        stretch = levels.shape[0] * gt.shape[1] / (levels.shape[1] * gt.shape[0])
        if abs(np.log(stretch)) > _ASPECT_TOLERANCE:
            flags.append(OTHER_ASPECT)
        levels = cv2.resize(levels, gt.shape[::-1], interpolation=cv2.INTER_LINEAR)
    histogram = joint_histogram(levels, gt, normalize)
    s, s_flags = s_measure(histogram)
    scores = {"mae": mae(histogram), "s_measure": s}
    scores |= _binary_measures(histogram, adaptive_threshold(histogram, levels))
    if with_weighted_f:
        scores["weighted_f"] = weighted_f(levels, histogram, gt)
    flags += [*_plain_flags(histogram, gt), *s_flags]
    image = ImageScores(scores, histogram.quantised, tuple(flags))
    for name in ("f", "e"):
        scores[f"max_{name}"] = float(image.curves[name].max())
        scores[f"mean_{name}"] = float(image.curves[name].mean())
    return image


def _eight_bits(pred: np.ndarray) -> np.ndarray:
    """The map as contiguous (H, W) uint8."""
    if pred.ndim != 2 or pred.size == 0:
        raise InputError(f"saliency map must be a non-empty (H, W) array, got {pred.shape}")
    if pred.dtype == np.uint8:
        return np.ascontiguousarray(pred)
    if pred.dtype == np.bool_:
        return pred.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(pred.dtype, np.floating):
        raise InputError(f"saliency map must be uint8, bool or float in [0, 1], got {pred.dtype}")
    if not (pred.min() >= 0 and pred.max() <= 1):  # false for NaN too
        raise InputError("float saliency map must be finite and in [0, 1]; apply the sigmoid first")
    return np.rint(pred.astype(np.float64) * 255).astype(np.uint8)


def adaptive_threshold(histogram: JointHistogram, levels: np.ndarray) -> float:
    """Return min(2 mean p, 1), with the reference's rounding where that matters.

    The histogram gives the mean but for its last bits. They count only where a level lies on the
    threshold; the mean of the float map itself is then taken, as the reference does.
    """
    values = histogram.values
    counts = histogram.by_class.sum(axis=0)
    threshold = 2.0 * float((counts * values).sum() / histogram.pixels)
    if np.abs(values[counts > 0] - threshold).min() < _TIE:
        threshold = 2.0 * float(cv2.LUT(levels, values).mean())
    return min(threshold, 1.0)


def _binary_measures(histogram: JointHistogram, threshold: float) -> dict[str, float]:
    """Measures of the map binarised at the adaptive threshold, and at one half."""
    area, pixels = int(histogram.by_class[1].sum()), histogram.pixels
    hit, false_alarm = counts_above(histogram, threshold)
    f, precision, recall = adaptive_f(hit, false_alarm, area)
    e = float(e_measure(hit, false_alarm, area, pixels))
    hit, false_alarm = counts_above(histogram, 0.5, strict=True)
    iou, dice, ber = overlap(hit, false_alarm, area, pixels)
    return {
        "adaptive_f": f,
        "adaptive_precision": precision,
        "adaptive_recall": recall,
        "adaptive_e": e,
        "iou": iou,
        "dice": dice,
        "ber": ber,
    }


def _plain_flags(histogram: JointHistogram, gt: GroundTruth) -> list[str]:
    flags = []
    if gt.foreground == 0:
        flags.append(EMPTY_GT)
    elif gt.foreground == histogram.pixels:
        flags.append(FULL_GT)
    if np.count_nonzero(histogram.by_class.sum(axis=0)) == 1:
        flags.append(CONSTANT_MAP)
    if histogram.pixels == 1:
        flags.append(SINGLE_PIXEL)
    return flags


class Evaluator:
    """Streaming scores of one method on one set; its memory does not grow with the images.

    Args:
        normalize: stretch every map to its own minimum and maximum first (both protocols exist in
            the literature; say which).
        with_weighted_f: compute the weighted F too, half of the time.
    """

    def __init__(self, normalize: bool = True, with_weighted_f: bool = True) -> None:
        self.normalize = normalize
        self.with_weighted_f = with_weighted_f
        self.images = 0
        self.flags: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        self._curves = {name: np.zeros(256) for name in CURVES}

    def step(self, pred: np.ndarray, gt: np.ndarray | GroundTruth) -> ImageScores:
        """Score one map and add it; arguments as in `score_image`."""
        image = score_image(
            pred, gt, normalize=self.normalize, with_weighted_f=self.with_weighted_f
        )
        self.add(image)
        return image

    def add(self, image: ImageScores) -> None:
        """Add the scores of one map, computed here or elsewhere.

        Raises:
            ValueError: a score is not finite; it would spoil every mean.
        """
        wanted = [n for n in MEAN_MEASURES if n != "weighted_f" or self.with_weighted_f]
        broken = [name for name in wanted if not math.isfinite(image.scores[name])]
        if broken:
            raise ValueError(f"scores that are not finite: {', '.join(broken)}")
        for name in wanted:
            self._sums[name] += image.scores[name]
        for name, curve in image.curves.items():
            self._curves[name] += curve
        self.flags.update(image.flags)
        self.images += 1

    def merge(self, other: Evaluator) -> None:
        """Add another shard of the same evaluation.

        Raises:
            ValueError: the other evaluator normalises or measures otherwise.
        """
        mine = (self.normalize, self.with_weighted_f)
        if mine != (other.normalize, other.with_weighted_f):
            raise ValueError("evaluators with different settings cannot be merged")
        self._sums.update(other._sums)
        for name, curve in other._curves.items():
            self._curves[name] += curve
        self.flags.update(other.flags)
        self.images += other.images

    def curves(self) -> dict[str, np.ndarray]:
        """Mean precision, recall, F and E at the thresholds 255..0, each (256,) float64.

        Raises:
            InputError: no image was added.
        """
        if self.images == 0:
            raise InputError("no image was scored")
        return {name: curve / self.images for name, curve in self._curves.items()}

    def results(self) -> dict[str, float]:
        """Scores of the set: "images" and one plain float a measure.

        Curves are averaged over the images before their maximum or mean over the 256 thresholds is
        taken. "max_f_of_mean_pr" is the literature's other convention: F of the averaged precision
        and recall; the two differ by up to .04.

        Raises:
            InputError: no image was added.
        """
        curves = self.curves()
        scores: dict[str, float] = {"images": self.images}
        scores |= {name: self._sums[name] / self.images for name in self._sums}
        for name in ("f", "e"):
            scores[f"max_{name}"] = float(curves[name].max())
            scores[f"mean_{name}"] = float(curves[name].mean())
        of_mean = f_score(curves["precision"], curves["recall"])
        scores["max_f_of_mean_pr"] = float(of_mean.max())
        return scores
