"""Show a saliency map as grey levels, as an overlay on its picture, or as a cut-out."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.foreground import estimate_foreground
from mutualformer_sod.imaging.io import read_rgb, to_levels
from mutualformer_sod.imaging.photos import Photo

KINDS = ("maps", "overlays")  # of output, painted by `paint`
CUTOUTS = "cutouts"  # name of the cut-outs as a kind of output
BLUR = "blur"
_NAMED = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128)}
PLAIN = f"{', '.join(_NAMED)}, #rrggbb, {BLUR}"  # in messages: backgrounds without a file

_OVERLAY_COLOUR = (255, 32, 64)
_OVERLAY_WEIGHT = 0.65  # weight of the colour where the map is 1: the picture stays visible
_DIMMED = 0.55  # brightness of the picture where the map is 0
_BAND_PIXELS = 10**6  # pixels painted at once: float colours need more memory than a picture
_BLUR_RATIO = 0.02  # standard deviation of the blur as a ratio of the longer side
_MARGIN_RATIO = 0.03  # margin around a crop as a ratio of the object's longer side
_PRESENT = 128  # minimum opacity, 0 to 255, of a pixel of the object


def overlay(rgb: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Blend a saliency map (H, W) float in [0, 1] with its picture (H, W, 3) uint8.

    The picture becomes red where the map is 1, and dark where the map is 0.

    Raises:
        ValueError: the sizes differ.
    """
    _check_sizes(rgb, saliency)
    saliency = saliency[..., None].astype(np.float32)
    picture = rgb * (_DIMMED + (1 - _DIMMED - _OVERLAY_WEIGHT) * saliency)
    colour = np.float32(_OVERLAY_COLOUR) * _OVERLAY_WEIGHT
    return np.rint(picture + colour * saliency).astype(np.uint8)


def paint(kind: str, photo: Photo, strips: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield an output of one of `KINDS` in strips (rows, W, ...) uint8, from the top down.

    The ``strips`` are those of the saliency map, (rows, W) float in [0, 1], from the top down. An
    overlay has the size of ``photo.rgb``; a map may have another size.
    """
    top = 0
    for strip in strips:
        step = max(1, _BAND_PIXELS // strip.shape[1])
        for start in range(0, len(strip), step):
            band = strip[start : start + step]
            rows = slice(top, top + len(band))
            top = rows.stop
            yield to_levels(band) if kind == "maps" else overlay(photo.rgb[rows], band)


@dataclass(frozen=True)
class CutoutStyle:
    """Style of cut-outs.

    The background is None (transparent), "white", "black", "grey", "#rrggbb", "blur" (the picture
    itself, blurred) or the path of a background picture.

    Raises:
        InputError: the background is neither a colour nor a readable picture.
    """

    background: str | None = None
    crop: bool = False  # crop cut-outs to the object with a small margin
    file: Path | None = None  # the background picture, if its path differs from ``background``

    def __post_init__(self) -> None:
        if self.picture is None:
            return
        if self.file is None and not self.picture.is_file():
            problem = f"`background` {self.background}: neither a colour nor a file"
            raise InputError(f"{problem}. Fix: pass {PLAIN}, or a picture.")
        try:  # report an unreadable picture before the first map
            read_rgb(self.picture)
        except InputError as error:
            raise InputError(f"`background` {error}") from error

    @property
    def picture(self) -> Path | None:
        """Return the path of the background picture, or None if the background is not a picture."""
        if self.file is not None or self.background is None or is_plain(self.background):
            return self.file
        return Path(self.background)


def is_plain(background: str) -> bool:
    """Return whether a background is a colour or "blur", not a picture."""
    return background == BLUR or _colour_of(background) is not None


def _colour_of(background: str) -> tuple[int, ...] | None:
    """Return (R, G, B) of a background, or None if the background is not a colour."""
    text = background.lower()
    if re.fullmatch("#[0-9a-f]{6}", text):
        return tuple(bytes.fromhex(text[1:]))
    return _NAMED.get(text)


TRANSPARENT = CutoutStyle()


def cutout(
    rgb: np.ndarray,
    saliency: np.ndarray,
    opacity: np.ndarray | None = None,
    style: CutoutStyle = TRANSPARENT,
) -> np.ndarray:
    """Cut the object out of a picture (H, W, 3) uint8 by its map (H, W) in [0, 1], as `cut_out`.

    The ``opacity`` of the picture itself is (H, W) uint8, or None for an opaque picture.

    Raises:
        ValueError: the sizes differ.
    """
    _check_sizes(rgb, saliency)
    return cut_out(Photo(rgb, rgb, opacity, rgb.shape[:2], 1, ()), [saliency], style)


def cut_out(
    photo: Photo, strips: Iterable[np.ndarray], style: CutoutStyle = TRANSPARENT
) -> np.ndarray:
    """Cut the object out of a picture (H, W), with colours estimated by ``imaging.foreground``.

    The ``strips`` of the saliency map are (rows, W) float in [0, 1], from the top down. A picture
    without an object is not cropped.

    Returns:
        (h, w, 4) uint8, colours (not premultiplied) and opacity; or (h, w, 3) uint8 on a
        background. h = H and w = W without cropping.

    Raises:
        InputError: the background picture is unreadable.
    """
    alpha, top = np.empty(photo.rgb.shape[:2], np.uint8), 0
    for strip in strips:
        rows = slice(top, top + len(strip))
        alpha[rows] = to_levels(strip, 255 if photo.opacity is None else photo.opacity[rows])
        top = rows.stop
    colours, behind = estimate_foreground(photo.colours, alpha), photo.rgb
    if style.crop:
        box = _box(alpha)
        colours, alpha, behind = colours[box], alpha[box], behind[box]
    if style.background is None:
        return np.dstack([colours, alpha])
    return _compose(colours, alpha, _background(style, behind))


def _box(alpha: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of the object with a margin; all of them if no object exists."""
    x, y, width, height = cv2.boundingRect((alpha >= _PRESENT).view(np.uint8))
    if width == 0:
        return slice(None), slice(None)
    margin = round(_MARGIN_RATIO * max(width, height))
    rows = slice(max(0, y - margin), y + height + margin)
    return rows, slice(max(0, x - margin), x + width + margin)


def _background(style: CutoutStyle, behind: np.ndarray) -> np.ndarray:
    """Return the background at the size of ``behind``, (H, W, 3) uint8."""
    height, width = behind.shape[:2]
    if style.picture is None:
        if style.background == BLUR:
            return cv2.GaussianBlur(behind, (0, 0), max(1.0, _BLUR_RATIO * max(height, width)))
        return np.full_like(behind, _colour_of(style.background))
    picture = read_rgb(style.picture)
    scale = max(height / picture.shape[0], width / picture.shape[1])
    rows, columns = (round(side * scale) for side in picture.shape[:2])
    rows, columns = max(height, rows), max(width, columns)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(picture, (columns, rows), interpolation=interpolation)
    top, left = (rows - height) // 2, (columns - width) // 2
    return picture[top : top + height, left : left + width]


def _compose(colours: np.ndarray, alpha: np.ndarray, behind: np.ndarray) -> np.ndarray:
    result = np.empty_like(behind)
    for row, weight in enumerate(alpha.astype(np.float32)[..., None] / 255):  # to save memory
        result[row] = np.rint(weight * colours[row] + (1 - weight) * behind[row])
    return result


def _check_sizes(rgb: np.ndarray, saliency: np.ndarray) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.shape[:2] != saliency.shape:
        raise ValueError(
            f"rgb is {rgb.shape} and saliency {saliency.shape}. Fix: pass (H, W, 3) and (H, W)."
        )
