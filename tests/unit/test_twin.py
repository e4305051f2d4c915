"""The copy of the salient object at another distance."""

import numpy as np
import pytest

from mutualformer_sod.data.training.copy_paste import add_twin

SEEDS = range(40)


def an_image():
    rgb = np.full((80, 100, 3), 30, np.uint8)
    gt = np.zeros((80, 100), np.float32)
    gt[30:60, 40:60] = 1
    rgb[gt > 0] = 200
    depth = np.where(gt > 0, 0.5, 0.2).astype(np.float32)
    return rgb, depth, gt


def objects(image):
    """Masks of the bright objects by their depth: nearer, farther."""
    rgb, depth, _ = image
    bright = rgb[..., 0] > 120
    levels = np.unique(np.round(depth[bright], 2))
    cut = (levels.min() + levels.max()) / 2
    return bright & (depth > cut), bright & (depth <= cut)


@pytest.mark.parametrize("seed", SEEDS)
def test_add_twin_ground_truth_is_the_nearer_object(seed):
    image = an_image()
    added = add_twin(image, np.random.default_rng(seed))
    if added is image:
        pytest.skip("no place for a copy in this draw")
    nearer, farther = objects(added)
    gt = added[2] > 0.5
    assert farther.any()
    assert (nearer & gt).sum() > 0.9 * nearer.sum()
    assert not (farther & gt).sum() > 0.1 * gt.sum()


def test_add_twin_original_is_the_ground_truth_in_about_half_of_the_images():
    image = an_image()
    added = [add_twin(image, np.random.default_rng(seed)) for seed in SEEDS]
    same = [np.array_equal(item[2], image[2]) for item in added if item is not image]
    assert len(same) > 20
    assert 0.25 < np.mean(same) < 0.75


def test_add_twin_depth_stays_in_the_unit_interval():
    for seed in SEEDS:
        _, depth, _ = add_twin(an_image(), np.random.default_rng(seed))
        assert depth.dtype == np.float32
        assert 0 <= depth.min() <= depth.max() <= 1


@pytest.mark.parametrize(
    "rows, columns", [((0, 30), (40, 60)), ((30, 60), (0, 20)), ((5, 79), (5, 95))]
)
def test_add_twin_object_at_the_border_or_too_large_returns_the_image(rows, columns):
    rgb, depth, gt = an_image()
    gt[:] = 0
    gt[slice(*rows), slice(*columns)] = 1
    image = (rgb, depth, gt)
    assert add_twin(image, np.random.default_rng(0)) is image


def test_add_twin_same_seed_gives_the_same_image():
    first, second = (add_twin(an_image(), np.random.default_rng(3)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
