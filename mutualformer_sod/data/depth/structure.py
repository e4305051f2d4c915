"""Measure whether the edges of a depth map coincide with the edges of its colour image."""

import cv2
import numpy as np

from mutualformer_sod.data.depth.evidence import doubled_ranks
from mutualformer_sod.data.depth.holes import fill_holes, find_holes, sampled

LEAST_RELATION = 2.0
"""Minimum `relation`, in standard deviations, of a depth map that is related to its image.

Depth of another image reaches 2 in 6 % of the cases (docs/data.md).
"""

_SIDE = 192  # pixels of the longer side; finer depth edges are mostly noise
_LEAST_SIDE = 96  # smaller maps have too few edges for a decision
_BLUR = 0.8  # standard deviation in pixels of the blur before the gradient
_SURROUND = 6.0  # standard deviation in pixels of the blur that is subtracted from the edges
_BORDER = 4  # ignored pixels at the border, because every image has edges along its border
_NEAR = 8  # shifts of up to 8 pixels are not compared, because real depth is registered roughly
_TOLERANCE = np.ones((3, 3), np.uint8)  # accepts a registration error of one pixel


def relation(rgb: np.ndarray, depth: np.ndarray) -> float | None:
    """Compute how much better the edges of depth and colour match in place than when shifted.

    Both edge maps are the double-angle form of the gradient, with the square root of its length,
    so that neither contrast nor the sign of depth counts. The correlation of the two maps in place
    is compared with the mean and standard deviation of the correlation over all circular shifts of
    more than 8 pixels. Depth values are replaced by their ranks, and holes have no edges.

    Args:
        rgb: (H, W, 3) uint8, colour image of the same view.
        depth: (h, w) as stored; 0 is a hole unless the map is 8-bit.

    Returns:
        A number of standard deviations: about 0 for depth of another image, 5 and more for most
        real depth; None for constant, empty or tiny maps, which allow no decision.
    """
    raw = sampled(depth, _SIDE)
    height, width = raw.shape
    if min(height, width) <= 2 * _NEAR or max(height, width) < _LEAST_SIDE:
        return None
    holes = find_holes(raw, metric=raw.dtype != np.uint8)
    valid = raw[~holes]
    if valid.size == 0 or valid.min() == valid.max():
        return None
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    ranks = np.float32(doubled_ranks(fill_holes(np.float32(raw), holes)) / (2 * raw.size))
    one, other = _edges(cv2.split(lab), None), _edges([ranks], holes)
    product = (np.fft.rfft2(one) * np.conj(np.fft.rfft2(other))).sum(axis=0)
    matches = np.fft.irfft2(product, s=(height, width)).astype(np.float32)  # by shift
    matches = cv2.dilate(np.fft.fftshift(matches), _TOLERANCE)
    y, x = height // 2, width // 2
    shifted = np.ones(matches.shape, bool)
    shifted[y - _NEAR : y + _NEAR + 1, x - _NEAR : x + _NEAR + 1] = False
    spread = float(matches[shifted].std())
    return float(matches[y, x] - matches[shifted].mean()) / spread if spread > 0 else None


def is_unrelated(rgb: np.ndarray, depth: np.ndarray) -> bool:
    """Return whether the `relation` of a depth map to its image is below `LEAST_RELATION`."""
    found = relation(rgb, depth)
    return found is not None and found < LEAST_RELATION


def _edges(planes: list[np.ndarray], holes: np.ndarray | None) -> np.ndarray:
    """Return the double-angle gradient (2, h, w) of each pixel's strongest plane."""
    gx, gy, strength = (np.zeros(planes[0].shape, np.float32) for _ in range(3))
    for plane in planes:
        smooth = cv2.GaussianBlur(plane, (0, 0), _BLUR)
        dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
        squared = dx * dx + dy * dy
        stronger = squared > strength
        for kept, new in ((gx, dx), (gy, dy), (strength, squared)):
            np.copyto(kept, new, where=stronger)
    weight = strength**0.25 / np.maximum(strength, 1e-12)
    parts = np.stack([weight * (gx * gx - gy * gy), weight * (2 * gx * gy)])
    if holes is not None:
        parts[:, cv2.dilate(holes.view(np.uint8), _TOLERANCE).view(bool)] = 0
    for part in parts:
        part -= cv2.GaussianBlur(part, (0, 0), _SURROUND)
        for border in (part, part.T):
            border[:_BORDER] = border[-_BORDER:] = 0
    return parts
