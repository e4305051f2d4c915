"""What makes a model faster on a CPU without changing what it computes, for inference."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def optimise_for_cpu(model: nn.Module) -> nn.Module:
    """Rearrange a model on a CPU for inference; results change by rounding alone.

    Parameters keep their names, shapes and values: convolutions get theirs channels-last, which
    their maps then follow, and where MKL is slow (``mkl_is_slow``) Linear layers multiply through
    oneDNN. Training, autocast, compilation and export see the ordinary layers.

    Args:
        model: any module with its parameters on a CPU; changed in place.

    Returns:
        The model.
    """
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
            elif type(module) is nn.Linear and mkl_is_slow():
                module.__class__ = OneDnnLinear  # same parameters, same state dict
                weight = module.weight
                weight.data = weight.data.t().contiguous().t()  # the order oneDNN multiplies in
    return model


class OneDnnLinear(nn.Linear):
    """nn.Linear that multiplies through oneDNN where float32 inference on a CPU calls it."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., in_features) float -> (..., out_features)."""
        plain = (
            torch.is_grad_enabled()  # the operator has no backward pass
            or tokens.device.type != "cpu"
            or tokens.dtype != torch.float32
            or self.weight.dtype != torch.float32
            or torch.is_autocast_enabled("cpu")
            or torch.compiler.is_compiling()
            or torch.jit.is_tracing()
        )
        if plain:
            return F.linear(tokens, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(tokens, self.weight, self.bias, "none", [], "")


@functools.cache
def mkl_is_slow() -> bool:
    """Whether float32 products are better left to oneDNN than to torch's MKL: on AMD's CPUs.

    MKL reserves its best kernels for Intel's: on a Zen 5 oneDNN was 2.1 times as fast
    (docs/speed.md). Decided by the maker and not by a stopwatch, so that every process of a host
    computes the same bits.
    """
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "AuthenticAMD" in cpuinfo.read_text(errors="replace")
