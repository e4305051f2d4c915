"""Attention by plain matrix products, for training on a CPU."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class PlainAttention(TorchFunctionMode):
    """Context in which ``F.scaled_dot_product_attention`` is two products and a softmax.

    On a CPU the backward pass of torch's fused kernel is slow, and torch's plain kernel also
    searches for fully masked rows. torch handles calls with a mask, dropout or other options.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and _is_plain(args, kwargs):
            return _attend(*args[:3])
        return func(*args, **kwargs)


def _is_plain(args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether a call has query, key and value alone; timm passes the other defaults, too."""
    return len(args) == 3 and all(
        not isinstance(value, Tensor) and not value for value in kwargs.values()
    )


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Compute softmax(q k^T / sqrt(d)) v: (B, H, N, d), (B, H, M, d) twice -> (B, H, N, d)."""
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return torch.softmax(scores, dim=-1) @ value
