"""Degree of camouflage of the foreground (Wang et al., Context-measure, 2025).

Every patch of the foreground is replaced by the most similar patch of the background near the
foreground. The degree of camouflage is high where the new colours are close to the original
colours.
"""

import cv2
import numpy as np

_SIDE, _STEP = 7, 3  # side of a patch, and distance between patches, in pixels
_SURROUNDINGS = np.ones((20, 20), np.uint8)
_NEARNESS = 20.0  # weight of the distance in the image, relative to the colours
_GAMMA = 8.0  # exponent of the similarity
_CHUNK = 1024  # patches compared at once
_TO_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65, 2-degree standard observer
_CHROMA_25_7 = 25.0**7


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
    difference = _ciede2000(_lab(hidden[mask]), _lab(rgb[mask]))
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


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB, (N, 3) uint8, to CIE Lab, (N, 3) float64."""
    values = rgb / 255.0
    linear = np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    ratios = linear @ _TO_XYZ.T / _WHITE
    x, y, z = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16.0 / 116.0).T
    return np.stack((116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)), axis=1)


def _ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the CIEDE2000 differences (N,) of two arrays of Lab (N, 3).

    Sharma et al., Color Research and Application, 2005.
    """
    (l1, a1, b1), (l2, a2, b2) = first.T, second.T
    mean_chroma_7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2.0) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(mean_chroma_7 / (mean_chroma_7 + _CHROMA_25_7))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.arctan2(b, a) % (2.0 * np.pi) for a, b in ((a1, b1), (a2, b2)))
    turn = h2 - h1
    around = np.where(turn > np.pi, -2.0 * np.pi, np.where(turn < -np.pi, 2.0 * np.pi, 0.0))
    colourless = c1 * c2 == 0
    turn = np.where(colourless, 0.0, turn + around)
    hue = h1 + h2
    far = np.abs(h1 - h2) > np.pi
    hue = hue + np.where(far & (hue < 2.0 * np.pi), 2.0 * np.pi, 0.0)
    hue = np.where(far & (h1 + h2 >= 2.0 * np.pi), hue - 2.0 * np.pi, hue) / 2.0
    hue = np.where(colourless, h1 + h2, hue)
    # Combine the differences of lightness, chroma and hue, each divided by its tolerance.
    chroma = (c1 + c2) / 2.0
    offset = ((l1 + l2) / 2.0 - 50.0) ** 2
    lightness_difference = (l2 - l1) / (1.0 + 0.015 * offset / np.sqrt(20.0 + offset))
    chroma_difference = (c2 - c1) / (1.0 + 0.045 * chroma)
    hue_weight = (
        1.0
        - 0.17 * np.cos(hue - np.radians(30.0))
        + 0.24 * np.cos(2.0 * hue)
        + 0.32 * np.cos(3.0 * hue + np.radians(6.0))
        - 0.20 * np.cos(4.0 * hue - np.radians(63.0))
    )
    hue_difference = 2.0 * np.sqrt(c1 * c2) * np.sin(turn / 2.0)
    hue_difference = hue_difference / (1.0 + 0.015 * chroma * hue_weight)
    angle = np.radians(30.0) * np.exp(-(((np.degrees(hue) - 275.0) / 25.0) ** 2))
    rotation = -np.sin(2.0 * angle) * 2.0 * np.sqrt(chroma**7 / (chroma**7 + _CHROMA_25_7))
    total = (
        lightness_difference**2
        + chroma_difference**2
        + hue_difference**2
        + rotation * chroma_difference * hue_difference
    )
    return np.sqrt(np.maximum(total, 0.0))
