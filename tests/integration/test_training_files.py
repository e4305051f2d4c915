"""Files that training refuses, or warns of, before its first epoch, and testing before a map."""

import shutil

import cv2
import numpy as np
import pytest
from tool_runs import error_line, run_tool, train_small

from mutualformer_sod.data.audit.file_check import check_training_files
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.errors import InputError


@pytest.fixture
def data(scenes, tmp_path):
    """The sample scenes, to be changed."""
    shutil.copytree(scenes, tmp_path / "data")
    return tmp_path / "data"


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])
    return path


def last(data, role):
    return sorted((data / "SAMPLES" / role).iterdir())[-1]


def fill(data, value, count=None):
    """Make the first masks constant; returns their names."""
    paths = sorted((data / "SAMPLES" / "GT").iterdir())[:count]
    for path in paths:
        shape = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape
        cv2.imwrite(str(path), np.full(shape, value, np.uint8))
    return [path.name for path in paths]


def check(data):
    return check_training_files(discover_sets([data], None, need_gt=True))


@pytest.mark.parametrize("role", ["RGB", "depth", "GT"])
@pytest.mark.parametrize("cache", ["off", "ram", "disk"])
def test_train_damaged_last_image_is_found_before_the_first_epoch(data, tmp_path, role, cache):
    path = cut(last(data, role))
    options = ["--cache", cache]
    options += ["--cache-dir", tmp_path / "cache"] if cache == "disk" else []
    line = error_line(train_small(tmp_path / "run", data, *options))
    assert f"{path}: the file is cut short" in line
    assert not (tmp_path / "run").exists()


def test_train_damaged_file_of_an_unpacked_pack_is_found_before_the_first_epoch(data, tmp_path):
    run_tool("pack_data", "--data", data, "--side", 64, "--output", tmp_path / "pack")
    unpacked = ("--unpack", tmp_path / "pack", "--output", tmp_path / "copy")
    assert run_tool("pack_data", *unpacked).status == 0
    path = last(tmp_path / "copy", "RGB")
    path.write_bytes(path.read_bytes()[:-2])
    assert f"{path}: " in error_line(train_small(tmp_path / "run", tmp_path / "copy"))


def test_several_damaged_files_are_named_at_once(data):
    paths = [cut(path) for path in sorted((data / "SAMPLES" / "RGB").iterdir())[:2]]
    with pytest.raises(InputError) as caught:
        check(data)
    assert str(paths[0]) in str(caught.value)
    assert f"(and 1 more image: {paths[1].name})" in str(caught.value)


def test_mask_of_another_size_is_found_before_the_first_epoch(data):
    path = last(data, "GT")
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[:-1])
    with pytest.raises(InputError, match="bring both to one size"):
        check(data)


@pytest.mark.parametrize(("value", "word"), [(0, "all black"), (255, "all white")])
def test_train_on_degenerate_masks_alone_is_refused(data, tmp_path, value, word):
    fill(data, value)
    line = error_line(train_small(tmp_path / "run", data))
    assert f"12 of 12 masks are {word}" in line and "restore the masks" in line


@pytest.mark.parametrize(("value", "word"), [(0, "all black"), (255, "all white")])
def test_train_on_some_degenerate_masks_is_warned_of(data, tmp_path, value, word):
    first, *_ = fill(data, value, 4)
    done = train_small(tmp_path / "run", data, "--epochs", 1)
    assert done.status == 0, done.error
    assert f"WARNING: SAMPLES: 4 of 12 masks are {word}" in done.output and first in done.output


def test_good_files_have_nothing_to_report(data):
    assert check(data) == []


def make_maps(run_folder, data, output):
    weights = run_folder / "weights.safetensors"
    options = ("--batch-size", 1, "--workers", 0, "--device", "cpu", "--method", "m")
    return run_tool("test", "--data", data, "--weights", weights, "--output", output, *options)


def test_damaged_images_are_named_at_once_before_the_first_map(run_folder, data, tmp_path):
    first, *_, other = sorted((data / "SAMPLES" / "RGB").iterdir())[2:]
    for path in (first, other):
        cut(path)
    line = error_line(make_maps(run_folder, data, tmp_path))
    assert f"{first}: the file is cut short" in line
    assert f"(and 1 more image: {other.name})" in line
    assert not list((tmp_path / "m").rglob("*.png"))


def test_ground_truth_of_another_size_is_named_before_the_first_map(run_folder, data, tmp_path):
    path = last(data, "GT")
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[:-1])
    line = error_line(make_maps(run_folder, data, tmp_path))
    assert str(path) in line and "bring both to one size" in line
    assert not list((tmp_path / "m").rglob("*.png"))


def test_image_that_has_its_map_is_not_checked_again(run_folder, data, tmp_path):
    assert make_maps(run_folder, data, tmp_path).status == 0
    cut(last(data, "RGB"))
    assert make_maps(run_folder, data, tmp_path).status == 0
