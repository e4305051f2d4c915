"""Compare random pairs with pysodmetrics, if it is installed."""

import numpy as np
import pytest
from synthetic_pairs import disc, noisy_map

from mutualformer_sod.metrics.evaluator import score_image

pytest.importorskip("py_sod_metrics", reason="pysodmetrics 1.6.2 is not installed here")


def random_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a map and its ground truth of overlapping discs, at a random size."""
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(9, 120, 2))
    gt = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        row, column = int(rng.integers(height)), int(rng.integers(width))
        gt |= disc(height, width, row, column, int(rng.integers(0, 30)))
    low, high = np.sort(rng.choice(256, 2, replace=False))
    return noisy_map(gt, seed, int(low), int(high)), gt


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("seed", range(100, 160))
def test_score_image_random_pair_agrees_with_the_reference(seed, normalize):
    from make_synthetic_golden import reference_scores

    pred, gt = random_pair(seed)
    image = score_image(pred, gt, normalize=normalize)
    expected = reference_scores(pred, gt, normalize)
    for name in set(expected) & set(image.scores):
        if expected[name] is None:
            assert "empty_quadrant" in image.flags
            continue
        tolerance = 1e-6 if name == "weighted_f" else 1e-9
        assert image.scores[name] == pytest.approx(expected[name], rel=0, abs=tolerance), name
