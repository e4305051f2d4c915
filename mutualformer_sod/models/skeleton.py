"""Structure of timm models, without their weights."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn


def timm_skeleton(name: str, **arguments: Any) -> nn.Module:
    """A timm model whose structure alone is looked at: no memory, no initialisation."""
    try:
        with torch.device("meta"):
            return timm.create_model(name, **arguments)
    except RuntimeError:  # old versions of timm compute with tensors while they build
        with torch.random.fork_rng(devices=[]):
            return timm.create_model(name, **arguments)
