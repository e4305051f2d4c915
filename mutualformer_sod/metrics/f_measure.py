"""F-measure (Achanta et al., Frequency-tuned saliency, CVPR 2009), beta^2 = 0.3."""

from collections.abc import Mapping

import numpy as np

from mutualformer_sod.metrics.confusion import precision, recall
from mutualformer_sod.metrics.pair import Counts

BETA_SQUARED = 0.3


def f_measure(counts: Counts) -> np.ndarray:
    """Return F in [0, 1] of a binary map or at each threshold, float64 shaped like the counts."""
    return f_score(precision(counts), recall(counts))


def f_score(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Return F = (1 + b2) P R / (b2 P + R) with b2 = 0.3, and 0 where the numerator is 0."""
    numerator = (1.0 + BETA_SQUARED) * precision * recall
    denominator = BETA_SQUARED * precision + recall
    return numerator / np.where(numerator == 0, 1.0, denominator)


def max_f_of_mean_pr(curves: Mapping[str, np.ndarray]) -> float:
    """Return the maximum of F computed from the mean precision and the mean recall of a set.

    The literature also uses the maximum of the mean F curve, which differs by up to .04.
    """
    return float(f_score(curves["precision"], curves["recall"]).max())
