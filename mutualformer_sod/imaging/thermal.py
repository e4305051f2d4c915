"""Read thermal images that are grey or have a palette whose luminance rises with heat."""

from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_map

_SIDE = 256  # approximate number of examined pixels along the longer side
_BINS = 32  # bins of luminance
_CHROMA = 24  # difference in Cb or Cr above which colours of one luminance are different
_AMBIGUOUS = 0.02
"""Largest accepted ratio of pixels whose colour does not follow from their luminance.

For 12 generated scenes as JPEG, the ratio was at most .003 for 17 monotone palettes at quality 75
and 95. At quality 50, the ratio was at most .004 for iron, hot, inferno, plasma, cool and parula.
The median ratio was .06 for jet, .07 for turbo and .16 for rainbow.
"""


def read_thermal(path: Path | str) -> np.ndarray:
    """Read a thermal image as stored, and convert colours of a palette to luminance.

    In palettes such as iron, hot or inferno, hotter pixels are brighter. In rainbow and jet, hot
    and cold pixels may have equal luminance, so these palettes are refused. File types, result
    and errors of unreadable files are those of `imaging.io.read_depth`.
    """
    return read_map(path, "thermal", _luminance)


def ambiguous_ratio(image: np.ndarray) -> float:
    """Return the ratio of pixels that differ in colour from most pixels of equal luminance.

    The image is (H, W, 3) uint8, in cv2's order.
    """
    step = max(1, max(image.shape[:2]) // _SIDE)
    # Sampled, not averaged: the mean of two colours of a palette is not in the palette.
    picked = np.ascontiguousarray(image[::step, ::step])
    pixels = cv2.cvtColor(picked, cv2.COLOR_BGR2YCrCb).reshape(-1, 3)
    bins = pixels[:, 0].astype(int) * _BINS // 256
    ambiguous = 0
    for number in np.unique(bins):
        chroma = pixels[bins == number, 1:].astype(int)
        distance = np.abs(chroma - np.median(chroma, axis=0)).max(axis=1)
        ambiguous += np.count_nonzero(distance > _CHROMA)
    return ambiguous / len(pixels)


def _luminance(path: Path | str, image: np.ndarray) -> np.ndarray:
    """Return the luminance (H, W) of a thermal image in the colours of a palette."""
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path}: thermal image with {image.dtype} colours. Fix: save one grey channel"
        )
    ratio = ambiguous_ratio(image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8))
    if ratio > _AMBIGUOUS:
        raise InputError(
            f"{path}: {ratio:.0%} of the pixels differ in colour from most pixels of equal "
            "brightness, as in rainbow palettes and photographs, so brightness does not show heat. "
            "Fix: save it in grey, or in a palette that grows brighter with heat (iron, hot, "
            "inferno)"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
