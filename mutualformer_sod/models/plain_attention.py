"""Attention by plain matrix products, for training on a CPU."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mutualformer_sod.models.affinity import self_affinity


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
            query, key, values = args
            return self_affinity(query, key) @ values
        return func(*args, **kwargs)


def _is_plain(args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether a call has query, key and value alone; timm passes the other defaults, too."""
    return len(args) == 3 and all(
        not isinstance(value, Tensor) and not value for value in kwargs.values()
    )
