"""Command lines as a user starts them."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The tiny preset cut down until an epoch takes a second.
SMALL_MODEL = ["taps=[1,2]", "dim=32", "decoder_width=16", "detail_width=8"]


@dataclass
class Done:
    """How a command line ended."""

    status: int
    output: str
    error: str


def run_tool(name: str, *arguments: object, cwd: Path | None = None) -> Done:
    """Start ``tools/<name>.py`` as a user would."""
    command = [sys.executable, str(ROOT / "tools" / f"{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd or ROOT, capture_output=True, text=True, timeout=300)
    return Done(done.returncode, done.stdout, done.stderr)


def train_small(output: Path, data: Path, *options: object) -> Done:
    """Train the cut-down model for two epochs on the sample scenes."""
    return run_tool(
        "train",
        *("--data", data, "--train-sets", "SAMPLES", "--preset", "tiny", "--output", output),
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
