"""Invented depth for training images without depth, and misleading depth in place of real depth.

An invented map roughly looks like a map of a depth camera. The map has a floor that is nearer at
the bottom, often a wall behind the floor, the object on the floor, and up to three other objects.
The ground truth defines the object. The map must not simply reveal the ground truth: outlines are
inexact, distractors are added, and some objects have no depth of their own. Invented maps are used
in training, never in validation.
"""

from collections.abc import Callable

import cv2
import numpy as np

_MISLEADING_KINDS = ("other", "noise", "inverted", "blurred", "plane")


def invent_depth(
    gt: np.ndarray, rng: np.random.Generator, scene: np.ndarray | None = None
) -> np.ndarray:
    """Invent a depth map for an image with this ground truth.

    Args:
        gt: (H, W) in [0, 1].
        scene: (H, W) float in [0, 1], near = 1, an estimated depth map of the image, in place of
            the invented surroundings. The object still gets an outline from its ground truth,
            because an estimate from the colours alone adds no information to the colours.

    Returns:
        (H, W) float32 in [0, 1], near = 1, with minimum 0 and maximum 1.
    """
    height, width = gt.shape
    mask = np.ascontiguousarray(gt, np.float32)
    if scene is None:
        depth = _background(rng, height, width)
        for rival in [_rival(rng, mask) for _ in range(rng.integers(0, 4))]:
            depth = _stand(rng, depth, rival)
    else:
        depth = np.float32(scene)
    if rng.random() < 0.9:  # otherwise the object is flat, such as a poster on a wall
        depth = _stand(rng, depth, _sloppy(rng, mask))
    if rng.random() < 0.5:
        depth = cv2.GaussianBlur(depth, (0, 0), rng.uniform(0.5, 2.5))
    if rng.random() < 0.5:
        depth = depth + rng.uniform(0, 0.03) * rng.standard_normal(depth.shape, np.float32)
    low, high = float(depth.min()), float(depth.max())
    return ((depth - low) / max(high - low, 1e-6)).astype(np.float32)


def mislead(
    depth: np.ndarray, other: Callable[[], np.ndarray | None], rng: np.random.Generator
) -> np.ndarray:
    """Return a misleading depth map, so that fusion learns to ignore unreliable depth.

    The misleading map is the map of another image, smooth or white noise, the inverted or strongly
    blurred map ``depth``, or a tilted plane with weak noise.

    Args:
        depth: (H, W) float in [0, 1], near = 1.
        other: function that returns the map (h, w) in [0, 1] of another image, or returns None.

    Returns:
        (H, W) float32 in [0, 1].
    """
    height, width = depth.shape
    kind = _MISLEADING_KINDS[rng.integers(len(_MISLEADING_KINDS))]
    if kind in ("other", "noise"):
        found = other() if kind == "other" else None
        if found is None:
            cells = int(2 ** rng.uniform(1, max(1.0, np.log2(min(height, width)))))
            found = rng.random((cells, cells), dtype=np.float32)
        return cv2.resize(np.float32(found), (width, height), interpolation=cv2.INTER_LINEAR)
    if kind == "inverted":
        return np.float32(1 - depth)
    if kind == "blurred":
        sigma = rng.uniform(0.05, 0.2) * min(height, width)
        return cv2.GaussianBlur(np.float32(depth), (0, 0), sigma)
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    slope = rng.uniform(-1, 1, 2) * rng.uniform(0, 1)
    plane = rng.uniform(0.2, 0.8) + slope[0] * (rows - 0.5) + slope[1] * (columns - 0.5)
    plane += rng.uniform(0, 0.01) * rng.standard_normal(depth.shape)
    return plane.clip(0, 1).astype(np.float32)


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return the depth of a floor, or of a wall above a floor, slightly tilted and bent."""
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    floor = rows
    if rng.random() < 0.6:
        horizon = rng.uniform(0, 0.7)
        floor = np.maximum(0, (rows - horizon) / (1 - horizon))
    depth = rng.uniform(0.1, 0.7) * floor + rng.uniform(-0.2, 0.2) * columns
    depth = depth + rng.uniform(0, 0.25) * _smooth(rng, height, width)
    if rng.random() < 0.3:  # a large structure at one side, such as a doorway
        edge = rng.uniform(0.1, 0.9) - 0.5
        depth = depth + rng.uniform(-0.3, 0.3) * (columns > edge)
    return depth.astype(np.float32)


def _smooth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return smooth noise in about [-1, 1]."""
    cells = int(rng.integers(2, 7))
    coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _sloppy(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Return the mask slightly dilated or eroded, and shifted."""
    reach = max(1, round(0.03 * min(mask.shape)))
    size = int(rng.integers(0, reach + 1)) * 2 + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    mask = (cv2.dilate if rng.random() < 0.6 else cv2.erode)(mask, kernel)
    shift = np.float32([[1, 0, rng.integers(-reach, reach + 1)], [0, 1, 0]])
    return cv2.warpAffine(mask, shift, mask.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def _rival(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Return a distractor: an ellipse, a box, or the shape of the object at another place."""
    height, width = mask.shape
    centre = (int(rng.integers(width)), int(rng.integers(height)))
    axes = (int(width * rng.uniform(0.05, 0.3)) + 1, int(height * rng.uniform(0.05, 0.3)) + 1)
    canvas = np.zeros_like(mask)
    kind = rng.integers(3)
    if kind == 0:
        cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    elif kind == 1:
        corner = (centre[0] + axes[0], centre[1] + axes[1])
        cv2.rectangle(canvas, centre, corner, 1.0, -1)
    else:
        scale = rng.uniform(0.4, 1.0)
        left, top = centre[0] + width * scale / 2, centre[1] - height * scale / 2
        matrix = np.float32([[-scale, 0, left], [0, scale, top]])
        canvas = cv2.warpAffine(mask, matrix, (width, height))
    return canvas * (1 - mask)


def _stand(rng: np.random.Generator, depth: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Add an object at the depth of the background in the lowest row of its outline, or nearer."""
    inside = outline > 0.5
    if not inside.any():
        return depth
    lowest = np.flatnonzero(inside.any(axis=1))[-1]
    contact = float(np.median(depth[lowest][inside[lowest]]))
    level = contact + max(0.0, rng.normal(0.15, 0.15))
    relief = rng.uniform(0, 0.1) * _smooth(rng, *depth.shape)
    lean = rng.uniform(0, 0.5) * (depth - contact)  # the object may be tilted like its background
    return np.where(inside, np.maximum(depth, level + relief + lean), depth).astype(np.float32)
