"""Which end of the depth values is near, told from what the maps look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mutualformer_sod.data.depth.holes import fill_holes, find_holes
from mutualformer_sod.data.depth.kind import DepthSample

CENTRE_WEIGHT = 0.5
"""Of the reason "centre" beside "ground": at 1 it outvotes the ground in views from above."""

_MOST_EXTREME = 0.75  # share of pixels at the two ends of a map from which on they are its content


@dataclass(frozen=True)
class SetEvidence:
    """What the depth maps of one set say, in the order of the maps that say anything.

    Attributes:
        ground: (n,) reason "ground" of each map, see `polarity`.
        centre: (n,) reason "centre".
    """

    ground: np.ndarray
    centre: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """(n,) evidence of each map that large values are near; negative: that they are far."""
        return self.ground + CENTRE_WEIGHT * self.centre

    @property
    def mean(self) -> float:
        """Evidence of the set."""
        return float(self.scores.mean()) if self.scores.size else 0.0

    @property
    def agreeing(self) -> float:
        """Share of the maps whose evidence has the sign of the set's."""
        return float(np.mean((self.scores > 0) == (self.mean > 0))) if self.scores.any() else 0.5

    @property
    def margin(self) -> float:
        """How clear the set is, 0 to about 1.5.

        Images of opposite signs cancel, in the mean and again here: a mixed set is never clear.
        """
        return abs(self.mean) * max(0.0, 2 * self.agreeing - 1)

    def describe(self) -> str:
        """In words, for the record of a decision."""
        ground, centre = (float(v.mean()) if v.size else 0.0 for v in (self.ground, self.centre))
        return (
            f"{round(self.agreeing * len(self.scores))} of {len(self.scores)} images agree"
            f" (bottom against top {ground:+.2f}, middle against sides {centre:+.2f})"
        )


def weigh(
    samples: Sequence[DepthSample], metric: bool, hole_code: int | None = None
) -> SetEvidence:
    """Collect the evidence of a set's maps; maps without any value are passed over."""
    reasons = []
    for sample in samples:
        holes = find_holes(sample.pixels, metric, hole_code)
        if not holes.all():
            reasons.append(polarity(fill_holes(sample.pixels.astype(np.float32), holes)))
    ground, centre = np.array(reasons, float).reshape(-1, 2).T
    return SetEvidence(ground, centre)


def polarity(depth: np.ndarray) -> tuple[float, float]:
    """Evidence in one depth map that large values are near; negative: that they are far.

    Computed on ranks, so that no monotone coding of depth matters (metres, disparity, gamma), and
    antisymmetric: the inverted map gives exactly the opposite. Two reasons that depend on how
    pictures are taken rather than on what they show:

    - ground: what stands lower in the picture is nearer, since floors, tables and roads reach
      from the camera to the horizon;
    - centre: what is nearer than its own row lies in the middle, since cameras are pointed at
      things. Weaker, but independent of the first, which decides nothing in a view from above.

    Pixels of the map's least and largest value do not count: in maps of 8 bits those are, more
    often than depth, what the sensor did not see, and which end they are put at tells nothing.
    Unless they are most of the map. What else was tried is told in docs/data.md.

    Args:
        depth: (H, W), finite.

    Returns:
        ground and centre, each in about [-1, 1].
    """
    extreme = (depth == depth.min()) | (depth == depth.max())
    if extreme.mean() <= _MOST_EXTREME:
        depth = fill_holes(depth, extreme)
    _, inverse, counts = np.unique(depth, return_inverse=True, return_counts=True)
    middle = 2 * np.cumsum(counts) - counts  # twice the mean rank of equal values
    rank = ((middle - depth.size) / depth.size)[inverse].reshape(depth.shape)  # in (-1, 1)
    height, width = depth.shape
    y = (2 * np.arange(height) + 1 - height) / height  # -1 at the top
    x = (2 * np.arange(width) + 1 - width) / width
    ground = 3 * (rank * y[:, None]).mean()
    centre = 3 * ((rank - rank.mean(axis=1, keepdims=True)) * (1 - 2 * np.abs(x))).mean()
    return float(ground), float(centre)
