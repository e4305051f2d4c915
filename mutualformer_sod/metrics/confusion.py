"""Rates of the confusion matrix, which are 0 where the denominator is 0, as in pysodmetrics.

A pixel is called marked if the binarised map predicts foreground.
"""

from collections.abc import Callable

import numpy as np

from mutualformer_sod.metrics.pair import Counts, MapPair

Rate = Callable[[Counts], np.ndarray]


def divide(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    """Return part / whole as float64, and 0 where `whole` is 0."""
    whole = np.asarray(whole, np.float64)
    nothing = np.zeros(np.broadcast(part, whole).shape)
    return np.divide(part, whole, out=nothing, where=whole != 0)


def precision(c: Counts) -> np.ndarray:
    """Return the precision, the ratio of marked pixels that are foreground."""
    return divide(c.true_positive, c.true_positive + c.false_positive)


def recall(c: Counts) -> np.ndarray:
    """Return the recall (sensitivity, TPR), the ratio of foreground pixels that are marked."""
    return divide(c.true_positive, c.true_positive + c.false_negative)


def specificity(c: Counts) -> np.ndarray:
    """Return the specificity (TNR), the ratio of background pixels that are not marked."""
    return divide(c.true_negative, c.true_negative + c.false_positive)


def fpr(c: Counts) -> np.ndarray:
    """Return the false positive rate, the ratio of background pixels that are marked."""
    return divide(c.false_positive, c.true_negative + c.false_positive)


def accuracy(c: Counts) -> np.ndarray:
    """Return the overall accuracy, the ratio of correct pixels."""
    return divide(c.true_positive + c.true_negative, c.pixels)


def kappa(c: Counts) -> np.ndarray:
    """Return Cohen's kappa (Educational and Psychological Measurement, 1960), at most 1."""
    foreground = (c.true_positive + c.false_positive) * (c.true_positive + c.false_negative)
    background = (c.true_negative + c.false_negative) * (c.true_negative + c.true_positive)
    expected = divide(foreground + background, c.pixels**2)
    return divide(accuracy(c) - expected, 1 - expected)


def iou(c: Counts) -> np.ndarray:
    """Return the intersection over union of the marked pixels and the foreground."""
    return divide(c.true_positive, c.true_positive + c.false_positive + c.false_negative)


def dice(c: Counts) -> np.ndarray:
    """Return the Dice coefficient."""
    return divide(2 * c.true_positive, 2 * c.true_positive + c.false_positive + c.false_negative)


def ber(c: Counts) -> np.ndarray:
    """Return the balanced error rate 1 - (recall + specificity) / 2 (Vicente et al., ECCV 2016)."""
    return 1 - 0.5 * (recall(c) + specificity(c))


def binary_rate(pair: MapPair, rate: Rate) -> float:
    """Return a rate of the map binarised at p > 0.5."""
    return float(rate(pair.half))


def adaptive_rate(pair: MapPair, rate: Rate) -> float:
    """Return a rate of the map binarised at the adaptive threshold."""
    return float(rate(pair.adaptive))
