"""Tests of tools/evaluate.py --significance: files, missing maps, several sets and refusals."""

import importlib.util
import json
import os
import shutil
import sys

import numpy as np
import pytest
from evaluation_runs import STEMS, evaluate, make_bench, refused, scores

from mutualformer_sod.report.hypothesis_tests import paired_bootstrap


@pytest.fixture
def bench(tmp_path):
    return make_bench(tmp_path)


def comparisons(bench, *flags):
    """Run --significance with 200 draws and return the output and the comparisons by set."""
    done = evaluate(bench, "--significance", "--draws", "200", *flags)
    assert done.status == 0, done.error
    content = json.loads((bench / "out/significance.json").read_text())
    assert content["draws"] == 200
    found = {}
    for entry in content["comparisons"]:
        found.setdefault(entry["set"], {})[entry["metric"]] = entry
    return done.output, found


def test_significance_compares_the_scores_of_the_per_image_file(bench):
    output, found = comparisons(bench, "--columns", "mae", "max_f_of_mean_pr", "s_measure")
    assert list(found["MINI"]) == ["mae", "s_measure"]
    entry = found["MINI"]["mae"]
    lines = [line.split(",") for line in (bench / "out/per_image.csv").read_text().splitlines()]
    place = lines[0].index("mae")
    values = {
        name: [float(line[place]) for line in lines[1:] if line[2] == name]
        for name in ("ours", "theirs")
    }
    expected = paired_bootstrap([np.array(list(values.values())).T], 200)
    (pair,) = entry["pairs"]
    assert pair["difference"] == pytest.approx(np.subtract(*values.values()).mean())
    assert pair["p_holm"] == pair["p"] == expected.p[0] == 2.0 ** (1 - len(STEMS))
    assert entry["ranks"] == {"ours": 1.0, "theirs": 2.0}
    assert "MINI 6 ours 1.00 +1 −0 1.00 +1 −0" in " ".join(output.split())
    assert "fewer than 30 images" in output


def test_significance_leaves_the_other_files_unchanged(bench):
    evaluate(bench)
    names = ("scores.json", "table.csv", "table.md", "table.tex", "per_image.csv")
    before = {name: (bench / "out" / name).read_bytes() for name in names}
    assert not list((bench / "out").glob("significance*"))
    comparisons(bench)
    assert {name: (bench / "out" / name).read_bytes() for name in names} == before
    written = {path.name for path in (bench / "out").glob("significance*")}
    assert written == {f"significance.{kind}" for kind in ("json", "md", "tex")}


def test_significance_of_identical_methods_gives_p_one(bench):
    shutil.copytree(bench / "maps/ours", bench / "maps/copy")
    _, found = comparisons(bench)
    for entry in found["MINI"].values():
        pair = next(p for p in entry["pairs"] if {p["first"], p["second"]} == {"copy", "ours"})
        assert pair["difference"] == 0 and pair["p"] == pair["p_holm"] == 1
        assert entry["ranks"]["copy"] == entry["ranks"]["ours"]
        assert sorted(entry["groups"][0]) == ["copy", "ours"]


def test_significance_uses_the_images_that_all_methods_have(bench):
    (bench / "maps/ours/MINI/image_2.png").unlink()
    output, found = comparisons(bench, "--allow-missing")
    assert found["MINI"]["mae"]["images"] == found["MINI"]["mae"]["blocks"] == len(STEMS) - 1
    assert "MINI: 1 image not compared: some method has no map" in output


def test_significance_omits_a_method_without_scores_on_the_set(bench):
    shutil.copytree(bench / "maps/ours", bench / "maps/third")
    (bench / "maps/ours/MINI/image_2.png").unlink()
    done = evaluate(bench, "--significance", "--draws", "200")
    assert done.status == 2  # of the missing map
    entry = json.loads((bench / "out/significance.json").read_text())["comparisons"][0]
    assert list(entry["ranks"]) == ["theirs", "third"] and entry["images"] == len(STEMS)


def test_significance_over_two_sets_adds_their_mean(bench):
    for folder in ("data", "maps/ours", "maps/theirs"):
        shutil.copytree(bench / folder / "MINI", bench / folder / "MORE")
    output, found = comparisons(bench, "--columns", "mae")
    assert list(found) == ["MINI", "MORE", "mean of 2 sets"]
    entry = found["mean of 2 sets"]["mae"]
    assert (entry["images"], entry["blocks"]) == (2 * len(STEMS), 2)
    assert entry["means"]["ours"] == pytest.approx(scores(bench)["scores"]["ours"]["MINI"]["mae"])
    assert "for the mean of 2 sets they are over the sets" in output


def test_significance_with_plots_draws_the_ranks(bench):
    pytest.importorskip("matplotlib")
    comparisons(bench, "--plots", "--columns", "mae", "s_measure")
    names = {path.name for path in (bench / "out/plots").iterdir()}
    assert {"MINI_ranks.pdf", "MINI_ranks.png"} <= names


def test_significance_of_names_in_other_scripts_is_written(bench):
    (bench / "maps/ours").rename(bench / "maps/我们_é")
    output, found = comparisons(bench)
    assert "我们_é − theirs" not in output and "theirs − 我们_é" in output
    assert "我们_é" in found["MINI"]["mae"]["ranks"]
    assert r"我们\_é" in (bench / "out/significance.tex").read_text(encoding="utf-8")


@pytest.mark.skipif(
    sys.platform != "linux", reason="other systems allow only Unicode in file names"
)
def test_significance_of_a_name_that_is_not_unicode_is_escaped(bench):
    (bench / "maps/ours").rename(bench / "maps" / os.fsdecode(b"\xff$"))
    flags = ("--plots",) if importlib.util.find_spec("matplotlib") else ()
    _, found = comparisons(bench, "--columns", "mae", *flags)
    assert found["MINI"]["mae"]["images"] == len(STEMS)
    assert r"udcff\$" in (bench / "out/significance.tex").read_text(encoding="utf-8")
    with np.load(bench / "out/curves.npz") as curves:
        assert r"MINI/\udcff$/f" in curves


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--significance", "--methods", "ours"], "--significance: ours is the only method"),
        (["--draws", "500"], "--draws has no effect without --significance. Fix: pass"),
        (["--significance", "--draws", "99"], "99 is too small. Fix: pass 100 or more"),
        (["--significance", "--draws", "1000001"], "--draws 1000001 is too large. Fix: pass"),
        (["--significance", "--columns", "max_f_of_mean_pr"], "--columns max_f_of_mean_pr: single"),
    ],
)
def test_significance_that_cannot_be_computed_is_refused_before_the_work(bench, flags, message):
    assert message in refused(evaluate(bench, *flags))
    assert not (bench / "out").exists()
