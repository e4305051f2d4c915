"""Compare many methods by the paired bootstrap and by Holm's, Friedman's and Nemenyi's tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from mutualformer_sod.errors import InputError

ALPHA = 0.05
_BATCH = 2**21  # numbers at a time, to bound the memory
_ROUNDING = 1e-12  # relative; the rounding error of a mean is smaller


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjust p-values (T,) in [0, 1] for several tests by Holm's step-down method (Holm 1979).

    The adjusted p-values are (T,) in [0, 1]. If all hypotheses with an adjusted p-value of at most
    a level are rejected, the probability of one or more false rejections is at most this level. The
    tests may depend on each other in any way.

    Raises:
        InputError: ``p`` is not a list of numbers in [0, 1].
    """
    p = np.asarray(p, np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise InputError("`p` is not a list of values in [0, 1]. Fix: pass p-values.")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1.0)


@dataclass(frozen=True)
class Friedman:
    """Friedman's test of k methods on N blocks.

    Attributes:
        ranks: (k,) average ranks over the blocks. Rank 1 is the best; equal scores share a rank.
        statistic: chi-squared with k - 1 degrees of freedom, corrected for equal scores.
        p: probability of this or a larger statistic if all methods are equally good.
    """

    ranks: np.ndarray
    statistic: float
    p: float
    blocks: int


def friedman(scores: np.ndarray, larger_is_better: bool = True) -> Friedman:
    """Rank the methods in each block, and test whether the average ranks differ (Friedman 1937).

    The statistic is that of `scipy.stats.friedmanchisquare`, which needs three methods and returns
    NaN if all scores of every block are equal. This function accepts two methods, and for equal
    scores the statistic is 0 and p = 1.

    ``scores`` are finite scores (N, k) of k methods on N blocks, which are images or sets.

    Raises:
        InputError: fewer than two methods, no block, or a score that is not finite.
    """
    from scipy.stats import chi2, rankdata  # this import takes 1 s

    scores = _checked(scores)
    blocks, methods = scores.shape
    ranks = rankdata(-scores if larger_is_better else scores, axis=1)
    middle = (methods + 1) / 2
    between = blocks**2 * np.square(ranks.mean(axis=0) - middle).sum()
    within = np.square(ranks - middle).sum()
    statistic = float((methods - 1) * between / within) if within else 0.0
    return Friedman(ranks.mean(axis=0), statistic, float(chi2.sf(statistic, methods - 1)), blocks)


@lru_cache
def nemenyi_cd(methods: int, blocks: int, alpha: float = ALPHA) -> float:
    """Return the critical difference of average ranks (Nemenyi 1963; Demšar, JMLR 2006, eq. 6).

    Two methods differ at the level ``alpha``, in (0, 1), if their average ranks over the blocks
    (images, or sets) differ by more than this value.

    Raises:
        InputError: an argument is out of range.
    """
    if methods < 2 or blocks < 1 or not 0 < alpha < 1:
        raise InputError(
            f"`methods` {methods}, `blocks` {blocks}, `alpha` {alpha}: out of range. "
            "Fix: pass 2 or more methods, 1 or more blocks, and a level between 0 and 1."
        )
    from scipy.stats import studentized_range

    quantile = studentized_range.ppf(1 - alpha, methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(methods * (methods + 1) / (6 * blocks)))


def indistinct_groups(ranks: Sequence[float] | np.ndarray, difference: float) -> list[list[int]]:
    """Return the groups of methods whose average ranks (k,) differ by at most ``difference``.

    A group has the indices of two or more methods, best first, and is not part of another group.
    """
    order = np.argsort(ranks, kind="stable")
    ordered = np.asarray(ranks, np.float64)[order]
    limits = (ordered + difference) * (1 + _ROUNDING)
    ends = np.searchsorted(ordered, limits, side="right")
    return [
        order[start:end].tolist()
        for start, end in enumerate(ends)
        if end - start > 1 and (start == 0 or end > ends[start - 1])
    ]


@dataclass(frozen=True)
class PairedBootstrap:
    """Differences, first minus second, of all T = k (k - 1) / 2 pairs of k methods, (T,) each.

    Attributes:
        pairs: (T, 2) indices of the methods.
        mean: differences of the means.
        low, high: bounds of the 95 % intervals.
        p: two-sided p-values for the hypothesis of no difference, for each pair alone.
        p_holm: p-values adjusted by `holm` for all pairs.
    """

    pairs: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    p_holm: np.ndarray


