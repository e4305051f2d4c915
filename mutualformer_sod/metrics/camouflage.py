"""Degree of camouflage of the foreground (Wang et al., Context-measure, 2025).

Every patch of the foreground is replaced by the most similar patch of the background near the
foreground. The degree of camouflage is high where the new colours are close to the original
colours.
"""

import cv2
import numpy as np

from mutualformer_sod.metrics.colour_difference import ciede2000, lab

_SIDE, _STEP = 7, 3  # side of a patch, and distance between patches, in pixels
_SURROUNDINGS = np.ones((20, 20), np.uint8)
_NEARNESS = 20.0  # weight of the distance in the image, relative to the colours
_GAMMA = 8.0  # exponent of the similarity
_CHUNK = 1024  # patches compared at once


def camouflage_degree(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the degree of camouflage, (H, W) float64 in [0, 1], with 0 outside the foreground.

    The degree is 0 everywhere if the foreground or its surroundings contain no patch of 7 x 7
    pixels. The image is (H, W, 3) uint8, and the mask is (H, W) bool.
    """
    degree = np.zeros(mask.shape)
    if min(mask.shape) < _SIDE:
        return degree
    inside = mask.view(np.uint8)
    around = cv2.dilate(inside, _SURROUNDINGS) - inside
    colours = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    own, own_patches = _patches(colours, inside)
    other, other_patches = _patches(colours, around)
    if not len(own) or not len(other):
        return degree
    nearest = _nearest(own, own_patches, other, other_patches)
    hidden = _replace(rgb * around[..., None], own, other[nearest])
    difference = ciede2000(lab(hidden[mask]), lab(rgb[mask]))
    similarity = 1.0 - np.clip(difference / 100.0, 0.0, 1.0)
    degree[mask] = (np.exp(_GAMMA * similarity) - 1.0) / (np.exp(_GAMMA) - 1.0)
    return degree


def _patches(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return corners (P, 2) and colours (P, 147) of the patches inside a mask."""
    padding = [(0, -(size - _SIDE) % _STEP) for size in mask.shape]
    image = np.pad(image, (*padding, (0, 0)), mode="reflect")
    mask = np.pad(mask, padding)
    view = np.lib.stride_tricks.sliding_window_view
    fits = view(mask, (_SIDE, _SIDE))[::_STEP, ::_STEP].all(axis=(2, 3))
    places = np.argwhere(fits)
    patches = view(image, (_SIDE, _SIDE, 3))[::_STEP, ::_STEP, 0][fits]
    return places * _STEP, patches.reshape(len(places), 3 * _SIDE**2)


def _nearest(
    own: np.ndarray, own_patches: np.ndarray, other: np.ndarray, other_patches: np.ndarray
) -> np.ndarray:
    """Return the index of the ``other`` patch nearest in colour and place to each ``own`` patch."""
    places = np.concatenate((other, own)).astype(np.float64)
    spread = places.std(axis=0)
    places = _NEARNESS * (places - places.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    features = np.hstack((np.concatenate((other_patches, own_patches)), places))
    features = features.astype(np.float32).astype(np.float64)
    others, owns = features[: len(other)], features[len(other) :]
    squares = (others**2).sum(axis=1)
    chunks = (owns[start : start + _CHUNK] for start in range(0, len(owns), _CHUNK))
    return np.concatenate([(squares - 2.0 * c @ others.T).argmin(axis=1) for c in chunks])


def _replace(source: np.ndarray, targets: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Return the mean of the patches that are copied from origins to targets, (H, W, 3) uint8."""
    height, width = source.shape[:2]
    last = height - _SIDE, width - _SIDE
    targets, origins = np.minimum(targets, last), np.minimum(origins, last)
    total = np.zeros((height * width, 3), np.int64)
    number = np.zeros(height * width)
    flat = source.reshape(-1, 3).astype(np.int64)
    stride = np.array([width, 1])
    for offset in np.ndindex(_SIDE, _SIDE):
        place = (targets + offset) @ stride
        np.add.at(total, place, flat[(origins + offset) @ stride])
        np.add.at(number, place, 1.0)
    mean = np.round(total / (number + np.spacing(1.0))[:, None])
    return mean.astype(np.uint8).reshape(source.shape)
