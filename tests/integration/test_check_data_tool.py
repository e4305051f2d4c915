"""tools/check_data.py as a user starts it."""

import json
import shutil
import subprocess
import sys

import cv2
from tool_runs import ROOT, error_line, run_tool


def test_clean_scenes_end_with_0(scenes, tmp_path):
    done = run_tool("check_data", "--data", scenes, "--workers", 1)
    assert done.status == 0, done.output + done.error
    assert "1 set, 0 problems" in done.output
    assert "PROBLEM" not in done.output


def test_check_data_findings_are_printed_written_and_drawn(scenes, tmp_path):
    out = tmp_path / "out"
    done = run_tool(
        *("check_data", "--data", scenes, "--near", "black", "--output", out, "--workers", 1),
        *("--json", tmp_path / "all.json"),
    )
    assert done.status == 1, done.error
    assert "PROBLEM: SAMPLES: by --near, black is near" in done.output
    report = json.loads((out / "check.json").read_text())
    assert report == json.loads((tmp_path / "all.json").read_text())
    assert report["problems"] == 1
    assert cv2.imread(str(out / "polarity_SAMPLES.png")).shape[2] == 3


def test_sets_of_the_same_name_have_a_picture_each_and_no_next_command(scenes, tmp_path):
    shutil.copytree(scenes, tmp_path / "again")
    out = tmp_path / "out"
    roots = (scenes, tmp_path / "again")
    done = run_tool("check_data", "--data", *roots, "--output", out, "--workers", 1)
    assert "2 folders under one name" in done.output
    assert {path.stem for path in out.glob("*.png")} == {"polarity_SAMPLES", "polarity_SAMPLES_2"}
    assert "Next:" not in done.output + done.error


def test_files_that_are_there_are_kept(scenes, tmp_path):
    path = tmp_path / "a.json"
    path.write_text("mine")
    command = ("check_data", "--data", scenes, "--json", path, "--workers", 1, "--quick")
    assert "a.json: exists" in error_line(run_tool(*command))
    assert path.read_text() == "mine"
    assert run_tool(*command, "--overwrite").status == 0


def test_mistakes_end_in_one_line(scenes, tmp_path):
    assert "--workers: 0" in error_line(run_tool("check_data", "--data", scenes, "--workers", 0))
    assert "no data set below" in error_line(run_tool("check_data", "--data", tmp_path))
    assert "--near grey" in error_line(run_tool("check_data", "--data", scenes, "--near", "grey"))
    wrong = run_tool("check_data", "--data", scenes, "--sets", "SIP")
    assert "--sets SIP: no such set" in error_line(wrong)


def test_real_sets_are_understood(shared_data, tmp_path):
    path = tmp_path / "spot.json"
    done = run_tool("check_data", "--data", shared_data / "spot", "--json", path, "--workers", 1)
    assert done.status == 1  # the spot check holds a few images of each set
    sets = {item["name"]: item for item in json.loads(path.read_text())["sets"]}
    near = {name: item["depth"]["near"] for name, item in sets.items()}
    assert near == {"NJU2K": "white", "DES": "black", "SSD": "black"}
    assert not any(item["depth"]["weak"] for item in sets.values())
    assert sets["NJU2K"]["gt_notes"] == {"more than two values, foreground = above 128": 9}


def test_awkward_files_are_named(shared_data):
    done = run_tool("check_data", "--data", shared_data / "formats", "--workers", 1)
    assert done.status == 1
    for words in ("mask of 12 colours", "GT of another size", "GT without foreground"):
        assert words in done.output
    assert "float32 m" in done.output


def test_no_torch_is_needed():
    code = (
        "import sys; sys.modules['torch'] = None;"
        "import mutualformer_sod.data.audit.report, mutualformer_sod.data.audit.picture"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
