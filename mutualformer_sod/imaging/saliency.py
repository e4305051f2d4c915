"""Read and write saliency maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing
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


def write_map(path: Path | str, saliency: np.ndarray) -> None:
    """Write a saliency map as 8-bit PNG: 255 times the value, rounded half to even.

    The file appears whole or not at all, and replaces an existing one.

    Args:
        path: ends in ``.png``; missing folders are made.
        saliency: (H, W) float in [0, 1].

    Raises:
        ValueError: wrong shape, or values outside [0, 1].
    """
    if saliency.ndim != 2 or not (saliency.min() >= 0 and saliency.max() <= 1):
        raise ValueError(f"{path}: a map must be (H, W) in [0, 1], got {saliency.shape}")
    # In float64 the product is exact for a float32 map, so that only rint rounds.
    values = np.rint(saliency.astype(np.float64) * 255).astype(np.uint8)
    _, encoded = cv2.imencode(".png", values)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
