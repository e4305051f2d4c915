"""The weights file at the end of a training run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from mutualformer_sod.models.pretrained import AUTO, describe_backbone_weights
from mutualformer_sod.models.weights import load_unique_state, save_weights
from mutualformer_sod.training.checkpoints import load_checkpoint
from mutualformer_sod.training.run import Run
from mutualformer_sod.training.run_folder import (
    CHECKPOINTS,
    LOG_FILE,
    WEIGHTS_FILE,
    describe_code,
)
from mutualformer_sod.training.sets import TrainingData


def release_weights(output: Path, data: TrainingData, run: Run, options: dict[str, Any]) -> None:
    """Write the weights of the chosen epoch: the best in validation, or else the last."""
    config = run.config
    best = load_checkpoint(output / CHECKPOINTS / run.best["file"])
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
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    log = [
        json.loads(line) for line in (output / LOG_FILE).read_text(encoding="utf-8").splitlines()
    ]
    seconds = [line["seconds"] for line in log]
    speed = sum(line["images_per_second"] for line in log) / len(log)
    peaks = [line["peak_memory_mb"] for line in log if line["peak_memory_mb"] is not None]
    kind = "CUDA memory" if run.device.type == "cuda" else "resident memory"
    memory = f", peak {kind} {max(peaks)} MB" if peaks else ""
    print(
        f"done: {parameters / 1e6:.2f} M parameters, {config.epochs} epochs, released epoch "
        f"{best['epoch']} ({protocol['choice']}), {sum(seconds) / len(seconds):.1f} s an epoch, "
        f"{speed:.1f} images/s{memory}\n"
        f"weights: {output / WEIGHTS_FILE} (sha256 {sha256[:12]})"
    )
