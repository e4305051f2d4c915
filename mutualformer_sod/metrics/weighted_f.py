"""Weighted F-measure (Margolin et al., How to evaluate foreground maps?, CVPR 2014)."""

from __future__ import annotations

import cv2
import numpy as np

from mutualformer_sod.metrics.ground_truth import FARTHEST, REACH, GroundTruth

EPS = float(np.spacing(1.0))
SIGMA = 5.0
HALF_LIFE = 5.0  # pixels over which the extra weight of a background error halves


def _gaussian() -> np.ndarray:
    """The 7-tap factor of the separable 7 x 7 Gaussian, sum 1."""
    taps = np.exp(-(np.arange(-REACH, REACH + 1) ** 2) / (2.0 * SIGMA**2))
    return taps / taps.sum()


def _weights() -> np.ndarray:
    """2 - 0.5^(distance / 5) by squared distance; 0 at distance 0, the foreground itself."""
    distance = np.sqrt(np.arange(FARTHEST**2 + 1))
    weights = 2.0 - np.exp(np.log(0.5) / HALF_LIFE * distance)
    weights[0] = 0.0
    return weights


_GAUSSIAN = _gaussian()
_BACKGROUND_WEIGHT = _weights()


def weighted_f(saliency: np.ndarray, gt: GroundTruth) -> float:
    """Return the weighted F-measure with beta^2 = 1, in [0, 1]; 0 for an empty ground truth.

    Errors on the foreground are smoothed by a Gaussian in which a background pixel stands for its
    nearest foreground pixel; errors on the background weigh 2 - 0.5^(distance / 5).

    Args:
        saliency: (H, W) float64 in [0, 1].
        gt: the ground truth; what is found for it is reused for the next map.
    """
    if gt.foreground == 0:
        return 0.0
    missed = _foreground_error(saliency, gt)
    weight = _BACKGROUND_WEIGHT.take(gt.squared_distance, mode="clip")
    false_positive = float(np.multiply(weight, saliency, out=weight).sum())
    true_positive = gt.foreground - missed
    recall = 1.0 - missed / gt.foreground
    precision = true_positive / (true_positive + false_positive + EPS)
    return float(2.0 * recall * precision / (recall + precision + EPS))


def _foreground_error(saliency: np.ndarray, gt: GroundTruth) -> float:
    """Sum over the foreground of the smaller of its error and its smoothed error."""
    window = gt.window
    error = 1.0 - saliency[window]  # right on the foreground; next to it, its neighbour's error
    near, source = gt.nearest_foreground
    flat = error.ravel()
    flat[near] = flat[source]
    smoothed = cv2.sepFilter2D(error, -1, _GAUSSIAN, _GAUSSIAN, borderType=cv2.BORDER_CONSTANT)
    np.minimum(smoothed, error, out=smoothed)
    return float(np.multiply(smoothed, gt.mask[window], out=smoothed).sum())
