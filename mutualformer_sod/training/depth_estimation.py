"""Train a depth estimator on images with measured depth."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from tqdm import tqdm, trange

from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.discovery.split import hold_out
from mutualformer_sod.data.modality import DEPTH
from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.data.training.loader import open_stream
from mutualformer_sod.data.training.transforms import Augmentation
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.depth_estimator import DepthEstimator, affine_invariant_loss
from mutualformer_sod.models.device import autocast

BATCH = 16
_PEAK_RATE = 1e-3
_SEED = 0  # seed of the hold-out, the order of images and the augmentation


def train_estimator(
    model: DepthEstimator,
    sets: Sequence[SodSet],
    *,
    epochs: int = 8,
    holdout: float = 0.05,
    near: Sequence[str] = (),
    amp: str = "off",
) -> float | None:
    """Train the decoder of an estimator with AdamW and one cosine cycle.

    Args:
        model: the estimator, which is trained in place and is in eval mode afterwards.
        sets: sets with depth. Sets without depth are ignored. Ground truth is not used.
        holdout: ratio of the images that are used only for evaluation.
        near: which depth values are near, in the format of ``with_encodings``.

    Returns:
        Mean correlation of estimated and measured depth over the held-out images, in [-1, 1]; None
        if no image was held out.

    Raises:
        InputError: no set has depth, or the depth cannot be used.
    """
    sets = [sod_set for sod_set in sets if sod_set.modality == DEPTH]
    if not sets:
        raise InputError("`sets`: none of the sets has depth. Fix: pass sets with depth maps.")
    parts, held = [], []
    for sod_set in with_encodings(sets, near):
        with_depth = [sample for sample in sod_set.samples if sample.depth]
        train, rest = hold_out(with_depth, holdout, _SEED, "image")
        parts.append(dataclasses.replace(sod_set, samples=tuple(train)))
        held.append(dataclasses.replace(sod_set, samples=tuple(rest)))
    light = Augmentation(depth_change=0.0)
    train = SodDataset(parts, model.image_size, augment=light, seed=_SEED, with_gt=False)
    torch.manual_seed(_SEED)
    rng = np.random.default_rng(_SEED)
    steps = len(train) // BATCH or 1
    optimizer = torch.optim.AdamW(model.decoder.parameters(), _PEAK_RATE, weight_decay=0.05)
    total = max(steps * epochs + 1, 11)  # with 10 steps, torch divides by a warm-up of zero steps
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _PEAK_RATE, total_steps=total, pct_start=0.1
    )
    for epoch in trange(epochs, desc="epochs", disable=None):
        model.train()
        train.set_epoch(epoch)
        order = rng.permutation(len(train))[: steps * BATCH]
        batches = np.array_split(order, steps)
        with open_stream(train, batches) as stream:
            for batch in tqdm(stream, f"epoch {epoch + 1}", steps, leave=False, disable=None):
                has = batch["has_depth"]
                if not has.any():
                    continue
                with autocast(torch.device("cpu"), amp):
                    predicted = model(batch["rgb"][has])
                loss = affine_invariant_loss(predicted, batch["depth"][has])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.decoder.parameters(), 1.0)
                optimizer.step()
                rates.step()
    model.eval()
    return _correlation(model, SodDataset(held, model.image_size, with_gt=False), amp)


def _correlation(model: DepthEstimator, held: SodDataset, amp: str) -> float | None:
    found = []
    with torch.inference_mode(), open_stream(held, [[i] for i in range(len(held))]) as stream:
        for item in stream:
            if item["has_depth"]:
                with autocast(torch.device("cpu"), amp):
                    near = model(item["rgb"]).float()
                pair = torch.stack([near.flatten(), item["depth"].flatten()])
                found.append(float(torch.corrcoef(pair)[0, 1]))
    return float(np.mean(found)) if found else None
