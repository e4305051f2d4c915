"""Rates of the confusion matrix, which are 0 where the denominator is 0, as in pysodmetrics.

A pixel is called marked if the binarised map predicts foreground.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mutualformer_sod.metrics.f_measure import f_score
from mutualformer_sod.metrics.pair import Counts, MapPair


class Confusion(NamedTuple):
    """Pixel counts of true and false positives and negatives, as numbers or arrays."""

    tp: np.ndarray | float
    fp: np.ndarray | float
    tn: np.ndarray | float
    fn: np.ndarray | float

    @classmethod
    def of(cls, counts: Counts) -> Confusion:
        """Compute the confusion matrix from the counts of positives."""
        tp, fp = counts.true_positive, counts.false_positive
        return cls(tp, fp, counts.pixels - counts.area - fp, counts.area - tp)


Rate = Callable[[Confusion], np.ndarray]


def divide(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    """Return part / whole as float64, and 0 where `whole` is 0."""
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.zeros(whole.shape), where=whole != 0)


def precision(c: Confusion) -> np.ndarray:
    """Return the precision, the ratio of marked pixels that are foreground."""
    return divide(c.tp, c.tp + c.fp)


def recall(c: Confusion) -> np.ndarray:
    """Return the recall (sensitivity, TPR), the ratio of foreground pixels that are marked."""
    return divide(c.tp, c.tp + c.fn)


def f_rate(c: Confusion) -> np.ndarray:
    """Return the F-measure with beta^2 = 0.3."""
    return f_score(precision(c), recall(c))


def specificity(c: Confusion) -> np.ndarray:
    """Return the specificity (TNR), the ratio of background pixels that are not marked."""
    return divide(c.tn, c.tn + c.fp)


def fpr(c: Confusion) -> np.ndarray:
    """Return the false positive rate, the ratio of background pixels that are marked."""
    return divide(c.fp, c.tn + c.fp)


def accuracy(c: Confusion) -> np.ndarray:
    """Return the overall accuracy, the ratio of correct pixels."""
    return divide(c.tp + c.tn, c.tp + c.fp + c.tn + c.fn)


def kappa(c: Confusion) -> np.ndarray:
    """Return Cohen's kappa (Educational and Psychological Measurement, 1960), at most 1."""
    chance = (c.tp + c.fp) * (c.tp + c.fn) + (c.tn + c.fn) * (c.tn + c.tp)
    expected = divide(chance, (c.tp + c.fp + c.tn + c.fn) ** 2)
    return divide(accuracy(c) - expected, 1 - expected)


def iou(c: Confusion) -> np.ndarray:
    """Return the intersection over union of the marked pixels and the foreground."""
    return divide(c.tp, c.tp + c.fp + c.fn)


def dice(c: Confusion) -> np.ndarray:
    """Return the Dice coefficient."""
    return divide(2 * c.tp, 2 * c.tp + c.fp + c.fn)


def ber(c: Confusion) -> np.ndarray:
    """Return the balanced error rate 1 - (recall + specificity) / 2 (Vicente et al., ECCV 2016)."""
    return 1 - 0.5 * (recall(c) + specificity(c))


def binary_rate(pair: MapPair, rate: Rate) -> float:
    """Return a rate of the map binarised at p > 0.5."""
    return float(rate(Confusion.of(pair.half)))


def adaptive_rate(pair: MapPair, rate: Rate) -> float:
    """Return a rate of the map binarised at the adaptive threshold."""
    return float(rate(Confusion.of(pair.adaptive)))
