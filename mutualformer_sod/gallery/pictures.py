"""Draw error maps, and store the thumbnails and full-size files of a gallery."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.data.sample import shrink
from mutualformer_sod.imaging.io import to_levels, write_image
from mutualformer_sod.metrics.joint_histogram import level_values

# Orange and blue that are distinct for colour-blind readers and in print.
FALSE_POSITIVE = (213, 94, 0)
MISS = (0, 114, 178)
_FOREGROUND, _BACKGROUND = 205, 255  # grey levels under the errors
THUMB_HEIGHT = 200  # pixels: sharp at 100 CSS pixels on a dense screen
_RECIPE = 1  # part of the file names: raise this number when the content of the files changes
_THUMB_OPTIONS = (cv2.IMWRITE_WEBP_QUALITY, 85)
_FULL_OPTIONS = {".jpg": (cv2.IMWRITE_JPEG_QUALITY, 92), ".png": (cv2.IMWRITE_PNG_COMPRESSION, 3)}


def map_as_scored(levels: np.ndarray, shape: tuple[int, int], normalize: bool = True) -> np.ndarray:
    """Resize and normalise a map, (H, W) uint8, as the evaluator does; return float64 in [0, 1].

    The map is resized bilinearly to ``shape``, the size of the ground truth. With ``normalize``,
    the map is stretched to its own minimum and maximum.
    """
    if levels.shape != shape:
        levels = cv2.resize(levels, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return level_values(int(levels.min()), int(levels.max()), normalize)[levels]


def error_map(saliency: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Draw the errors of a map (H, W) in [0, 1] for a mask (H, W) bool, as (H, W, 3) uint8 RGB.

    A correct background is white, and a correct foreground is grey. With a growing error, the
    colour turns into `FALSE_POSITIVE` (salient background) or `MISS` (foreground not salient).
    """
    wrong = np.where(gt, 1 - saliency, saliency)[..., None]
    right = np.where(gt, _FOREGROUND, _BACKGROUND)[..., None]
    colour = np.where(gt[..., None], MISS, FALSE_POSITIVE)
    return np.rint(right * (1 - wrong) + colour * wrong).astype(np.uint8)


def disagreement(maps: Sequence[np.ndarray]) -> float | None:
    """Return the mean absolute difference of the maps of an image, over all pairs of methods.

    The maps, (H, W) float in [0, 1] each, have equal size. The result is in [0, 1], or None for
    fewer than two maps.
    """
    pairs = [float(np.abs(a - b).mean(dtype=np.float64)) for a, b in combinations(maps, 2)]
    return sum(pairs) / len(pairs) if pairs else None


@dataclass(frozen=True)
class Picture:
    """A picture whose files are ``thumbs/<name>.webp`` and ``full/<full>``."""

    name: str
    full: str
    size: tuple[int, int]  # (H, W) of the full picture in pixels
    thumb: tuple[int, int]  # (H, W) of the thumbnail


@dataclass(frozen=True)
class PictureFolder:
    """Folder that stores each picture as a thumbnail and a full-size file, named by a hash.

    The hash of the sources is the same in every run, so that a later run finds existing pictures.
    File names need no escaping in a URL. The folder has the subfolders ``thumbs/`` and ``full/``.
    Sides of full-size pictures are at most ``zoom_side`` pixels; larger pictures are shrunk.
    """

    folder: Path
    zoom_side: int

    def keep(self, picture: np.ndarray, *sources: bytes, suffix: str = ".png") -> Picture:
        """Write the files of a picture unless both files exist.

        Args:
            picture: (H, W) uint8 or bool, (H, W) float in [0, 1], or (H, W, 3) uint8, RGB.
            sources: all data that the picture depends on.
            suffix: suffix of the full-size file, ".png" or ".jpg".
        """
        key = hashlib.sha256(f"{_RECIPE} {self.zoom_side} {suffix}".encode())
        for source in sources:
            key.update(hashlib.sha256(source).digest())
        name = key.hexdigest()[:24]
        height, width = picture.shape[:2]
        scale = min(1.0, self.zoom_side / max(height, width))
        size = max(1, round(height * scale)), max(1, round(width * scale))
        thumb_size = thumbnail_size(size)
        thumb, full = self.folder / f"thumbs/{name}.webp", self.folder / f"full/{name}{suffix}"
        if not (thumb.exists() and full.exists()):
            pixels = _eight_bits(picture)
            if pixels.ndim == 3:
                pixels = np.ascontiguousarray(pixels[..., ::-1])  # BGR, for cv2
            write_image(full, shrink(pixels, *size), _FULL_OPTIONS[suffix])
            write_image(thumb, shrink(pixels, *thumb_size), _THUMB_OPTIONS)
        return Picture(name, full.name, size, thumb_size)

    def remove_all_but(self, kept: set[str]) -> None:
        """Remove the pictures of earlier runs whose names are not in ``kept``."""
        for path in (*self.folder.glob("thumbs/*.webp"), *self.folder.glob("full/*.???")):
            if path.stem not in kept and re.fullmatch("[0-9a-f]{24}", path.stem):
                path.unlink(missing_ok=True)


def thumbnail_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the thumbnail size (H, W) for a picture size (H, W), without enlargement."""
    scale = min(1.0, THUMB_HEIGHT / size[0], 4 * THUMB_HEIGHT / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def to_rgb(picture: np.ndarray) -> np.ndarray:
    """Convert a picture to (H, W, 3) uint8, RGB, from uint8, bool or float in [0, 1]."""
    picture = _eight_bits(picture)
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture


def _eight_bits(picture: np.ndarray) -> np.ndarray:
    return picture if picture.dtype == np.uint8 else to_levels(picture)
