"""Tests of tools/figure.py."""

import cv2
import numpy as np
import pytest
from tool_runs import error_line, run_tool


@pytest.fixture
def map_folder(scenes, tmp_path):
    for path in (scenes / "SAMPLES" / "GT").iterdir():
        target = tmp_path / "maps" / "m" / "SAMPLES" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return tmp_path / "maps"


def draw(scenes, map_folder, output, *options):
    return run_tool("figure", "--data", scenes, "--maps", map_folder, "--output", output, *options)


def test_figure_draws_a_row_for_each_image(scenes, map_folder, tmp_path):
    done = draw(scenes, map_folder, tmp_path / "new" / "f.png", "--limit", 2)
    assert done.status == 0, done.error
    assert "2 images" in done.output
    assert np.asarray(cv2.imread(str(tmp_path / "new" / "f.png"))).ndim == 3


def test_figure_of_float_arrays_equals_that_of_the_png_maps(scenes, map_folder, tmp_path):
    draw(scenes, map_folder, tmp_path / "a.png", "--limit", 2)
    for path in (map_folder / "m/SAMPLES").iterdir():
        np.save(path.with_suffix(".npy"), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) / 255)
        path.unlink()
    assert draw(scenes, map_folder, tmp_path / "b.png", "--limit", 2).status == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_figure_of_16_bit_maps_equals_that_of_the_8_bit_maps(scenes, map_folder, tmp_path):
    draw(scenes, map_folder, tmp_path / "a.png", "--limit", 2)
    for path in (map_folder / "m/SAMPLES").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 257)
    assert draw(scenes, map_folder, tmp_path / "b.png", "--limit", 2).status == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_figure_of_two_files_of_a_map_takes_the_png(scenes, map_folder, tmp_path):
    draw(scenes, map_folder, tmp_path / "a.png", "--limit", 1)
    for path in (map_folder / "m/SAMPLES").iterdir():
        cv2.imwrite(str(path.with_suffix(".bmp")), np.zeros((9, 9), np.uint8))
    draw(scenes, map_folder, tmp_path / "b.png", "--limit", 1)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--limit", "0"], "--limit"),
        (["--limit", "-1"], "--limit"),
        (["--methods", "nobody"], "nobody"),
        (["--stems", "scene_00000_depth", "scene_99999"], "scene_99999"),
    ],
)
def test_figure_wrong_flag_gives_one_line(scenes, map_folder, tmp_path, options, word):
    assert word in error_line(draw(scenes, map_folder, tmp_path / "f.png", *options))
    assert not (tmp_path / "f.png").exists()
