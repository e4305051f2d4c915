"""Overlap of a binary map with its ground truth: IoU, Dice and balanced error rate."""

from __future__ import annotations

from mutualformer_sod.metrics.pair import Counts


def iou(counts: Counts) -> float:
    """Return intersection over union in [0, 1]; 0 where the union is empty."""
    return _ratio(counts.true_positive, counts.area + counts.false_positive)


def dice(counts: Counts) -> float:
    """Return the Dice coefficient in [0, 1]; 0 where map and ground truth are both empty."""
    marked = counts.true_positive + counts.false_positive
    return _ratio(2.0 * counts.true_positive, marked + counts.area)


def ber(counts: Counts) -> float:
    """Return 1 - (TPR + TNR) / 2 in [0, 1]; smaller is better. An undefined rate counts as 0.

    As in shadow detection: Vicente et al., Large-scale training of shadow detectors, ECCV 2016.
    """
    background = counts.pixels - counts.area
    sensitivity = _ratio(counts.true_positive, counts.area)
    specificity = _ratio(background - counts.false_positive, background)
    return 1.0 - 0.5 * (sensitivity + specificity)


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else 0.0
