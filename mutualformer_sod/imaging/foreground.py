"""Estimate the colours of partly transparent object pixels (blur fusion, Forte, ICIP 2021)."""

import cv2
import numpy as np

WINDOWS = (90, 6)  # sides in pixels of the windows of the two passes
_MARGIN = sum(WINDOWS)  # rows read on each side of a band; farther rows do not affect its colours
BAND_PIXELS = 10**6  # number of pixels processed at once as float colours
_EPSILON = 1e-5


def estimate_foreground(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Estimate the colours F of the object from a picture I = alpha F + (1 - alpha) B.

    B is the background. In each pass, F' and B' are means of F and B in a window, weighted by alpha
    and 1 - alpha. The new F is F' + alpha (I - alpha F' - (1 - alpha) B'), clipped to [0, 255], and
    the new B is B'. The first pass starts from F = B = I.

    Args:
        rgb: (H, W, 3) uint8, the picture.
        alpha: (H, W) uint8, the opacity of the object; 255 is opaque.

    Returns:
        (H, W, 3) uint8. Where ``alpha`` is 0 or 255 the colours are those of the picture.
    """
    result = rgb.copy()
    rows = max(1, BAND_PIXELS // rgb.shape[1])
    for top in range(0, len(rgb), rows):
        own = slice(top, top + rows)
        soft = (alpha[own] > 0) & (alpha[own] < 255)
        if soft.any():
            start = max(0, top - _MARGIN)
            around = slice(start, top + rows + _MARGIN)
            band = _estimate(rgb[around], alpha[around])[top - start : top - start + rows]
            result[own][soft] = band[soft]
    return result


def _estimate(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Run both passes on rgb (H, W, 3) and alpha (H, W), uint8; return (H, W, 3) uint8."""
    image = rgb.astype(np.float32)
    weight = alpha.astype(np.float32)[..., None] / 255
    foreground = background = image
    for window in WINDOWS:
        mean = _weighted_mean(foreground, weight, window)
        background = _weighted_mean(background, 1 - weight, window)
        foreground = mean + weight * (image - weight * mean - (1 - weight) * background)
        foreground = foreground.clip(0, 255)
    return np.rint(foreground).astype(np.uint8)


def _weighted_mean(colours: np.ndarray, weight: np.ndarray, window: int) -> np.ndarray:
    size = (window, window)
    total = cv2.blur(weight, size)[..., None]
    return cv2.blur(colours * weight, size) / (total + _EPSILON)
