"""Invented depth for training images without any."""

import numpy as np
import pytest

from mutualformer_sod.data.training.pseudo_depth import invent_depth


def a_mask(height=80, width=100):
    mask = np.zeros((height, width), np.float32)
    mask[30:60, 40:70] = 1
    return mask


@pytest.mark.parametrize("gt", [a_mask(), np.zeros((50, 40), np.float32), np.ones((40, 40))])
def test_maps_fill_the_unit_interval_whatever_the_ground_truth(gt):
    for seed in range(20):
        depth = invent_depth(gt, np.random.default_rng(seed))
        assert depth.shape == gt.shape
        assert depth.dtype == np.float32
        assert (depth.min(), depth.max()) == (0, 1)


def test_generator_decides():
    maps = [invent_depth(a_mask(), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])


def test_object_is_mostly_but_not_always_nearer_than_its_surroundings():
    mask = a_mask() > 0.5
    ring = np.zeros_like(mask)
    ring[20:70, 30:80] = True
    ring &= ~mask
    gaps = []
    for seed in range(200):
        depth = invent_depth(a_mask(), np.random.default_rng(seed))
        gaps.append(np.median(depth[mask]) - np.median(depth[ring]))
    share = np.mean(np.array(gaps) > 0.05)
    assert 0.6 < share < 0.95


def test_object_stands_out_of_an_estimated_scene_that_does_not_show_it():
    scene = np.tile(np.linspace(0, 0.5, 80, dtype=np.float32)[:, None], (1, 100))
    mask = a_mask() > 0.5
    around = np.ones_like(mask)
    around[20:70, 30:80] = False
    gaps, likeness = [], []
    for seed in range(50):
        depth = invent_depth(a_mask(), np.random.default_rng(seed), scene)
        likeness.append(np.corrcoef(depth[around], scene[around])[0, 1])
        gaps.append(np.median(depth[mask]) - np.median(depth[30:60][:, [10, 90]]))
    assert min(likeness) > 0.98
    assert np.mean(np.array(gaps) > 0.05) > 0.6
