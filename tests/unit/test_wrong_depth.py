"""Depth maps that mislead."""

import numpy as np
import pytest

from mutualformer_sod.data.training.pseudo_depth import mislead


def ramp():
    return np.linspace(0, 1, 40 * 60, dtype=np.float32).reshape(40, 60)


def many(other=lambda: np.eye(9, dtype=np.float32)):
    return [mislead(ramp(), other, np.random.default_rng(seed)) for seed in range(60)]


def test_misleading_depth_keeps_shape_type_and_range():
    for depth in many():
        assert depth.shape == (40, 60) and depth.dtype == np.float32
        assert depth.min() >= 0 and depth.max() <= 1


def test_misleading_depth_differs_from_the_map_it_replaces():
    assert all(np.abs(depth - ramp()).max() > 0.05 for depth in many())


def test_misleading_depth_includes_the_inverted_map():
    assert any(np.allclose(depth, 1 - ramp()) for depth in many())


def test_misleading_depth_includes_the_map_of_another_image():
    constant = np.full((3, 5), 0.25, np.float32)
    assert any((depth == 0.25).all() for depth in many(lambda: constant))


def test_misleading_depth_without_another_map_is_still_drawn():
    assert len(many(lambda: None)) == 60


def test_misleading_depth_repeats_for_the_same_seed():
    first, again = (mislead(ramp(), ramp, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("size", [(2, 2), (1, 7)])
def test_misleading_depth_of_a_tiny_map_keeps_its_shape(size):
    for seed in range(30):
        depth = mislead(np.ones(size, np.float32), lambda: None, np.random.default_rng(seed))
        assert depth.shape == size
