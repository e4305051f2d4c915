"""What every command line does alike."""

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from mutualformer_sod.cli import common as cli
from mutualformer_sod.errors import InputError

ROOT = Path(cli.__file__).parents[1]
TOOL = """
import warnings
from mutualformer_sod.cli import common as cli
from mutualformer_sod.errors import InputError
def main():
    warnings.warn("old name", FutureWarning)
    warnings.warn_explicit("odd", UserWarning, "x.py", 1, module="torch.nn")
    warnings.warn_explicit("ours", UserWarning, "x.py", 2, module="mutualformer_sod.data")
cli.run(main)
"""


@pytest.mark.parametrize(("flags", "shown"), [((), ["ours"]), (("-W", "default"), None)])
def test_warnings_of_libraries_are_for_programmers(flags, shown):
    command = [sys.executable, *flags, "-c", TOOL]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    words = [word for word in ("old name", "odd", "ours") if word in done.stderr]
    assert done.returncode == 0, done.stderr
    assert words == (shown or ["old name", "odd", "ours"])


def run_here(main):
    """Return the exit status of a command line in this process."""
    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        cli.run(main)
    return ended.value.code


def test_user_mistake_ends_in_status_2_whatever_the_filters(capsys):
    def main():
        raise InputError("--x 1: wrong; give 2")

    assert run_here(main) == 2
    assert "--x 1: wrong; give 2" in capsys.readouterr().err


def test_run_with_named_argument_shows_its_flag(capsys):
    def main():
        raise InputError("`batch_size` 0 is not usable. Fix: pass 1 or more.")

    assert run_here(main) == 2
    assert "error: --batch-size 0 is not usable." in capsys.readouterr().err


def test_run_ended_by_sigterm_cleans_up_and_reports_one_line(capsys, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    cleaned = []

    def main():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleaned.append("up")

    assert run_here(main) == 128 + signal.SIGTERM
    assert cleaned == ["up"]
    assert "stopped by SIGTERM: the command did not finish" in capsys.readouterr().err


def write_below_a_file(folder):
    (folder / "file").write_text("")
    (folder / "file" / "new").mkdir()


def read_a_folder(folder):
    folder.read_bytes()


def read_nothing(folder):
    (folder / "absent").read_bytes()


@pytest.mark.parametrize("work", [write_below_a_file, read_a_folder, read_nothing])
def test_run_with_an_unusable_path_names_the_path_and_a_fix(work, tmp_path, capsys):
    assert run_here(lambda: work(tmp_path)) == 2
    line = capsys.readouterr().err.strip()
    assert str(tmp_path) in line and ". Fix: " in line and "\n" not in line


@pytest.mark.parametrize("arguments", [["--unknown"], ["--limit"], ["--limit", "0"]])
def test_parser_error_is_one_line_with_one_fix(arguments, capsys):
    parser = cli.Parser("Do nothing.")
    cli.add_flags(parser, "--limit")
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(arguments)
    line = capsys.readouterr().err.strip()
    assert line.count("Fix: ") == 1 and "\n" not in line
