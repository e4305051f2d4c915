"""Seeded pairs of map and ground truth with the special cases of the metrics.

Integers from numpy's PCG64 alone, so that every machine and version makes the same arrays. Used by
the tests, and by make_synthetic_golden.py, which asks pysodmetrics for the values.
"""

from __future__ import annotations

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]


def disc(height: int, width: int, row: int, column: int, radius: int) -> np.ndarray:
    """A disc of 255 on 0."""
    rows, columns = np.ogrid[:height, :width]
    inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return (inside * 255).astype(np.uint8)


def noisy_map(gt: np.ndarray, seed: int, low: int = 0, high: int = 255) -> np.ndarray:
    """Return a noisy map of the ground truth with values in low..high."""
    rng = np.random.Generator(np.random.PCG64(seed))
    levels = (gt > 128) * 120 + rng.integers(0, 136, gt.shape)
    return (low + levels * (high - low) // 255).astype(np.uint8)


def dots(height: int, width: int, places: list[tuple[int, int]]) -> np.ndarray:
    """Single pixels of 255."""
    gt = np.zeros((height, width), np.uint8)
    for row, column in places:
        gt[row, column] = 255
    return gt


def make_pairs() -> dict[str, Pair]:
    """All pairs, (map, ground truth), by name."""
    gt = disc(48, 64, 22, 30, 13)
    pairs = {f"plain_{i}": (noisy_map(gt, i), gt) for i in range(3)}
    pairs |= _degenerate(gt) | _placed() | _tied() | _sized()
    pairs["narrow_range"] = (noisy_map(gt, 20, 37, 201), gt)
    pairs["two_levels"] = (np.where(noisy_map(gt, 21) > 90, 200, 55).astype(np.uint8), gt)
    pairs["inverted"] = (255 - noisy_map(gt, 22), gt)
    for ratio in (2, 4):  # the doubled mean of a binary map equals its upper level or 1
        binary = np.zeros((16, 16), np.uint8)
        binary[: 16 // ratio] = 255
        pairs[f"threshold_tie_{ratio}"] = (binary, disc(16, 16, 6, 7, 5))
    return pairs


def _degenerate(gt: np.ndarray) -> dict[str, Pair]:
    """Empty and full ground truths; black, white and constant maps; single pixels."""
    pairs = {}
    truths = {"disc": gt, "empty": np.zeros_like(gt), "full": np.full_like(gt, 255)}
    truths["pixel"] = dots(48, 64, [(20, 33)])
    for truth_name, truth in truths.items():
        pairs[f"{truth_name}_noise"] = (noisy_map(gt, 5), truth)
        for name, value in (("black", 0), ("white", 255), ("grey", 77)):
            pairs[f"{truth_name}_{name}"] = (np.full_like(gt, value), truth)
    return pairs


def _placed() -> dict[str, Pair]:
    """Foreground at the borders, and centroids halfway between pixels."""
    pairs = {}
    for name, (row, column) in {
        "last_row": (39, 20),
        "last_column": (18, 49),
        "last_corner": (39, 49),
        "first_corner": (0, 0),
    }.items():
        for radius in (0, 6):
            gt = disc(40, 50, row, column, radius)
            pairs[f"{name}_{radius}"] = (noisy_map(gt, 31 + radius), gt)
    for row in (10, 11):  # centroids 10.5 and 11.5 round to 10 and 12
        gt = dots(30, 34, [(row, row + 4), (row + 1, row + 5)])
        pairs[f"half_centroid_{row}"] = (noisy_map(gt, row), gt)
    return pairs


def _tied() -> dict[str, Pair]:
    """Equidistant nearest foreground pixels, and the same pair mirrored."""
    rng = np.random.Generator(np.random.PCG64(40))
    scattered = (rng.integers(0, 20, (33, 45)) == 0).astype(np.uint8) * 255
    lattice = np.zeros((33, 45), np.uint8)
    lattice[2::4, 3::4] = 255
    pairs = {}
    for name, gt in (("scattered", scattered), ("lattice", lattice)):
        pred = noisy_map(gt, 41)
        pairs[name] = (pred, gt)
        pairs[f"{name}_mirrored"] = (pred[:, ::-1], gt[:, ::-1])
        pairs[f"{name}_upside_down"] = (pred[::-1], gt[::-1])
        pairs[f"{name}_transposed"] = (pred.T, gt.T)
    return {name: tuple(np.ascontiguousarray(a) for a in pair) for name, pair in pairs.items()}


def _sized() -> dict[str, Pair]:
    """Odd sizes, images of one row or column, tiny images, a map of another size."""
    pairs = {}
    for height, width in ((37, 53), (1, 60), (60, 1), (2, 2), (3, 5), (1, 2), (1, 1)):
        gt = disc(height, width, height // 2, width // 2, max(1, min(height, width) // 4))
        gt[-1, -1] = 0
        pairs[f"size_{height}x{width}"] = (noisy_map(gt, 50), gt)
    wide = np.zeros((1, 60), np.uint8)
    wide[0, 21:34] = 255
    pairs["row_of_60"] = (noisy_map(wide, 51), wide)
    pairs["column_of_60"] = (noisy_map(wide.T, 51), np.ascontiguousarray(wide.T))
    gt = disc(60, 80, 30, 35, 17)
    pairs["resized_down"] = (noisy_map(disc(90, 120, 45, 52, 25), 52), gt)
    pairs["resized_up"] = (noisy_map(disc(30, 40, 15, 17, 8), 53), gt)
    return pairs
