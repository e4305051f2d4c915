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