def paired_bootstrap(
    groups: Sequence[np.ndarray], draws: int = 10_000, seed: int = 0
) -> PairedBootstrap:
    """Compare all pairs of methods by the percentile bootstrap over images (Efron 1979).

    The compared value is the mean over the images of each group (e.g. a set), averaged over the
    groups. Images are drawn with replacement within each group. All methods use the same draws.
    Each group is an array (N, k) of finite scores of N images and k methods.

    Raises:
        InputError: no group, fewer than two methods, no image, or a score that is not finite.
    """
    groups = [_checked(group, "groups") for group in groups]
    means = bootstrap_means(groups, draws, seed)
    return compare_pairs(mean_of_groups(groups), means, sum(len(group) - 1 for group in groups))


def mean_of_groups(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Average each group over its first axis, and return the mean of these averages."""
    return np.mean([group.mean(axis=0) for group in groups], axis=0)


def bootstrap_means(groups: Sequence[np.ndarray], draws: int, seed: int = 0) -> np.ndarray:
    """Return `mean_of_groups` of resampled groups, (draws, ...) float64.

    Args:
        groups: scores (N, ...) of the images of each group. Only N may differ between groups.
        draws: number of resamples, 1 or more.

    Raises:
        InputError: no group, an empty group, groups with different columns, or no draws.
    """
    shapes = {np.shape(group)[1:] for group in groups}
    if len(shapes) != 1 or min(map(len, groups)) == 0 or draws < 1:
        raise InputError(
            "`groups` are empty or differ in columns, or `draws` is below 1. Fix: pass (N, ...) "
            "arrays with equal columns, and 1 or more draws."
        )
    rng = np.random.default_rng(seed)
    columns = [np.reshape(group, (len(group), -1)) for group in groups]
    total = np.zeros((draws, columns[0].shape[1]))
    for scores in columns:
        number = len(scores)
        batch = max(1, _BATCH // number)
        for start in range(0, draws, batch):
            size = min(batch, draws - start)
            drawn = rng.integers(number, size=(size, number))
            drawn += number * np.arange(size)[:, None]
            times = np.bincount(drawn.ravel(), minlength=size * number).reshape(size, number)
            total[start : start + size] += times @ scores / number
    total /= len(groups)
    return total.reshape(draws, *shapes.pop())


def compare_pairs(means: np.ndarray, resampled: np.ndarray, freedom: int) -> PairedBootstrap:
    """Return the intervals and p-values of all pairs, given resampled means of the methods.

    The p-value is 2 (n + 1) / (draws + 1) for the n resamples in which the difference is zero or
    has the rarer sign. The p-value is at least 2^-freedom, as in a sign test, because few images
    cannot justify a smaller value.

    Args:
        means: (k,) observed means.
        resampled: (draws, k) means of the resamples, see `bootstrap_means`.
        freedom: number of independent observations that were resampled, minus one per group.
    """
    pairs = np.array(list(combinations(range(len(means)), 2)))
    # Rounding may make the resampled means of equal scores differ.
    zero = _ROUNDING * max(np.abs(resampled).max(), np.abs(means).max())
    draws, columns = len(resampled), np.ascontiguousarray(resampled.T)
    bounds, p = np.empty((2, len(pairs))), np.empty(len(pairs))
    batch = max(1, _BATCH // draws)
    for start in range(0, len(pairs), batch):
        part = slice(start, start + batch)
        first, second = pairs[part].T
        difference = columns[first] - columns[second]
        difference[np.abs(difference) <= zero] = 0.0
        fewer = np.minimum((difference <= 0).sum(axis=1), (difference >= 0).sum(axis=1))
        p[part] = np.clip(2 * (fewer + 1) / (draws + 1), 2.0**-freedom, 1.0)
        bounds[:, part] = np.percentile(difference, [2.5, 97.5], axis=1)
    mean = means[pairs[:, 0]] - means[pairs[:, 1]]
    return PairedBootstrap(pairs, mean, *bounds, p, holm(p))


def _checked(scores: np.ndarray, name: str = "scores") -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2 or not len(scores) or not np.isfinite(scores).all():
        raise InputError(
            f"`{name}` of shape {scores.shape}: the shape is wrong, or a value is not finite. Fix: "
            "pass finite scores of shape (images, methods), at least (1, 2)."
        )
    return scores
