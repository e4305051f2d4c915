"""Tests of tools/baselines.py."""

import json
import shutil

import numpy as np
import pytest
from tool_runs import error_line, run_tool

from mutualformer_sod.imaging.io import read_depth, read_gt
from mutualformer_sod.inference.baselines import centre_prior


@pytest.fixture(scope="module")
def root(tmp_path_factory, scenes):
    """The sample scenes, and a copy without depth."""
    root = tmp_path_factory.mktemp("baselines")
    shutil.copytree(scenes / "SAMPLES", root / "SAMPLES")
    for part in ("RGB", "GT"):
        shutil.copytree(scenes / "SAMPLES" / part, root / "FLAT" / part)
    return root


@pytest.fixture(scope="module")
def maps(root, tmp_path_factory):
    """The maps of both methods, and the output of the tool."""
    folder = tmp_path_factory.mktemp("maps")
    done = run_tool("baselines", "--data", root, "--output", folder)
    assert done.status == 0, done.error
    return folder, done.output


def test_baselines_depth_otsu_skips_sets_without_depth(maps):
    folder, said = maps
    assert "depth_otsu: FLAT: skipped" in said
    assert not (folder / "depth_otsu" / "FLAT").exists()
    assert len(list((folder / "centre" / "FLAT").glob("*.png"))) == 12


def test_baselines_maps_are_8_bit_of_native_size(root, maps):
    path = next((maps[0] / "centre" / "SAMPLES").glob("*.png"))
    size = read_gt(root / "SAMPLES" / "GT" / path.name).shape
    assert np.array_equal(read_depth(path), np.rint(centre_prior(size).astype(float) * 255))


def test_baselines_maps_are_scored_by_evaluate(root, maps, tmp_path):
    done = run_tool(
        "evaluate",
        *("--data", root, "--sets", "SAMPLES", "--maps", maps[0], "--output", tmp_path),
        *("--workers", 1, "--no-cache"),
    )
    assert done.status == 0, done.error
    scores = (tmp_path / "scores.json").read_text()
    assert '"centre"' in scores
    assert '"depth_otsu"' in scores
    assert "not readable" not in scores + done.output


def test_baselines_depth_otsu_finds_near_objects(root, maps):
    stems = [path.stem for path in (root / "SAMPLES" / "GT").glob("*_depth.png")]
    errors = [
        abs(
            read_depth(maps[0] / "depth_otsu" / "SAMPLES" / f"{stem}.png") / 255.0
            - read_gt(root / "SAMPLES" / "GT" / f"{stem}.png")
        ).mean()
        for stem in stems
    ]
    assert len(stems) == 4
    inverted = [1 - error for error in errors]  # near and far exchanged
    assert np.mean(errors) < np.mean(inverted)


def test_baselines_second_run_makes_only_missing_maps(root, maps, tmp_path):
    folder = tmp_path / "maps"
    shutil.copytree(maps[0], folder)
    here = sorted((folder / "centre" / "SAMPLES").glob("*.png"))
    here[0].write_bytes(b"mine")
    here[1].unlink()
    done = run_tool("baselines", "--data", root, "--output", folder, "--methods", "centre")
    assert "centre: SAMPLES: 1 map written" in done.output
    assert here[0].read_bytes() == b"mine"
    assert here[1].exists()


def test_baselines_overwrite_replaces_maps(root, maps, tmp_path):
    folder = tmp_path / "maps"
    shutil.copytree(maps[0], folder)
    path = next((folder / "centre" / "SAMPLES").glob("*.png"))
    whole = path.read_bytes()
    path.write_bytes(b"mine")
    run_tool("baselines", "--data", root, "--output", folder, "--methods", "centre", "--overwrite")
    assert path.read_bytes() == whole


def test_baselines_maps_of_other_polarity_are_refused(root, maps):
    near = json.loads((maps[0] / "depth_otsu" / "run.json").read_text())["near"]["SAMPLES"]
    other = {"white": "black", "black": "white"}[near]
    done = run_tool("baselines", "--data", root, "--output", maps[0], "--near", other)
    assert "--near" in error_line(done)


def test_baselines_maps_of_unknown_origin_are_refused(root, tmp_path):
    mine = tmp_path / "centre" / "SAMPLES" / "a.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    done = run_tool("baselines", "--data", root, "--output", tmp_path)
    assert "unknown origin" in error_line(done)


def test_baselines_overwrite_after_another_polarity_replaces_all_maps(root, maps, tmp_path):
    folder = tmp_path / "maps"
    shutil.copytree(maps[0], folder)
    record = folder / "depth_otsu" / "run.json"
    before = json.loads(record.read_text())
    other = {"white": "black", "black": "white"}[before["near"]["SAMPLES"]]
    otsu = ("baselines", "--data", root, "--output", folder, "--methods", "depth_otsu")
    done = run_tool(*otsu, "--near", f"SAMPLES={other}", "--overwrite", "--limit", 2)
    assert "depth_otsu: SAMPLES: 2 maps written" in done.output
    assert len(json.loads(record.read_text())["to_replace"]) == 10
    done = run_tool(*otsu, "--near", f"SAMPLES={other}")
    assert "depth_otsu: SAMPLES: 10 maps written" in done.output
    assert json.loads(record.read_text())["to_replace"] == []


def test_baselines_maps_of_an_older_version_are_kept(root, maps, tmp_path):
    shutil.copytree(maps[0], tmp_path / "maps")
    record = tmp_path / "maps" / "centre" / "run.json"
    written = {"baseline": "centre", "near": {}, "protocol": "baseline, not trained"}
    record.write_text(json.dumps(written))
    done = run_tool("baselines", "--data", root, "--output", tmp_path / "maps")
    assert "centre: SAMPLES: 0 maps written" in done.output
