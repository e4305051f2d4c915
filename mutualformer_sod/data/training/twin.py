"""Add a copy of the salient object: depth alone decides which of the two is salient."""

import cv2
import numpy as np

_SMALLEST, _LARGEST = 0.01, 0.2  # ratios of the foreground between which a copy is added
_SCALES = (0.7, 1.35)
_DISTANCES = (0.12, 0.4)  # between the two objects, in depth with near = 1
_COVERED = 0.4  # largest covered ratio of the farther object
_TRIES = 8

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def add_twin(image: Arrays, rng: np.random.Generator) -> Arrays:
    """Add a copy of the object at another distance; the nearer of the two is the ground truth.

    The copy is nearer or farther with equal probability, and larger or smaller. The outline of the
    original has no seam, but this does not show which object is the ground truth. The nearer
    object covers the other.

    Args:
        image: rgb (H, W, 3) uint8, depth (H, W) float in [0, 1], near = 1, gt (H, W) in [0, 1].
        rng: makes all draws.

    Returns:
        New arrays, gt as float32; the image itself if its object is very small or large, touches
        the left, right or top border, or if no place for the copy is found.
    """
    rgb, depth, gt = image
    mask = np.asarray(gt, np.float32)
    inside = mask > 0.5
    cut = inside[0].any() or inside[:, 0].any() or inside[:, -1].any()
    if cut or not _SMALLEST <= inside.mean() <= _LARGEST:
        return image
    nearer = rng.random() < 0.5
    matrix = _place(mask, nearer, rng)
    if matrix is None:
        return image
    size = mask.shape[::-1]
    copied = cv2.warpAffine(mask, matrix, size)
    colours = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_AREA).astype(np.float32)
    colours = colours * rng.uniform(0.85, 1.15)
    level = float(np.median(depth[inside])) + rng.uniform(*_DISTANCES) * (1 if nearer else -1)
    relief = cv2.warpAffine(np.float32(depth), matrix, size, flags=cv2.INTER_NEAREST)
    there = copied > 0.5
    if not nearer:
        there &= ~inside
        copied = copied * (1 - mask)
    depth = np.where(there, relief - np.median(relief[there]) + level, depth)
    low, high = min(0.0, float(depth.min())), max(1.0, float(depth.max()))
    blended = rgb + copied[..., None] * (colours - rgb)
    return (
        np.clip(np.rint(blended), 0, 255).astype(np.uint8),
        ((depth - low) / (high - low)).astype(np.float32),
        copied if nearer else mask,
    )


def _place(mask: np.ndarray, nearer: bool, rng: np.random.Generator) -> np.ndarray | None:
    """Draw the place of the copy: an affine matrix (2, 3), or None if no place is found."""
    height, width = mask.shape
    inside = mask > 0.5
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    for _ in range(_TRIES):
        scale = rng.uniform(*_SCALES)
        side = -scale if rng.random() < 0.5 else scale
        tall, wide = scale * (rows[-1] - rows[0] + 1), scale * (columns[-1] - columns[0] + 1)
        if tall >= height or wide >= width:
            continue
        left = rng.uniform(0, width - wide)
        top = rows[-1] + 1 + rng.uniform(0, 0.12) * height * (1 if nearer else -1) - tall
        if not 0 <= top <= height - tall:
            continue
        start = columns[-1] if side < 0 else columns[0]
        matrix = np.float32([[side, 0, left - side * start], [0, scale, top - scale * rows[0]]])
        copied = cv2.warpAffine(mask, matrix, (width, height)) > 0.5
        hidden = inside if nearer else copied
        if copied.sum() and (copied & inside).sum() <= _COVERED * hidden.sum():
            return matrix
    return None
