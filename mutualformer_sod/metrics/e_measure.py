"""Enhanced-alignment measure (Fan et al., IJCAI 2018), from the pixel counts of a binary map."""

import numpy as np

from mutualformer_sod.metrics.pair import Counts

EPS = float(np.spacing(1.0))


def e_measure(counts: Counts) -> np.ndarray:
    """Return E of a binary map or at each threshold, as float64 shaped like the counts.

    E is in [0, N / (N - 1)], because the sum over the N pixels is divided by N - 1 as in the
    reference. For a one-pixel image, the sum is divided by 1; the reference divides by an epsilon.
    """
    area, pixels = counts.area, counts.pixels
    marked = np.asarray(counts.true_positive + counts.false_positive)
    scale = pixels - 1 + EPS if pixels > 1 else 1.0
    if area == 0:
        return (pixels - marked) / scale
    if area == pixels:
        return marked / scale
    mean_p, mean_g = marked / pixels, area / pixels
    total = np.zeros(marked.shape)
    for count, a, b in (
        (counts.true_positive, 1.0 - mean_p, 1.0 - mean_g),
        (counts.false_positive, 1.0 - mean_p, 0.0 - mean_g),
        (counts.false_negative, 0.0 - mean_p, 1.0 - mean_g),
        (counts.true_negative, 0.0 - mean_p, 0.0 - mean_g),
    ):
        alignment = 2.0 * (a * b) / (a**2 + b**2 + EPS)
        total += count * ((alignment + 1.0) ** 2 / 4.0)
    return total / scale
