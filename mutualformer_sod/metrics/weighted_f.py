"""Weighted F-measure (Margolin et al., How to evaluate foreground maps?, CVPR 2014)."""

import cv2
import numpy as np

from mutualformer_sod.metrics.ground_truth import REACH, GroundTruth, Window, squared
from mutualformer_sod.metrics.joint_histogram import JointHistogram
from mutualformer_sod.metrics.pair import MapPair

EPS = float(np.spacing(1.0))
SIGMA = 5.0
HALF_LIFE = 5.0  # pixels over which 2 minus the weight of a background error halves
# Distance in pixels from the foreground's box beyond which a weight is set to 2. The error of the
# weight is at most 2e-7, which changes the score by at most 1e-7.
_FARTHEST = 112
_BLOCK = 48  # rows at a time, so that intermediate arrays fit the processor's cache

# Factor of the separable 7 x 7 Gaussian, (7,), sum 1.
_GAUSSIAN = np.exp(-(np.arange(-REACH, REACH + 1) ** 2) / (2.0 * SIGMA**2))
_GAUSSIAN /= _GAUSSIAN.sum()
# 0.5^(distance / 5) by squared distance. The first entry is for the foreground itself, and the last
# entry is for all larger distances.
_DECAY = np.exp(np.log(0.5) / HALF_LIFE * np.sqrt(np.arange(_FARTHEST**2 + 1)))
_DECAY[[0, -1]] = 0.0


def weighted_f(pair: MapPair) -> float:
    """Return the weighted F-measure in [0, 1] with beta^2 = 1, or 0 for an empty ground truth.

    Errors on the foreground are smoothed by a Gaussian. For the smoothing, a background pixel gets
    the error of the nearest foreground pixel. Errors on the background have the weight
    2 - 0.5^(distance / 5).
    """
    levels, histogram, gt = pair.levels, pair.histogram, pair.gt
    if gt.foreground == 0:
        return 0.0
    values = histogram.values
    plain = float((histogram.by_class[0] * values).sum())
    # The background comes first: its distances are stored for a larger window, and the foreground
    # reuses them.
    false_positive = 2.0 * plain - _relief(levels, histogram, gt)
    missed = _foreground_error(levels, values, gt)
    true_positive = gt.foreground - missed
    recall = 1.0 - missed / gt.foreground
    precision = true_positive / (true_positive + false_positive + EPS)
    return float(2.0 * recall * precision / (recall + precision + EPS))


def _foreground_error(levels: np.ndarray, values: np.ndarray, gt: GroundTruth) -> float:
    """Return the sum over the foreground of the smaller of error and smoothed error."""
    # A background pixel gets the error of the nearest foreground pixel.
    error = cv2.LUT(np.ascontiguousarray(levels[gt.window]), 1.0 - values)
    near, source = gt.nearest_foreground
    flat = error.ravel()
    flat[near] = flat[source]
    smoothed = cv2.sepFilter2D(error, -1, _GAUSSIAN, _GAUSSIAN, borderType=cv2.BORDER_CONSTANT)
    np.minimum(smoothed, error, out=smoothed)
    return float(np.multiply(smoothed, gt.mask[gt.window], out=smoothed).sum())


def _relief(levels: np.ndarray, histogram: JointHistogram, gt: GroundTruth) -> float:
    """Return the sum over the background of saliency times 0.5^(distance / 5)."""
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
    """Return a window that covers `gt.window` and the pixels near it where the map is not 0."""
    # Outside the histogram's window the map has its lowest level, usually 0.
    whole = slice(0, gt.shape[0]), slice(0, gt.shape[1])
    lowest = histogram.values[histogram.by_class.any(axis=0)].min()
    busy = histogram.window if lowest == 0.0 else whole
    return tuple(
        slice(
            min(own.start, max(used.start, own.start - _FARTHEST)),
            max(own.stop, min(used.stop, own.stop + _FARTHEST)),
        )
        for own, used in zip(gt.window, busy, strict=True)
    )
