"""Write the weights file at the end of a training run."""

from pathlib import Path
from typing import Any

import torch

from mutualformer_sod.models.pretrained import AUTO, describe_backbone_weights
from mutualformer_sod.models.weights import load_unique_state, save_weights
from mutualformer_sod.training.announce import describe_end
from mutualformer_sod.training.checkpoints import load_only_checkpoint
from mutualformer_sod.training.run import Run
from mutualformer_sod.training.run_folder import CHECKPOINTS, WEIGHTS_FILE, describe_code
from mutualformer_sod.training.sets import TrainingData


def release_weights(output: Path, data: TrainingData, run: Run, options: dict[str, Any]) -> None:
    """Write the weights of the best epoch in validation; without validation, of the last epoch."""
    config = run.config
    best = load_only_checkpoint(output / CHECKPOINTS / run.best["file"])
    load_unique_state(run.model, best["model"])
    protocol = data.protocol(config) | {"epoch": best["epoch"], "epochs": config.epochs}
    protocol |= {"code": describe_code(), "images_per_update": run.global_batch, "amp": run.amp}
    protocol |= {k: v for k, v in options.items() if k == "extended_from"}
    if config.pretrained == AUTO:
        protocol["backbone_weights"] = describe_backbone_weights(
            run.model.config.encoder.pretrained
        )
    dtype = getattr(torch, config.weights_dtype)
    sha256 = save_weights(run.model, output / WEIGHTS_FILE, protocol, dtype)
    print(describe_end(output, run, best["epoch"], protocol["choice"], sha256))
