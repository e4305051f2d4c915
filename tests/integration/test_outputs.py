"""Outputs that cannot be written are found before the work, by every tool."""

import pytest
from tool_runs import error_line, run_tool


@pytest.mark.parametrize(
    ("tool", "flags", "name"),
    [
        ("predict", ("--rgb", "none.png"), "folder"),
        ("predict", ("--video", "none.mp4"), "folder"),
        ("test", ("--data", "none", "--weights", "none"), "folder"),
        ("export", ("--weights", "none"), "a.onnx"),
        ("figure", ("--data", "none", "--maps", "none"), "a.png"),
        ("check_data", ("--data", "none"), "folder"),
        ("estimate_depth", ("train", "--data", "none", "--sets", "none"), "file"),
        ("pseudo_label", ("--data", "none", "--sets", "none", "--maps", "none"), "folder"),
        ("pack_data", ("--data", "none", "--side", 32), "folder"),
    ],
)
def test_output_below_a_file_is_refused_before_anything_is_read(tmp_path, tool, flags, name):
    (tmp_path / "file").touch()
    line = error_line(run_tool(tool, *flags, "--output", tmp_path / "file" / name))
    assert f"--output {tmp_path / 'file'}" in line
    assert "cannot be written to (Not a directory)" in line
