"""Copy-paste augmentation: paste an object of one RGB-D image, with its depth, into another."""

import cv2
import numpy as np

_LARGEST = 0.75  # largest ratio of a pasted object to each side of the image
_MOST = 0.5  # largest ratio of foreground in the donor
_SCALES = (0.5, 1.0)
_GAP = 0.02  # distance in depth between a pasted object and all that it covers

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def paste_object(target: Arrays, donor: Arrays, rng: np.random.Generator) -> Arrays:
    """Paste the foreground of the donor at a random place, size (at least half) and flip.

    The depth of the object keeps its relief and is moved towards the camera until the object is
    nearer than all that it covers. If it exceeds 1, the depth of the whole image is scaled down,
    which keeps the order. The foreground is that of the target and the pasted object.

    Args:
        target: rgb (H, W, 3) uint8, depth (H, W) float in [0, 1], near = 1, gt (H, W) in [0, 1].
        donor: the same parts of another image, of any size.
        rng: makes all draws.

    Returns:
        New arrays of the size of the target, gt as float32; the target itself if the donor has no
        object to paste.
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
    # Relative to the sides of the image: both images are resized to the same square.
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
