"""tools/evaluate.py as a user starts it."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from evaluation_runs import STEMS, TOOL, evaluate, make_bench, make_pair, refused, scores

import mutualformer_sod
from mutualformer_sod import Evaluator


@pytest.fixture
def bench(tmp_path) -> Path:
    return make_bench(tmp_path)


def test_scores_are_those_of_the_evaluator(bench):
    assert evaluate(bench).returncode == 0
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


def test_table_and_protocol_are_printed(bench):
    out = evaluate(bench).stdout
    assert "MINI" in out and "theirs" in out
    assert "256 thresholds" in out and "0 maps resized" in out


@pytest.mark.parametrize("workers", ["2", "3"])
def test_results_do_not_depend_on_the_workers(bench, workers):
    evaluate(bench, "--workers", "1")
    alone = scores(bench)["scores"]
    evaluate(bench, "--workers", workers)
    assert scores(bench)["scores"] == alone


def test_methods_are_chosen(bench):
    evaluate(bench, "--methods", "theirs")
    assert list(scores(bench)["scores"]) == ["theirs"]


def test_one_set_needs_no_folder_of_its_own(bench):
    for path in (bench / "maps/ours/MINI").iterdir():
        path.rename(bench / "maps/ours" / path.name)
    (bench / "maps/ours/MINI").rmdir()
    assert evaluate(bench).returncode == 0
    assert scores(bench)["scores"]["ours"]["MINI"]["images"] == len(STEMS)


def test_no_normalize_is_recorded(bench):
    evaluate(bench, "--no-normalize")
    assert scores(bench)["protocol"]["normalize"] is False


def test_training_protocol_of_the_maps_is_printed(bench):
    (bench / "maps/ours/run.json").write_text(json.dumps({"protocol": {"train": "2185"}}))
    assert "2185" in evaluate(bench).stdout


def test_another_image_count_than_usual_is_marked(bench):
    (bench / "data/MINI").rename(bench / "data/NJUD")
    for method in ("ours", "theirs"):
        (bench / f"maps/{method}/MINI").rename(bench / f"maps/{method}/NJU2000")
    result = evaluate(bench)
    assert result.returncode == 0
    assert "NJU2K has 6 images here, usually 500" in result.stdout


def test_missing_maps_are_named_and_the_cell_is_not_scored(bench):
    (bench / "maps/ours/MINI/image_2.png").unlink()
    result = evaluate(bench)
    assert "ours/MINI" in refused(result)
    assert "image_2" in result.stdout
    assert list(scores(bench)["scores"]) == ["theirs"]


def test_allow_missing_scores_the_rest_and_marks_the_cell(bench):
    (bench / "maps/ours/MINI/image_2.png").unlink()
    result = evaluate(bench, "--allow-missing")
    assert result.returncode == 0
    assert scores(bench)["scores"]["ours"]["MINI"]["images"] == len(STEMS) - 1
    assert "1 of 6 images without a usable map" in result.stdout


def test_a_truncated_map_is_named_and_the_cell_is_not_scored(bench):
    path = bench / "maps/ours/MINI/image_3.png"
    path.write_bytes(path.read_bytes()[:200])
    result = evaluate(bench)
    assert "ours/MINI" in refused(result)
    assert "image_3.png: the file is cut short" in result.stdout


def test_everything_that_is_wrong_with_a_cell_is_said_at_once(bench):
    maps = bench / "maps/ours/MINI"
    for stem in STEMS[:2]:
        (maps / f"{stem}.png").unlink()
    broken = maps / f"{STEMS[3]}.png"
    broken.write_bytes(broken.read_bytes()[:60])
    (maps / "stray.png").write_bytes((maps / f"{STEMS[4]}.png").read_bytes())
    result = evaluate(bench, "--compare", "ours", "theirs")
    assert result.returncode == 2
    assert f"missing: {STEMS[0]}, {STEMS[1]}" in result.stdout
    assert "of no image of the set: stray.png" in result.stdout
    assert f"unreadable: maps/ours/MINI/{STEMS[3]}.png" in result.stdout
    assert "3 of 6 images without a usable map" in result.stdout
    assert set(scores(bench)["scores"]) == {"theirs"}
    assert "no image that both have" in result.stdout


def test_an_unclear_ground_truth_is_named(bench):
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
def test_wrong_flags_end_in_one_line(bench, flags, named):
    (bench / "empty").mkdir()
    assert named in refused(evaluate(bench, *flags))


def test_evaluation_never_imports_torch(bench):
    code = (
        "import sys, runpy; sys.argv[1:] = ['--help']\n"
        f"try: runpy.run_path({str(TOOL)!r}, run_name='__main__')\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert out.strip().endswith("False")
