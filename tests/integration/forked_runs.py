"""Training in processes that can be killed, forked from a server that has imported torch."""

import contextlib
import os
import runpy
import sys
from pathlib import Path

from tool_runs import ROOT, SMALL_MODEL

from mutualformer_sod.workers import worker_context

_PRELOADED = ["mutualformer_sod.training.trainer", "cv2", "timm"]


def train_arguments(output: Path, data: Path, *options: object) -> list[str]:
    """A command line of tools/train.py: a cut-down model, four epochs of three updates."""
    arguments = [
        *("--data", data, "--train-sets", "SAMPLES", "--preset", "tiny-scratch"),
        *("--output", output),
        *("--epochs", 4, "--batch-size", 4, "--size", 32, "--workers", 0, "--holdout", 0.25),
        *("--lr", 1e-3, "--device", "cpu", "--checkpoint-steps", 1, "--ema-decay", 0.9),
        *("--depth-dropout", 0.2, "--set", *SMALL_MODEL, "drop_path=0.1", "encoder_drop_path=0.1"),
        *options,
    ]
    return [str(argument) for argument in arguments]


def start(arguments: list[str], log: Path, most_bytes: int | None = None):
    """Start tools/train.py with these arguments; output goes to the end of the file ``log``."""
    context = worker_context(_PRELOADED)
    process = context.Process(target=_train, args=(arguments, str(log), most_bytes))
    process.start()
    return process


def finish(arguments: list[str], log: Path, most_bytes: int | None = None) -> int:
    """Run tools/train.py to its end; returns its exit status."""
    process = start(arguments, log, most_bytes)
    process.join(120)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode


def _train(arguments: list[str], log: str, most_bytes: int | None) -> None:
    import torch

    torch.set_num_threads(1)
    if most_bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    sys.argv = ["train.py", *arguments]
    os.chdir(ROOT)
    with (
        Path(log).open("a", buffering=1) as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        runpy.run_path(str(ROOT / "tools" / "train.py"), run_name="__main__")
