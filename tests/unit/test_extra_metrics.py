"""Tests of the metrics on request: definitions by hand, special cases, and their registration."""

import cv2
import numpy as np
import pytest

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics import Evaluator, GroundTruth, evaluate, score_image
from mutualformer_sod.metrics.boundary import boundary
from mutualformer_sod.metrics.extra import enabled, extra_columns
from mutualformer_sod.metrics.registry import COLUMNS, METRICS
from mutualformer_sod.metrics.skeleton import skeleton


@pytest.fixture
def extra():
    with enabled(extra_columns(with_rgb=False)):
        yield


def square(height: int, width: int, top: int, left: int, side: int) -> np.ndarray:
    gt = np.zeros((height, width), np.bool_)
    gt[top : top + side, left : left + side] = True
    return gt


def test_enabled_registers_the_family_and_removes_it():
    before = list(METRICS), list(COLUMNS)
    with enabled(["hce", "s_measure", "nonsense"]) as added:
        assert added == ("hce", "hce_birefnet")
        assert set(added) <= COLUMNS.keys()
        with enabled(["hce"]) as again:
            assert again == ()
    assert (list(METRICS), list(COLUMNS)) == before


def test_extra_columns_are_unique_and_not_in_the_default_table():
    names = extra_columns()
    assert len(set(names)) == len(names)
    assert not set(names) & set(COLUMNS)


@pytest.mark.parametrize("gt_value", [0, 255])
@pytest.mark.parametrize("map_value", [0, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (8, 5)])
def test_score_image_constant_images_give_finite_scores(extra, shape, map_value, gt_value):
    pred, gt = np.full(shape, map_value, np.uint8), np.full(shape, gt_value, np.uint8)
    evaluator = Evaluator()
    assert np.isfinite(list(evaluator.step(pred, gt).scores.values())).all()
    assert np.isfinite(list(evaluator.results().values())).all()


def test_score_image_perfect_map_gives_the_best_scores(extra):
    gt = square(40, 50, 10, 12, 15)
    scores = score_image(gt, gt).scores
    for name in ("kappa", "accuracy", "boundary_iou", "mba", "msiou", "si_f", "si_iou"):
        assert scores[name] == pytest.approx(1, abs=1e-12), name
    assert scores["hce"] == scores["si_mae"] == scores["fpr"] == 0


def test_score_image_oblique_line_gives_a_finite_context_measure(extra):
    gt = np.eye(20, dtype=np.bool_)
    assert 0 < score_image(gt, gt).scores["context"] <= 1


def test_camouflage_context_hidden_foreground_weighs_more():
    rng = np.random.default_rng(0)
    gt = square(60, 70, 20, 20, 24)
    texture = rng.integers(0, 256, (60, 70, 3), np.uint8)
    plain = np.where(gt[..., None], np.uint8(250), texture // 4)
    texture[20:44, 20:32] = texture[20:44, 8:20]  # the left half is a copy of its surroundings
    texture[20:44, 32:44] = (255, 0, 0)
    left, right = gt.copy(), gt.copy()
    left[:, 32:] = right[:, :32] = False
    with enabled(["camouflage_context"]):
        hidden, shown = (
            [
                score_image(pred, GroundTruth(gt, rgb)).scores["camouflage_context"]
                for pred in (left, right)
            ]
            for rgb in (texture, plain)
        )
    assert hidden[0] > hidden[1]
    assert shown[0] == pytest.approx(shown[1], abs=0.05)


@pytest.mark.parametrize("shape", [(60, 60), (60, 7)])
def test_camouflage_context_foreground_smaller_than_a_patch_ignores_colours(shape):
    gt = square(*shape, 20, 2, 4)
    textures = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), np.uint8)
    with enabled(["camouflage_context"]):
        scores = [
            score_image(gt, GroundTruth(gt, rgb)).scores["camouflage_context"] for rgb in textures
        ]
    assert 0 < scores[0] == scores[1] <= 1


def test_camouflage_context_without_colour_image_is_refused():
    gt = square(20, 20, 5, 5, 8)
    with enabled(["camouflage_context"]), pytest.raises(InputError, match="rgb"):
        score_image(gt, gt)


def test_pooled_rates_are_the_rates_of_the_summed_counts(extra):
    evaluator = Evaluator()
    gt = square(10, 10, 0, 0, 4)
    evaluator.step(gt, gt)
    evaluator.step(np.ones((30, 10), np.bool_), square(30, 10, 0, 0, 2))
    results = evaluator.results()
    assert results["pooled_iou"] == pytest.approx((16 + 4) / (16 + 300), abs=1e-12)
    assert results["iou"] == pytest.approx((1 + 4 / 300) / 2, abs=1e-12)
    assert results["tp_pixels"] == 10


