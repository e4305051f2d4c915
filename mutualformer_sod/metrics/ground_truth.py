"""A ground truth with derived quantities, computed once for all maps of the image."""

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from mutualformer_sod.errors import InputError

Window = tuple[slice, slice]  # rows, columns

REACH = 3  # radius in pixels of the 7 x 7 window of the weighted F-measure
_REACH_SQUARED = 2 * REACH**2  # squared distance of the window's corners
_FARTHEST_NEIGHBOUR = 4  # maximum row or column offset of a pixel's nearest foreground in reach


def _neighbour_table() -> np.ndarray:
    """Return the (row, column) offsets at each squared distance up to the reach, (19, 8, 2)."""
    # Of equidistant pixels, the reference prefers the smallest column, then the smallest row.
    steps = range(-_FARTHEST_NEIGHBOUR, _FARTHEST_NEIGHBOUR + 1)
    table = np.zeros((_REACH_SQUARED + 1, 8, 2), np.int64)
    for squared in range(_REACH_SQUARED + 1):
        offsets = [(r, c) for c in steps for r in steps if r * r + c * c == squared]
        if offsets:  # shorter lists are padded with their last offset
            table[squared] = (offsets + [offsets[-1]] * 8)[:8]
    return table


_NEIGHBOURS = _neighbour_table()
_NEIGHBOURHOOD = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)


def once(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Cache the result of a function of a ground truth or pair while that object exists."""
    results: WeakKeyDictionary = WeakKeyDictionary()

    @wraps(function)
    def stored(owner: Any) -> Any:
        if owner not in results:
            results[owner] = function(owner)
        return results[owner]

    return stored


class GroundTruth:
    """A binary mask with the derived quantities of the metrics, each computed at first use.

    Args:
        mask: (H, W) bool, or 8-bit with foreground where the value exceeds 128.
        rgb: (H, W, 3) uint8 colour image, for the metrics that need it.

    Raises:
        InputError: the mask has a wrong rank or type, or no pixels; ``rgb`` has another size; or an
            8-bit mask is not all 0 but has no value above 128, e.g. a mask stored as 0 and 1.
    """

    def __init__(self, mask: np.ndarray, rgb: np.ndarray | None = None) -> None:
        if mask.ndim != 2 or mask.size == 0:
            raise InputError(
                f"the ground truth has shape {mask.shape}. Fix: pass a non-empty (H, W) array."
            )
        if mask.dtype == np.uint8:
            brightest = int(mask.max())
            if 0 < brightest <= 128:  # empty under the usual rule, probably by mistake
                raise InputError(
                    f"the ground truth has no value above {brightest}. Fix: pass bool or 0 and 255."
                )
            mask = mask > 128
        elif mask.dtype != np.bool_:
            raise InputError(f"the ground truth has type {mask.dtype}. Fix: pass bool or uint8.")
        if rgb is not None and rgb.shape != (*mask.shape, 3):
            raise InputError(
                f"rgb has shape {rgb.shape}, but the ground truth has {mask.shape}. "
                "Fix: pass equal sizes."
            )
        self.mask, self.rgb = np.ascontiguousarray(mask), rgb
        self._distance: tuple[Window, np.ndarray] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.mask.shape

    @cached_property
    def bytes(self) -> np.ndarray:
        """The mask as (H, W) uint8, 0 or 1, without a copy, for cv2."""
        return self.mask.view(np.uint8)

    @cached_property
    def inverse_bytes(self) -> np.ndarray:
        """The background as (H, W) uint8, 0 or 1."""
        return (~self.mask).view(np.uint8)

    @cached_property
    def foreground(self) -> int:
        """Number of foreground pixels."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def split(self) -> tuple[int, int]:
        """Number of rows and columns of the top left quadrant of the S-measure.

        The split is the foreground's 0-based centroid, rounded half to even, plus one.
        Without foreground, the split is the middle of the image.
        """
        height, width = self.shape
        if self.foreground == 0:
            return round(height / 2), round(width / 2)
        in_rows = cv2.reduce(self.bytes, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
        in_columns = cv2.reduce(self.bytes, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
        # Integer sums below 2^53: the quotient is the correctly rounded mean, exact .5 included.
        row = int(in_rows @ np.arange(height)) / self.foreground
        column = int(in_columns @ np.arange(width)) / self.foreground
        return round(row) + 1, round(column) + 1

    @cached_property
    def window(self) -> Window:
        """The foreground's bounding box as (rows, columns), `REACH` wider inside the image."""
        return bounding_window(self.bytes, (REACH, REACH))

    def distance(self, window: Window) -> np.ndarray:
        """Return the Euclidean distance in pixels to the nearest foreground pixel, float32.

        The window must contain the foreground's own `window`. The result is stored, and reused by
        later maps with the same or a smaller window.
        """
        known, distance = self._distance or (None, None)
        wanted = _union(known, window) if known else window
        if wanted != known:
            background = np.ascontiguousarray(self.inverse_bytes[wanted])
            # The distances are exact: float32 roots of integers, see `squared`.
            distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            self._distance = wanted, distance
        offsets = zip(window, wanted, strict=True)
        return distance[tuple(slice(w.start - o.start, w.stop - o.start) for w, o in offsets)]

    @cached_property
    def nearest_foreground(self) -> tuple[np.ndarray, np.ndarray]:
        """Background pixels near the foreground, and the foreground pixel nearest to each.

        Both arrays are (M,) int64, flat indices into the `window`. The first array has every
        background pixel in the 7 x 7 neighbourhood of a foreground pixel. Of equidistant foreground
        pixels, that in the smallest column is used, and of several in this column, the topmost.
        """
        inside = np.ascontiguousarray(self.bytes[self.window])
        ring = cv2.dilate(inside, _NEIGHBOURHOOD) - inside
        points = cv2.findNonZero(ring)
        if points is None:  # no background near the foreground
            nothing = np.empty(0, np.int64)
            return nothing, nothing
        columns, rows = points.reshape(-1, 2).astype(np.int64).T
        near = rows * inside.shape[1] + columns
        apart = squared(self.distance(self.window)[rows, columns])
        padded = np.pad(inside, _FARTHEST_NEIGHBOUR)
        stride = padded.shape[1]
        start = (rows + _FARTHEST_NEIGHBOUR) * stride + columns + _FARTHEST_NEIGHBOUR
        candidates = start[:, None] + (_NEIGHBOURS @ (stride, 1))[apart]  # (M, 8)
        first = padded.ravel()[candidates].argmax(axis=1)
        return near, near + (_NEIGHBOURS @ (inside.shape[1], 1))[apart, first]


def bounding_window(mask: np.ndarray, margin: tuple[int, int] = (0, 0)) -> Window:
    """Return the bounding box of a mask, (H, W) uint8, with a margin inside the image."""
    left, top, width, height = cv2.boundingRect(mask)
    rows, columns = margin
    return (
        slice(max(top - rows, 0), min(top + height + rows, mask.shape[0])),
        slice(max(left - columns, 0), min(left + width + columns, mask.shape[1])),
    )


def squared(distance: np.ndarray) -> np.ndarray:
    """Return exact squared pixel distances, int64, given float32 distances."""
    return (distance * distance + np.float32(0.5)).astype(np.int64)


def _union(first: Window, second: Window) -> Window:
    pairs = zip(first, second, strict=True)
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in pairs)
