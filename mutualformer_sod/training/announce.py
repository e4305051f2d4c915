"""Describe a training run in lines to print."""

import json
import math
from statistics import fmean
from typing import Any

from torch import nn

from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.distributed import world_size
from mutualformer_sod.errors import counted
from mutualformer_sod.training.run import Run
from mutualformer_sod.training.run_folder import LOG_FILE, WEIGHTS_FILE


def describe_extension(config: TrainConfig, ended: int) -> str:
    """Describe the extension of a finished run to more epochs."""
    outcome = f"the result of --epochs {config.epochs} from the start"
    effect = f"the outcome is {outcome}"
    if config.schedule != "constant" or config.progressive != 1:
        effect = (
            f"from here on, --schedule {config.schedule} and --progressive count {config.epochs} "
            f"epochs, so the learning rate may jump and the outcome is not {outcome}"
        )
    return f"a run of {counted(ended, 'epoch')} continues to {config.epochs} epochs; {effect}"


def describe_batch(run: Run) -> str:
    """Describe the distribution of an update's images over processes and rounds."""
    processes = world_size()
    rounds = math.ceil(run.global_batch / (run.config.batch_size * processes))
    images = math.ceil(run.global_batch / (rounds * processes))
    times = f", in {rounds} rounds" if rounds > 1 else ""
    kind = nn.modules.batchnorm._BatchNorm
    batch_norm = any(isinstance(m, kind) and m.training for m in run.model.modules())
    if batch_norm and (rounds > 1 or (processes > 1 and run.device.type == "cpu")):
        times += " (BatchNorm uses only these images: the result differs from one large batch)"
    sees = f"an update has {counted(run.global_batch, 'image')}"
    split = f"{processes} process{'es' * (processes != 1)}, at most {images} at a time each{times}"
    return f"{sees}: {split}; {run.device}, amp {run.amp}"


def describe_epoch(record: dict[str, Any], epochs: int) -> str:
    """Describe a finished epoch in one line, with losses and speed."""
    line = f"epoch {record['epoch']}/{epochs}  loss {record['train']['total']:.4f}"
    if "val" in record:
        line += f"  val loss {record['val']['loss']:.4f}  val MAE {record['val']['mae']:.4f}"
    return line + f"  {record['images_per_second']:.1f} images/s"


def describe_end(run: Run, epoch: int, choice: str, sha256: str) -> str:
    """Describe a finished run, with its cost, and the released epoch and its weights file."""
    epochs = counted(run.config.epochs, "epoch")
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    log_file = run.output / LOG_FILE  # missing if a user deleted the log and resumed the run
    lines = log_file.read_text(encoding="utf-8").splitlines() if log_file.exists() else []
    log = [json.loads(line) for line in lines]
    cost = ""
    if log:
        seconds, speed = (fmean(x[name] for x in log) for name in ("seconds", "images_per_second"))
        cost = f", {seconds:.1f} s per epoch, {speed:.1f} images/s"
    if peaks := [line["peak_memory_mb"] for line in log if line["peak_memory_mb"] is not None]:
        kind = "CUDA memory" if run.device.type == "cuda" else "resident memory"
        cost += f", peak {kind} {max(peaks)} MB"
    return (
        f"done: {parameters / 1e6:.2f} M parameters, {epochs}, released epoch {epoch} "
        f"({choice}){cost}\n"
        f"weights: {run.output / WEIGHTS_FILE} (sha256 {sha256[:12]})"
    )
