"""Inspect the structure of timm models without their weights."""

from typing import Any

import timm
import torch
from torch import nn


def timm_skeleton(name: str, **arguments: Any) -> nn.Module:
    """Build a timm model for its structure only, without memory and initialisation."""
    try:
        with torch.device("meta"):
            return timm.create_model(name, **arguments)
    except RuntimeError:  # old versions of timm need real tensors
        with torch.random.fork_rng(devices=[]):
            return timm.create_model(name, **arguments)
