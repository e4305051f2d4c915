"""Predict saliency without learning, from a centre prior or from a depth threshold."""

import cv2
import numpy as np


def centre_prior(size: tuple[int, int], sigma: float = 0.25) -> np.ndarray:
    """Return a Gaussian around the middle of an image of size (H, W), float32 in (0, 1].

    The standard deviation along each axis is ``sigma`` times the side of the image.
    """
    rows, columns = (
        np.exp(-(((np.arange(length) + 0.5) / length - 0.5) ** 2) / (2 * sigma**2))
        for length in size
    )
    return np.outer(rows, columns).astype(np.float32)


def depth_otsu(depth: np.ndarray) -> np.ndarray:
    """Mark the near pixels of a depth map as salient by Otsu's threshold on 256 levels.

    The threshold maximises the variance between the two classes (N. Otsu, "A Threshold Selection
    Method from Gray-Level Histograms", IEEE Trans. SMC 1979).

    Args:
        depth: (H, W) float in [0, 1], near = 1: a result of `data.depth.encoding.depth_to_unit`.

    Returns:
        (H, W) float32: 1 above the threshold, else 0; all 0 for a constant depth map.

    Raises:
        ValueError: the depth map has a rank other than 2, or values outside [0, 1].
    """
    if depth.ndim != 2 or not (depth.min() >= 0 and depth.max() <= 1):
        problem = f"depth of shape {depth.shape} is not (H, W) in [0, 1]"
        raise ValueError(f"{problem}. Fix: use `depth_to_unit`.")
    levels = np.rint(depth * 255).astype(np.uint8)
    if levels.min() == levels.max():
        return np.zeros(depth.shape, np.float32)
    _, near = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return near.astype(np.float32)
