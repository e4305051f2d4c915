"""The console command `mutualformer-sod`."""

import subprocess
import sys

import pytest
from tool_runs import ROOT

from mutualformer_sod.cli.commands import COMMANDS


def run_module(*arguments):
    command = [sys.executable, "-m", "mutualformer_sod", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_console_without_arguments_lists_every_command():
    done = run_module()
    assert done.returncode == 0
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert listed == list(COMMANDS)


def test_console_help_names_the_full_command():
    done = run_module("merge-scores", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: mutualformer-sod merge-scores")


def test_console_with_unknown_command_suggests_one_in_one_line():
    done = run_module("trian")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Fix: pass train." in done.stderr


def test_console_command_with_wrong_input_ends_with_status_2():
    done = run_module("check-data", "--data", "missing")
    assert done.returncode == 2
    assert done.stderr.startswith("mutualformer-sod check-data: error: missing")


@pytest.mark.parametrize("started", ["tools/evaluate.py", "mutualformer_sod"])
def test_command_without_an_installed_package_names_it_in_one_line(started):
    run = "run_path" if started.endswith(".py") else "run_module"
    code = (
        "import runpy, sys; sys.modules['cv2'] = None; sys.path.insert(0, '.');"
        f"sys.argv = ['', 'evaluate', '--help']; runpy.{run}({started!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "the package cv2 is not installed. Fix: pip install" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_thin_tool_of_the_same_name(name):
    path = ROOT / "tools" / f"{name.replace('-', '_')}.py"
    assert len(path.read_text().splitlines()) < 15
