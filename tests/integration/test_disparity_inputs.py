"""Every command line that reads depth asks about 16-bit disparity, and takes the answer."""

import shutil

import cv2
import numpy as np
import pytest
from tool_runs import ROOT, error_line, run_tool, train_small

WEIGHTS = ROOT / "weights" / "mutualformer_tiny.safetensors"
SMALL_TEST = ("--device", "cpu", "--workers", 0, "--writers", 0, "--method", "m")


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def street(tmp_path, scenes):
    """Five scenes whose depth is stored as Cityscapes stores it: disparity x 256 + 1, 0 = none."""
    folder = tmp_path / "data" / "Street"
    for role in ("RGB", "depth", "GT"):
        (folder / role).mkdir(parents=True)
        for path in sorted((scenes / "SAMPLES" / role).iterdir())[:5]:
            shutil.copy(path, folder / role)
    for path in (folder / "depth").iterdir():
        pixels = 3 + read(path) / 255 * 100
        stored = np.rint(pixels * 256 + 1).astype(np.uint16)
        stored[:, :12] = 0
        cv2.imwrite(str(path), stored)
    return folder


def command(name, street, output):
    data = ("--data", street.parent)
    return {
        "test": ("test", *data, "--weights", WEIGHTS, "--output", output, *SMALL_TEST),
        "figure": ("figure", *data, "--maps", street.parent, "--output", f"{output}.png"),
        "baselines": ("baselines", *data, "--methods", "depth_otsu", "--output", output),
        "pack_data": ("pack_data", *data, "--sets", "Street", "--side", 64, "--output", output),
        "estimate_depth": (
            "estimate_depth",
            "train",
            *data,
            "--sets",
            "Street",
            "--output",
            output / "e.safetensors",
        ),
        "export": (
            *("export", "--weights", WEIGHTS, "--format", "exported-program"),
            *("--output", output / "m.pt2", "--check", street.parent),
        ),
        "predict": (
            *("predict", "--rgb", street / "RGB", "--depth", street / "depth"),
            *("--weights", WEIGHTS, "--output", output),
        ),
    }[name]


@pytest.mark.parametrize(
    "name", ["test", "figure", "baselines", "pack_data", "estimate_depth", "predict"]
)
def test_command_with_disparity_asks_in_one_line(street, tmp_path, name):
    line = error_line(run_tool(*command(name, street, tmp_path / "o")))
    assert "may be millimetres or disparity" in line
    assert "disparity, " in line.partition("Fix: pass --near ")[2]


def test_export_check_with_disparity_asks(street, tmp_path):
    (tmp_path / "o").mkdir()
    line = error_line(run_tool(*command("export", street, tmp_path / "o")))
    assert "--near Street=disparity" in line


def test_train_with_disparity_asks(street, tmp_path):
    done = train_small(tmp_path / "run", street.parent, "--train-sets", "Street")
    assert "--near Street=disparity" in error_line(done)


def test_check_data_with_disparity_reports_a_problem(street):
    done = run_tool("check_data", "--data", street.parent)
    assert done.status == 1
    assert "PROBLEM: Street: 16-bit values" in done.output
    assert "--near Street=disparity" in done.output


def test_test_with_the_answer_maps_as_with_the_holes_filled(street, tmp_path):
    asked = command("test", street, tmp_path / "a")
    assert run_tool(*asked, "--near", "Street=disparity").status == 0
    for path in (street / "depth").iterdir():
        stored = read(path)
        stored[:, :12] = stored[:, 12:13]
        cv2.imwrite(str(path), stored)
    filled = command("test", street, tmp_path / "b")
    assert run_tool(*filled, "--near", "Street=white").status == 0
    for path in (tmp_path / "a" / "m" / "Street").iterdir():
        other = read(tmp_path / "b" / "m" / "Street" / path.name)
        assert cv2.norm(read(path), other, cv2.NORM_INF) <= 1


def test_predict_notes_depth_of_little_information_in_one_line(street, tmp_path):
    for path in (street / "depth").iterdir():
        cv2.imwrite(str(path), (read(path) >> 13).astype(np.uint8) * 30)
    done = run_tool(*command("predict", street, tmp_path / "o"))
    assert done.status == 0, done.error
    (line,) = [line for line in done.output.splitlines() if "fewer than 16 grey levels" in line]
    assert line.startswith("depth: 5 of 5 maps: ")
    assert line.count(".png") == 3


def test_test_notes_exchanged_depth_in_one_line(street, tmp_path, scenes, caplog):
    depths = sorted((scenes / "SAMPLES" / "depth").iterdir())
    for path, other in zip(sorted((street / "depth").iterdir()), depths[6:], strict=False):
        shutil.copy(other, path)
    done = run_tool(*command("test", street, tmp_path / "o"))
    assert done.status == 0, done.error
    (line,) = [m for m in caplog.messages if "edges without relation" in m]
    assert line.startswith("Street: depth: ")
    assert "of 5 maps" in line
