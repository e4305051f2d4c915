"""Render the colour images, depth maps and thermal images of generated scenes.

``scenes.py`` decides the content of a scene; this module renders the scene. Images are equal on
every machine (see ``shapes.py``). Noise grids and their weights are exact fractions, so that the
order of summation in a matrix product has no effect. Blurs use integers. cv2 only computes minima.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from mutualformer_sod.data.synthetic.shapes import Random, blur, circle, fill, to_uint8, windows

OCCLUDING_HEIGHT = 55.0  # minimum height in grey levels at which an object occludes the background
FAMILIES = ("gradient", "noise", "stripes", "checkers", "blotches")


class Appearance(NamedTuple):
    """A family of textures, and the two colours that the texture mixes."""

    family: str
    colours: np.ndarray  # (2, 3)


def paint(
    random: Random, regions: np.ndarray, background: Appearance, looks: list[Appearance | None]
) -> np.ndarray:
    """Render the colour image (H, W, 3) uint8, independent of the depth map."""
    image = _texture(random, regions.shape, background)
    for look, window, mask, x, y in windows(regions, looks):
        patch = _texture(random, x.shape, look)
        tilt_x, tilt_y = circle(random.uniform())
        patch *= (1.0 + 0.12 * (tilt_x * x + tilt_y * y) - 0.12 * (x * x + y * y))[..., None]
        alpha = blur(mask * 16)[..., None] / 256.0
        image[window] += alpha * (patch - image[window])
    light = random.uniform(-0.15, 0.15, 2)
    rows, columns = (np.linspace(-1, 1, n) for n in regions.shape)
    image *= (1.0 + light[0] * rows[:, None] + light[1] * columns)[..., None]
    image += random.noise(image.shape) * random.uniform(1.0, 5.0)
    return to_uint8(image)


def _texture(random: Random, shape: tuple[int, int], look: Appearance) -> np.ndarray:
    """Render a texture (H, W, 3) float64."""
    height, width = shape
    cos, sin = circle(random.uniform())
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
    """Return a triangle wave of period 1 in [0, 1]."""
    return np.abs((phase - np.floor(phase)) * 2 - 1)


def _smooth_noise(random: Random, shape: tuple[int, int], cell: int) -> np.ndarray:
    """Return noise (H, W) in [0, 1] without details smaller than about ``cell`` pixels."""
    rows, columns = (_weights(length, cell) for length in shape)
    grid = np.floor(random.uniform(0, 256, rows.shape[1] * columns.shape[1]))
    # Weights are multiples of 1/256 and the grid is integer: sums are exact in any order.
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


def sense(random: Random, regions: np.ndarray, heights: list[float]) -> np.ndarray:
    """Render the depth map (H, W) uint8 of a simulated sensor, near = white.

    ``heights`` are the heights of the regions above the background in grey levels. As in published
    8-bit maps, no reserved value marks holes. Holes are black in half of the scenes, and have the
    farthest depth of their neighbourhood in the other scenes.
    """
    depth = _background_depth(random, regions.shape)
    for height, window, mask, x, y in windows(regions, heights):
        behind = depth[window]
        tilt = 0.5 * random.uniform() * min(1.0, abs(height) / OCCLUDING_HEIGHT)
        level = math.fsum(behind[mask]) / np.count_nonzero(mask)
        surface = behind + tilt * (level - behind) + height * (1 - 0.15 * (x * x + y * y))
        depth[window] = np.where(mask, surface, behind)
    depth += random.noise(depth.shape) * random.uniform(0.5, 3.0)
    step = random.choice((1, 2, 4))
    depth = to_uint8(np.floor(depth / step) * step)
    if random.uniform() < 0.5:
        depth = (blur(depth.astype(np.int32)) // 16).astype(np.uint8)
    holes = _holes(random, regions.shape)
    if max(heights) >= OCCLUDING_HEIGHT:
        occluder = regions == heights.index(max(heights)) + 1
        width = random.integer(6)
        holes |= _shadow(occluder, -width if random.uniform() < 0.5 else width)
    value = cv2.erode(depth, np.ones((13, 13), np.uint8)) if random.uniform() < 0.5 else 0
    return np.where(holes, value, depth).astype(np.uint8)


def sense_heat(random: Random, regions: np.ndarray, heights: list[float]) -> np.ndarray:
    """Render the thermal image (H, W) uint8 of a simulated camera, hot = white, without holes.

    ``heights`` are the differences of the regions from the background in grey levels. A positive
    difference means a warmer region in three of four scenes, and a colder region in the others. The
    image has soft borders and no ground plane.
    """
    sign = 1 if random.uniform() < 0.75 else -1
    base = 127.5 - sign * random.uniform(20, 80)
    waves = (_smooth_noise(random, regions.shape, 64) - 0.5) * random.uniform(5, 35)
    heat = base + waves + (_smooth_noise(random, regions.shape, 12) - 0.5) * random.uniform(0, 12)
    for height, window, mask, x, y in windows(regions, heights):
        behind = heat[window]
        level = math.fsum(behind[mask]) / np.count_nonzero(mask)
        surface = 0.5 * (behind + level) + sign * height * (1 - 0.3 * (x * x + y * y))
        heat[window] = np.where(mask, surface, behind)
    heat = np.floor(heat * 16).astype(np.int64)
    for _ in range(1 + random.integer(3)):
        heat = blur(heat) // 16
    return to_uint8(heat / 16 + random.noise(heat.shape) * random.uniform(0.5, 2.5))


def _background_depth(random: Random, size: tuple[int, int]) -> np.ndarray:
    """Return a ground plane, slanted wall or room (H, W) float64 over a wide range of depth."""
    right, down = np.meshgrid(np.linspace(-1, 1, size[1]), np.linspace(0, 1, size[0]))
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


def _shadow(mask: np.ndarray, width: int) -> np.ndarray:
    """Return the pixels right of an object (left if ``width`` < 0) that a second camera misses."""
    shadow = np.roll(mask, width, axis=1)
    wrapped = np.s_[:width] if width > 0 else np.s_[mask.shape[1] + width :]
    shadow[:, wrapped] = False
    return shadow & ~mask


def _holes(random: Random, size: tuple[int, int]) -> np.ndarray:
    """Return a few small holes (H, W) bool, independent of the regions."""
    holes = np.zeros(size, bool)
    for _ in range(random.integer(8)):
        blob = np.round(circle(np.arange(12) / 12) * random.uniform(1.5, 5.0, 2))
        place = np.floor([random.uniform() * size[1], random.uniform() * size[0]])
        fill(holes, blob + place)
    return holes
