"""Precision, recall and F-measure (Achanta et al., Frequency-tuned saliency, CVPR 2009)."""

from __future__ import annotations

import numpy as np

from mutualformer_sod.metrics.joint_histogram import JointHistogram

BETA_SQUARED = 0.3


def f_score(precision: np.ndarray | float, recall: np.ndarray | float) -> np.ndarray:
    """Return F = (1 + b2) P R / (b2 P + R) with b2 = 0.3, and 0 where the numerator is 0."""
    numerator = (1.0 + BETA_SQUARED) * np.asarray(precision) * recall
    denominator = BETA_SQUARED * np.asarray(precision) + recall
    return numerator / np.where(numerator == 0, 1.0, denominator)


def threshold_counts(quantised: np.ndarray) -> np.ndarray:
    """Return (2, 256) int64: pixels of background (FP) and foreground (TP) at or above t = 255..0.

    Args:
        quantised: (2, 256) counts by level, background and foreground.
    """
    return np.cumsum(quantised[:, ::-1], axis=1)


def precision_recall(quantised: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall at the thresholds 255..0, each (256,) float64 in [0, 1]."""
    false_positive, true_positive = threshold_counts(quantised)
    precision = true_positive / np.maximum(true_positive + false_positive, 1)
    recall = true_positive / max(int(quantised[1].sum()), 1)
    return precision, recall


def counts_above(
    histogram: JointHistogram, threshold: float, strict: bool = False
) -> tuple[int, int]:
    """Return (TP, FP), the numbers of foreground and background pixels with p >= threshold.

    Args:
        histogram: the joint histogram.
        threshold: on the float map, in [0, 1].
        strict: count p > threshold instead.
    """
    values = histogram.values
    chosen = values > threshold if strict else values >= threshold
    false_positive, true_positive = histogram.by_class[:, chosen].sum(axis=1)
    return int(true_positive), int(false_positive)


def adaptive_f(true_positive: int, false_positive: int, area: int) -> tuple[float, float, float]:
    """Return F, precision and recall from the counts at the adaptive threshold."""
    precision = true_positive / max(true_positive + false_positive, 1)
    recall = true_positive / max(area, 1)
    return float(f_score(precision, recall)), precision, recall
