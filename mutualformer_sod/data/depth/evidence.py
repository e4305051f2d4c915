"""Estimate the polarity of depth maps from their appearance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mutualformer_sod.data.depth.holes import fill_holes, find_holes
from mutualformer_sod.data.depth.kind import DepthSample

_CENTRE_WEIGHT = 0.5  # relative to "ground"; with weight 1, "centre" dominates views from above
_MOST_EXTREME = 0.75  # extreme pixels are ignored if they are at most this ratio of all pixels


@dataclass(frozen=True)
class SetEvidence:
    """Evidence "ground" (n,) and "centre" (n,) of the depth maps of one set, see `polarity`."""

    ground: np.ndarray
    centre: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """Evidence (n,), one per map, that large values are near; negative if they are far."""
        return self.ground + _CENTRE_WEIGHT * self.centre

    @property
    def mean(self) -> float:
        """Mean evidence of the set."""
        return float(self.scores.mean()) if self.scores.size else 0.0

    @property
    def agreeing(self) -> float:
        """Ratio of maps whose evidence has the sign of the mean."""
        return float(np.mean((self.scores > 0) == (self.mean > 0))) if self.scores.any() else 0.5

    @property
    def margin(self) -> float:
        """Clarity of the evidence, 0 to about 1.5.

        Maps of opposite signs lower both the mean and the agreement: a mixed set is never clear.
        """
        return abs(self.mean) * max(0.0, 2 * self.agreeing - 1)

    def describe(self) -> str:
        """Return a one-line description of the evidence, for the record of a decision."""
        ground, centre = (float(v.mean()) if v.size else 0.0 for v in (self.ground, self.centre))
        return (
            f"{round(self.agreeing * len(self.scores))} of {len(self.scores)} images agree"
            f" (bottom against top {ground:+.2f}, middle against sides {centre:+.2f})"
        )


def weigh(
    samples: Sequence[DepthSample], metric: bool, hole_code: int | None = None
) -> SetEvidence:
    """Return the evidence of all maps of a set that have a valid pixel."""
    reasons = []
    for sample in samples:
        holes = find_holes(sample.pixels, metric, hole_code)
        if not holes.all():
            reasons.append(polarity(fill_holes(sample.pixels.astype(np.float32), holes)))
    return SetEvidence(*np.array(reasons, float).reshape(-1, 2).T)


def polarity(depth: np.ndarray) -> tuple[float, float]:
    """Compute the evidence "ground" and "centre" that large values are near in a depth map (H, W).

    Each is in about [-1, 1], and negative if large values are far. The map must be finite.
    Ranks are used, so that the evidence does not depend on a monotone coding (metres, disparity,
    gamma). The inverted map gives exactly the opposite evidence. Both kinds of evidence rely on the
    usual pose of cameras, not on the content of images:

    - ground: lower pixels are nearer, because floors, tables and roads extend from the camera to
      the horizon;
    - centre: pixels nearer than the mean of their row are in the middle, because cameras are aimed
      at objects. The evidence "centre" is weaker, but also works in views from above, where
      "ground" fails.

    Pixels with the smallest or largest value are ignored if they cover at most 75 % of the map. In
    8-bit maps, pixels with an extreme value mostly have no measurement.
    """
    extreme = (depth == depth.min()) | (depth == depth.max())
    if extreme.mean() <= _MOST_EXTREME:
        depth = fill_holes(depth, extreme)
    rank = (doubled_ranks(depth) - depth.size) / depth.size  # in (-1, 1)
    height, width = depth.shape
    y = (2 * np.arange(height) + 1 - height) / height  # -1 at the top
    x = (2 * np.arange(width) + 1 - width) / width
    ground = 3 * (rank * y[:, None]).mean()
    centre = 3 * ((rank - rank.mean(axis=1, keepdims=True)) * (1 - 2 * np.abs(x))).mean()
    return float(ground), float(centre)


def doubled_ranks(values: np.ndarray) -> np.ndarray:
    """Return twice the mean rank of each pixel of ``values`` (H, W), as (H, W) int in (0, 2 H W).

    Ranks begin at one half. Equal values share their mean rank, which is a multiple of one half.
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (2 * np.cumsum(counts) - counts)[inverse].reshape(values.shape)
