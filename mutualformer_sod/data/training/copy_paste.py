"""Cut-and-paste augmentation: an object of one RGB-D image, with its depth, put into another."""

from __future__ import annotations

import cv2
import numpy as np

_LARGEST = 0.75  # of each side of the picture, that a pasted object may take
_MOST = 0.5  # share of its own picture beyond which a foreground is no object to paste
_SCALES = (0.5, 1.0)
_GAP = 0.02  # by which a pasted object is nearer than anything that it covers

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def paste_object(target: Arrays, donor: Arrays, rng: np.random.Generator) -> Arrays:
    """Paste the donor's foreground at a drawn place, size (halved at most) and side.

    The object's depth keeps its relief and is moved towards the camera until all of it is nearer
    than what it covers; where that exceeds 1, the depth of the whole picture is scaled down, so
    that its order stays. What is foreground in the target stays so where it is not covered, and
    the pasted object is foreground, too.

    Args:
        target: rgb (H, W, 3) uint8, depth (H, W) float in [0, 1], near = 1, gt (H, W) in [0, 1].
        donor: the same parts of another image, of any size.
        rng: makes all draws.

    Returns:
        New arrays of the target's size, gt as float32; the target itself if the donor shows
        nothing that could be pasted.
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
    # In shares of the picture's sides: both pictures are brought to the same square.
    share = np.divide(parts[2].shape, mask.shape) * rng.uniform(*_SCALES)
    share *= min(1.0, _LARGEST / share.max())
    height, width = (max(1, round(s * side)) for s, side in zip(share, depth.shape, strict=True))
    top = int(rng.integers(depth.shape[0] - height + 1))
    left = int(rng.integers(depth.shape[1] - width + 1))
    place = np.s_[top : top + height, left : left + width]

    size = (width, height)
    alpha = cv2.resize(parts[2], size, interpolation=cv2.INTER_AREA)
    inside = alpha > 0.5
    if not inside.any():
        return target
    colours = cv2.resize(parts[0], size, interpolation=cv2.INTER_AREA).astype(np.float32)
    # Nearest: in between, depths would lie between the object and what was behind it.
    relief = cv2.resize(parts[1], size, interpolation=cv2.INTER_NEAREST_EXACT)

    rgb, depth, gt = rgb.copy(), depth.astype(np.float32), gt.astype(np.float32)
    blended = rgb[place] + alpha[..., None] * (colours - rgb[place])
    rgb[place] = np.rint(blended).astype(np.uint8)
    lift = max(0.0, float((depth[place] - relief)[inside].max()) + _GAP)
    depth[place] = np.where(inside, relief + np.float32(lift), depth[place])
    depth /= max(1.0, float(depth.max()))
    gt[place] = np.maximum(gt[place], alpha)
    return rgb, depth, gt
