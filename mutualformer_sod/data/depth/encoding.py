"""The encoding of the maps of a set, and the conversion of raw maps to [0, 1], near = 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from mutualformer_sod.configs.model import DEPTH_RULES
from mutualformer_sod.data.depth.holes import fill_holes, find_holes
from mutualformer_sod.data.depth.kind import DepthSample
from mutualformer_sod.errors import InputError

Near = Literal["white", "black"]
DepthRule = Literal["minmax", "percentile"]

WEAK_MARGIN = 0.2
"""Margin below which a decision is weak. A weak decision is reported, or refused with "strict".

In the table of docs/data.md, the margin is 0.6 or more on seven sets, and 0.02 or less on a road
seen from above and on a wall in any rotation, where depth hardly depends on the image position.
"""

NO_INFORMATION = "none: every map is constant or empty, colour alone is used"
_PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True)
class DepthEncoding:
    """Encoding of the depth maps of one set: units, polarity and holes."""

    # "map" is relative depth, in which every finite value is valid; "metric" means distances. In
    # distances and disparity, 0 is a hole.
    kind: Literal["map", "metric", "disparity"]
    near: Near  # "white" if large values are near the camera, else "black"
    # Clarity of the evidence for ``near``, 0 to about 1.5; negative if the evidence is against
    # ``near``; None if the user chose the polarity.
    margin: float | None
    reason: str  # description of the evidence for ``near``
    holes: float = 0.0  # ratio of pixels without a value
    hole_code: int | None = None  # an additional value that means "no measurement", or None
    is_empty: bool = False  # whether every map is constant or empty, so that only colour is used

    @property
    def is_weak(self) -> bool:
        """Whether the polarity of relative depth (kind "map") has weak evidence."""
        return self.kind == "map" and self.margin is not None and self.margin < WEAK_MARGIN

    @property
    def is_contradicted(self) -> bool:
        """Whether the maps clearly contradict the decision."""
        return self.margin is not None and self.margin <= -WEAK_MARGIN

    @property
    def zero_is_hole(self) -> bool:
        """Whether 0 means that a pixel has no value."""
        return self.kind in ("metric", "disparity")

    @property
    def side(self) -> str:
        """The value of ``--near`` for this encoding: "disparity", or else the polarity."""
        return "disparity" if self.kind == "disparity" else self.near

    def find_holes(self, raw: np.ndarray) -> np.ndarray:
        """Return (H, W) bool, true where a raw depth map (H, W) has no value."""
        return find_holes(raw, self.zero_is_hole, self.hole_code)

    def describe(self) -> str:
        """Return the decision in one line, for the screen and the record of a run."""
        if self.is_empty:
            return NO_INFORMATION
        holes = f"; {self.holes:.1%} holes, filled" if self.holes else ""
        weak = "; WEAK, check it" if self.is_weak else ""
        margin = "" if self.margin is None else f" (margin {self.margin:.2f}{weak})"
        return f"near = {self.near}{margin}: {self.reason}{holes}"


@dataclass(frozen=True)
class GreyEncoding:
    """Encoding of the maps of one set without polarity, such as thermal images.

    The maps store brightness, and every finite value is valid.
    """

    kind: str  # name of the modality, such as "thermal"
    is_empty: bool = False  # whether every map is constant or empty, so that only colour is used

    # The record of a run stores these values as the polarity:
    near: ClassVar[str] = "none"
    side: ClassVar[str] = "none"
    zero_is_hole: ClassVar[bool] = False  # whether 0 means that a pixel has no value

    @classmethod
    def of(cls, samples: Sequence[DepthSample], kind: str) -> "GreyEncoding":
        """Return the encoding of a set from samples of all its maps."""
        return cls(kind, all(sample.levels[False] < 2 for sample in samples))

    def find_holes(self, raw: np.ndarray) -> np.ndarray:
        """Return (H, W) bool, true where a raw map (H, W) has no valid value."""
        return find_holes(raw, metric=False)

    def describe(self) -> str:
        """Return a one-line description of the encoding for the screen."""
        return NO_INFORMATION if self.is_empty else "brightness as stored"


Encoding: TypeAlias = DepthEncoding | GreyEncoding


def depth_to_unit(raw: np.ndarray, encoding: Encoding, rule: DepthRule = "minmax") -> np.ndarray:
    """Convert a raw map, (H, W) of any type, to (H, W) float32 in [0, 1], near = 1.

    Brightness is not inverted. A constant or empty map becomes 0. Each hole (`holes.find_holes`)
    gets the value of the nearest valid pixel.

    Args:
        rule: selects the values that become 0 and 1. "minmax": minimum and maximum of the map;
            "percentile": 1st and 99th percentile of the map.

    Raises:
        InputError: the rule is unknown.
    """
    if rule not in DEPTH_RULES:
        known = ", ".join(DEPTH_RULES)
        raise InputError(f"depth rule {rule!r} is unknown. Fix: pass one of {known}")
    holes = encoding.find_holes(raw)
    valid = raw[~holes] if holes.any() else raw
    if valid.size == 0:
        return np.zeros(raw.shape, np.float32)
    if rule == "percentile":
        low, high = np.percentile(valid, _PERCENTILES)
    else:
        low, high = valid.min(), valid.max()
    if not high > low:
        return np.zeros(raw.shape, np.float32)
    unit = fill_holes(raw.astype(np.float32), holes)
    low, high = np.float32(low), np.float32(high)
    # A map and its inverted copy give bit-identical results.
    unit = high - unit if encoding.near == "black" else unit - low
    return np.clip(unit / (high - low), 0, 1)


def without_flat(unit: np.ndarray) -> np.ndarray | None:
    """Return depth (H, W) in [0, 1], or None for constant depth, which counts as missing."""
    return unit if unit.min() < unit.max() else None
