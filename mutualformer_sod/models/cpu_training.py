"""Replace attention and depthwise convolution by operations that train faster on a CPU."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from mutualformer_sod.models.affinity import self_affinity


class CpuTraining(TorchFunctionMode):
    """Context that replaces two operations by equivalents with a fast backward pass on a CPU.

    - ``F.scaled_dot_product_attention`` becomes two products and a softmax. The backward pass of
      torch's fused kernel is slow, and torch's plain kernel also searches for fully masked rows.
      Calls with a mask, dropout or other options are not replaced.
    - A depthwise ``F.conv2d`` has channels-last outputs and computes its gradients in float32.
      oneDNN's gradients of a depthwise convolution are slow in bfloat16 and in torch's default
      layout (docs/speed.md).
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and _is_plain(args, kwargs):
            query, key, values = args
            return self_affinity(query, key) @ values
        if func is F.conv2d:
            return _convolve(*args, **kwargs)
        return func(*args, **kwargs)


def _is_plain(args: tuple, kwargs: dict[str, Any]) -> bool:
    """Return whether all arguments except query, key and value have their default values."""
    is_set = (isinstance(value, Tensor) or value for value in kwargs.values())
    return len(args) == 3 and not any(is_set)


def _convolve(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: str | int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> Tensor:
    """Compute ``F.conv2d``, with a faster backward pass for depthwise convolutions."""
    if groups == 1 or weight.shape[1] != 1 or input.ndim != 4 or isinstance(padding, str):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    pairs = ((n, n) if isinstance(n, int) else tuple(n) for n in (stride, padding, dilation))
    output = _DepthwiseConv.apply(input, weight, *pairs)
    return output if bias is None else output + bias.to(output.dtype).view(-1, 1, 1)


class _DepthwiseConv(torch.autograd.Function):
    """``F.conv2d`` without a bias, with one input channel for each output channel."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, *pairs: tuple[int, int]) -> Tensor:
        input = input.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(input, weight)
        ctx.pairs = pairs
        return F.conv2d(input, weight, None, *pairs, groups=input.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        exact = torch.promote_types(torch.promote_types(input.dtype, weight.dtype), torch.float32)
        of_input, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient.to(exact, memory_format=torch.channels_last),
            input.to(exact),
            weight.to(exact),
            None,
            *ctx.pairs,
            False,  # not transposed
            (0, 0),
            input.shape[1],
            (*ctx.needs_input_grad[:2], False),
        )
        return (
            None if of_input is None else of_input.to(input.dtype),
            None if of_weight is None else of_weight.to(weight.dtype),
            *(None for _ in ctx.pairs),
        )
