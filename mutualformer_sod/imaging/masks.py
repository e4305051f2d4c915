"""Read ground-truth masks by one rule for the foreground.

A reader without checks changes scores silently: a mask stored as 0 and 1 is empty under the usual
rule "foreground above 128".
"""

import contextlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.imaging.decoding import decode, one_channel, read_bytes, varying_alpha

# 8-bit values from _DARK to below _BRIGHT are middle values, neither background nor foreground. The
# ratio of pixels with middle values may be up to _MIDDLE_RATIO, or up to _EDGE_RATIO if the ratio
# of such pixels away from edges is at most _INNER_RATIO.
_DARK, _BRIGHT = 64, 192
_MIDDLE_RATIO = 0.05
_EDGE_RATIO, _INNER_RATIO = 0.25, 0.005
_REMEDY = "Fix: save it as 0 and 255"


class Mask(NamedTuple):
    """A ground truth (H, W) bool, and a note on stored values other than 0 and 255, or ""."""

    foreground: np.ndarray
    note: str


def read_mask(path: Path | str, data: bytes | None = None) -> Mask:
    """Read a ground-truth mask in any unambiguous encoding.

    - One channel of 0 and one other value (0/1, 0/2, 0/128, 0/255; 8 or 16 bits, integer or
      floating-point): the other value is foreground.
    - One channel of any other values, 8 or 16 bits: values above 128 of 255 are foreground, as
      in the reference evaluation code. If all values are 192 or more, all pixels are foreground.
      Otherwise, the mask must have values below 64 and values of 192 or more. At most 5 % of the
      pixels may be between 64 and 192, or at most 25 % if nearly all of these pixels are at an
      edge.
    - Colours: one colour on black is foreground.
    - Transparency: the alpha channel must be constant, or the same mask as the colours. If the
      colours are constant, the alpha channel is the mask.

    ``path`` is a PNG, JPEG, BMP or TIFF file; ``data`` is its content, if already read.

    Raises:
        InputError: the file is missing, empty or damaged, or the mask is ambiguous.
    """
    data = read_bytes(path) if data is None else data
    image = decode(path, data)
    alpha = varying_alpha(image)
    if alpha is not None and (image[..., :3] == image[0, 0, :3]).all():
        foreground, note = _of_grey(path, alpha)
        return Mask(foreground, "; ".join(filter(None, ("mask in the alpha channel", note))))
    levels = one_channel(path, data, image)
    mask = _of_colours(path, image) if levels is None else _of_grey(path, levels)
    if alpha is None:
        return mask
    with contextlib.suppress(InputError):
        if np.array_equal(_of_grey(path, alpha).foreground, mask.foreground):
            return mask
    raise InputError(
        f"{path}: its transparency and its colours are different masks. {_REMEDY},"
        " without transparency"
    )


def _of_colours(path: Path | str, image: np.ndarray) -> Mask:
    foreground = image[..., :3].any(axis=2)
    colours = np.unique(image[..., :3][foreground], axis=0)
    if len(colours) != 1 or foreground.all():
        raise InputError(
            f"{path}: a mask of {counted(len(colours) + (not foreground.all()), 'colour')} does not"
            f" separate foreground from background. {_REMEDY}"
        )
    return Mask(foreground, "one colour on black, foreground = colour")


def _of_grey(path: Path | str, levels: np.ndarray) -> Mask:
    low, high = levels.min(), levels.max()
    if low == 0 and np.isfinite(high) and ((levels == 0) | (levels == high)).all():
        usual = high in (0, 255) or (levels.dtype == np.uint16 and high == 65535)
        note = "" if usual else f"values 0 and {high:g}, foreground = {high:g}"
        return Mask(levels != 0, note)
    if levels.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path}: a {levels.dtype} mask must have two values, 0 and another one. {_REMEDY}"
        )
    if high > 255:
        levels, low, high = levels >> 8, low >> 8, high >> 8
    if low >= _BRIGHT:  # a full mask with JPEG noise
        return Mask(levels > 128, "" if low == 255 else f"values of {low} or more, all foreground")
    if low >= _DARK or high < _BRIGHT or not _is_mask_with_noise(levels):
        raise InputError(
            f"{path}: the values {_listed(levels)} do not separate foreground from background."
            f" {_REMEDY}"
        )
    return Mask(levels > 128, "more than two values, foreground = above 128")


def _is_mask_with_noise(levels: np.ndarray) -> bool:
    """Return whether an 8-bit image is a mask with only JPEG noise and soft edges."""
    middle = (levels >= _DARK) & (levels < _BRIGHT)
    ratio = np.count_nonzero(middle) / levels.size
    if ratio <= _MIDDLE_RATIO:
        return True
    mask, around = (levels > 128).view(np.uint8), np.ones((5, 5), np.uint8)
    inner = middle & (cv2.dilate(mask, around) == cv2.erode(mask, around))
    return ratio <= _EDGE_RATIO and np.count_nonzero(inner) / levels.size <= _INNER_RATIO


def _listed(levels: np.ndarray) -> str:
    values = np.unique(levels)
    listed = ", ".join(map(str, values[:4]))
    return f"{listed} up to {values[-1]}" if values.size > 4 else listed
