"""Compare the metrics with their definitions, computed pixel by pixel in plain numpy."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import convolve, distance_transform_edt

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.evaluator import Evaluator, score_image
from mutualformer_sod.metrics.ground_truth import GroundTruth, squared
from mutualformer_sod.metrics.joint_histogram import joint_histogram, level_values


def blob_pair(seed: int, height: int = 37, width: int = 53) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy map with values in 5..240, and its ground truth of two ellipses."""
    rng = np.random.default_rng(seed)
    gt = np.zeros((height, width), np.uint8)
    for _ in range(2):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(2, width // 3)), int(rng.integers(2, height // 3)))
        cv2.ellipse(gt, centre, axes, float(rng.integers(180)), 0, 360, 255, -1)
    soft = cv2.GaussianBlur(gt, (0, 0), 2.0).astype(int) + rng.integers(-40, 40, gt.shape)
    return np.clip(soft, 5, 240).astype(np.uint8), gt


def saliency_of(pred: np.ndarray) -> np.ndarray:
    p = pred / 255
    return (p - p.min()) / (p.max() - p.min())


@pytest.mark.parametrize("seed", range(5))
def test_curves_at_every_threshold_follow_the_definition(seed):
    pred, gt = blob_pair(seed)
    g, q = gt > 128, (saliency_of(pred) * 255).astype(np.uint8)
    curves = score_image(pred, gt).curves
    for i, t in enumerate(range(255, -1, -1)):
        b = q >= t
        tp = np.sum(b & g)
        precision, recall = tp / max(b.sum(), 1), tp / g.sum()
        f = 1.3 * precision * recall / (0.3 * precision + recall) if tp else 0.0
        a, c = b - b.mean(), g - g.mean()
        xi = 2 * a * c / (a**2 + c**2 + np.spacing(1))
        e = ((xi + 1) ** 2 / 4).sum() / (g.size - 1)
        got = [curves[name][i] for name in ("precision", "recall", "f", "e")]
        assert got == pytest.approx([precision, recall, f, e], abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_weighted_f_follows_the_definition(seed):
    pred, gt = blob_pair(seed)
    g, p = gt > 128, saliency_of(pred)
    distance, (row, column) = distance_transform_edt(~g, return_indices=True)
    error = np.abs(p - g)
    spread = error[row, column]
    taps = np.exp(-(np.arange(-3, 4) ** 2) / 50.0)
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    smooth = convolve(spread, kernel, mode="constant")
    weighted = np.where(g, np.minimum(error, smooth), error * (2 - 0.5 ** (distance / 5)))
    tp, fp = g.sum() - weighted[g].sum(), weighted[~g].sum()
    recall, precision = 1 - weighted[g].mean(), tp / (tp + fp)
    expected = 2 * recall * precision / (recall + precision)
    assert score_image(pred, gt).scores["weighted_f"] == pytest.approx(expected, abs=1e-12)


def test_nearest_foreground_breaks_ties_by_column_then_row():
    gt = np.zeros((9, 9), bool)
    gt[[2, 6, 4, 4], [4, 4, 2, 6]] = True  # four pixels at distance 2 from (4, 4)
    truth = GroundTruth(gt)
    near, source = truth.nearest_foreground
    rows, columns = truth.window
    width = columns.stop - columns.start
    centre = (4 - rows.start) * width + 4 - columns.start
    found = int(source[near == centre][0])
    assert (found // width + rows.start, found % width + columns.start) == (4, 2)


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (23, 31), (300, 700)])
def test_gt_distance_is_exact(shape):
    rng = np.random.default_rng(1)
    gt = rng.random(shape) < 0.01
    gt[0, 0] = True
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    expected = np.rint(distance_transform_edt(~gt) ** 2)
    np.testing.assert_array_equal(squared(GroundTruth(gt).distance(whole)), expected)


def test_gt_distance_of_a_window_equals_that_of_the_image():
    gt = np.zeros((40, 60), bool)
    gt[15:20, 22:30] = True
    grown = GroundTruth(gt)
    small = grown.distance(grown.window).copy()
    rows, columns = (slice(0, 33), slice(14, 60))
    later = grown.distance((rows, columns))
    whole = GroundTruth(gt).distance((slice(0, 40), slice(0, 60)))
    np.testing.assert_array_equal(squared(small), squared(whole[grown.window]))
    np.testing.assert_array_equal(squared(later), squared(whole[rows, columns]))


@pytest.mark.parametrize("seed", range(6))
def test_gt_distance_of_each_window_equals_that_of_the_image_in_any_order(seed):
    gt = np.zeros((40, 60), bool)
    gt[15:20, 22:30] = True
    whole = GroundTruth(gt).distance((slice(0, 40), slice(0, 60)))
    shared, rng = GroundTruth(gt), np.random.default_rng(seed)
    top, left = (own.start for own in shared.window)
    bottom, right = (own.stop for own in shared.window)
    for _ in range(8):
        rows = slice(int(rng.integers(0, top + 1)), int(rng.integers(bottom, 41)))
        columns = slice(int(rng.integers(0, left + 1)), int(rng.integers(right, 61)))
        found = shared.distance((rows, columns))
        np.testing.assert_array_equal(squared(found), squared(whole[rows, columns]))


@pytest.mark.parametrize("seed", range(8))
def test_scores_of_a_map_do_not_depend_on_the_maps_before_it(seed):
    rng = np.random.default_rng(seed)
    gt = np.zeros((400, 400), bool)
    gt[168:232, 168:232] = True
    maps = []
    for _ in range(4):  # bright regions on different sides, so that the windows differ
        levels = np.where(gt, 200, 0).astype(np.uint8)
        top, left = rng.integers(40, 300, 2)
        levels[top : top + 77, left : left + 60] = 220
        levels[180:200, 180:200] = 255
        maps.append(levels)
    shared = GroundTruth(gt)
    for levels in maps:
        assert score_image(levels, shared).scores == score_image(levels, gt).scores


def test_level_values_repeat_the_float_operations_of_the_reference():
    for low, high in ((3, 250), (17, 200), (0, 254), (100, 101)):
        p = np.arange(low, high + 1, dtype=np.uint8) / 255
        p = (p - p.min()) / (p.max() - p.min())
        np.testing.assert_array_equal(level_values(low, high)[low : high + 1], p)


def test_joint_histogram_counts_every_pixel_in_its_quadrant():
    pred, gt = blob_pair(3)
    truth = GroundTruth(gt)
    histogram = joint_histogram(pred, truth)
    row, column = truth.split
    part, mask = pred[:row, column:], truth.mask[:row, column:]
    expected = [np.bincount(part[mask == c], minlength=256) for c in (False, True)]
    np.testing.assert_array_equal(histogram.counts[1], expected)
    assert histogram.counts.sum() == pred.size


def test_score_image_perfect_map_gives_ideal_scores():
    _, gt = blob_pair(0)
    scores = score_image(gt, gt).scores
    assert scores.pop("mae") == 0
    assert scores.pop("ber") == 0
    ideal = {name: scores[name] for name in scores if not name.startswith("mean")}
    assert ideal == pytest.approx(dict.fromkeys(ideal, 1.0), abs=2e-3)  # E divides by N - 1


def test_score_image_without_normalize_takes_v_by_255():
    pred, gt = blob_pair(1)
    plain = score_image(pred, gt, normalize=False).scores["mae"]
    assert plain == pytest.approx(np.abs(pred / 255 - (gt > 128)).mean(), abs=1e-12)
    assert plain != pytest.approx(score_image(pred, gt).scores["mae"], abs=1e-3)


def test_score_image_float_map_equals_its_8_bit_map():
    pred, gt = blob_pair(2)
    assert score_image(pred / 255, gt).scores == score_image(pred, gt).scores


@pytest.mark.parametrize(
    "pred",
    [
        np.full((4, 4), np.nan),
        np.full((4, 4), 1.5),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((4, 4), np.int32),
        np.zeros((0, 4), np.uint8),
    ],
)
def test_score_image_unusable_map_is_refused(pred):
    with pytest.raises(InputError):
        score_image(pred, np.eye(4, dtype=bool))


def test_score_image_other_size_is_resized_and_flagged():
    pred, gt = blob_pair(4)
    half = cv2.resize(pred, (26, 18), interpolation=cv2.INTER_LINEAR)
    image = score_image(half, gt)
    again = cv2.resize(half, gt.shape[::-1], interpolation=cv2.INTER_LINEAR)
    assert "resized" in image.flags
    assert image.scores == score_image(again, gt).scores


def test_evaluator_merged_shards_equal_one_run():
    pairs = [blob_pair(seed) for seed in range(6)]
    whole, left, right = Evaluator(), Evaluator(), Evaluator()
    for i, pair in enumerate(pairs):
        whole.step(*pair)
        (left if i < 2 else right).step(*pair)
    left.merge(right)
    assert left.results() == pytest.approx(whole.results(), abs=1e-14)


def test_evaluator_merge_other_protocol_is_refused():
    with pytest.raises(ValueError, match="different settings"):
        Evaluator(normalize=True).merge(Evaluator(normalize=False))


def test_evaluator_add_nan_is_refused():
    evaluator = Evaluator()
    image = score_image(*blob_pair(0))
    image.scores["s_measure"] = float("nan")
    with pytest.raises(ValueError, match="s_measure"):
        evaluator.add(image)


def test_evaluator_results_without_images_are_refused():
    with pytest.raises(InputError, match="no image"):
        Evaluator().results()


def test_evaluator_results_are_plain_floats():
    evaluator = Evaluator()
    evaluator.step(*blob_pair(0))
    assert {type(value) for value in evaluator.results().values()} == {int, float}


@pytest.mark.parametrize("value", [1, 2, 128])
def test_ground_truth_of_low_values_is_refused(value):
    mask = np.zeros((4, 4), np.uint8)
    mask[1, 1] = value
    with pytest.raises(InputError, match="0 and 255"):
        GroundTruth(mask)
