"""What is foreground in a ground-truth mask, in the codings met in the field."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mutualformer_sod.errors import InputError

_DARK, _BRIGHT = 64, 192  # a noisy mask's background lies below, its foreground from there on
_MAX_BETWEEN = 0.05  # share of a mask's pixels that smoothed edges may take


def foreground_of_colours(path: Path | str, image: np.ndarray) -> np.ndarray:
    """Foreground of a mask in colour: the one colour that is not black.

    Args:
        path: for messages.
        image: (H, W, 3).

    Returns:
        (H, W) bool.

    Raises:
        InputError: more colours than two, or no black.
    """
    foreground = image.any(axis=2)
    colours = np.unique(image[foreground], axis=0)
    if len(colours) != 1 or foreground.all():
        raise InputError(
            f"{path}: a mask of {len(colours) + (not foreground.all())} colours does not tell"
            " foreground from background; save it as 0 and 255"
        )
    return foreground


def foreground_of_grey(path: Path | str, mask: np.ndarray) -> np.ndarray:
    """Foreground of a mask of one channel, by the rules of `io.read_gt`.

    Args:
        path: for messages.
        mask: (H, W) uint8 or uint16.

    Returns:
        (H, W) bool.

    Raises:
        InputError: the values leave it open what is foreground.
    """
    if mask.max() > 255:
        if np.unique(mask).size == 2 and mask.min() == 0:
            return mask > 0
        if (mask % 257).any():
            raise InputError(f"{path}: a 16-bit mask of many values; save it as 0 and 255, 8 bits")
        mask = (mask >> 8).astype(np.uint8)
    counts = np.bincount(mask.ravel(), minlength=256)
    values = np.flatnonzero(counts)
    if len(values) <= 2 and values[0] == 0:
        return mask > 0
    between = counts[_DARK:_BRIGHT].sum() / mask.size
    if values[-1] < _BRIGHT or between > _MAX_BETWEEN:
        listed = ", ".join(map(str, values[:4])) + (", ..." if len(values) > 4 else "")
        raise InputError(
            f"{path}: the values {listed} up to {values[-1]} do not tell foreground from"
            " background; save the mask as 0 and 255"
        )
    return mask > 128
