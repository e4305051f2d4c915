"""Enhanced-alignment measure (Fan et al., IJCAI 2018), from the four cell counts."""

from __future__ import annotations

import numpy as np

EPS = float(np.spacing(1.0))


def e_measure(
    true_positive: np.ndarray | int, false_positive: np.ndarray | int, area: int, pixels: int
) -> np.ndarray:
    """Return E in [0, 1] of one binary map or of many, float64 of the counts' shape.

    Args:
        true_positive: foreground pixels that the map marks, one number or one for each threshold.
        false_positive: background pixels that it marks.
        area: foreground pixels of the ground truth.
        pixels: pixels of the image, N. The sum is divided by N - 1 as in the reference, and by 1
            for an image of a single pixel, where the reference divides by its epsilon.
    """
    true_positive = np.asarray(true_positive, np.int64)
    marked = true_positive + np.asarray(false_positive, np.int64)
    scale = pixels - 1 + EPS if pixels > 1 else 1.0
    if area == 0:
        return (pixels - marked) / scale
    if area == pixels:
        return marked / scale
    missed = area - true_positive
    mean_p, mean_g = marked / pixels, area / pixels
    total = np.zeros(marked.shape)
    for count, a, b in (
        (true_positive, 1.0 - mean_p, 1.0 - mean_g),
        (marked - true_positive, 1.0 - mean_p, 0.0 - mean_g),
        (missed, 0.0 - mean_p, 1.0 - mean_g),
        (pixels - marked - missed, 0.0 - mean_p, 0.0 - mean_g),
    ):
        alignment = 2.0 * (a * b) / (a**2 + b**2 + EPS)
        total += count * ((alignment + 1.0) ** 2 / 4.0)
    return total / scale
