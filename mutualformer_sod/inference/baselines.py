"""Saliency without learning: what a trained network must beat."""

from __future__ import annotations

import cv2
import numpy as np


def centre_prior(size: tuple[int, int], sigma: float = 0.25) -> np.ndarray:
    """A Gaussian around the middle of the image: photographers point cameras at things.

    Args:
        size: (H, W) in pixels.
        sigma: standard deviation along each axis, as a share of that side.

    Returns:
        (H, W) float32 in (0, 1], largest in the middle; the same for every image of a size.

    Raises:
        ValueError: an empty size, or a sigma that is not positive.
    """
    if min(size) < 1 or not sigma > 0:
        raise ValueError(f"centre_prior: size {size}, sigma {sigma}: both must be positive")
    rows, columns = (
        np.exp(-(((np.arange(length) + 0.5) / length - 0.5) ** 2) / (2 * sigma**2))
        for length in size
    )
    return np.outer(rows, columns).astype(np.float32)


def depth_otsu(depth: np.ndarray) -> np.ndarray:
    """What is near, by Otsu's threshold on the histogram of nearness.

    N. Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE Trans. SMC 1979: the
    threshold that maximises the variance between the two classes, here on 256 levels.

    Args:
        depth: (H, W) float in [0, 1], near = 1, as from `data.depth.depth_to_unit`.

    Returns:
        (H, W) float32: 1 above the threshold, else 0; all 0 where depth is one level.

    Raises:
        ValueError: another shape, or values outside [0, 1].
    """
    if depth.ndim != 2 or not (depth.min() >= 0 and depth.max() <= 1):
        raise ValueError(f"depth_otsu: depth must be (H, W) in [0, 1], got {depth.shape}")
    levels = np.rint(depth * 255).astype(np.uint8)
    if levels.min() == levels.max():
        return np.zeros(depth.shape, np.float32)
    _, near = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return near.astype(np.float32)
