"""How sample scenes are drawn: random numbers, shapes, textures and a depth sensor.

``samples.py`` decides what a scene shows; everything here only renders it, alike on every machine:
random numbers come from PCG64's raw stream, arithmetic is elementwise IEEE float64 (noise grids,
whose matrix products might be summed in any order, hold exact fractions), sines and powers are
rounded or end in integer corners, blurs are in integers, and cv2 only takes minima.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

OCCLUDING_HEIGHT = 55.0  # grey levels of depth from which on an object hides what is behind it

_MIN_AREA, _MAX_AREA = 0.03, 0.35  # of the image, for objects and distractors alike


class Random:
    """Random numbers from PCG64's raw stream, which numpy promises never to change."""

    def __init__(self, seed: int, index: int):
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, index]))

    def uniform(self, low: float = 0.0, high: float = 1.0, size: int | None = None):
        raw = self._bits.random_raw(size)
        return low + (high - low) * ((raw >> 11) * 2.0**-53)

    def integer(self, end: int) -> int:
        return int(self.uniform() * end)

    def choice(self, options: Sequence):
        return options[self.integer(len(options))]

    def subset(self, count: int, total: int) -> set[int]:
        return set(np.argsort(self.uniform(size=total), kind="stable")[:count].tolist())

    def noise(self, shape: tuple[int, ...]) -> np.ndarray:
        """Nearly normal noise of unit variance: sums of four bytes."""
        count = math.prod(shape)
        raw = self._bits.random_raw(math.ceil(count / 2)).astype("<u8").view(np.uint8)
        first, *others = raw[: 4 * count].reshape(4, *shape)
        total = first.astype(np.int16)
        for term in others:
            total += term
        return (total - 510) / 147.8


# ------------------------------------------------------------------------------------------ shapes


