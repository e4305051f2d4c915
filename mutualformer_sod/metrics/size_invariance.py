"""Size-invariant MAE, F and IoU (Li et al., Size-invariance Matters, ICML 2024).

Every object counts equally: a score is computed in the bounding box of each object, with the map
set to 0 outside the box, and averaged over the objects.
"""

from functools import partial

import cv2
import numpy as np

from mutualformer_sod.metrics.confusion import Rate, iou
from mutualformer_sod.metrics.f_measure import f_measure
from mutualformer_sod.metrics.ground_truth import GroundTruth, Window, once
from mutualformer_sod.metrics.joint_histogram import LEVELS
from mutualformer_sod.metrics.pair import Counts, MapPair, adaptive_threshold
from mutualformer_sod.metrics.registry import Metric, hidden_metric

_SMALLEST = 50  # minimum area of an object in pixels; if all are smaller, the largest objects count


@once
def _boxes(gt: GroundTruth) -> list[Window]:
    """Return the bounding boxes of 4-connected objects, or the whole image without foreground.

    Objects of fewer than 50 pixels are omitted; if all are smaller, the largest are returned.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(gt.bytes, connectivity=4)
    stats = stats[1:]
    if not len(stats):
        return [(slice(0, gt.shape[0]), slice(0, gt.shape[1]))]
    areas = stats[:, cv2.CC_STAT_AREA]
    chosen = areas >= min(_SMALLEST, int(areas.max()))
    return [
        (slice(top, top + height), slice(left, left + width))
        for left, top, width, height, _ in stats[chosen].tolist()
    ]


@once
def _parts(pair: MapPair) -> list[tuple[Window, np.ndarray]]:
    """Return each object's box and level counts."""
    return [(box, _count(pair, box)) for box in _boxes(pair.gt)]


def _count(pair: MapPair, where: Window | np.ndarray) -> np.ndarray:
    """Count the pixels of each class and level in a window or under a mask, (2, 256) int64."""
    inside = pair.gt.mask[where].ravel() * np.int64(LEVELS) + pair.levels[where].ravel()
    return np.bincount(inside, minlength=2 * LEVELS).reshape(2, LEVELS)


def si_mae(pair: MapPair) -> float:
    """Return the size-invariant MAE in [0, 1]; smaller is better.

    The score is a weighted mean. The MAE in the box of each object has the weight 1, and the MAE
    outside all boxes has the weight (area outside) / (area of all boxes). If the boxes cover the
    image, the MAE outside has the weight 0; the reference code divides by zero in this case.
    """
    values, parts = pair.histogram.values, _parts(pair)
    errors = np.stack((values, 1.0 - values))
    outside = np.ones(pair.gt.shape, np.bool_)
    for box, _ in parts:
        outside[box] = False
    rest = int(np.count_nonzero(outside))
    ratio = rest / (pair.histogram.pixels - rest)
    total = sum(float((counts * errors).sum()) / int(counts.sum()) for _, counts in parts)
    if rest:
        total += ratio * float((_count(pair, outside) * errors).sum()) / rest
    return total / (len(parts) + ratio)


def binary_si(pair: MapPair, rate: Rate) -> float:
    """Return a rate at p > 0.5, averaged over the objects."""
    chosen, pixels = pair.histogram.values > 0.5, pair.histogram.pixels
    return _mean(rate, [Counts.at(counts, chosen, pixels) for _, counts in _parts(pair)])


def adaptive_si(pair: MapPair, rate: Rate) -> float:
    """Return a rate at min(2 mean p, 1), averaged over the objects, with p = 0 outside each box."""
    pixels, found = pair.histogram.pixels, []
    for box, counts in _parts(pair):
        threshold = adaptive_threshold(counts, pair.histogram, partial(_alone, pair, box))
        outside = pixels - int(counts.sum()) if threshold <= 0 else 0
        found.append(Counts.at(counts, pair.histogram.values >= threshold, pixels, outside))
    return _mean(rate, found)


def _alone(pair: MapPair, box: Window) -> np.ndarray:
    """Return the map, (H, W) float64, with p = 0 outside the box."""
    saliency = np.zeros(pair.gt.shape)
    saliency[box] = pair.histogram.values[pair.levels[box]]
    return saliency


def _mean(rate: Rate, counts: list[Counts]) -> float:
    return float(np.mean([float(rate(c)) for c in counts]))


def si_curve(pair: MapPair, rate: Rate) -> np.ndarray:
    """Return a rate at the thresholds 255..0, averaged over the objects, (256,) float64."""
    curves = []
    for _, counts in _parts(pair):
        quantised = pair.histogram.quantise(counts)
        quantised[0, 0] += pair.histogram.pixels - counts.sum()
        curves.append(rate(Counts.of_thresholds(quantised)))
    return np.mean(curves, axis=0)


def _of_rate(name: str, title: str, rate: Rate) -> tuple[Metric, ...]:
    label, text = f"SI-{title}", rf"\mathrm{{SI}}\text{{-}}\mathrm{{{title}}}"
    adaptive = f"adaptive_si_{name}", f"adp{label}", text + r"^{\mathrm{adp}}"
    curve = f"si_{name}_curve", label, text, partial(si_curve, rate=rate), "map_curve"
    return (
        hidden_metric(f"si_{name}", label, text, partial(binary_si, rate=rate)),
        hidden_metric(*adaptive, partial(adaptive_si, rate=rate)),
        hidden_metric(*curve, score=f"si_{name}"),
    )


METRICS = (
    hidden_metric("si_mae", "SI-MAE", r"\mathrm{SI}\text{-}\mathrm{MAE}", si_mae, "mean", False),
    *_of_rate("f", "F", f_measure),
    *_of_rate("iou", "IoU", iou),
)
