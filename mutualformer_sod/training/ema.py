"""Exponential moving average of a model's weights."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mutualformer_sod.models.weights import load_unique_state, unique_state


class Ema:
    """Averaged copy of a model's weights (Polyak and Juditsky, 1992).

    Update n (from 0) computes average <- d average + (1 - d) weight, with
    d = min(decay, (1 + n) / (10 + n)). At the start d is small, so the initial weights soon vanish.
    Floating-point tensors, including BatchNorm's running statistics, are averaged; integer
    tensors are copied. A shared tensor is averaged once.

    ``torch.optim.swa_utils.AveragedModel`` is not used, because that class copies the complete
    module, averages integer buffers and uses other state names than existing checkpoints.

    Args:
        model: the model itself, not a DistributedDataParallel or compiled wrapper.
        decay: upper limit of d, in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.averages = {name: tensor.clone() for name, tensor in unique_state(model).items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Include the model's weights in the average after an optimiser step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, weights = [], []
        for name, tensor in unique_state(model).items():
            if tensor.is_floating_point():
                averages.append(self.averages[name])
                weights.append(tensor)
            else:
                self.averages[name].copy_(tensor)
        torch._foreach_lerp_(averages, weights, 1 - decay)
        self.updates += 1

    @contextlib.contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Context in which the model has averaged weights; its own weights are restored exactly."""
        state = unique_state(model)
        own = {name: tensor.clone() for name, tensor in state.items()}
        try:
            _copy(self.averages, state)
            yield
        finally:
            _copy(own, state)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates and the averages without copying the averages."""
        return {"updates": self.updates, "averages": self.averages}

    def load_state_dict(self, model: nn.Module, state: dict[str, Any]) -> None:
        """Restore ``state_dict`` by way of the model, which then has the averaged weights.

        Raises:
            InputError: the averages are of another model.
        """
        load_unique_state(model, state["averages"])
        self.averages = {name: tensor.clone() for name, tensor in unique_state(model).items()}
        self.updates = state["updates"]


@torch.no_grad()
def _copy(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(source[name])