def place_regions(random: Random, size: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Number 3 to 5 regions whose boxes are apart; give the map (H, W) uint8 and their number."""
    wanted = 3 + random.integer(3)
    largest = (0.30, 0.20, 0.13)[wanted - 3]
    pixels = size[0] * size[1]
    while True:  # large first regions may leave no room: then all are drawn anew
        regions, boxes = np.zeros(size, np.uint8), []
        for _ in range(4 * wanted):
            area = 0.037 * (largest / 0.037) ** random.uniform()
            parts = _outline(random, area * pixels)
            box = _free_box(random, np.concatenate(parts), boxes, size)
            if box is None:
                continue
            drawn = np.zeros(size, bool)
            for part in parts:
                _fill(drawn, part + box[:2])
            if not _MIN_AREA * pixels <= np.count_nonzero(drawn) <= _MAX_AREA * pixels:
                continue
            boxes.append(box)
            regions += drawn * np.uint8(len(boxes))
            if len(boxes) == wanted:
                return regions, wanted


def _free_box(
    random: Random, corners: np.ndarray, boxes: list[np.ndarray], size: tuple[int, int]
) -> np.ndarray | None:
    """Find room for an outline whose least corner is 0, 0: its box (left, top, right, bottom)."""
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
    """Draw an ellipse, polygon, blob, rounded rectangle or two-part shape as integer polygons.

    Returns:
        One or two (n, 2) arrays of x, y from 0, 0 up, of about ``area`` pixels together.
    """
    family = random.choice(("ellipse", "polygon", "blob", "rectangle", "two-part"))
    upright = family == "two-part"
    if family == "polygon":
        count = 4 + random.integer(5)
        turns = (np.arange(count) + random.uniform(-0.25, 0.25, count)) / count
        parts = [_circle(turns) * random.uniform(0.7, 1.0, count)[:, None]]
    elif family == "blob":
        turns = np.arange(64) / 64
        radius = np.ones(64)
        for order in (2, 3, 4):
            radius += random.uniform(0.0, 0.16) * _circle(order * turns + random.uniform())[:, 0]
        parts = [_circle(turns) * radius[:, None]]
    elif family == "rectangle":
        circle = _circle(np.arange(64) / 64)
        parts = [np.sign(circle) * np.sqrt(np.sqrt(np.abs(circle)))]  # a superellipse of power 8
    else:
        parts = [_circle(np.arange(48) / 48)]
        if upright:
            head = parts[0] * random.uniform(0.4, 0.6) + [random.uniform(-0.3, 0.3), -1.15]
            parts.append(head)
    stretch = 2.0 ** random.uniform(-0.4, 0.4)
    ((cos, sin),) = _circle(
        np.array([random.uniform(-0.06, 0.06) if upright else random.uniform()])
    )
    parts = [part * [stretch, 1 / stretch] @ [[cos, sin], [-sin, cos]] for part in parts]
    scale = math.sqrt(area / sum(_polygon_area(part) for part in parts))
    least = np.concatenate(parts).min(axis=0)
    return [np.round((part - least) * scale) for part in parts]


def _fill(canvas: np.ndarray, corners: np.ndarray) -> None:
    """Set the pixels of a bool canvas whose centres lie in a polygon with integer corners x, y.

    Not cv2.fillPoly: it takes other border pixels since OpenCV 5.
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


def _circle(turns: np.ndarray) -> np.ndarray:
    """Points (n, 2) on the unit circle, rounded so that no machine's libm shows."""
    angles = 2 * math.pi * turns
    return np.round(np.stack([np.cos(angles), np.sin(angles)], axis=1) * 65536) / 65536


def _polygon_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return abs(math.fsum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


# ------------------------------------------------------------------------------------------ colour


@dataclass(frozen=True)
class Appearance:
    """A texture family and the two colours that it mixes."""

    family: str
    colours: np.ndarray  # (2, 3)


FAMILIES = ("gradient", "noise", "stripes", "checkers", "blotches")


def paint(
    random: Random,
    regions: np.ndarray,
    appearances: tuple[Appearance, list[Appearance | None]],
) -> np.ndarray:
    """Render the colour image (H, W, 3) uint8. Depth does not enter it, nor does it enter depth."""
    background, looks = appearances
    image = _texture(random, regions.shape, background)
    for number, look in enumerate(looks, start=1):
        if look is None:
            continue
        window, x, y = _window(regions, number)
        patch = _texture(random, x.shape, look)
        ((tilt_x, tilt_y),) = _circle(np.array([random.uniform()]))
        patch *= (1.0 + 0.12 * (tilt_x * x + tilt_y * y) - 0.12 * (x * x + y * y))[..., None]
        alpha = _blur((regions[window] == number) * 16)[..., None] / 256.0
        image[window] += alpha * (patch - image[window])
    light = random.uniform(-0.15, 0.15, 2)
    rows, columns = (np.linspace(-1, 1, n) for n in regions.shape)
    image *= (1.0 + light[0] * rows[:, None] + light[1] * columns)[..., None]
    image += random.noise(image.shape) * random.uniform(1.0, 5.0)
    return _to_uint8(image)


def _texture(random: Random, shape: tuple[int, int], look: Appearance) -> np.ndarray:
    """Render one texture (H, W, 3) float64."""
    height, width = shape
    ((cos, sin),) = _circle(np.array([random.uniform()]))
    along = np.arange(width) * cos + np.arange(height)[:, None] * sin
    across = np.arange(width) * -sin + np.arange(height)[:, None] * cos
    period = random.uniform(10, 32)
    if look.family == "gradient":
        mix = (along - along.min()) / (along.max() - along.min())
    elif look.family == "noise":
        mix = 0.6 * _smooth_noise(random, shape, 24) + 0.4 * _smooth_noise(random, shape, 6)
    elif look.family == "stripes":
        bend = _smooth_noise(random, shape, 64) * random.uniform(0, 2)
        mix = np.clip(_wave(along / period + bend) * 2 - 0.5, 0, 1)
    elif look.family == "checkers":
        a, b = (np.clip(_wave(axis / (1.5 * period)) * 4 - 1.5, 0, 1) for axis in (along, across))
        mix = a + b - 2 * a * b
    else:
        mix = np.clip((_smooth_noise(random, shape, 18) - 0.5) * 8 + 0.5, 0, 1)
    first, second = look.colours
    return first + mix[..., None] * (second - first)


def _wave(phase: np.ndarray) -> np.ndarray:
    """A triangle wave of period 1 in [0, 1]."""
    return np.abs((phase - np.floor(phase)) * 2 - 1)


def _smooth_noise(random: Random, shape: tuple[int, int], cell: int) -> np.ndarray:
    """Noise (H, W) in [0, 1] without detail below about ``cell`` pixels."""
    rows, columns = (_weights(length, cell) for length in shape)
    grid = np.floor(random.uniform(0, 256, rows.shape[1] * columns.shape[1]))
    # Weights are multiples of 1/256 and the grid is integer: exact in any order of summation.
    return rows @ grid.reshape(rows.shape[1], columns.shape[1]) @ columns.T / 255


def _weights(length: int, cell: int) -> np.ndarray:
    position = np.arange(length) / cell
    left = np.floor(position).astype(int)
    step = position - left
    step = np.round(step * step * (3 - 2 * step) * 256) / 256
    weights = np.zeros((length, length // cell + 2))
    weights[np.arange(length), left] = 1 - step
    weights[np.arange(length), left + 1] += step
    return weights


# ------------------------------------------------------------------------------------------- depth


def sense(random: Random, regions: np.ndarray, heights: list[float]) -> np.ndarray:
    """Render the depth map (H, W) uint8 as a sensor would give it, near = white.

    ``heights`` are the grey levels by which each region stands out of the background. Holes are
    black or filled with the farthest depth around them.
    """
    depth = _background_depth(random, regions.shape)
    for number, height in enumerate(heights, start=1):
        if height == 0:
            continue
        window, x, y = _window(regions, number)
        mask = regions[window] == number
        behind = depth[window]
        tilt = 0.5 * random.uniform() * min(1.0, abs(height) / OCCLUDING_HEIGHT)
        level = math.fsum(behind[mask]) / np.count_nonzero(mask)
        surface = behind + tilt * (level - behind) + height * (1 - 0.15 * (x * x + y * y))
        depth[window] = np.where(mask, surface, behind)
    depth += random.noise(depth.shape) * random.uniform(0.5, 3.0)
    step = random.choice((1, 2, 4))
    depth = _to_uint8(np.floor(depth / step) * step)
    if random.uniform() < 0.5:
        depth = (_blur(depth.astype(np.int32)) // 16).astype(np.uint8)
    holes = _holes(random, regions.shape)
    if max(heights) >= OCCLUDING_HEIGHT:
        occluder = regions == heights.index(max(heights)) + 1
        holes |= _shadow(occluder, random.integer(6), leftward=random.uniform() < 0.5)
    fill = cv2.erode(depth, np.ones((13, 13), np.uint8)) if random.uniform() < 0.5 else 0
    return np.where(holes, fill, depth).astype(np.uint8)


def _background_depth(random: Random, size: tuple[int, int]) -> np.ndarray:
    """A ground plane, slanted wall or room (H, W) float64; wide, so that min-max changes little."""
    down = np.linspace(0, 1, size[0])[:, None] + np.zeros(size)
    right = np.linspace(-1, 1, size[1]) + np.zeros(size)
    family = random.choice(("ground", "ground", "wall", "room"))
    if family == "ground":
        horizon = random.uniform(0.15, 0.45)
        depth = np.maximum(down - horizon, 0) + random.uniform(0, 0.1) * right
    elif family == "wall":
        depth = down + random.uniform(-0.8, 0.8) * right
    else:
        side = np.maximum(np.abs(right + random.uniform(-0.3, 0.3)) - random.uniform(0.3, 0.6), 0)
        depth = np.maximum(side, np.maximum(down - random.uniform(0.4, 0.6), 0) * 1.6)
    depth = (depth - depth.min()) / (depth.max() - depth.min())
    far, near = random.uniform(6, 25), random.uniform(160, 182)
    waves = (_smooth_noise(random, size, 48) - 0.5) * random.uniform(0, 12)
    return far + (near - far) * depth + waves


def _shadow(mask: np.ndarray, width: int, *, leftward: bool) -> np.ndarray:
    """Give the pixels beside an object (H, W) bool that one eye of a stereo sensor cannot see."""
    if leftward:
        return _shadow(mask[:, ::-1], width, leftward=False)[:, ::-1]
    shadow = np.zeros_like(mask)
    shadow[:, width:] = mask[:, : mask.shape[1] - width]
    return shadow & ~mask


def _holes(random: Random, size: tuple[int, int]) -> np.ndarray:
    """Scatter a few small holes (H, W) bool over the image, wherever its regions are."""
    holes = np.zeros(size, bool)
    for _ in range(random.integer(8)):
        blob = np.round(_circle(np.arange(12) / 12) * random.uniform(1.5, 5.0, 2))
        place = np.floor([random.uniform() * size[1], random.uniform() * size[0]])
        _fill(holes, blob + place)
    return holes


# ------------------------------------------------------------------------------------------- helps


def _window(regions: np.ndarray, number: int) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """Give the box around a region with its coordinates x, y (h, w) in [-1, 1]."""
    x, y, width, height = cv2.boundingRect((regions == number).astype(np.uint8))
    rows = slice(max(y - 1, 0), y + height + 1)
    columns = slice(max(x - 1, 0), x + width + 1)
    shape = regions[rows, columns].shape
    down, right = (np.linspace(-1, 1, length) for length in shape)
    return (rows, columns), right + np.zeros(shape), down[:, None] + np.zeros(shape)


def _blur(image: np.ndarray) -> np.ndarray:
    """Blur integers with the 3 x 3 binomial kernel; the result is 16 times as large, and exact."""
    padded = np.pad(image, 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(image + 0.5), 0, 255).astype(np.uint8)
