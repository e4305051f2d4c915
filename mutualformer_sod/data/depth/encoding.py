"""How a set stores depth, and depth as stored turned into [0, 1], near = 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mutualformer_sod.configs.model import DEPTH_RULES
from mutualformer_sod.data.depth.holes import fill_holes, find_holes
from mutualformer_sod.errors import InputError

Near = Literal["white", "black", "none"]
DepthRule = Literal["minmax", "range", "percentile"]

WEAK_MARGIN = 0.2
"""Below this margin a decision is reported as weak, and ``--near strict`` stops.

Measured: 0.6 and more on every set whose sign is known, 0.02 and less on two of close-up views
from above (road surface, pipe wall), where depth hardly depends on the place in the image
(docs/data.md).
"""

_PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True)
class DepthEncoding:
    """How one set stores depth.

    Attributes:
        kind: "map" (relative, every value counts), "metric" (0, NaN, infinity are holes), or
            "thermal" (no depth at all, but images that take its place: every value counts).
        near: "white" if large values are near the camera, else "black"; "none" of thermal images.
        margin: how clearly the maps show that, 0 to about 1.5, negative where they look otherwise;
            None where it was given and not measured.
        reason: the evidence, in words.
        low: least value that is stored, for the rule "range".
        high: largest value that is stored.
        holes: share of pixels without a value.
        hole_code: a value that stands for "no measurement" besides those of ``kind``, or None.
        is_empty: whether every map is constant or empty, so that colour alone is left.
    """

    kind: Literal["map", "metric", "thermal"]
    near: Near
    margin: float | None
    reason: str
    low: float = 0.0
    high: float = 255.0
    holes: float = 0.0
    hole_code: int | None = None
    is_empty: bool = False

    @property
    def is_weak(self) -> bool:
        """Whether the evidence is too thin to rely on without a look; a unit is evidence enough."""
        return self.kind == "map" and self.margin is not None and self.margin < WEAK_MARGIN

    @property
    def is_contradicted(self) -> bool:
        """Whether the maps clearly look otherwise than decided."""
        return self.margin is not None and self.margin <= -WEAK_MARGIN

    def find_holes(self, raw: np.ndarray) -> np.ndarray:
        """Where a depth map (H, W) as stored has no value; (H, W) bool."""
        return find_holes(raw, self.kind == "metric", self.hole_code)

    @property
    def noun(self) -> str:
        """What the maps are called in the output: "depth" or "thermal"."""
        return "thermal" if self.kind == "thermal" else "depth"

    def describe(self) -> str:
        """The decision in one line, for the screen and the record of a run."""
        if self.is_empty:
            return "none: every map is constant or empty, colour alone is used"
        if self.kind == "thermal":
            return self.reason
        holes = f"; {self.holes:.1%} holes, filled" if self.holes else ""
        weak = "; WEAK, check it" if self.is_weak else ""
        margin = "" if self.margin is None else f" (margin {self.margin:.2f}{weak})"
        return f"near = {self.near}{margin}: {self.reason}{holes}"


def depth_to_unit(
    raw: np.ndarray, encoding: DepthEncoding, rule: DepthRule = "minmax"
) -> np.ndarray:
    """Turn depth as stored into [0, 1], near = 1; thermal images keep their sign.

    Holes (0, NaN, infinity and 65535 in metric depth; NaN and infinity in other maps; a hole code)
    take the value of the nearest pixel that has one. A map of one value, or of none, becomes 0.

    Args:
        raw: (H, W) as read by `io.read_depth`.
        encoding: of the set.
        rule: what becomes 0 and 1: the map's own least and largest value ("minmax"), those that
            the set can store ("range"), or the map's 1st and 99th percentile ("percentile").

    Returns:
        (H, W) float32.

    Raises:
        InputError: unknown rule.
    """
    if rule not in DEPTH_RULES:
        raise InputError(f"depth rule {rule!r} is unknown; give one of {', '.join(DEPTH_RULES)}")
    holes = encoding.find_holes(raw)
    has_holes = holes.any()
    valid = raw[~holes] if has_holes else raw
    if valid.size == 0:
        return np.zeros(raw.shape, np.float32)
    if rule == "range":
        low, high = encoding.low, encoding.high
    elif rule == "percentile":
        low, high = np.percentile(valid, _PERCENTILES)
    else:
        low, high = valid.min(), valid.max()
    if not high > low:
        return np.zeros(raw.shape, np.float32)
    unit = raw.astype(np.float32)
    if has_holes:
        unit = fill_holes(unit, holes)
    low, high = np.float32(low), np.float32(high)
    if encoding.near == "black":  # so, an inverted copy of a map gives the same to the last bit
        np.subtract(high, unit, out=unit)
    else:
        unit -= low
    unit /= high - low
    return np.clip(unit, 0, 1, out=unit)


def without_flat(unit: np.ndarray) -> np.ndarray | None:
    """Depth (H, W) in [0, 1]; None if all of it is one value, which tells nothing apart."""
    return unit if unit.min() < unit.max() else None
