"""Misleading depth maps for training, so that the fusion learns to ignore unreliable depth."""

from collections.abc import Callable

import cv2
import numpy as np

KINDS = ("other", "noise", "inverted", "blurred", "plane")


def mislead(
    depth: np.ndarray, other: Callable[[], np.ndarray | None], rng: np.random.Generator
) -> np.ndarray:
    """Replace a depth map by one with little or no information about its image.

    The kinds are: the map of another image, smooth or white noise, the same map inverted or
    strongly blurred, and an almost constant tilted plane.

    Args:
        depth: (H, W) float in [0, 1], near = 1.
        other: returns the map of another image, (h, w) float in [0, 1], or None without depth.
        rng: of all random choices.

    Returns:
        (H, W) float32 in [0, 1].
    """
    height, width = depth.shape
    kind = KINDS[rng.integers(len(KINDS))]
    if kind == "other":
        found = other()
        if found is not None:
            return cv2.resize(np.float32(found), (width, height), interpolation=cv2.INTER_LINEAR)
        kind = "noise"
    if kind == "noise":
        cells = int(2 ** rng.uniform(1, max(1.0, np.log2(min(height, width)))))
        noise = rng.random((cells, cells), dtype=np.float32)
        return cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    if kind == "inverted":
        return np.float32(1 - depth)
    if kind == "blurred":
        sigma = rng.uniform(0.05, 0.2) * min(height, width)
        return cv2.GaussianBlur(np.float32(depth), (0, 0), sigma)
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    slope = rng.uniform(-1, 1, 2) * rng.uniform(0, 1)
    plane = rng.uniform(0.2, 0.8) + slope[0] * (rows - 0.5) + slope[1] * (columns - 0.5)
    plane += rng.uniform(0, 0.01) * rng.standard_normal(depth.shape)
    return plane.clip(0, 1).astype(np.float32)
