"""Run train_sod.sh and test_sod.sh from any folder, with and without options."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tool_runs import SMALL_MODEL

from mutualformer_sod.data.synthetic.scenes import write_samples

ROOT = Path(__file__).resolve().parents[2]


def bash(script, *arguments, cwd, **variables):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path} | variables
    command = ["bash", str(ROOT / script), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=300, env=environment
    )


@pytest.mark.parametrize("script", ["train_sod.sh", "test_sod.sh"])
def test_script_help_prints_usage_in_a_short_script(script, tmp_path):
    done = bash(script, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert "--data" in done.stdout
    assert len((ROOT / script).read_text().splitlines()) < 40


def test_test_sod_with_weights_writes_maps_and_scores(run_folder, scenes, tmp_path):
    done = bash(
        *("test_sod.sh", "--data", scenes, "--weights", run_folder / "weights.safetensors"),
        *("--output", tmp_path / "out put", "--workers", 0, "--", "--workers", 1),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    output = tmp_path / "out put"
    assert (
        len(list((output / "maps" / "mutualformer_tiny-scratch" / "SAMPLES").glob("*.png"))) == 12
    )
    scores = json.loads((output / "scores" / "scores.json").read_text())
    assert scores["scores"]["mutualformer_tiny-scratch"]["SAMPLES"]["images"] == 12
    assert "SAMPLES" in done.stdout


def test_test_sod_with_missing_weights_stops_before_the_evaluation(scenes, tmp_path):
    done = bash("test_sod.sh", "--data", scenes, "--weights", "no.safetensors", cwd=tmp_path)
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if "error" in line]) == 1
    assert "no.safetensors" in done.stderr


def test_train_sod_with_data_writes_weights(scenes, tmp_path):
    done = bash(
        *("train_sod.sh", "--data", scenes, "--train-sets", "SAMPLES", "--preset", "tiny-scratch"),
        *("--epochs", 1, "--batch-size", 4, "--size", 32, "--workers", 0, "--output", "run"),
        *("--set", "feature_blocks=[1,2]", "dim=32", "decoder_width=16"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "weights.safetensors").exists()


@pytest.mark.parametrize("options", [["--output"], ["--output="], ["--output", "--data", "x"]])
def test_test_sod_output_without_value_is_an_error_in_one_line(tmp_path, options):
    done = bash("test_sod.sh", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "test_sod.sh: error: --output: no value. Fix: pass a folder.\n"
    assert not any(tmp_path.iterdir())


def test_fusion_study_on_benchmarks_trains_on_their_training_parts(run_folder, tmp_path):
    for place, count in (
        *(("train/NJU2K", 4), ("train/NLPR", 3)),
        *(("test/NJU2K", 3), ("test/NLPR", 3), ("test/STERE", 3)),
    ):
        parent, name = (tmp_path / "data" / place).parent, Path(place).name
        write_samples(parent, count, len(place) + len(list(tmp_path.rglob("GT"))), size=(64, 80))
        (parent / "SAMPLES").rename(parent / name)
    options = ["--preset", "tiny-scratch", "--size", "32", "--epochs", "1", "--batch-size", "4"]
    options += ["--init-weights", str(run_folder / "weights.safetensors"), "--near", "white"]
    done = bash(
        *("tools/fusion_study.sh", "--benchmarks", "data", "out", "main"),
        cwd=tmp_path,
        FUSIONS="sum",
        SEEDS="1",
        EXTRA=" ".join([*options, "--set", "head=merge", *SMALL_MODEL]),
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out/runs/data.json").read_text())
    assert record["train"]["images"] == {"NJU2K": 4, "NLPR": 3}
    assert record["test"]["images"] == {"NJU2K": 3, "NLPR": 3, "STERE": 3}
    page = (tmp_path / "out/runs/fusions.md").read_text()
    assert "### STERE with misleading depth" in page


def test_fusion_study_with_unknown_step_ends_with_status_2(tmp_path):
    done = bash("tools/fusion_study.sh", "data", "out", "all_of_it", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("fusion_study.sh: error: STEP all_of_it is unknown. Fix: pass")
    assert not (tmp_path / "out").exists()
