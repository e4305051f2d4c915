"""Tests of the metrics on request in tools/evaluate.py and tools/merge_scores.py."""

import csv

import cv2
import numpy as np
import pytest
from evaluation_runs import evaluate, make_bench, refused, run_in, scores

from mutualformer_sod.metrics.extra import extra_columns
from mutualformer_sod.metrics.registry import COLUMNS


@pytest.fixture
def bench(tmp_path):
    return make_bench(tmp_path)


def test_evaluate_default_run_computes_no_extra_metric(bench):
    evaluate(bench)
    assert not scores(bench)["scores"]["ours"]["MINI"].keys() & set(extra_columns())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_evaluate_extra_columns_appear_in_table_and_files(bench, workers):
    before = list(COLUMNS)
    wanted = ("s_measure", "hce", "max_boundary_iou", "pooled_iou")
    done = evaluate(bench, "--workers", workers, "--columns", *wanted)
    assert done.status == 0, done.error
    for title in ("HCE↓", "maxBIoU↑", "IoU(all)↑"):
        assert title in done.output
    found = scores(bench)["scores"]["ours"]["MINI"]
    assert {*wanted, "max_e", "pooled_kappa"} <= found.keys()
    assert "msiou" not in found
    with (bench / "out/per_image.csv").open() as file:
        assert {"hce", "max_boundary_iou"} <= next(csv.DictReader(file)).keys()
    assert list(COLUMNS) == before


def test_evaluate_metrics_all_shows_every_metric_and_takes_it_from_the_cache(bench):
    done = evaluate(bench, "--methods", "ours", "--metrics", "all")
    assert done.status == 0, done.error
    first = scores(bench)
    without = set(extra_columns()) - first["scores"]["ours"]["MINI"].keys()
    assert without == {"camouflage_context"}
    assert evaluate(bench, "--methods", "ours", "--metrics", "all").output == done.output
    assert scores(bench) == first


def test_evaluate_scores_cached_without_an_extra_metric_are_computed_again(bench):
    evaluate(bench)
    plain = scores(bench)["scores"]["ours"]["MINI"]
    assert evaluate(bench, "--columns", "max_si_f").status == 0
    found = scores(bench)["scores"]["ours"]["MINI"]
    assert "max_si_f" in found
    assert {name: found[name] for name in plain} == plain


def test_evaluate_unknown_column_names_the_extra_ones(bench):
    assert "hce" in refused(evaluate(bench, "--columns", "speed"))


def test_merge_scores_shows_extra_columns(bench):
    evaluate(bench, "--columns", "hce")
    done = run_in(
        bench, "merge_scores", "out/scores.json", "--output", "all", "--columns", "mae", "hce"
    )
    assert done.status == 0, done.error
    assert "HCE↓" in done.output


def test_evaluate_per_sequence_adds_the_mean_of_the_sets(bench):
    for folder in ("data", "maps/ours"):
        (bench / folder / "V").mkdir()
        (bench / folder / "MINI").rename(bench / folder / "V/a")
        (bench / folder / "V/b").mkdir()
    (bench / "data/V/b/GT").mkdir()
    for old in ("data/V/{}/GT/image_5.png", "maps/ours/V/{}/image_5.png"):
        (bench / old.format("a")).rename(bench / old.format("b"))
    done = evaluate(bench, "--methods", "ours", "--per-sequence")
    assert done.status == 0, done.error
    found = scores(bench)["scores"]["ours"]
    mean = (found["V/a"]["s_measure"] + found["V/b"]["s_measure"]) / 2
    assert found["V (2 sequences)"]["s_measure"] == pytest.approx(mean, abs=1e-15)
    assert found["V (2 sequences)"]["images"] == 6


def test_evaluate_camouflage_context_reads_the_colour_images(bench):
    flags = ("--methods", "ours", "--columns", "camouflage_context", "--workers", "2")
    assert "colour images are missing" in refused(evaluate(bench, *flags))
    (bench / "data/MINI/RGB").mkdir()
    found = []
    for seed in range(2):  # other colours must not take the scores from the cache
        rng = np.random.default_rng(seed)
        for path in (bench / "data/MINI/GT").iterdir():
            rgb = cv2.resize(rng.integers(0, 255, (8, 9, 3), np.uint8), (64, 48))
            cv2.imwrite(str(bench / "data/MINI/RGB" / path.name), rgb)
        done = evaluate(bench, *flags)
        assert done.status == 0, done.error
        assert "CCM↑" in done.output
        found.append(scores(bench)["scores"]["ours"]["MINI"]["camouflage_context"])
    assert found[0] != found[1]
    assert evaluate(bench, *flags, "--metrics", "all").status == 0


def test_evaluate_camouflage_context_other_size_of_colours_is_refused(bench):
    (bench / "data/MINI/RGB").mkdir()
    for path in (bench / "data/MINI/GT").iterdir():
        image = np.zeros((20, 20, 3), np.uint8)
        cv2.imwrite(str(bench / "data/MINI/RGB" / path.name), image)
    assert "bring both to one size" in refused(evaluate(bench, "--columns", "camouflage_context"))
