"""Depth that is not what it looks like, given to the command lines that read it."""

import shutil

import cv2
import numpy as np
import pytest
from tool_runs import ROOT, error_line, run_tool, train_small

WEIGHTS = ROOT / "weights" / "mutualformer_tiny.safetensors"
IMAGES = 5


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def data(tmp_path, scenes):
    """The first sample scenes as a set of its own, 8-bit depth with white near."""
    folder = tmp_path / "data" / "SAMPLES"
    for role in ("RGB", "depth", "GT"):
        (folder / role).mkdir(parents=True)
        for path in sorted((scenes / "SAMPLES" / role).iterdir())[:IMAGES]:
            shutil.copy(path, folder / role)
    return folder


def as_disparity(folder):
    """Store the depth as 16-bit disparity x256 below 32768, a range of millimetres."""
    for path in (folder / "depth").iterdir():
        cv2.imwrite(str(path), np.rint(read(path) * 100.5 + 99).astype(np.uint16))


def run_test(data, output, *options):
    return run_tool(
        *("test", "--data", data.parent, "--weights", WEIGHTS, "--output", output, "--device"),
        *("cpu", "--workers", 0, "--writers", 0, "--method", "m", *options),
    )


def maps_of(output):
    return [read(path) for path in sorted((output / "m" / "SAMPLES").iterdir())]


# A type that says one thing and maps that say another


def test_test_maps_disparity_in_a_range_of_millimetres_as_its_8_bit_copy(data, tmp_path):
    assert run_test(data, tmp_path / "a").status == 0
    as_disparity(data)
    done = run_test(data, tmp_path / "b")
    assert done.status == 0, done.error
    for one, other in zip(maps_of(tmp_path / "a"), maps_of(tmp_path / "b"), strict=True):
        assert cv2.norm(one, other, cv2.NORM_INF) <= 1


def test_test_strict_stops_at_a_contradiction(data, tmp_path):
    as_disparity(data)
    line = error_line(run_test(data, tmp_path / "o", "--near", "strict"))
    assert "--near SAMPLES=black" in line
    assert "--near SAMPLES=white" in line


def test_train_strict_stops_at_a_contradiction(data, tmp_path):
    as_disparity(data)
    done = train_small(tmp_path / "run", data.parent, "--near", "strict")
    assert "--near SAMPLES=black" in error_line(done)


@pytest.mark.parametrize("near", ["auto", "strict"])
def test_predict_stops_where_one_map_contradicts_its_type(data, tmp_path, near):
    as_disparity(data)
    rgb, depth = (sorted((data / role).iterdir())[1] for role in ("RGB", "depth"))
    options = ["predict", "--rgb", rgb, "--depth", depth, "--output", tmp_path / "o"]
    line = error_line(run_tool(*options, "--near", near))
    assert "--near black" in line
    assert "--near white" in line
    assert run_tool(*options, "--near", "white").status == 0


def test_video_strict_stops_at_weak_evidence(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    for name in ("rgb.avi", "depth.avi"):
        codec = cv2.VideoWriter_fourcc(*"MJPG")
        video = cv2.VideoWriter(str(tmp_path / name), codec, 12, (64, 64))
        for frame in frames:
            video.write(np.dstack([frame] * 3))
        video.release()
    options = ["--video", tmp_path / "rgb.avi", "--depth-video", tmp_path / "depth.avi"]
    done = run_tool("predict", *options, "--near", "strict", "--output", tmp_path / "o")
    assert "WEAK" in error_line(done)
