"""Lines that a training run prints."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.distributed import world_size
from mutualformer_sod.training.run import Run


def describe_extension(config: TrainConfig, ended: int) -> str:
    """Describe the extension of a finished run to more epochs."""
    same = config.schedule == "constant" and config.progressive == 1
    effect = (
        f"what --epochs {config.epochs} from the start gives"
        if same
        else f"from here on --schedule {config.schedule} and --progressive count {config.epochs} "
        f"epochs, so the rate may jump: not what --epochs {config.epochs} from the start gives"
    )
    return f"a run of {ended} epochs goes on to {config.epochs}: {effect}"


def describe_batch(run: Run) -> str:
    """Describe the distribution of an update's images."""
    processes = world_size()
    rounds = math.ceil(run.global_batch / (run.config.batch_size * processes))
    images = math.ceil(run.global_batch / (rounds * processes))
    times = f", {rounds} times" if rounds > 1 else ""
    batch_norm = any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
        for module in run.model.modules()
    )
    if batch_norm and (rounds > 1 or (processes > 1 and run.device.type == "cpu")):
        times += " (BatchNorm sees those alone: not the same as the whole update at once)"
    return (
        f"an update sees {run.global_batch} images: {processes} process(es), at most {images} at a "
        f"time each{times}; {run.device}, amp {run.amp}"
    )


def describe_epoch(record: dict[str, Any], epochs: int) -> str:
    """Return the line of a finished epoch."""
    line = f"epoch {record['epoch']}/{epochs}  loss {record['train']['total']:.4f}"
    if "val" in record:
        line += f"  val loss {record['val']['loss']:.4f}  val MAE {record['val']['mae']:.4f}"
    return line + f"  {record['images_per_second']:.1f} images/s"
