"""Tests of Holm's correction, Friedman's and Nemenyi's tests, and the bootstrap of all pairs."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from mutualformer_sod.errors import InputError
from mutualformer_sod.report.hypothesis_tests import (
    bootstrap_means,
    friedman,
    holm,
    indistinct_groups,
    nemenyi_cd,
    paired_bootstrap,
)

# Demšar, JMLR 2006, Table 6: ranks of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets.
DEMSAR = np.array(
    [
        *([4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1]),
        *([1, 2.5, 4, 2.5], [3, 2, 4, 1], [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5] * 4),
        *([4, 2.5, 1, 2.5], [3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2]),
    ]
)


def test_holm_of_a_known_example_is_exact():
    # 4 x .005, 3 x .01, 2 x .03, and .04 raised to the value before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_changes_a_decision_that_one_test_alone_would_make():
    p = np.array([0.001, 0.02, 0.03])
    assert (p < 0.05).all()
    assert (holm(p) < 0.05).tolist() == [True, True, True]
    more = np.append(p, 0.04)
    assert (holm(more) < 0.05).tolist() == [True, False, False, False]


def test_holm_is_at_most_one_and_keeps_the_order_of_the_values():
    p = np.random.default_rng(0).uniform(size=50) ** 3
    adjusted = holm(p)
    assert (adjusted >= p).all() and adjusted.max() <= 1
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


def test_holm_of_no_value_is_empty():
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("p", [[-0.1], [1.1], [math.nan], [[0.1]]])
def test_holm_other_than_probabilities_is_refused(p):
    with pytest.raises(InputError, match="`p`"):
        holm(p)


def test_friedman_of_demsar_2006_equals_the_paper():
    found = friedman(DEMSAR, larger_is_better=False)
    assert found.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    ties = 1 - (3 * 6 + 60) / (14 * (4**3 - 4))  # three pairs and one block of four equal ranks
    assert found.statistic * ties == pytest.approx(9.28, abs=5e-3)
    assert found.blocks == 14


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("shape", [(5, 3), (40, 7)])
def test_friedman_equals_scipy_with_and_without_equal_scores(levels, shape):
    scores = np.random.default_rng(1).integers(levels, size=shape) / levels
    found, reference = friedman(scores), friedmanchisquare(*scores.T)
    assert found.statistic == pytest.approx(reference.statistic, rel=1e-12)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-9)


def test_friedman_of_two_methods_is_the_test_of_signs():
    scores = np.array([[0.5, 0.4]] * 30 + [[0.4, 0.5]] * 10)
    found = friedman(scores)
    assert found.ranks.tolist() == [1.25, 1.75]
    assert found.statistic == pytest.approx((30 - 10) ** 2 / 40)
    assert found.p == pytest.approx(math.erfc(math.sqrt(10 / 2)))


def test_friedman_of_smaller_is_better_reverses_the_ranks():
    scores = np.random.default_rng(2).uniform(size=(9, 4))
    larger, smaller = friedman(scores), friedman(scores, larger_is_better=False)
    assert smaller.ranks == pytest.approx(5 - larger.ranks)
    assert smaller.p == pytest.approx(larger.p)


def test_friedman_of_identical_methods_gives_p_one():
    found = friedman(np.repeat(np.random.default_rng(3).uniform(size=(20, 1)), 4, axis=1))
    assert found.ranks.tolist() == [2.5] * 4
    assert (found.statistic, found.p) == (0.0, 1.0)


def test_nemenyi_cd_equals_the_values_of_demsar_2006():
    quantiles = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)
    for methods, quantile in enumerate(quantiles, start=2):
        expected = quantile * math.sqrt(methods * (methods + 1) / (6 * 30))
        assert nemenyi_cd(methods, 30) == pytest.approx(expected, rel=3e-4)
    assert nemenyi_cd(4, 14) == pytest.approx(1.25, abs=5e-3)
    assert nemenyi_cd(4, 14, alpha=0.10) == pytest.approx(1.12, abs=5e-3)


@pytest.mark.parametrize("arguments", [(1, 5), (3, 0), (3, 5, 0), (3, 5, 1)])
def test_nemenyi_cd_out_of_range_is_refused(arguments):
    with pytest.raises(InputError, match="out of range"):
        nemenyi_cd(*arguments)


@pytest.mark.parametrize(
    ("ranks", "difference", "groups"),
    [
        ([3.143, 2.000, 2.893, 1.964], 1.25, [[3, 1, 2, 0]]),
        ([3.143, 2.000, 2.893, 1.964], 1.0, [[3, 1, 2], [2, 0]]),
        ([1, 2, 3, 4], 0.5, []),
        ([1, 2, 3, 4], 1.0, [[0, 1], [1, 2], [2, 3]]),
        ([1.5, 1.5, 3.0], 0.1, [[0, 1]]),
        ([1.2, 1.8], 0.6, [[0, 1]]),
    ],
)
def test_indistinct_groups_are_the_largest_within_the_difference(ranks, difference, groups):
    assert indistinct_groups(ranks, difference) == groups


def test_indistinct_groups_cover_exactly_the_pairs_within_the_difference():
    ranks = np.random.default_rng(4).uniform(1, 12, size=12)
    joined = {
        frozenset(pair)
        for group in indistinct_groups(ranks, 1.5)
        for pair in itertools.combinations(group, 2)
    }
    pairs = itertools.combinations(range(12), 2)
    assert joined == {frozenset(p) for p in pairs if abs(ranks[p[0]] - ranks[p[1]]) <= 1.5}


def make_scores(shift: float, images: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.4, 0.9, images)
    return np.stack([base, base + rng.normal(shift, 0.05, images)], axis=1)


def test_paired_bootstrap_agrees_with_the_normal_approximation():
    scores = make_scores(0.006)
    found = paired_bootstrap([scores], draws=20_000)
    difference = scores[:, 0] - scores[:, 1]
    error = difference.std() / math.sqrt(300)
    assert found.pairs.tolist() == [[0, 1]]
    assert found.mean[0] == pytest.approx(difference.mean())
    assert found.low[0] == pytest.approx(difference.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high[0] == pytest.approx(difference.mean() + 1.96 * error, abs=0.1 * error)
    expected = math.erfc(abs(difference.mean()) / error / math.sqrt(2))
    assert 0.005 < expected < 0.2
    assert found.p[0] == pytest.approx(expected, rel=0.15)


def test_paired_bootstrap_of_equal_methods_rejects_at_the_level():
    differences = np.random.default_rng(9).normal(0, 0.05, (600, 60))
    scores = np.stack([np.zeros_like(differences), differences], axis=2)
    p = [paired_bootstrap([one], 400, seed).p[0] for seed, one in enumerate(scores)]
    assert 0.025 < np.mean(np.array(p) < 0.05) < 0.09


def test_paired_bootstrap_of_identical_methods_gives_p_one():
    scores = np.random.default_rng(5).uniform(size=(999, 3))
    found = paired_bootstrap([scores[:, [0, 1, 0, 2]]], draws=500)
    same = found.pairs.tolist().index([0, 2])
    assert (found.mean[same], found.low[same], found.high[same]) == (0, 0, 0)
    assert found.p[same] == found.p_holm[same] == 1.0


@pytest.mark.parametrize(("images", "least"), [(1, 1.0), (2, 0.5), (4, 0.125)])
def test_paired_bootstrap_of_few_images_is_not_significant(images, least):
    found = paired_bootstrap([make_scores(0.9, images)], draws=2000)
    assert found.p.tolist() == [least]


def test_paired_bootstrap_adjusts_all_pairs_by_holm():
    scores = np.random.default_rng(6).normal(size=(80, 6)) + np.linspace(0, 1, 6)
    found = paired_bootstrap([scores], draws=3000)
    assert len(found.p) == 15
    assert found.p_holm.tolist() == holm(found.p).tolist()
    assert (found.p < 0.05).sum() > (found.p_holm < 0.05).sum() > 0


def test_paired_bootstrap_weighs_groups_equally():
    large, small = make_scores(0, 400, 1), make_scores(0.2, 20, 2)
    found = paired_bootstrap([large, small], draws=4000)
    means = [(group[:, 0] - group[:, 1]).mean() for group in (large, small)]
    assert found.mean[0] == pytest.approx(np.mean(means))
    errors = [(group[:, 0] - group[:, 1]).std() / len(group) ** 0.5 for group in (large, small)]
    width = 2 * 1.96 * math.hypot(*errors) / 2
    assert found.high[0] - found.low[0] == pytest.approx(width, rel=0.1)


def test_paired_bootstrap_depends_on_the_seed_alone():
    scores = [make_scores(0.01)]
    first, again, other = (paired_bootstrap(scores, 500, seed) for seed in (1, 1, 2))
    assert first.low.tolist() == again.low.tolist() != other.low.tolist()


def test_bootstrap_means_have_the_draws_first_and_equal_draws_for_all_columns():
    scores = np.random.default_rng(7).uniform(size=(30, 1, 1))
    means = bootstrap_means([scores * np.ones((2, 3))], draws=40)
    assert means.shape == (40, 2, 3)
    assert np.ptp(means, axis=(1, 2)).max() < 1e-12
    assert np.ptp(means, axis=0).min() > 0.01


@pytest.mark.parametrize(
    "groups",
    [
        [],
        [np.zeros((0, 2))],
        [np.zeros((3, 1))],
        [np.zeros(3)],
        [np.full((3, 2), math.nan)],
        [np.zeros((3, 2)), np.zeros((3, 4))],
    ],
)
def test_paired_bootstrap_unusable_scores_are_refused(groups):
    with pytest.raises(InputError, match="`groups`"):
        paired_bootstrap(groups)


@pytest.mark.parametrize("shape", [(0, 2), (3, 1), (3,)])
def test_friedman_unusable_scores_are_refused(shape):
    with pytest.raises(InputError, match="`scores`"):
        friedman(np.zeros(shape))
