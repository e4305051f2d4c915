"""Tests of tools/evaluate.py: scores, flags and missing maps."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluation_runs import STEMS, evaluate, make_bench, make_pair, refused, scores

import mutualformer_sod
from mutualformer_sod import Evaluator
from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.evaluation import GtSet


@pytest.fixture
def bench(tmp_path) -> Path:
    return make_bench(tmp_path)


def test_evaluate_scores_equal_the_evaluators(bench):
    assert evaluate(bench).status == 0
    expected = Evaluator()
    for seed in range(len(STEMS)):
        expected.step(*make_pair(seed))
    assert scores(bench)["scores"]["ours"]["MINI"] == pytest.approx(expected.results(), abs=1e-12)


def test_evaluate_function_on_folders_equals_the_command(bench):
    evaluate(bench)
    results = mutualformer_sod.evaluate(bench / "data/MINI/GT", bench / "maps", workers=2)
    assert results.to_json() == (bench / "out/scores.json").read_text()
    assert results.curves["MINI"]["ours"]["f"].max() == results.scores["ours"]["MINI"]["max_f"]
    assert results.incomplete == []


def test_evaluate_function_refuses_two_masks_of_one_image(bench):
    first = bench / f"data/MINI/GT/{STEMS[0]}.png"
    cv2.imwrite(str(first.with_suffix(".bmp")), cv2.imread(str(first)))
    with pytest.raises(InputError, match=f"two files for one image: {STEMS[0]}"):
        mutualformer_sod.evaluate(bench / "data/MINI/GT", bench / "maps")


def test_evaluate_function_refuses_sets_of_one_name(bench):
    gt = [GtSet.of_folder(bench / "data/MINI/GT")] * 2
    with pytest.raises(InputError, match="set names are not unique: MINI, MINI"):
        mutualformer_sod.evaluate(gt, bench / "maps")


def test_evaluate_prints_table_and_protocol(bench):
    out = evaluate(bench).output
    assert "MINI" in out and "theirs" in out
    assert "256 thresholds" in out and "0 maps resized" in out


@pytest.mark.parametrize("workers", ["2", "3"])
def test_evaluate_any_workers_give_equal_scores(bench, workers):
    evaluate(bench, "--workers", "1")
    alone = scores(bench)["scores"]
    evaluate(bench, "--workers", workers)
    assert scores(bench)["scores"] == alone


def test_evaluate_methods_flag_limits_the_methods(bench):
    evaluate(bench, "--methods", "theirs")
    assert list(scores(bench)["scores"]) == ["theirs"]


def test_evaluate_one_set_without_its_folder_is_scored(bench):
    for path in (bench / "maps/ours/MINI").iterdir():
        path.rename(bench / "maps/ours" / path.name)
    (bench / "maps/ours/MINI").rmdir()
    assert evaluate(bench).status == 0
    assert scores(bench)["scores"]["ours"]["MINI"]["images"] == len(STEMS)


def test_evaluate_no_normalize_is_recorded(bench):
    evaluate(bench, "--no-normalize")
    assert scores(bench)["protocol"]["normalize"] is False


def test_evaluate_prints_the_training_protocol(bench):
    (bench / "maps/ours/run.json").write_text(json.dumps({"protocol": {"train": "2185"}}))
    assert "2185" in evaluate(bench).output


def test_evaluate_unusual_image_count_is_marked(bench):
    (bench / "data/MINI").rename(bench / "data/NJUD")
    for method in ("ours", "theirs"):
        (bench / f"maps/{method}/MINI").rename(bench / f"maps/{method}/NJU2000")
    result = evaluate(bench)
    assert result.status == 0
    assert "NJU2K has 6 images here, usually 500" in result.output


def test_evaluate_missing_map_is_named_and_not_scored(bench):
    (bench / "maps/ours/MINI/image_2.png").unlink()
    result = evaluate(bench)
    assert "ours/MINI" in refused(result)
    assert "image_2" in result.output
    assert list(scores(bench)["scores"]) == ["theirs"]


def test_evaluate_maps_without_the_given_prefix_are_reported(bench):
    result = evaluate(bench, "--map-prefix", "zz_", "--methods", "ours")
    assert "6 maps found with the names of the images, instead of zz_STEM" in refused(result)


def test_evaluate_allow_missing_scores_and_marks_the_rest(bench):
    (bench / "maps/ours/MINI/image_2.png").unlink()
    result = evaluate(bench, "--allow-missing")
    assert result.status == 0
    assert scores(bench)["scores"]["ours"]["MINI"]["images"] == len(STEMS) - 1
    assert "1 of 6 images without a usable map" in result.output


def test_evaluate_truncated_map_is_named_and_not_scored(bench):
    path = bench / "maps/ours/MINI/image_3.png"
    path.write_bytes(path.read_bytes()[:200])
    result = evaluate(bench)
    assert "ours/MINI" in refused(result)
    assert "image_3.png: the file is cut short" in result.output


def test_evaluate_several_problems_are_reported_together(bench):
    maps = bench / "maps/ours/MINI"
    for stem in STEMS[:2]:
        (maps / f"{stem}.png").unlink()
    broken = maps / f"{STEMS[3]}.png"
    broken.write_bytes(broken.read_bytes()[:60])
    (maps / "stray.png").write_bytes((maps / f"{STEMS[4]}.png").read_bytes())
    result = evaluate(bench, "--compare", "ours", "theirs")
    assert result.status == 2
    assert f"missing: {STEMS[0]}, {STEMS[1]}" in result.output
    assert "without an image of that name: stray.png" in result.output
    assert f"unreadable: maps/ours/MINI/{STEMS[3]}.png" in result.output
    assert "3 of 6 images without a usable map" in result.output
    assert set(scores(bench)["scores"]) == {"theirs"}
    assert "no image has scores of both" in result.output


def test_evaluate_unclear_ground_truth_is_refused(bench):
    path = bench / "data/MINI/GT/image_1.png"
    cv2.imwrite(str(path), np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1)))
    assert "image_1.png" in refused(evaluate(bench))


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--maps", "nowhere"], "nowhere"),
        (["--maps", "empty"], "<method>/<set>/<stem>.png"),
        (["--methods", "absent"], "absent"),
        (["--data", "maps"], "maps"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_evaluate_wrong_flag_gives_one_line(bench, flags, named):
    (bench / "empty").mkdir()
    assert named in refused(evaluate(bench, *flags))
