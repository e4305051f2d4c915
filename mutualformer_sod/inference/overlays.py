"""What is shown of a saliency map: laid over its picture, or as the picture's transparency."""

from __future__ import annotations

import numpy as np

OVERLAY_COLOUR = (255, 32, 64)
_STRENGTH = 0.65  # of the colour where the map is 1: the picture stays visible below it
_DIMMED = 0.55  # brightness of the picture where the map is 0


def overlay(rgb: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Lay a map over its picture: red where it is 1, the picture darkened where it is 0.

    Args:
        rgb: (H, W, 3) uint8.
        saliency: (H, W) float in [0, 1].

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: the sizes differ.
    """
    _check_sizes(rgb, saliency)
    share = saliency[..., None].astype(np.float32)
    picture = rgb * (_DIMMED + (1 - _DIMMED - _STRENGTH) * share)
    return np.rint(picture + np.float32(OVERLAY_COLOUR) * _STRENGTH * share).astype(np.uint8)


def cutout(rgb: np.ndarray, saliency: np.ndarray, opacity: np.ndarray | None = None) -> np.ndarray:
    """Make a picture as opaque as it is salient.

    Args:
        rgb: (H, W, 3) uint8.
        saliency: (H, W) float in [0, 1].
        opacity: (H, W) uint8, what the picture itself has; None for a picture without any.

    Returns:
        (H, W, 4) uint8: the colours unchanged, and alpha, 255 = opaque (not premultiplied).

    Raises:
        ValueError: the sizes differ.
    """
    _check_sizes(rgb, saliency)
    most = 255 if opacity is None else opacity
    alpha = np.rint(saliency.astype(np.float64) * most).astype(np.uint8)
    return np.dstack([rgb, alpha])


def _check_sizes(rgb: np.ndarray, saliency: np.ndarray) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.shape[:2] != saliency.shape:
        raise ValueError(f"rgb is {rgb.shape}, the map {saliency.shape}: give (H, W, 3) and (H, W)")
