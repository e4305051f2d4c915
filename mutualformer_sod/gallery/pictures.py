"""The pictures of a gallery: what a map gets wrong, in colours, and files that keep pictures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.files import replacing
from mutualformer_sod.metrics.joint_histogram import level_values

# Red and blue that colour-blind readers tell apart, and that stay apart in print.
FALSE_POSITIVE = (213, 94, 0)
MISS = (0, 114, 178)
_FOREGROUND, _BACKGROUND = 205, 255  # greys on which the errors are drawn
THUMB_HEIGHT = 200  # pixels: sharp at 100 CSS pixels on a dense screen
_RECIPE = 1  # of the files below: raised when they change, so that old ones are not taken again
_THUMB_OPTIONS = (cv2.IMWRITE_WEBP_QUALITY, 85)
_FULL_OPTIONS = {
    ".jpg": (cv2.IMWRITE_JPEG_QUALITY, 92),
    ".png": (cv2.IMWRITE_PNG_COMPRESSION, 3),
}


def map_as_scored(levels: np.ndarray, shape: tuple[int, int], normalize: bool = True) -> np.ndarray:
    """Bring a map to the form in which the evaluator compares it with the ground truth.

    Args:
        levels: (H, W) uint8.
        shape: of the ground truth; the 8-bit map is resized to it bilinearly.
        normalize: stretch the map to its own minimum and maximum.

    Returns:
        Saliency in [0, 1], of ``shape``, float64.
    """
    if levels.shape != shape:
        levels = cv2.resize(levels, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return level_values(int(levels.min()), int(levels.max()), normalize)[levels]


def error_map(saliency: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Draw the signed difference between a map and the ground truth.

    Background is white and foreground grey where the map is right; the more it is wrong, the more
    they turn into `FALSE_POSITIVE` (background that the map takes for salient) or `MISS`.

    Args:
        saliency: (H, W) float in [0, 1].
        gt: (H, W) bool.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    wrong = np.where(gt, 1 - saliency, saliency)[..., None]
    right = np.where(gt, _FOREGROUND, _BACKGROUND)[..., None]
    colour = np.where(gt[..., None], MISS, FALSE_POSITIVE)
    return np.rint(right * (1 - wrong) + colour * wrong).astype(np.uint8)


def disagreement(maps: Sequence[np.ndarray]) -> float | None:
    """Return the mean absolute difference between two maps of one image, over all pairs of methods.

    Args:
        maps: (H, W) float in [0, 1] each, of one size.

    Returns:
        A value in [0, 1]; None for fewer than two maps.
    """
    pairs = [float(np.abs(a - b).mean(dtype=np.float64)) for a, b in combinations(maps, 2)]
    return sum(pairs) / len(pairs) if pairs else None


@dataclass(frozen=True)
class Picture:
    """A picture that a page can show.

    Attributes:
        name: of its thumbnail, ``thumbs/<name>.webp``.
        full: of the file for the zoom, ``full/<full>``.
        size: (H, W) of the full picture in pixels.
    """

    name: str
    full: str
    size: tuple[int, int]


class PictureFolder:
    """Keeps pictures as a thumbnail and a full-size file, named by what they are made of.

    Such names are the same in every run, hold no character that an address would have to escape,
    and tell a later run which pictures are there already.

    Args:
        folder: gets ``thumbs/`` and ``full/``.
        zoom_side: pixels of the longer side from which on full-size pictures are shrunk.
    """

    def __init__(self, folder: Path, zoom_side: int) -> None:
        self.folder = folder
        self.zoom_side = zoom_side

    def keep(self, picture: np.ndarray, *sources: bytes, suffix: str = ".png") -> Picture:
        """Write a picture unless it is there.

        Args:
            picture: (H, W) uint8 or bool, (H, W) float in [0, 1], or (H, W, 3) uint8, RGB.
            sources: all that the picture depends on.
            suffix: of the full-size file, ".png" or ".jpg".
        """
        key = hashlib.sha256(f"{_RECIPE} {self.zoom_side} {suffix}".encode())
        for source in sources:
            key.update(hashlib.sha256(source).digest())
        name = key.hexdigest()[:24]
        height, width = picture.shape[:2]
        shrink = min(1.0, self.zoom_side / max(height, width))
        size = max(1, round(height * shrink)), max(1, round(width * shrink))
        thumb, full = self.folder / f"thumbs/{name}.webp", self.folder / f"full/{name}{suffix}"
        if not (thumb.exists() and full.exists()):
            pixels = _for_cv2(picture)
            _write(full, _resized(pixels, size), _FULL_OPTIONS[suffix])
            _write(thumb, _resized(pixels, thumb_size(size)), _THUMB_OPTIONS)
        return Picture(name, full.name, size)

    def remove_all_but(self, kept: set[str]) -> None:
        """Remove what an earlier run kept and this one does not show; other files stay."""
        for path in (*self.folder.glob("thumbs/*.webp"), *self.folder.glob("full/*.???")):
            if path.stem not in kept and re.fullmatch("[0-9a-f]{24}", path.stem):
                path.unlink(missing_ok=True)


def thumb_size(size: tuple[int, int]) -> tuple[int, int]:
    """Size (H, W) of a picture's thumbnail, never larger than the picture of that size."""
    shrink = min(1.0, THUMB_HEIGHT / size[0], 4 * THUMB_HEIGHT / size[1])
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _for_cv2(picture: np.ndarray) -> np.ndarray:
    """Grey or BGR, 8 bits."""
    if picture.dtype != np.uint8:
        picture = np.rint(picture.astype(np.float64) * 255).astype(np.uint8)
    return picture if picture.ndim == 2 else np.ascontiguousarray(picture[..., ::-1])


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if picture.shape[:2] == size:
        return picture
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)


def _write(path: Path, picture: np.ndarray, options: tuple[int, ...]) -> None:
    _, encoded = cv2.imencode(path.suffix, picture, options)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
