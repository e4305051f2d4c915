"""Degradations of a map in training, similar to those of sensors and file formats.

`data.modality.Modality.degradations` lists the degradations of the maps of a modality.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from mutualformer_sod.data.training.transforms import Augmentation

Degradation = Callable[[Tensor, np.random.Generator, "Augmentation"], Tensor]
"""Function that changes a map (1, h, w) in [0, 1]; `degrade` clamps the result to [0, 1]."""

DEGRADATIONS: dict[str, Degradation] = {}


def register_degradation(function: Degradation) -> Degradation:
    """Register a degradation under the name of its function.

    This function is a decorator, which other packages may use, too.

    Raises:
        ValueError: the name is registered already.
    """
    name = function.__name__
    if name in DEGRADATIONS:
        raise ValueError(f"degradation {name!r} is registered already. Fix: choose another name.")
    DEGRADATIONS[name] = function
    return function


def degrade(
    plane: Tensor, rng: np.random.Generator, strength: "Augmentation", names: Sequence[str]
) -> Tensor:
    """Apply each of the named degradations with probability ``strength.depth_change``."""
    chosen = rng.random(len(names)) < strength.depth_change
    for name, is_chosen in zip(names, chosen, strict=True):
        if is_chosen:
            plane = DEGRADATIONS[name](plane, rng, strength)
    return plane.clamp(0, 1)


@register_degradation
def noise(plane: Tensor, rng: np.random.Generator, strength: "Augmentation") -> Tensor:
    """Add normally distributed noise to a map."""
    drawn = rng.standard_normal(plane.shape, dtype=np.float32)
    return plane + torch.from_numpy(drawn) * (strength.depth_noise * rng.random())


@register_degradation
def levels(plane: Tensor, rng: np.random.Generator, strength: "Augmentation") -> Tensor:
    """Quantise a map to a random number of levels, from ``depth_levels`` to 256."""
    steps = round(2 ** rng.uniform(np.log2(strength.depth_levels), 8)) - 1
    return (plane * steps).round() / steps


@register_degradation
def holes(plane: Tensor, rng: np.random.Generator, strength: "Augmentation") -> Tensor:
    """Cut elliptic holes of at most a tenth of the height and width into a map.

    Either all holes of a map are farthest (0), or all are nearest (1). Both cases occur, because
    the depth of a black hole in a file depends on the polarity of its set.
    """
    height, width = plane.shape[-2:]
    value = float(rng.integers(2))
    rows = torch.arange(height)[:, None] / height
    columns = torch.arange(width) / width
    cut = torch.zeros(height, width, dtype=torch.bool)
    for _ in range(rng.integers(1, strength.depth_holes + 1)):
        y, x = rng.random(2)
        radius_y, radius_x = rng.uniform(0.01, 0.05, 2)
        cut |= ((rows - y) / radius_y) ** 2 + ((columns - x) / radius_x) ** 2 < 1
    return plane.masked_fill(cut, value)


@register_degradation
def gain(plane: Tensor, rng: np.random.Generator, strength: "Augmentation") -> Tensor:
    """Change brightness and contrast of a map, as the automatic gain of a thermal camera does."""
    factor = 1 + strength.contrast * rng.uniform(-1, 1)
    return (plane - 0.5) * factor + 0.5 + strength.brightness / 2 * rng.uniform(-1, 1)
