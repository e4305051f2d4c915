"""Compare special cases with pysodmetrics 1.6.2, or with our value if it has none."""

import hashlib
import json
from pathlib import Path

import pytest
from synthetic_pairs import make_pairs

from mutualformer_sod.metrics.evaluator import score_image

GOLDEN = json.loads(Path(__file__).with_name("synthetic_pairs.json").read_text())["pairs"]
PAIRS = make_pairs()
# The reference returns NaN (empty quadrant), divides by its epsilon (single pixel), or returns 1 or
# 0 depending on the rounding of a mean (constant quadrant).
OURS = {
    "last_row_0": ("empty_quadrant", {"s_measure": 0.32903897698111734}),
    "last_column_0": ("empty_quadrant", {"s_measure": 0.40573446387073137}),
    "last_corner_0": ("empty_quadrant", {"s_measure": 0.39300540101863013}),
    "size_1x60": ("empty_quadrant", {"s_measure": 0.5129591609906768}),
    "size_60x1": ("empty_quadrant", {"s_measure": 0.5129591609906768}),
    "size_1x2": ("empty_quadrant", {"s_measure": 1.0}),
    "row_of_60": ("empty_quadrant", {"s_measure": 0.7682642704577216}),
    "column_of_60": ("empty_quadrant", {"s_measure": 0.7682642704577216}),
    "pixel_grey": ("constant_quadrant", {"s_measure": 0.8530725443374642}),
    "size_1x1": ("single_pixel", {"adaptive_e": 1.0, "max_e": 1.0, "mean_e": 0.58203125}),
}


def test_synthetic_pairs_equal_the_golden_file():
    assert list(PAIRS) == list(GOLDEN)
    for name, (pred, gt) in PAIRS.items():
        digest = hashlib.sha256(pred.tobytes() + gt.tobytes()).hexdigest()
        assert digest == GOLDEN[name]["sha256"], name


@pytest.mark.parametrize("protocol", ["normalize", "no_normalize"])
@pytest.mark.parametrize("name", PAIRS)
def test_score_image_agrees_with_the_reference(name, protocol):
    image = score_image(*PAIRS[name], normalize=protocol == "normalize")
    curves = image.curves
    scores = image.scores | {f"mean_{c}": curves[c].mean() for c in ("precision", "recall")}
    own = OURS.get(name, ("", {}))[1]
    for measure, value in GOLDEN[name][protocol].items():
        if measure not in own:
            tolerance = 1e-6 if measure == "weighted_f" else 1e-9
            assert scores[measure] == pytest.approx(value, rel=0, abs=tolerance), measure


@pytest.mark.parametrize("name", OURS)
def test_score_image_without_reference_value_is_flagged(name):
    flag, own = OURS[name]
    image = score_image(*PAIRS[name])
    assert flag in image.flags
    for measure, value in own.items():
        assert image.scores[measure] == pytest.approx(value, rel=0, abs=1e-12)
        reference = GOLDEN[name]["normalize"][measure]
        assert reference is None or abs(reference - value) > 1e-3


def test_reference_gaps_are_all_listed():
    gaps = {n for n, g in GOLDEN.items() for v in g["normalize"].values() if v is None}
    assert gaps <= set(OURS)


@pytest.mark.parametrize(("name", "flag"), [("empty_noise", "empty_gt"), ("full_noise", "full_gt")])
def test_score_image_empty_or_full_gt_is_flagged(name, flag):
    assert flag in score_image(*PAIRS[name]).flags
