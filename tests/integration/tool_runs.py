"""Command lines as a user starts them, inside this process: importing torch anew takes seconds."""

import contextlib
import io
import runpy
import traceback
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
# The tiny preset cut down until an epoch takes a second.
SMALL_MODEL = ["feature_blocks=[1,2]", "dim=32", "decoder_width=16", "detail_width=8"]


@dataclass
class Done:
    """How a command line ended."""

    status: int
    output: str
    error: str


def run_tool(name: str, *arguments: object) -> Done:
    """Run ``tools/<name>.py`` from start to exit."""
    path = ROOT / "tools" / f"{name}.py"
    output, error = io.StringIO(), io.StringIO()
    status = 0
    with (
        mock.patch("sys.argv", [str(path), *map(str, arguments)]),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(error),
    ):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()  # as the interpreter would
            status = 1
    return Done(status, output.getvalue(), error.getvalue())


def train_small(output: Path, data: Path, *options: object) -> Done:
    """Train the cut-down model for two epochs on the sample scenes."""
    return run_tool(
        "train",
        *("--data", data, "--train-sets", "SAMPLES", "--preset", "tiny-scratch"),
        *("--output", output),
        *("--epochs", 2, "--batch-size", 4, "--size", 32, "--workers", 0, "--holdout", 0.25),
        *("--lr", 1e-3, "--device", "cpu", "--set", *SMALL_MODEL, *options),
    )


def error_line(done: Done) -> str:
    """The one line of a user's mistake; fails on a traceback or another status than 2."""
    assert done.status == 2, (done.status, done.error)
    assert "Traceback" not in done.error
    lines = [line for line in done.error.splitlines() if "error:" in line]
    assert len(lines) == 1, done.error
    return lines[0]
