"""Compare the baselines with plain numpy."""

import numpy as np
import pytest

from mutualformer_sod.inference.baselines import centre_prior, depth_otsu


def otsu_by_definition(levels):
    """Return the threshold of largest between-class variance, by trying all."""
    best, threshold = -1.0, 0
    for t in range(levels.min(), levels.max()):
        low, high = levels[levels <= t], levels[levels > t]
        between = low.size * high.size * (low.mean() - high.mean()) ** 2
        if between > best * (1 + 1e-9):
            best, threshold = between, t
    return threshold


@pytest.mark.parametrize("seed", range(5))
def test_depth_otsu_threshold_follows_the_definition(seed):
    rng = np.random.default_rng(seed)
    far, near = rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.9)
    depth = rng.normal(far, 0.08, (40, 50))
    depth[10:30, 15:40] = rng.normal(near, 0.1, (20, 25))
    depth = depth.clip(0, 1).astype(np.float32)
    levels = np.rint(depth * 255).astype(int)
    expected = levels > otsu_by_definition(levels)
    assert np.array_equal(depth_otsu(depth), expected)


def test_depth_otsu_constant_depth_gives_zeros():
    assert not depth_otsu(np.full((4, 5), 0.7, np.float32)).any()


def test_depth_otsu_raw_depth_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        depth_otsu(np.full((4, 5), 1200.0))


def test_centre_prior_follows_the_formula():
    height, width = 30, 41
    prior = centre_prior((height, width), sigma=0.2)
    y, x = 4, 33
    square = ((y + 0.5) / height - 0.5) ** 2 + ((x + 0.5) / width - 0.5) ** 2
    assert prior.shape == (height, width)
    assert prior[y, x] == pytest.approx(np.exp(-square / (2 * 0.2**2)), rel=1e-5)


def test_centre_prior_is_symmetric():
    prior = centre_prior((31, 40))
    assert np.allclose(prior, prior[::-1, ::-1], atol=1e-6)
    assert np.unravel_index(prior.argmax(), prior.shape)[0] == 15
