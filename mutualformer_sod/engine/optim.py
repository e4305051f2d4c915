"""Optimiser and learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from mutualformer_sod.training_config import TrainConfig

PRETRAINED_ENCODER_SCALE = 0.1


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with four groups: encoder or not, decayed or not.

    Vectors (biases, normalisation scales) and learned inputs (position embeddings, CLS tokens, the
    "no depth" map) are not decayed. Each group keeps its peak rate as ``peak_lr``.
    """
    scale = config.encoder_lr_scale
    if scale is None:
        scale = PRETRAINED_ENCODER_SCALE if config.pretrained else 1.0
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        in_encoder = name.startswith("encoder.")
        learned_input = name.rsplit(".", 1)[-1] in (
            "pos_embed",
            "cls_token",
            "reg_token",
            "no_depth",
        )
        decayed = parameter.ndim > 1 and not learned_input
        groups.setdefault((in_encoder, decayed), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "peak_lr": config.lr * (scale if in_encoder else 1.0),
                "weight_decay": config.weight_decay if decayed else 0.0,
            }
            for (in_encoder, decayed), parameters in sorted(groups.items())
        ],
        lr=config.lr,
    )


def schedule(step: int, total_steps: int, warmup_steps: int) -> float:
    """Share of the peak rate at ``step`` (from 0): linear warm-up, then a cosine down to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set every group to ``share`` of its peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * share
