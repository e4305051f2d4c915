"""Differences of one variant from the other variants, with intervals over images and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mutualformer_sod.experiments.image_scores import METRICS, ImageScores
from mutualformer_sod.experiments.plan import RIGHT
from mutualformer_sod.report import hypothesis_tests

DRAWS = 10_000
MEAN_OF_GROUPS = "mean"


@dataclass(frozen=True)
class Difference:
    """The S-measure of the reference minus the S-measure of another variant."""

    variant: str  # the other variant
    mean: float  # difference of the means over images and seeds
    low: float  # low and high: 95 % interval of the hierarchical bootstrap
    high: float
    p: float  # two-sided p-value of no difference, adjusted by `holm` for all variants


def differences(
    scores: ImageScores, reference: str, draws: int = DRAWS
) -> dict[str, list[Difference]]:
    """Compare a variant with all other variants by the S-measure on each group.

    Only scores with the right depth are used. Each resample draws the same images of a group for
    all variants, and draws seeds separately for each variant. The variance of draws from n seeds is
    too small, and is corrected by the factor n / (n - 1). A variant with one seed shows no
    variation over seeds.

    Returns:
        group -> one difference for each other variant. Each group resamples images independently;
        the mean over several groups is therefore included only if no image is in two groups.
    """
    column = METRICS.index("s_measure")
    groups = {name: values[..., column] for name, values in scores.by_group().items()}
    parts = {name: [values] for name, values in groups.items()}
    members = sum(map(len, groups.values()))
    if len(groups) > 1 and members == sum(kind == RIGHT for kind, _, _ in scores.images):
        parts[MEAN_OF_GROUPS] = list(groups.values())
    return {
        name: _compare(values, [variant for variant, _ in scores.runs], reference, draws)
        for name, values in parts.items()
    }


def _compare(
    groups: Sequence[np.ndarray], owners: Sequence[str], reference: str, draws: int
) -> list[Difference]:
    """Compare the reference with the other variants by the mean over groups.

    Each group has scores of shape (images, runs).
    """
    variants = [reference, *(name for name in dict.fromkeys(owners) if name != reference)]
    columns = [np.flatnonzero(np.array(owners) == name) for name in variants]
    observed = hypothesis_tests.mean_of_groups(groups)  # (runs,)
    resampled = hypothesis_tests.bootstrap_means(groups, draws)  # (draws, runs); only images drawn
    rng = np.random.default_rng(1)
    drawn = np.stack([_draw_seeds(resampled[:, own], rng) for own in columns], axis=1)
    means = np.array([observed[own].mean() for own in columns])
    found = hypothesis_tests.compare_pairs(means, drawn, sum(len(group) - 1 for group in groups))
    others = variants[1:]
    own = slice(len(others))  # the pairs of the reference are the first
    p = hypothesis_tests.holm(found.p[own])
    rows = zip(others, found.mean[own], found.low[own], found.high[own], p, strict=True)
    return [Difference(name, *map(float, row)) for name, *row in rows]


def _draw_seeds(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw seeds in each row of (draws, seeds) scores; return the (draws,) means."""
    draws, seeds = scores.shape
    centre = scores.mean(axis=1)
    if seeds == 1:
        return centre
    chosen = rng.integers(seeds, size=(draws, seeds))
    spread = np.take_along_axis(scores, chosen, axis=1).mean(axis=1) - centre
    return centre + spread * np.sqrt(seeds / (seeds - 1))
