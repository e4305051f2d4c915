"""Set the memory layout for fast inference on a CPU."""

import torch
from torch import nn


def optimise_for_cpu(model: nn.Module) -> nn.Module:
    """Store the weights of convolutions channels-last; results change only by rounding.

    Their outputs get the same layout, so oneDNN need not convert them to its own layout and back.
    The decoder of the preset small then takes 150 instead of 173 ms (docs/speed.md). Use it for
    inference: training is slower in this layout (docs/experiments.md).

    Args:
        model: any module with its parameters on a CPU. It is changed in place; its parameters
            keep names, shapes and values.

    Returns:
        The model.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return model
