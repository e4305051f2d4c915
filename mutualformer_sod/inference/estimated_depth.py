"""Estimate depth from colour, for pictures without depth."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

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
    """Estimate the depth of pictures.

    Args:
        model: the estimator.
        pictures: (H, W, 3) uint8 each.
        sizes: (h, w) of each result.
        amp: "off", "bf16" or "fp16".

    Returns:
        For each picture (h, w) float32, stretched to [0, 1], 1 = near.
    """
    side = (model.image_size, model.image_size)
    rgb = torch.stack([resize_sample(picture, None, None, side)[0] for picture in pictures])
    with torch.inference_mode(), autocast(torch.device("cpu"), amp):
        near = model(rgb).float()
    depths = []
    for one, size in zip(near, sizes, strict=True):
        depth = resize(one[None], size)[0, 0]
        depth = depth - depth.min()
        depths.append((depth / depth.max().clamp(min=1e-6)).clamp(0, 1).numpy())
    return depths


def estimator_of(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load a file of ``tools/estimate_depth.py train`` for `Predictor.estimator`.

    Raises:
        InputError: an unusable file, or the weights of its ViT are not available.
    """
    model = load_estimator(path)
    return lambda rgb: estimate(model, [rgb], [rgb.shape[:2]])[0]
