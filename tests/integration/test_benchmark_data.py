"""The loader's benchmark runs and writes what it measured."""

import json

import pytest
from tool_runs import error_line, run_tool

TINY = ["--preset", "tiny-scratch", "--size", 32, "--batch-size", 2, "--device", "cpu"]
SHORT = ["--batches", 1, "--windows", 1]


def test_every_loader_is_compared_with_the_network(scenes, tmp_path):
    file = tmp_path / "speed.json"
    done = run_tool(
        "benchmark_data",
        *("--data", scenes, "--train-sets", "SAMPLES", *TINY, *SHORT),
        *("--workers", 1, "--cache", "off", "ram", "--amp", "bf16", "--json", file),
    )
    assert done.status == 0, done.error
    found = json.loads(file.read_text())
    speed = found["network"]["images_per_second"]
    assert speed > 0
    kinds = [(loader["cache"], loader["workers"]) for loader in found["loaders"]]
    assert kinds == [("off", 0), ("off", 1), ("ram", 0), ("ram", 1)]
    for loader in found["loaders"]:
        assert loader["times_the_network"] == pytest.approx(loader["images_per_second"] / speed)
        assert f"{loader['images_per_second']:.1f} images/s" in done.output
    assert found["options"]["size"] == 32


def test_cache_on_disk_needs_its_folder(scenes):
    done = run_tool(
        "benchmark_data", "--data", scenes, "--train-sets", "SAMPLES", "--cache", "disk"
    )
    assert "--cache-dir" in error_line(done)


def test_missing_sets_are_named(scenes):
    done = run_tool("benchmark_data", "--data", scenes, "--train-sets", "NOWHERE", *TINY, *SHORT)
    assert "NOWHERE" in error_line(done)
