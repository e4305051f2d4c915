"""Optimiser, learning-rate schedule and freezing of the encoder."""

import math
from collections import defaultdict

import torch
from timm.models import group_parameters
from torch import nn

from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.models.skeleton import timm_skeleton

_PRETRAINED_ENCODER_SCALE = 0.1
_LEARNED_INPUTS = ("pos_embed", "cls_token", "reg_token", "no_depth")
_TOP = math.inf  # layer number of all parameters outside the encoder, the last in sorted order


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Make AdamW, or SGD with momentum, with parameter groups by layer and weight decay.

    Vectors (biases, normalisation scales) and learned inputs (position embeddings, CLS tokens, the
    "no depth" map, noise) are not decayed. The encoder's rate is r = ``lr * encoder_lr_scale``.
    With ``layer_decay`` d, the rate of layer l of L encoder layers is r d^(L - l) (BEiT, ICLR 2022,
    A.6). ``peak_lr`` of each group is the group's peak rate.

    Raises:
        InputError: ``layer_decay`` is set, but timm defines no layers.
    """
    scale = config.encoder_lr_scale
    if scale is None:
        scale = _PRETRAINED_ENCODER_SCALE if config.pretrained or config.finetune else 1.0
    decay = config.layer_decay
    layers, count = ({}, 0) if decay is None else encoder_layers(model)
    fusion = getattr(model, "fusion", None)
    undecayed = (*_LEARNED_INPUTS, *(fusion.config.method.undecayed if fusion else ()))
    groups = defaultdict(list)
    for name, parameter in model.named_parameters():  # shared parameters once
        layer = layers.get(name, 0) if name.startswith("encoder.") else _TOP
        decayed = parameter.ndim > 1 and name.rsplit(".", 1)[-1] not in undecayed
        groups[layer, decayed].append(parameter)
    settings = []
    for layer, decayed in sorted(groups):
        group, rate = "rest", config.lr
        if layer != _TOP:
            group = f"encoder_{layer}"
            rate = config.lr * scale * (1.0 if decay is None else decay ** (count - layer))
        settings.append(
            {
                "params": groups[layer, decayed],
                "name": group if decayed else f"{group}_undecayed",
                "peak_lr": rate,
                "weight_decay": config.weight_decay if decayed else 0.0,
            }
        )
    # fused=True passes over memory once: a third of the default loop's time on a CPU core.
    if config.optimizer == "adamw":
        return torch.optim.AdamW(settings, lr=config.lr, fused=True)
    momentum, nesterov = config.momentum, config.nesterov and config.momentum > 0
    return torch.optim.SGD(settings, lr=config.lr, momentum=momentum, nesterov=nesterov, fused=True)


def encoder_layers(model: nn.Module, option: str = "layer_decay") -> tuple[dict[str, int], int]:
    """Return the layer of each encoder parameter, by timm's grouping, and the number of layers.

    In a plain ViT, layer 0 is the patch embedding with the stem, the position embedding and the
    prefix tokens. Layer i + 1 is block i, and the last layer includes the final normalisation. In a
    hierarchical model, layer 0 is the stem, and the next layers are the stages. ``option`` is the
    training option that needs the layers, for the error message.

    Raises:
        InputError: timm defines no layers for this backbone.
    """
    layers = {}
    for stream in ("rgb_stream", "depth_stream"):
        backbone = getattr(model.encoder, stream)
        matcher = _layer_matcher(backbone, model.config.encoder.backbone, option)
        grouped = group_parameters(backbone.body, matcher, reverse=True)
        layers |= {f"encoder.{stream}.body.{name}": layer for name, layer in grouped.items()}
    return layers, max(layers.values()) + 1


def _layer_matcher(backbone: nn.Module, name: str, option: str) -> dict:
    """Return timm's description of a backbone's layers for ``timm.models.group_parameters``."""
    # timm's features_only wrapper does not describe its layers.
    source = backbone.body if backbone.is_plain else timm_skeleton(name)
    if not hasattr(source, "group_matcher"):
        raise InputError(
            f"`{option}`: timm defines no layers for {name}. Fix: leave `{option}` out."
        )
    if backbone.is_plain:
        return source.group_matcher(coarse=False)

    def flattened(pattern: str | list) -> str | list:  # the wrapper's name of stages.0 is stages_0
        if isinstance(pattern, str):
            return pattern.replace(r"\.", "[._]")
        return [(flattened(expression), suffix) for expression, suffix in pattern]

    return {part: flattened(found) for part, found in source.group_matcher(coarse=True).items()}


def schedule(config: TrainConfig, step: int, updates_per_epoch: int) -> float:
    """Return the ratio of the learning rate at ``step`` (from 0) to the peak learning rate.

    ``LambdaLR`` is not used. The ratio is a function of the position alone, so a resumed or
    extended run needs no scheduler state, which existing checkpoints lack.

    The warm-up is linear, up to 1. Then the ratio is r + (1 - r) f(t) with r = ``min_lr_ratio``,
    where t is 0 at the end of the warm-up and 1 at the end of training. The function f is one of
        cosine      (1 + cos(pi t)) / 2
        poly        (1 - t)^poly_power
        constant    1
    The schedule of F3Net has no warm-up; for N steps, its f is
        triangular  1 - |2 (step + 1) / (N + 1) - 1|
    """
    total = config.epochs * updates_per_epoch
    warmup = round(config.warmup_epochs * updates_per_epoch)
    if config.schedule == "triangular":
        shape = 1 - abs(2 * min(1.0, (step + 1) / (total + 1)) - 1)
    elif step < warmup:
        return (step + 1) / warmup
    else:
        t = min(1.0, (step - warmup) / max(1, total - warmup))
        shape = {
            "cosine": 0.5 * (1 + math.cos(math.pi * t)),
            "poly": (1 - t) ** config.poly_power,
            "constant": 1.0,
        }[config.schedule]
    return config.min_lr_ratio + (1 - config.min_lr_ratio) * shape


def set_learning_rate(optimizer: torch.optim.Optimizer, ratio: float) -> None:
    """Set the learning rate of every group to ``ratio`` times the group's peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * ratio


def freeze_encoder(model: nn.Module, frozen: bool, layers: int = 0) -> None:
    """Stop or resume the training of the encoder; call this function after ``model.train()``.

    The first ``layers`` layers, counted as in ``encoder_layers``, never train. Frozen parameters
    get no gradient, so the optimiser changes no frozen parameter, not even by weight decay. The
    BatchNorms of a frozen encoder neither use nor update the statistics of the batch.

    Raises:
        InputError: the encoder has ``layers`` layers or fewer.
    """
    for parameter in model.encoder.parameters():  # shared parameters once
        parameter.requires_grad_(not frozen)
    if layers:
        numbers, count = encoder_layers(model, "freeze_layers")
        if layers >= count:
            raise InputError(
                f"`freeze_layers` {layers}: the encoder has {counted(count, 'layer')}. "
                "Fix: pass fewer."
            )
        for name, parameter in model.named_parameters():
            if numbers.get(name, count) < layers:
                parameter.requires_grad_(False)
    if not frozen:
        return
    for module in model.encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
