"""Random numbers and shapes of generated scenes, equal on every machine.

Random numbers come from PCG64's raw stream. Arithmetic is elementwise IEEE float64. Results of
sines and powers are rounded, either at once or when corners are rounded to integers.
"""

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

_MIN_AREA, _MAX_AREA = 0.03, 0.35  # ratios of the image area, for objects and distractors


class Random:
    """Random numbers from PCG64's raw stream, which is equal in all versions of numpy."""

    def __init__(self, seed: int, index: int):
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, index]))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: int | None = None):
        """Return a number from [low, high), or an array (size,) float64 of such numbers."""
        raw = self._bits.random_raw(size)
        return low + (high - low) * ((raw >> 11) * 2.0**-53)

    def integer(self, end: int) -> int:
        """Return an integer from 0 to ``end`` - 1."""
        return int(self.uniform() * end)

    def choice(self, options: Sequence):
        """Return one of the options, all with equal probability."""
        return options[self.integer(len(options))]

    def subset(self, count: int, total: int) -> set[int]:
        """Return ``count`` different integers from 0 to ``total`` - 1."""
        return set(np.argsort(self.uniform(size=total), kind="stable")[:count].tolist())

    def noise(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return nearly normal noise of unit variance: sums of four bytes."""
        count = math.prod(shape)
        raw = self._bits.random_raw(math.ceil(count / 2)).astype("<u8").view(np.uint8)
        total = raw[: 4 * count].reshape(4, *shape).sum(axis=0, dtype=np.int16)
        return (total - 510) / 147.8


def place_regions(random: Random, size: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Place 3 to 5 regions with disjoint boxes.

    Returns:
        An array (H, W) uint8 with the region number of each pixel, 0 = background; and the number
        of regions.
    """
    wanted = 3 + random.integer(3)
    largest = (0.30, 0.20, 0.13)[wanted - 3]
    pixels = size[0] * size[1]
    while True:  # if large first regions leave no room, all regions are drawn again
        regions, boxes = np.zeros(size, np.uint8), []
        for _ in range(4 * wanted):
            area = 0.037 * (largest / 0.037) ** random.uniform()
            parts = _outline(random, area * pixels)
            box = _free_box(random, np.concatenate(parts), boxes, size)
            if box is None:
                continue
            drawn = np.zeros(size, bool)
            for part in parts:
                fill(drawn, part + box[:2])
            if _MIN_AREA * pixels <= np.count_nonzero(drawn) <= _MAX_AREA * pixels:
                boxes.append(box)
                regions += drawn * np.uint8(len(boxes))
            if len(boxes) == wanted:
                return regions, wanted


def _free_box(
    random: Random, corners: np.ndarray, boxes: list[np.ndarray], size: tuple[int, int]
) -> np.ndarray | None:
    """Find a free box (left, top, right, bottom) for an outline that begins at (0, 0)."""
    extent = corners.max(axis=0)
    room = np.array([size[1], size[0]]) - 5 - extent
    if room.min() <= 0:
        return None
    places = 2 + np.floor(random.uniform(size=32).reshape(16, 1, 2) * room)
    taken = np.array(boxes).reshape(1, -1, 4)
    apart = (places + extent + 4 < taken[..., :2]) | (taken[..., 2:] + 4 < places)  # (16, boxes, 2)
    free = np.flatnonzero(apart.any(axis=2).all(axis=1))
    if len(free) == 0:
        return None
    return np.concatenate([places[free[0], 0], places[free[0], 0] + extent])


def _outline(random: Random, area: float) -> list[np.ndarray]:
    """Draw a shape of about ``area`` pixels: one or two integer polygons (n, 2), x, y >= 0."""
    family = random.choice(("ellipse", "polygon", "blob", "rectangle", "two-part"))
    upright = family == "two-part"
    if family == "polygon":
        count = 4 + random.integer(5)
        turns = (np.arange(count) + random.uniform(-0.25, 0.25, count)) / count
        parts = [circle(turns) * random.uniform(0.7, 1.0, count)[:, None]]
    elif family == "blob":
        turns = np.arange(64) / 64
        radius = np.ones(64)
        for order in (2, 3, 4):
            radius += random.uniform(0.0, 0.16) * circle(order * turns + random.uniform())[:, 0]
        parts = [circle(turns) * radius[:, None]]
    elif family == "rectangle":
        round_ = circle(np.arange(64) / 64)
        parts = [np.sign(round_) * np.sqrt(np.sqrt(np.abs(round_)))]  # superellipse, exponent 8
    else:
        parts = [circle(np.arange(48) / 48)]
        if upright:
            parts.append(parts[0] * random.uniform(0.4, 0.6) + [random.uniform(-0.3, 0.3), -1.15])
    stretch = 2.0 ** random.uniform(-0.4, 0.4)
    cos, sin = circle(random.uniform(-0.06, 0.06) if upright else random.uniform())
    parts = [part * [stretch, 1 / stretch] @ [[cos, sin], [-sin, cos]] for part in parts]
    scale = math.sqrt(area / sum(_polygon_area(part) for part in parts))
    least = np.concatenate(parts).min(axis=0)
    return [np.round((part - least) * scale) for part in parts]


def fill(canvas: np.ndarray, corners: np.ndarray) -> None:
    """Set the pixels of a bool canvas if their centres are in a polygon with integer corners x, y.

    cv2.fillPoly is not used, because OpenCV 5 sets other border pixels than OpenCV 4.
    """
    height, width = canvas.shape
    top, bottom = np.clip([corners[:, 1].min(), corners[:, 1].max()], 0, height).astype(int)
    x, y = corners[:, 0], corners[:, 1]
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    centres = np.arange(top, bottom)[:, None] + 0.5  # never at a corner's height
    rows, edges = np.nonzero((y < centres) != (next_y < centres))
    part = (rows + top + 0.5 - y[edges]) / (next_y[edges] - y[edges])
    crossings = np.ceil(x[edges] + part * (next_x[edges] - x[edges]) - 0.5)
    toggles = np.zeros((bottom - top, width + 1), np.int32)
    np.add.at(toggles, (rows, np.clip(crossings, 0, width).astype(int)), 1)
    canvas[top:bottom] |= toggles[:, :-1].cumsum(axis=1) % 2 == 1


def circle(turns: float | np.ndarray) -> np.ndarray:
    """Return points (..., 2) on the unit circle, rounded so that they do not depend on libm."""
    angles = 2 * math.pi * turns
    return np.round(np.stack([np.cos(angles), np.sin(angles)], axis=-1) * 65536) / 65536


def _polygon_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return abs(math.fsum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


def windows(regions: np.ndarray, values: Sequence) -> Iterator[tuple]:
    """Yield the value of each region, a box around the region, and arrays of the size of the box.

    The arrays are the mask (h, w) bool of the region, and coordinates x and y, (h, w) float in
    [-1, 1]. Regions whose value is 0 or None are omitted.
    """
    for number, value in enumerate(values, start=1):
        if value:
            mask = regions == number
            x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
            window = np.s_[max(y - 1, 0) : y + height + 1, max(x - 1, 0) : x + width + 1]
            mask = mask[window]
            down, right = (np.linspace(-1, 1, length) for length in mask.shape)
            yield value, window, mask, *np.meshgrid(right, down)


def blur(image: np.ndarray) -> np.ndarray:
    """Blur integers exactly with the 3 x 3 binomial kernel of sum 16."""
    padded = np.pad(image, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Round the values of an array of any shape, clip to [0, 255], and return uint8."""
    return np.clip(np.floor(image + 0.5), 0, 255).astype(np.uint8)
