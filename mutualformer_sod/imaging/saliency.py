"""Reads saliency maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.decoding import decode, one_channel, read_bytes


def read_saliency(path: Path | str) -> np.ndarray:
    """Read a saliency map as (H, W) uint8.

    Equal colour channels become one and transparency is dropped; 16-bit maps lose their lower byte,
    as in a greyscale read by cv2.

    Raises:
        InputError: missing, unreadable or incomplete file, colour image, other depth than 8 or 16.
    """
    return decode_saliency(path, read_bytes(path))


def decode_saliency(path: Path | str, data: bytes) -> np.ndarray:
    """As `read_saliency`, of a file's bytes; the path serves the messages."""
    levels = one_channel(path, data, decode(path, data))
    if levels is None:
        raise InputError(f"{path}: a colour image, not a saliency map; save it as greyscale")
    if levels.dtype == np.uint16:
        return (levels >> 8).astype(np.uint8)
    if levels.dtype != np.uint8:
        raise InputError(f"{path}: {levels.dtype} saliency map; save it as 8-bit PNG")
    return levels
