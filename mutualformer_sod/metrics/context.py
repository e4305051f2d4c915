"""Context-measure (Wang et al., Context-measure: Contextualizing Metric for Camouflage, 2025).

The surroundings of a pixel are weighted by a Gaussian with the scaled covariance of the foreground.
Salient pixels are scored by the foreground around them, and foreground pixels are scored by the
saliency around them.
"""

import math

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.camouflage import camouflage_degree
from mutualformer_sod.metrics.ground_truth import GroundTruth, bounding_window, once
from mutualformer_sod.metrics.pair import MapPair
from mutualformer_sod.metrics.registry import hidden_metric

EPS = float(np.spacing(1.0))
_ALPHA = 6.0  # pixels: root of the summed variances of the Gaussian
_SCALE = math.e / (math.e - 1.0)


@once
def _kernel(gt: GroundTruth) -> np.ndarray:
    """Return the Gaussian of the scaled foreground covariance, with odd sides and the sum 1."""
    if gt.foreground <= 1:
        return _gaussian(np.diag([0.25, 0.25]), 1, 1)
    covariance = np.cov(np.argwhere(gt.mask), rowvar=False)
    variances = np.where(np.diag(covariance) == 0.0, EPS, np.diag(covariance))
    np.fill_diagonal(covariance, variances)
    total = np.sqrt(variances.sum())
    reach = [round(3 * _ALPHA * float(np.sqrt(v)) / float(total)) for v in variances]
    covariance = _ALPHA**2 * covariance / total**2
    try:
        with np.errstate(all="ignore"):
            kernel = _gaussian(covariance, *reach)
    except np.linalg.LinAlgError:
        kernel = np.array([[np.nan]])
    if np.isfinite(kernel).all():
        return kernel
    # The foreground is one oblique line, where the reference fails: use only the variances.
    return _gaussian(np.diag(np.diag(covariance)), *reach)


def _gaussian(covariance: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return exp(-x' C^-1 x / 2) on a grid (2 rows + 1, 2 columns + 1), divided by the sum."""
    inverse = np.linalg.inv(covariance)
    x, y = np.ogrid[-rows : rows + 1, -columns : columns + 1]
    mixed = (inverse[0, 1] + inverse[1, 0]) * x * y
    weights = np.exp(-0.5 * (inverse[0, 0] * x**2 + mixed + inverse[1, 1] * y**2))
    weights /= 2 * np.pi * np.sqrt(np.linalg.det(covariance))
    return weights / weights.sum()


@once
def _surroundings(gt: GroundTruth) -> np.ndarray:
    """Return the Gaussian mean of the mask at each pixel, (H, W) float32 as in the reference."""
    return cv2.filter2D(gt.mask.astype(np.float32), cv2.CV_32F, _kernel(gt))


def context_measure(pair: MapPair) -> float:
    """Return the context-measure with beta^2 = 1, in [0, 1]."""
    reverse = _SCALE * float(_completeness(pair).sum()) / (pair.gt.foreground + EPS)
    return _combine(pair, reverse, 1.0)


@once
def _degree(gt: GroundTruth) -> np.ndarray:
    if gt.rgb is None:
        raise InputError(
            "the camouflage context-measure needs colours. Fix: pass `rgb` to `GroundTruth`."
        )
    return camouflage_degree(gt.rgb, gt.mask)


def camouflage_context_measure(pair: MapPair) -> float:
    """Return the camouflage context-measure with beta^2 = 1.2, in [0, 1].

    A foreground pixel has the weight 1 plus the degree of camouflage, at most 2.

    Raises:
        InputError: the ground truth has no colour image.
    """
    weights = 1.0 + _degree(pair.gt)[pair.gt.mask]
    reverse = _SCALE * float((_completeness(pair) * weights).sum()) / (float(weights.sum()) + EPS)
    return _combine(pair, reverse, 1.2)


def _combine(pair: MapPair, reverse: float, beta_squared: float) -> float:
    """Return one score from the relevance of salient pixels and the foreground's completeness."""
    saliency = cv2.LUT(pair.levels, pair.histogram.values)
    forward = float((_surroundings(pair.gt) * saliency).sum() / (saliency.sum() + EPS))
    return (1.0 + beta_squared) * forward * reverse / (beta_squared * forward + reverse + EPS)


def _completeness(pair: MapPair) -> np.ndarray:
    """Return 1 - exp(-s) of each foreground pixel, (n,) float64, for the saliency s around it."""
    gt, kernel = pair.gt, _kernel(pair.gt)
    # Only the foreground and a border of the kernel's size are needed.
    window = bounding_window(gt.bytes, (kernel.shape[0] // 2 + 1, kernel.shape[1] // 2 + 1))
    saliency = cv2.LUT(np.ascontiguousarray(pair.levels[window]), pair.histogram.values)
    marks = cv2.filter2D(saliency, -1, kernel)
    return 1.0 - np.exp(-marks[gt.mask[window]])


_CAMOUFLAGE = "camouflage_context", "CCM", r"C_\beta^\omega", camouflage_context_measure
METRICS = (hidden_metric("context", "CM", r"C_\beta", context_measure),)
ON_COLOURS = (hidden_metric(*_CAMOUFLAGE, needs_rgb=True),)
