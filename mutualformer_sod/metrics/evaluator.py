"""Compute every metric of one map, and the scores of all images of a set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.ground_truth import GroundTruth
from mutualformer_sod.metrics.pair import Counts, MapPair
from mutualformer_sod.metrics.registry import of_kind

SCORES_VERSION = 2  # part of the cache key: raise this number when any score changes


@dataclass(frozen=True)
class ImageScores:
    """The scores of one map.

    Attributes:
        scores: name -> value; for a curve, the maximum and the mean over the thresholds. The
            maximum for a set is that of the averaged curves, not a mean of these maxima.
        quantised: (2, 256) int64 counts of background and foreground by floor(255 p). The curves
            are computed from these counts.
        flags: special conditions of the pair, e.g. "empty_gt" or "resized".
        map_curves: name -> curve, of the metrics of kind "map_curve".
    """

    scores: dict[str, float]
    quantised: np.ndarray
    flags: tuple[str, ...]
    map_curves: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def brightest(self) -> int:
        """Highest level of the map, 0 to 255, as scored."""
        return int(np.flatnonzero(self.quantised.any(axis=0))[-1])

    @cached_property
    def curves(self) -> dict[str, np.ndarray]:
        """Curves (precision, recall, f, e, ...) at the thresholds 255..0, each (256,) float64."""
        counts = Counts.of_thresholds(self.quantised)
        return {metric.name: metric.compute(counts) for metric in of_kind("curve")}


def score_image(
    pred: np.ndarray,
    gt: np.ndarray | GroundTruth,
    *,
    normalize: bool = True,
    with_weighted_f: bool = True,
) -> ImageScores:
    """Compute every metric of one saliency map.

    Args:
        pred, gt, normalize: as in `MapPair`, which raises the errors.
        with_weighted_f: compute the weighted F-measure, the slowest default metric.
    """
    pair = MapPair(pred, gt, normalize)
    means = [m for m in of_kind("mean") if with_weighted_f or m.name != "weighted_f"]
    scores = {metric.name: float(metric.compute(pair)) for metric in means}
    map_curves = {metric.name: metric.compute(pair) for metric in of_kind("map_curve")}
    image = ImageScores(scores, pair.histogram.quantised, tuple(pair.flags), map_curves)
    scores |= _curve_scores(image.curves | map_curves)
    return image


def _curve_scores(curves: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {
        column: float(getattr(curves[metric.name], part)())
        for metric in of_kind("curve", "map_curve")
        for part, column in zip(metric.summary, metric.columns, strict=True)
    }


class Evaluator:
    """Accumulator of the scores of one method on one set, with constant memory.

    ``normalize`` stretches every map to its own minimum and maximum first. Papers use stretched
    or unstretched maps; report the protocol that you use.
    """

    def __init__(self, normalize: bool = True) -> None:
        self.normalize = normalize
        self.images = 0
        self._sums = {metric.name: 0.0 for metric in of_kind("mean", "curve", "map_curve")}

    def step(self, pred: np.ndarray, gt: np.ndarray | GroundTruth) -> ImageScores:
        """Score the map ``pred`` with `score_image`, and add the scores."""
        image = score_image(pred, gt, normalize=self.normalize)
        self.add(image)
        return image

    def add(self, image: ImageScores) -> None:
        """Add the scores of one map, or raise ValueError if a score is not finite."""
        means = [name for name in self._sums if name in image.scores]
        broken = [name for name in means if not math.isfinite(image.scores[name])]
        if broken:
            raise ValueError(f"scores not finite: {', '.join(broken)}. Fix: correct the metric.")
        self._add(image.scores | image.curves | image.map_curves)
        self.images += 1

    def _add(self, values: Mapping[str, float | np.ndarray]) -> None:
        self._sums = {name: total + values[name] for name, total in self._sums.items()}

    def merge(self, other: Evaluator) -> None:
        """Add another part of the same evaluation, or raise ValueError if the settings differ."""
        if self.normalize != other.normalize:
            raise ValueError("different settings: `normalize` differs. Fix: pass equal values.")
        self._add(other._sums)
        self.images += other.images

    def curves(self) -> dict[str, np.ndarray]:
        """Return the mean curves of the images at the thresholds 255..0, each (256,) float64."""
        means = self._means()
        return {metric.name: means[metric.name] for metric in of_kind("curve")}

    def _means(self) -> dict[str, float | np.ndarray]:
        if self.images == 0:
            raise InputError("no image was scored. Fix: call `step` first.")
        return {name: total / self.images for name, total in self._sums.items()}

    def results(self) -> dict[str, float]:
        """Return name -> score of the set, and "images" -> number of images.

        Raises:
            InputError: no image was added.
        """
        means = self._means()
        scores = {metric.name: means[metric.name] for metric in of_kind("mean")}
        scores = {"images": self.images} | scores | _curve_scores(means)
        of_set = {m.name: float(m.compute(scores | means)) for m in of_kind("set")}
        return scores | of_set
