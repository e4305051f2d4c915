"""tools/compare_fusions.py: interrupted, resumed, with failing runs."""

import argparse
import io
import os
import re
import shutil
import signal
import sys
import time

import pytest
from forked_runs import start
from tool_runs import SMALL_MODEL, error_line, run_tool

from mutualformer_sod.cli import compare_fusions
from mutualformer_sod.experiments import collect, plan, schedule

TABLES = ("fusions.csv", "runs.csv")
TIMED = {"images_per_second", "peak_memory", "training_seconds"}


def arguments(output, *options):
    """Two variants and two seeds of the cut-down model, on a few scenes."""
    return [
        *("--output", str(output), "--fusions", "mutualformer:steps=2", "rgb_only", "--seeds", "2"),
        *("--scenes", "6", "--test-scenes", "3", "--epochs", "2", "--batch-size", "3"),
        *("--size", "32", "--device", "cpu", *options, "--set", *SMALL_MODEL),
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A comparison without interruption."""
    folder = tmp_path_factory.mktemp("whole") / "comparison"
    done = run_tool("compare_fusions", *arguments(folder, "--jobs", "2"))
    assert done.status == 0, done.error
    return folder


def run_folders(folder):
    return [path for path in folder.glob("runs/*/*") if path.is_dir()]


def cells(path):
    """Return the cells of a table without measured times."""
    head, *lines = (line.split(",") for line in path.read_text().splitlines() if line[0] != "#")
    kept = [i for i, name in enumerate(head) if name not in TIMED]
    return [[line[i] for i in kept] for line in (head, *lines)]


def test_comparison_writes_weights_maps_and_scores_of_every_run(finished):
    runs = sorted(str(path.relative_to(finished / "runs")) for path in run_folders(finished))
    variants = ("mutualformer_steps=2", "rgb_only")
    assert runs == [f"{name}/seed-{seed}" for name in variants for seed in (0, 1)]
    for run in runs:
        folder = finished / "runs" / run
        assert (folder / "weights.safetensors").is_file()
        assert len(list((folder / "maps" / "SAMPLES").glob("*.png"))) == 3
        assert (folder / "scores" / "per_image.csv").read_text().count("\n") == 4
        assert not (folder / "checkpoints").exists()


def test_comparison_table_has_every_variant_and_kind_of_scene(finished):
    head, *lines = cells(finished / "fusions.csv")
    assert [line[:4] for line in lines] == [
        [group, images, variant, "2"]
        for group, images in (
            *(("all", "3"), ("needs depth", "1")),
            *(("needs colour", "1"), ("either", "1")),
        )
        for variant in ("mutualformer:steps=2", "rgb_only")
    ]
    assert int(lines[0][head.index("parameters")]) > int(lines[1][head.index("parameters")])
    assert (finished / "fusions.md").read_text().startswith("|  | seeds | S ↑ all |")


def test_interrupted_comparison_gives_the_table_of_a_whole_one(tmp_path, finished):
    folder = tmp_path / "comparison"
    process = start(arguments(folder), tmp_path / "log", tool="compare_fusions")
    end = time.monotonic() + 100
    # Within the second run: the first one is finished, the others are not.
    while not (list(folder.glob("runs/*/*/scores")) and len(run_folders(folder)) >= 2):
        assert process.is_alive() and time.monotonic() < end, (tmp_path / "log").read_text()
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGTERM)
    process.join(240)
    assert process.exitcode == 128 + signal.SIGTERM, (tmp_path / "log").read_text()
    last = folder / "runs" / "rgb_only" / "seed-1"
    assert not last.exists()
    last.mkdir(parents=True)
    (last / ".config.1.tmp.json").touch()  # as a kill leaves it
    finished_runs = list(folder.glob("runs/*/*/scores/scores.json"))
    assert len(finished_runs) < 4
    times = [path.stat().st_mtime_ns for path in finished_runs]
    done = run_tool("compare_fusions", *arguments(folder, "--jobs", "2"))
    assert done.status == 0, done.error
    assert [path.stat().st_mtime_ns for path in finished_runs] == times
    for name in TABLES:
        assert cells(folder / name) == cells(finished / name)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_measurement_of_costs_shows_a_clock_on_a_terminal(tmp_path, finished, monkeypatch, capsys):
    clock = r"costs \[00:0[1-9]\]"

    class Measuring:
        def __init__(self, *arguments):
            pass

        def problem(self):
            end = time.monotonic() + 60  # a busy machine
            while not re.search(clock, sys.stderr.getvalue()) and time.monotonic() < end:
                time.sleep(0.05)

    folder = tmp_path / "comparison"
    shutil.copytree(finished, folder)
    (folder / collect.COSTS_FILE).unlink()
    monkeypatch.setattr(schedule, "LoggedProcess", Measuring)
    monkeypatch.setattr(sys, "stderr", Terminal())
    args = argparse.Namespace(output=folder, device="cpu", threads=1)
    assert compare_fusions.measure_costs(args, plan.Options())
    assert re.search(clock, sys.stderr.getvalue())
    assert "measuring the cost of 2 variants" in capsys.readouterr().out


def test_report_writes_the_table_again(finished):
    before = (finished / "fusions.csv").read_bytes()
    (finished / "fusions.csv").unlink()
    done = run_tool("compare_fusions", "--output", finished, "--report")
    assert done.status == 0, done.error
    assert (finished / "fusions.csv").read_bytes() == before


def test_report_from_the_image_scores_has_every_run(tmp_path, finished):
    scores = finished / "image_scores.csv.gz"
    done = run_tool("compare_fusions", "--output", tmp_path, "--report", "--scores", scores)
    assert done.status == 0, done.error
    (head, *lines), (own, *others) = (cells(folder / "runs.csv") for folder in (tmp_path, finished))
    for name in ("group", "variant", "seed"):
        assert [x[head.index(name)] for x in lines] == [x[own.index(name)] for x in others]
    s = [float(line[head.index("s_measure")]) for line in lines]
    assert s == pytest.approx([float(line[own.index("s_measure")]) for line in others], abs=1e-5)


def test_scores_without_report_is_refused_in_one_line(tmp_path):
    done = run_tool("compare_fusions", "--output", tmp_path, "--scores", "x.csv.gz")
    assert "--scores has no effect without --report" in error_line(done)


def test_comparison_with_other_options_is_refused_in_one_line(finished):
    done = run_tool("compare_fusions", *arguments(finished, "--lr", "0.5"))
    assert "--lr 0.001" in error_line(done)


def test_comparison_with_unfit_weights_makes_no_folder(tmp_path):
    folder = tmp_path / "comparison"
    (tmp_path / "x.safetensors").write_text("none")
    done = run_tool(
        "compare_fusions", *arguments(folder, "--init-weights", str(tmp_path / "x.safetensors"))
    )
    assert "x.safetensors" in error_line(done)
    assert not folder.exists()


def test_comparison_of_two_modalities_is_refused_and_makes_no_folder(tmp_path, scenes):
    thermal = tmp_path / "thermal" / "HEAT"
    shutil.copytree(scenes / "SAMPLES", thermal)
    (thermal / "depth").rename(thermal / "T")
    folder = tmp_path / "comparison"
    flags = ("--data", scenes, thermal.parent, "--fusions", "sum")
    line = error_line(run_tool("compare_fusions", "--output", folder, *flags))
    assert "depth maps: SAMPLES; thermal images: HEAT" in line
    assert "Fix: pass --sets and --test-data" in line
    assert not folder.exists()


def test_comparison_with_failed_run_ends_with_status_1(tmp_path):
    folder = tmp_path / "comparison"
    done = run_tool("compare_fusions", *arguments(folder, "--lr", "1e30", "--seeds", "1"))
    assert done.status == 1
    assert done.error.count("FAILED") == 2
    assert "Traceback" not in done.error
    assert "not finite" in done.error
