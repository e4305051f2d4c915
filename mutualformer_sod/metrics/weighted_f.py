"""Weighted F-measure (Margolin et al., How to evaluate foreground maps?, CVPR 2014)."""

from __future__ import annotations

import cv2
import numpy as np

from mutualformer_sod.metrics.ground_truth import REACH, GroundTruth, Window, squared
from mutualformer_sod.metrics.joint_histogram import JointHistogram

EPS = float(np.spacing(1.0))
SIGMA = 5.0
HALF_LIFE = 5.0  # pixels over which the extra weight of a background error halves
# Pixels from the foreground's box beyond which a weight is taken as 2: off by at most 2e-7, which
# moves the score by at most 1e-7.
_FARTHEST = 112
_BLOCK = 48  # rows at a time, so that what is computed of them stays in the processor's cache


def _gaussian() -> np.ndarray:
    """The 7-tap factor of the separable 7 x 7 Gaussian, sum 1."""
    taps = np.exp(-(np.arange(-REACH, REACH + 1) ** 2) / (2.0 * SIGMA**2))
    return taps / taps.sum()


def _decay() -> np.ndarray:
    """0.5^(distance / 5) by squared distance; 0 at distance 0, the foreground itself."""
    distance = np.sqrt(np.arange(_FARTHEST**2 + 1))
    decay = np.exp(np.log(0.5) / HALF_LIFE * distance)
    decay[[0, -1]] = 0.0  # the last one serves all that is farther
    return decay


_GAUSSIAN = _gaussian()
_DECAY = _decay()


def weighted_f(levels: np.ndarray, histogram: JointHistogram, gt: GroundTruth) -> float:
    """Return the weighted F-measure with beta^2 = 1, in [0, 1]; 0 for an empty ground truth.

    Errors on the foreground are smoothed by a Gaussian in which a background pixel stands for its
    nearest foreground pixel; errors on the background weigh 2 - 0.5^(distance / 5).

    Args:
        levels: (H, W) uint8 map.
        histogram: the joint histogram of the map and the ground truth.
        gt: the ground truth; what is found for it is reused for the next map.
    """
    if gt.foreground == 0:
        return 0.0
    values = histogram.values
    plain = float((histogram.by_class[0] * values).sum())
    # The background first: it asks for the larger window of distances.
    false_positive = 2.0 * plain - _relief(levels, histogram, gt)
    missed = _foreground_error(levels, values, gt)
    true_positive = gt.foreground - missed
    recall = 1.0 - missed / gt.foreground
    precision = true_positive / (true_positive + false_positive + EPS)
    return float(2.0 * recall * precision / (recall + precision + EPS))


def _foreground_error(levels: np.ndarray, values: np.ndarray, gt: GroundTruth) -> float:
    """Sum over the foreground of the smaller of its error and its smoothed error."""
    # Right on the foreground; next to it, the error is that of the nearest foreground pixel.
    error = cv2.LUT(np.ascontiguousarray(levels[gt.window]), 1.0 - values)
    near, source = gt.nearest_foreground
    flat = error.ravel()
    flat[near] = flat[source]
    smoothed = cv2.sepFilter2D(error, -1, _GAUSSIAN, _GAUSSIAN, borderType=cv2.BORDER_CONSTANT)
    np.minimum(smoothed, error, out=smoothed)
    return float(np.multiply(smoothed, gt.mask[gt.window], out=smoothed).sum())


def _relief(levels: np.ndarray, histogram: JointHistogram, gt: GroundTruth) -> float:
    """Sum over the background of saliency times 0.5^(distance / 5)."""
    values, window = histogram.values, _window_of_relief(histogram, gt)
    distance, levels = gt.distance(window), levels[window]
    total = 0.0
    for start in range(0, len(levels), _BLOCK):
        block = slice(start, start + _BLOCK)
        decay = _DECAY.take(squared(distance[block]), mode="clip")
        saliency = cv2.LUT(np.ascontiguousarray(levels[block]), values)
        total += float(np.multiply(decay, saliency, out=decay).sum())
    return total


def _window_of_relief(histogram: JointHistogram, gt: GroundTruth) -> Window:
    """Rows and columns near the foreground where the map is not 0, and all of gt's own window."""
    # Outside the histogram's window the map is at its lowest level, as a rule 0.
    whole = slice(0, gt.shape[0]), slice(0, gt.shape[1])
    busy = histogram.window if histogram.darkest == 0.0 else whole
    return tuple(
        slice(
            min(own.start, max(used.start, own.start - _FARTHEST)),
            max(own.stop, min(used.stop, own.stop + _FARTHEST)),
        )
        for own, used in zip(gt.window, busy, strict=True)
    )
