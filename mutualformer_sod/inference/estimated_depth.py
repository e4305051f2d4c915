"""Depth of pictures that come without it, from their colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mutualformer_sod.data.training.transforms import resize_sample
from mutualformer_sod.models.depth_estimator import DepthEstimator, load_estimator
from mutualformer_sod.models.device import autocast
from mutualformer_sod.models.encoder import resize


def estimate(
    model: DepthEstimator,
    pictures: Sequence[np.ndarray],
    sizes: Sequence[tuple[int, int]],
    amp: str = "off",
) -> list[np.ndarray]:
    """Estimate nearness.

    Args:
        pictures: (H, W, 3) uint8 each.
        sizes: (h, w) wanted of each map.

    Returns:
        (h, w) float32 each, in [0, 1], near = 1, both ends occurring.
    """
    side = (model.image_size, model.image_size)
    rgb = torch.stack([resize_sample(picture, None, None, side)[0] for picture in pictures])
    with torch.inference_mode(), autocast(torch.device("cpu"), amp):
        near = model(rgb).float()
    return [_unit(resize(one[None], size)[0, 0]) for one, size in zip(near, sizes, strict=True)]


def estimator_of(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What `Predictor.estimator` takes, from a file of ``tools/estimate_depth.py train``.

    Raises:
        InputError: an unusable file, or no weights of its ViT in reach.
    """
    model = load_estimator(path)
    return lambda rgb: estimate(model, [rgb], [rgb.shape[:2]])[0]


def _unit(near: Tensor) -> np.ndarray:
    near = near - near.min()
    return (near / near.max().clamp(min=1e-6)).clamp(0, 1).numpy()
