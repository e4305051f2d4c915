"""Copy-paste augmentation: paste an object of another RGB-D image, or duplicate an object."""

import cv2
import numpy as np

_LARGEST = 0.75  # maximum size of a pasted object, relative to each side of the image
_MOST = 0.5  # maximum ratio of foreground in the donor
_SCALES = (0.5, 1.0)
_GAP = 0.02  # minimum distance in depth between a pasted object and the covered pixels

_TWIN_AREA = (0.01, 0.2)  # minimum and maximum ratio of foreground for adding a copy
_TWIN_SCALES = (0.7, 1.35)
_DISTANCES = (0.12, 0.4)  # distance in depth between the two objects, near = 1
_COVERED = 0.4  # maximum covered ratio of the farther object
_TRIES = 8

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Colours (H, W, 3) uint8, depth (H, W) float in [0, 1], near = 1, and gt (H, W) in [0, 1]."""


def paste_object(target: Arrays, donor: Arrays, rng: np.random.Generator) -> Arrays:
    """Paste the foreground of the donor into the target at a random place, scale and flip.

    The images may differ in size. The scale is between half and full size. The depth of the object
    is moved towards the camera, without a change of relief, until the object is nearer than
    everything it covers. If a depth then exceeds 1, all depths are scaled down. The new foreground
    includes both objects.

    Returns:
        New arrays of the size of the target, gt as float32; the target itself if the donor has no
        suitable object.
    """
    rgb, depth, gt = target
    mask = np.asarray(donor[2], np.float32)
    rows, columns = (np.flatnonzero((mask > 0.5).any(axis=axis)) for axis in (1, 0))
    if not rows.size or (mask > 0.5).mean() > _MOST:
        return target
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    parts = [donor[0][box], donor[1][box], mask[box]]
    if rng.random() < 0.5:
        parts = [np.ascontiguousarray(part[:, ::-1]) for part in parts]
    # The object keeps its size relative to the sides of its image, because both images are resized
    # to the same square.
    ratio = np.divide(parts[2].shape, mask.shape) * rng.uniform(*_SCALES)
    ratio *= min(1.0, _LARGEST / ratio.max())
    height, width = (max(1, round(s * side)) for s, side in zip(ratio, depth.shape, strict=True))
    top = int(rng.integers(depth.shape[0] - height + 1))
    left = int(rng.integers(depth.shape[1] - width + 1))
    place = np.s_[top : top + height, left : left + width]

    size = (width, height)
    alpha = cv2.resize(parts[2], size, interpolation=cv2.INTER_AREA)
    inside = alpha > 0.5
    if not inside.any():
        return target
    colours = cv2.resize(parts[0], size, interpolation=cv2.INTER_AREA).astype(np.float32)
    # Nearest neighbour: interpolation would add depths between the object and its background.
    relief = cv2.resize(parts[1], size, interpolation=cv2.INTER_NEAREST_EXACT)

    rgb, depth, gt = rgb.copy(), depth.astype(np.float32), gt.astype(np.float32)
    blended = rgb[place] + alpha[..., None] * (colours - rgb[place])
    rgb[place] = np.rint(blended).astype(np.uint8)
    lift = max(0.0, float((depth[place] - relief)[inside].max()) + _GAP)
    depth[place] = np.where(inside, relief + np.float32(lift), depth[place])
    depth /= max(1.0, float(depth.max()))
    gt[place] = np.maximum(gt[place], alpha)
    return rgb, depth, gt


def add_twin(image: Arrays, rng: np.random.Generator) -> Arrays:
    """Add a copy of the object at another distance, and use the nearer object as ground truth.

    Depth alone decides which object is salient. The copy is nearer or farther with equal
    probability, so that the seam of its outline does not show which object is the ground truth. The
    scale of the copy is random. The nearer object covers the farther object.

    Returns:
        New arrays, gt as float32; the image itself if its object is very small or large or
        touches the left, right or top border, or if no place for the copy is found.
    """
    rgb, depth, gt = image
    mask = np.asarray(gt, np.float32)
    inside = mask > 0.5
    cut = inside[0].any() or inside[:, 0].any() or inside[:, -1].any()
    if cut or not _TWIN_AREA[0] <= inside.mean() <= _TWIN_AREA[1]:
        return image
    nearer = rng.random() < 0.5
    matrix = _twin_place(mask, nearer, rng)
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


def _twin_place(mask: np.ndarray, nearer: bool, rng: np.random.Generator) -> np.ndarray | None:
    """Draw the place of the copy: an affine matrix (2, 3), or None if no place is found."""
    height, width = mask.shape
    inside = mask > 0.5
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    for _ in range(_TRIES):
        scale = rng.uniform(*_TWIN_SCALES)
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
