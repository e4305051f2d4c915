"""Inspect the structure of timm models without their weights."""

import functools
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import nn


def timm_skeleton(name: str, **arguments: Any) -> nn.Module:
    """Return a timm model whose weights have shapes, but no memory and no values (meta tensors).

    Building a skeleton takes as long as building a small model, so skeletons are cached. Callers
    must not change a skeleton.
    """
    return _build(timm.model_entrypoint(name), name, **arguments)


@functools.lru_cache(maxsize=16)
def _build(entrypoint: Callable, name: str, **arguments: Any) -> nn.Module:
    # The entry point is only part of the cache key, because a name can be registered again.
    try:
        with torch.device("meta"):
            return timm.create_model(name, **arguments)
    except RuntimeError:  # some models need real tensors
        with torch.random.fork_rng(devices=[]):
            return timm.create_model(name, **arguments).to("meta")
