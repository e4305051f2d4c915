"""Extension test: a metric that is registered from outside the package appears everywhere."""

import csv
import json

import numpy as np
import pytest
from evaluation_runs import make_bench
from gallery_runs import page_data
from tool_runs import run_tool

from mutualformer_sod.metrics.registry import COLUMNS, METRICS, Metric, register, unregister


def bias(pair):
    """Return |mean p - mean g|."""
    counts = pair.histogram.by_class.sum(axis=0)
    return abs(counts @ pair.histogram.values / pair.histogram.pixels - pair.gt.mask.mean())


def accuracy(counts):
    """Return the ratio of correct pixels at each threshold."""
    wrong = counts.area - counts.true_positive + counts.false_positive
    return 1 - wrong / counts.pixels


@pytest.fixture
def registered():
    before = list(METRICS), list(COLUMNS)
    register(Metric("bias", "Bias", "b", bias, larger_is_better=False))
    register(Metric("accuracy", "Acc", "A", accuracy, kind="curve"))
    yield
    unregister("bias")
    unregister("accuracy")
    assert (list(METRICS), list(COLUMNS)) == before


@pytest.fixture
def bench(tmp_path):
    return make_bench(tmp_path)


def run(bench, tool, output, *flags):
    folders = ("--data", bench / "data", "--maps", bench / "maps", "--output", bench / output)
    done = run_tool(tool, *folders, *flags)
    assert done.status == 0, done.error
    return done.output


@pytest.mark.parametrize("workers", [1, 2])
def test_registered_metric_appears_in_every_output(bench, registered, workers):
    flags = ("--compare", "ours", "theirs", "--workers", workers)
    table = run(bench, "evaluate", "out", *flags)
    assert "Bias↓" in table and "maxAcc↑" in table and "meanAcc↑" in table
    assert "  Bias↓" in table.split("bootstrap interval")[1]
    names = {"bias", "max_accuracy", "mean_accuracy"}
    scores = json.loads((bench / "out/scores.json").read_text())["scores"]["ours"]["MINI"]
    with (bench / "out/per_image.csv").open() as file:
        images = [line for line in csv.DictReader(file) if line["method"] == "ours"]
    assert names <= scores.keys() and names <= images[0].keys()
    assert scores["bias"] == pytest.approx(np.mean([float(line["bias"]) for line in images]))
    heads = {"table.csv": "max_accuracy", "table.md": "maxAcc ↑", "table.tex": r"A^{\max}"}
    for name, head in heads.items():
        assert head in (bench / "out" / name).read_text(encoding="utf-8")
    with np.load(bench / "out/curves.npz") as curves:
        assert curves["MINI/ours/accuracy"].max() == scores["max_accuracy"]


def test_registered_metric_appears_in_gallery(bench, registered):
    run(bench, "gallery", "page", "--workers", 1)
    measures = [entry["key"] for entry in page_data(bench / "page")["measures"]]
    assert measures[-2:] == ["bias", "max_accuracy"]


def test_registered_metric_is_computed_for_maps_that_are_cached_without_it(bench):
    run(bench, "evaluate", "out", "--workers", 1)
    register(Metric("bias", "Bias", "b", bias))
    try:
        assert "Bias" in run(bench, "evaluate", "out", "--workers", 1)
    finally:
        unregister("bias")


@pytest.mark.parametrize("name", ["mae", "max_f", "f"])
def test_register_with_a_name_in_use_is_refused(name):
    with pytest.raises(ValueError, match="its name or the name of one of its columns is in use"):
        register(Metric(name, "X", "x", bias))
