"""Stochastic depth whose decisions belong to the sample, not to the random number generator."""

from __future__ import annotations

import timm.layers
import torch
from torch import Tensor, nn

DRAW_BITS = 24
_GAMMA, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., ECCV 2016): a sample's branch is dropped or kept as a whole.

    With keys (``set_drop_path_keys``) the decision is a function of the sample's key and ``index``
    alone: rank, worker, batch composition, activation checkpointing and resumption change nothing.
    Without keys it is drawn from torch's generator. Kept branches are scaled by 1 / (1 - p). The
    identity in eval mode and where ``drop_prob`` is 0.

    Args:
        drop_prob: p, the probability of dropping, in [0, 1).
        index: number of the module in its model; modules of one number decide alike.
    """

    def __init__(self, drop_prob: float = 0.0, index: int = 0) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.index = index
        self.draws: Tensor | None = None  # (B,) int64 in [0, 2^24), of the batch at hand

    def forward(self, branch: Tensor) -> Tensor:
        """Zero the branch of dropped samples: (B, ...) float -> the same shape."""
        if self.drop_prob == 0 or not self.training:
            return branch
        keep_prob = 1 - self.drop_prob
        if self.draws is None:
            kept = torch.rand(len(branch), device=branch.device) < keep_prob
        else:
            assert len(self.draws) == len(branch), (
                f"DropPath {self.index} has keys of {len(self.draws)} samples and a batch of "
                f"{len(branch)}: call set_drop_path_keys for every batch"
            )
            kept = self.draws < round(keep_prob * 2**DRAW_BITS)  # integers: alike on every device
        scale = kept.to(branch.dtype) / keep_prob
        return branch * scale.view(-1, *[1] * (branch.ndim - 1))

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:.3f}, index={self.index}"


def replace_drop_path(model: nn.Module) -> int:
    """Put our DropPath in the place of timm's and number all of them in module order.

    Returns:
        How many there are.
    """
    ours = (timm.layers.DropPath, DropPath)
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, ours)]
    for index, (name, module) in enumerate(found):
        if isinstance(module, DropPath):
            module.index = index
            continue
        parent, _, attribute = name.rpartition(".")
        replacement = DropPath(module.drop_prob, index).train(module.training)
        setattr(model.get_submodule(parent), attribute, replacement)
    return len(found)


def set_drop_path_keys(module: nn.Module, keys: Tensor | None) -> None:
    """Hand the keys of the coming batch to every DropPath in ``module``.

    Args:
        module: what the batch goes through next.
        keys: (B,) int64 on the batch's device, for example a hash of seed, epoch and sample;
            None for decisions by torch's generator.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, DropPath)]
    if keys is None or not layers:
        for layer in layers:
            layer.draws = None
        return
    indices = torch.tensor([layer.index for layer in layers], device=keys.device)
    # One pass for all layers: a handful of small kernels a batch and not a handful a layer.
    for layer, draws in zip(layers, keyed_draws(keys, indices).unbind(0), strict=True):
        layer.draws = draws


def keyed_draws(keys: Tensor, indices: Tensor) -> Tensor:
    """Uniform 24-bit numbers for pairs of module and sample, by a 64-bit integer hash.

    The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), over the key and over the
    result with the module's index. int64 wraps around, so this is arithmetic modulo 2^64.

    Args:
        keys: (B,) int64.
        indices: (M,) int64.

    Returns:
        (M, B) int64 in [0, 2^24).
    """
    assert keys.dtype == torch.int64, f"keys are {keys.dtype}: give int64"
    mixed = _mix(_mix(keys + _signed(_GAMMA)) + (indices[:, None] + 1) * _signed(_GAMMA))
    return _shift_right(mixed, 64 - DRAW_BITS)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift_right(bits, 30)) * _signed(_MIX_1)
    bits = (bits ^ _shift_right(bits, 27)) * _signed(_MIX_2)
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: Tensor, places: int) -> Tensor:
    """Shift zeros in: torch's ``>>`` repeats the sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _signed(constant: int) -> int:
    return constant - 2**64 if constant >= 2**63 else constant
