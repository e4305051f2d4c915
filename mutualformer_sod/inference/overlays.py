"""Show a saliency map as grey levels, as an overlay on its picture, or as a cut-out."""

from collections.abc import Iterable, Iterator

import numpy as np

from mutualformer_sod.imaging.foreground import estimate_foreground
from mutualformer_sod.imaging.io import to_levels
from mutualformer_sod.imaging.photos import Photo

KINDS = ("maps", "overlays")
_OVERLAY_COLOUR = (255, 32, 64)
_OVERLAY_WEIGHT = 0.65  # weight of the colour where the map is 1: the picture stays visible
_DIMMED = 0.55  # brightness of the picture where the map is 0
_BAND_PIXELS = 10**6  # pixels painted at once: float colours need more memory than a picture


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


def cutout(rgb: np.ndarray, saliency: np.ndarray, opacity: np.ndarray | None = None) -> np.ndarray:
    """Use a saliency map as the opacity of its picture.

    Args:
        rgb: (H, W, 3) uint8.
        saliency: (H, W) float in [0, 1].
        opacity: (H, W) uint8, opacity of the picture itself; None for an opaque picture.

    Returns:
        (H, W, 4) uint8: the object's estimated colours (``imaging.foreground``), not premultiplied,
        and alpha, 255 = opaque.

    Raises:
        ValueError: the sizes differ.
    """
    _check_sizes(rgb, saliency)
    alpha = to_levels(saliency, 255 if opacity is None else opacity)
    return np.dstack([estimate_foreground(rgb, alpha), alpha])


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


def _check_sizes(rgb: np.ndarray, saliency: np.ndarray) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.shape[:2] != saliency.shape:
        raise ValueError(
            f"rgb is {rgb.shape} and saliency {saliency.shape}. Fix: pass (H, W, 3) and (H, W)."
        )
