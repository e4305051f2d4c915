"""Run train_sod.sh and test_sod.sh from any folder, with and without options."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def bash(script, *arguments, cwd):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
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
        *("--set", "taps=[1,2]", "dim=32", "decoder_width=16"),
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
