"""Estimate depth from colour, for pictures and sets without depth."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import trange

from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.training.transforms import resize_sample
from mutualformer_sod.imaging.io import read_rgb, write_map
from mutualformer_sod.models.depth_estimator import DepthEstimator, load_estimator
from mutualformer_sod.models.device import autocast
from mutualformer_sod.models.encoder import resize

_BATCH = 16


def estimate(
    model: DepthEstimator,
    pictures: Sequence[np.ndarray],
    sizes: Sequence[tuple[int, int]],
    amp: str = "off",
) -> list[np.ndarray]:
    """Estimate the depth of pictures (H, W, 3) uint8 with ``amp`` "off", "bf16" or "fp16".

    The results are float32 maps of the ``sizes`` (h, w), stretched to [0, 1], 1 = near.
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
    """Load a function for `Predictor.estimator` from a file of ``tools/estimate_depth.py train``.

    Raises:
        InputError: the file is unusable, or the weights of its ViT are not available.
    """
    model = load_estimator(path)
    return lambda rgb: estimate(model, [rgb], [rgb.shape[:2]])[0]


def write_estimates(model: DepthEstimator, sod_set: SodSet, output: Path, amp: str = "off") -> int:
    """Write the estimated depth of each image to ``OUTPUT/STEM.png``, 8 bits and near = white.

    Existing files stay unchanged. Return the number of new files.

    Raises:
        InputError: an image is unreadable.
        OSError: a map cannot be written.
    """
    wanted = [t for t in sod_set.samples if not (output / f"{t.stem}.png").exists()]
    for start in trange(0, len(wanted), _BATCH, desc=sod_set.name, leave=False, disable=None):
        samples = wanted[start : start + _BATCH]
        pictures = [read_rgb(sample.rgb) for sample in samples]
        sizes = [picture.shape[:2] for picture in pictures]
        for sample, unit in zip(samples, estimate(model, pictures, sizes, amp), strict=True):
            write_map(output / f"{sample.stem}.png", unit)
    return len(wanted)