def test_map_curves_are_averaged_before_the_maximum(extra):
    rng = np.random.default_rng(0)
    evaluators = [Evaluator(), Evaluator()]
    images = [
        evaluator.step(rng.integers(0, 255, (30, 40), np.uint8), square(30, 40, 5, 5, 12))
        for evaluator in evaluators
    ]
    evaluators[0].merge(evaluators[1])
    mean = sum(image.map_curves["si_f_curve"] for image in images) / 2
    assert evaluators[0].results()["max_si_f"] == pytest.approx(mean.max(), abs=1e-15)


def test_boundary_of_a_square_is_its_frame():
    mask = square(100, 100, 20, 20, 40).view(np.uint8)  # 2 % of the diagonal are 3 pixels
    assert boundary(mask).sum() == 40**2 - 34**2
    whole = np.ones((100, 100), np.uint8)
    assert boundary(whole).sum() == 100**2 - 94**2


def test_boundary_iou_of_a_shifted_square_equals_the_masks_counted_by_hand(extra):
    gt, pred = square(100, 100, 20, 20, 40), square(100, 100, 20, 22, 40)
    frames = [m & ~cv2.erode(m.view(np.uint8), np.ones((7, 7))).view(np.bool_) for m in (gt, pred)]
    expected = (frames[0] & frames[1]).sum() / (frames[0] | frames[1]).sum()
    assert score_image(pred, gt).scores["boundary_iou"] == pytest.approx(expected, abs=1e-15)


def test_mba_counts_errors_near_the_edge_alone(extra):
    gt = square(100, 100, 20, 20, 40)
    far = gt.copy()
    far[90:, 90:] = True
    assert score_image(far, gt).scores["mba"] == 1
    assert score_image(square(100, 100, 20, 21, 40), gt).scores["mba"] < 1


def test_hce_of_a_missing_part_grows_with_its_corners(extra):
    gt = square(100, 120, 20, 20, 60)
    half = gt.copy()
    half[:, 50:] = False
    comb = gt.copy()
    for left in range(22, 76, 18):
        comb[20:65, left : left + 9] = False
    scores = [score_image(pred, gt).scores["hce"] for pred in (gt, half, comb)]
    assert scores[0] == 0 < scores[1] < scores[2]


def test_hce_birefnet_takes_levels_above_128_without_stretching(extra):
    gt = square(60, 60, 20, 20, 20)
    dark = gt.astype(np.uint8) * 100
    scores = score_image(dark, gt).scores
    assert scores["hce"] == 0 < scores["hce_birefnet"]


def test_si_iou_small_and_large_objects_count_equally(extra):
    gt = square(80, 80, 5, 5, 40) | square(80, 80, 60, 60, 10)
    only_large = square(80, 80, 5, 5, 40)
    scores = score_image(only_large, gt).scores
    assert scores["si_iou"] == pytest.approx(0.5, abs=1e-12)
    assert scores["iou"] > 0.9


def test_skeleton_of_a_bar_is_a_line_inside():
    thin = skeleton(np.pad(np.ones((5, 31), np.bool_), 4))
    assert set(np.flatnonzero(thin.any(axis=1))) <= {5, 6, 7}
    assert thin.sum(axis=0).max() == 1
    assert 20 < thin.sum() < 31


def test_skeleton_of_random_masks_is_stable_and_keeps_the_parts():
    for seed in range(20):
        blurred = cv2.GaussianBlur(np.random.default_rng(seed).random((41, 57)), (0, 0), 2.5)
        mask = blurred > 0.51
        thin = skeleton(mask)
        assert not (thin & ~mask).any()
        assert np.array_equal(skeleton(thin), thin)
        parts = [cv2.connectedComponents(m.view(np.uint8), connectivity=8)[0] for m in (mask, thin)]
        assert parts[0] == parts[1]


def test_evaluate_folder_gt_finds_the_colour_images_beside_it(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("SIP/RGB", "SIP/GT", "maps/ours/SIP"):
        (tmp_path / folder).mkdir(parents=True)
    gt = square(40, 40, 10, 10, 16).astype(np.uint8) * 255
    cv2.imwrite(str(tmp_path / "SIP/RGB/a.png"), rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for folder in ("SIP/GT", "maps/ours/SIP"):
        cv2.imwrite(str(tmp_path / folder / "a.png"), gt)
    with enabled(["camouflage_context"]):
        results = evaluate(tmp_path / "SIP/GT", tmp_path / "maps")
    assert 0 < results.scores["ours"]["SIP"]["camouflage_context"] <= 1


def test_extra_columns_without_rgb_leave_out_the_camouflage_metric_alone():
    assert set(extra_columns()) - set(extra_columns(with_rgb=False)) == {"camouflage_context"}
