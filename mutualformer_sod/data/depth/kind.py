"""Decide whether a set stores millimetres, metres, or relative depth in a range of levels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mutualformer_sod.data.depth.holes import find_holes, sampled

_SAMPLE_SIDE = 96  # pixels of the longer side of a sampled map; the evidence needs no details
_FARTHEST_MM = 32767  # 16-bit maps with larger values are relative depth over the full range
_FARTHEST_M = 100.0
_NEAREST_M = 0.1  # depth cameras measure no smaller distance; relative maps reach 0
_HOLE_CODES = tuple(2**bits - 1 for bits in range(10, 16))  # such as 2047 in raw Kinect maps
_CODE_RATIO = 0.01  # minimum ratio of pixels with a hole code
_LEVELS_OF_A_COPY = 16
MOST_LEVELS = 16  # maps with fewer different values are reported as maps of few levels
_LEVEL_PIXELS = 4096  # number of pixels that is usually enough to find `MOST_LEVELS` values
_CODE_GAP = 0.9  # all other values are at most this ratio of the hole code


@dataclass(frozen=True)
class DepthSample:
    """A sample of one depth map, and statistics of the complete map.

    The keys of ``holes`` and ``levels`` are true for distances and false for relative depth.
    """

    pixels: np.ndarray  # (h, w), some rows and columns of the raw map, see `holes.sampled`
    least: float  # smallest positive value; infinity if no value is positive
    largest: float  # largest positive value, without 65535 in uint16 maps; 0 if none is positive
    holes: dict[bool, float]  # ratio of pixels without a value
    levels: dict[bool, int]  # number of different valid values, counted up to `MOST_LEVELS`
    zeros: float  # ratio of pixels that are 0
    size: tuple[int, int]  # (H, W)

    @classmethod
    def of(cls, depth: np.ndarray) -> "DepthSample":
        """Sample a raw depth map (H, W)."""
        holes = {metric: find_holes(depth, metric) for metric in (False, True)}
        distances = depth[~holes[True]]
        return cls(
            sampled(depth, _SAMPLE_SIDE),
            least=float(distances.min()) if distances.size else float("inf"),
            largest=float(distances.max()) if distances.size else 0.0,
            holes={metric: float(own.mean()) for metric, own in holes.items()},
            levels={metric: _levels(depth[~own]) for metric, own in holes.items()},
            zeros=float(np.mean(depth == 0)),
            size=depth.shape,
        )


def _levels(values: np.ndarray) -> int:
    """Count the different values up to `MOST_LEVELS`."""
    part = np.unique(values[:: max(1, values.size // _LEVEL_PIXELS)]).size
    return MOST_LEVELS if part >= MOST_LEVELS else min(MOST_LEVELS, np.unique(values).size)


@dataclass(frozen=True)
class DepthUnits:
    """Units of the values of a set."""

    metric: bool  # true for distances in millimetres or metres, false for relative depth
    reason: str
    hole_code: int | None = None  # an additional value that means "no measurement", or None
    step: int = 1  # factor of a 16-bit copy of 8-bit maps, else 1
    fits_8_bits: bool = False  # whether at least 99 % of the values of 16-bit maps are below 256


def decide_units(samples: Sequence[DepthSample]) -> DepthUnits:
    """Decide the units of a set from samples of all its maps, which have the same dtype."""
    kind = samples[0].pixels.dtype
    if kind == np.uint8:
        return DepthUnits(False, "8-bit maps")
    # The median is used, because a single map may have an outlier.
    largest = float(np.median([sample.largest for sample in samples]))
    if kind != np.uint16:
        return _units_of_float(samples, largest)
    if largest <= 255:
        return DepthUnits(False, "8-bit values in 16-bit maps", fits_8_bits=True)
    step = _copied_by(samples)
    if step is not None:
        return DepthUnits(False, f"16-bit maps, a x{step} copy of 8-bit ones", step=step)
    if largest > _FARTHEST_MM:
        return DepthUnits(False, "16-bit maps over the full range")
    return _distances(samples, "16-bit millimetres")


def _units_of_float(samples: Sequence[DepthSample], largest: float) -> DepthUnits:
    finite = [s.pixels[~find_holes(s.pixels, metric=False)] for s in samples]
    negative = np.unique(np.concatenate([values[values < 0] for values in finite]))
    if len(negative) > 1:  # a single negative value may mean "no measurement"
        return DepthUnits(False, "floating-point maps with values below 0")
    scale = 255 if largest <= 1 else 1
    if largest <= 255 and all(_is_integral(values * scale) for values in finite):
        return DepthUnits(False, "floating-point copies of 8-bit maps")
    if largest <= 1 and np.median([sample.least for sample in samples]) < _NEAREST_M:
        return DepthUnits(False, "floating-point maps from 0 to 1")
    if largest <= _FARTHEST_M:
        return _distances(samples, "floating-point metres")
    if largest <= 255:
        return DepthUnits(False, "floating-point maps from 0 to 255")
    if largest <= _FARTHEST_MM:
        return _distances(samples, "floating-point millimetres")
    return DepthUnits(False, "floating-point maps from 0 to 65535")


def _copied_by(samples: Sequence[DepthSample]) -> int | None:
    """Find the factor of 8-bit maps stored in 16 bits (257 or a power of two), or return None."""
    largest = max(int(sample.pixels.max()) for sample in samples)
    for step in (257, 256, 128, 64, 32, 16, 8, 4, 2):  # other factors may come from centimetres
        fits = largest <= 255 * step
        if fits and all((sample.pixels % step == 0).all() for sample in samples):
            levels = np.unique(np.concatenate([np.unique(sample.pixels) for sample in samples]))
            # Few different values may have a common factor by chance.
            return step if step == 257 or len(levels) >= _LEVELS_OF_A_COPY else None
    return None


def _distances(samples: Sequence[DepthSample], reason: str) -> DepthUnits:
    values = np.concatenate([s.pixels[~find_holes(s.pixels, metric=True)] for s in samples])
    code = _hole_code(values)
    if code is not None:
        ratio = np.mean(values == code)
        values = values[values != code]
        reason += f", {code} is a hole value (a far value in {ratio:.0%} of the pixels)"
    fits_8_bits = not values.size or np.percentile(values, 99) <= 255
    return DepthUnits(True, reason, code, fits_8_bits=bool(fits_8_bits))


def _hole_code(values: np.ndarray) -> int | None:
    """Find a value for "no measurement": 2^n - 1, frequent, and far from all other values."""
    largest = values.max(initial=0)
    if largest not in _HOLE_CODES or np.mean(values == largest) < _CODE_RATIO:
        return None
    others = values[values < largest]
    is_apart = others.size > 0 and others.max() <= _CODE_GAP * largest
    return int(largest) if is_apart else None


def _is_integral(values: np.ndarray) -> bool:
    return bool((np.abs(values - np.rint(values)) < 1e-3).all())
