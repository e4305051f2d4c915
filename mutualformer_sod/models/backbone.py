"""Create timm backbones, with pretrained weights from the hub or a file."""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import load_torch_file, why_unreadable, without_wrappers
from mutualformer_sod.models.pretrained import AUTO, find_backbone_weights, read_backbone_norm


def create_timm_model(
    name: str, pretrained: bool | str | Path, arguments: dict[str, Any]
) -> nn.Module:
    """Create a timm model with random weights, or with pretrained weights of the hub or a file.

    ``pretrained="auto"`` selects the file that ``find_backbone_weights`` returns.

    Raises:
        InputError: timm does not accept ``arguments`` for this model, no source of weights is
            reachable, the weights file is missing, or its weights do not fit the model.
    """
    if pretrained == AUTO:
        pretrained = find_backbone_weights(name)
    if pretrained is False or pretrained is None:
        try:
            return timm.create_model(name, **arguments)
        except (TypeError, AssertionError) as error:
            reason = str(error).rstrip(".")
            raise InputError(
                f"backbone {name!r} cannot be used here: {reason}. Fix: pass a plain ViT that "
                "accepts images of any size, or a timm model with features_only"
            ) from error
    if pretrained is True:
        try:
            return timm.create_model(name, pretrained=True, **arguments)
        except Exception as error:  # the hub client raises errors of a dozen types
            raise InputError(
                f"timm's weights of {name} could not be downloaded: {type(error).__name__}. Fix: "
                f"pass pretrained=FILE (--pretrained FILE) with timm's weights of {name}, "
                "or omit pretrained to start from random weights"
            ) from error
    weights = read_backbone_weights(Path(pretrained))
    overlay: dict[str, Any] = {"state_dict": dict(weights)}
    if norm := read_backbone_norm(pretrained):
        overlay["mean"], overlay["std"] = norm
    try:
        model = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=overlay, **arguments
        )
    except (RuntimeError, KeyError) as error:
        first = str(error).splitlines()[:2]
        raise InputError(
            f"{pretrained}: these weights do not fit {name}: {' '.join(first)}. Fix: pass "
            f"timm's weights of {name}"
        ) from error
    if _ratio_loaded(model, weights) < 0.5:
        raise InputError(
            f"{pretrained}: not weights of {name}: more than half of the model's matrices are not "
            f"in the file. Fix: pass timm's weights of {name}"
        )
    return model


def _ratio_loaded(model: nn.Module, weights: dict[str, Tensor]) -> float:
    """Return the ratio of a model's weight matrices whose values occur in a file."""
    # timm renames the tensors of a file and accepts a file even if no name matches.
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    stored: dict[torch.Size, list[Tensor]] = {}
    for tensor in weights.values():
        stored.setdefault(tensor.shape, []).append(tensor)
    loaded = [
        any(torch.equal(matrix, tensor.to(matrix.dtype)) for tensor in stored.get(matrix.shape, []))
        for matrix in matrices
    ]
    return sum(loaded) / len(matrices)


def read_backbone_weights(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a ``.safetensors`` file or a ``torch.save`` file of plain tensors.

    Raises:
        InputError: the file is missing, unreadable or not a state dict.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. Fix: pass a file of pretrained weights")
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else load_torch_file(path)
    except (SafetensorError, OSError):
        weights = None
    for key in ("state_dict", "model"):
        if isinstance(weights, dict) and isinstance(weights.get(key), dict):
            weights = weights[key]
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        reason = why_unreadable(path) or (
            "not a weights file. Fix: pass a .safetensors file or a plain state dict"
        )
        raise InputError(f"{path}: {reason}")
    return without_wrappers(weights, path)
