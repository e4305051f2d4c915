"""What every command line does alike."""

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


def test_user_mistake_ends_in_status_2_whatever_the_filters(capsys):
    def main():
        raise InputError("--x 1: wrong; give 2")

    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        cli.run(main)
    assert ended.value.code == 2
    assert "--x 1: wrong; give 2" in capsys.readouterr().err


def test_run_with_named_argument_shows_its_flag(capsys):
    def main():
        raise InputError("`batch_size` 0 is not usable. Fix: pass 1 or more.")

    with warnings.catch_warnings(), pytest.raises(SystemExit):
        cli.run(main)
    assert "error: --batch-size 0 is not usable." in capsys.readouterr().err
