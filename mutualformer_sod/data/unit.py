"""Scale the values of a map to [0, 1]."""

from typing import Literal

import numpy as np

from mutualformer_sod.configs.model import DEPTH_RULES
from mutualformer_sod.data.depth.holes import fill_holes
from mutualformer_sod.errors import InputError

DepthRule = Literal["minmax", "percentile"]

_PERCENTILES = (1.0, 99.0)


def scale_to_unit(
    raw: np.ndarray, holes: np.ndarray, rule: DepthRule, *, invert: bool = False
) -> np.ndarray:
    """Scale a raw map to (H, W) float32 in [0, 1]. A constant or empty map becomes 0.

    Args:
        raw: (H, W), any type.
        holes: (H, W) bool; they get the value of the nearest valid pixel.
        rule: the values that become 0 and 1: the least and largest of the map ("minmax"), or its
            1st and 99th percentile ("percentile").
        invert: the largest value becomes 0.

    Raises:
        InputError: unknown rule.
    """
    if rule not in DEPTH_RULES:
        raise InputError(
            f"depth rule {rule!r} is unknown. Fix: give one of {', '.join(DEPTH_RULES)}"
        )
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
    if invert:
        np.subtract(high, unit, out=unit)
    else:
        unit -= low
    unit /= high - low
    return np.clip(unit, 0, 1, out=unit)
