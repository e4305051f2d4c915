"""Compute one update of the weights from the micro-batches of all processes."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mutualformer_sod import distributed
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.data.training.transforms import draw_training_size, resize_batch
from mutualformer_sod.errors import InputError, ReportedElsewhere
from mutualformer_sod.losses import detector_losses
from mutualformer_sod.models.detector import DetectorOutput
from mutualformer_sod.training.optimiser import schedule, set_learning_rate
from mutualformer_sod.training.run import Run
from mutualformer_sod.training.sampler import MicroBatch

LEAST_SCALE = 2.0**-14  # least fp16 loss scale; non-finite gradients below it have other causes
STATISTICS = "statistics/"  # start of the names of the fusion's statistics
GROWTH_RATIO = 0.8  # ratio of the run after which progressive training uses the full size


@dataclass(frozen=True)
class Update:
    """Result of one update, equal on every process.

    Attributes:
        losses: losses and ``STATISTICS`` of the fusion by name, as means over the images.
        grad_norm: L2 norm of the gradient before clipping.
        requests: maximum over the processes of each request, as in ``update_weights``.
    """

    losses: dict[str, float]
    grad_norm: float
    requests: list[int]


def update_weights(
    run: Run,
    parts: Sequence[MicroBatch],
    batches: Iterator[dict[str, Any]],
    requests: Sequence[int],
) -> Update:
    """Compute the micro-batches of this process and step the optimiser.

    The gradient of a micro-batch is weighted by ``MicroBatch.ratio``, so the numbers of processes
    and micro-batches change only rounding, unless BatchNorm uses the statistics of the batch.

    Args:
        parts: micro-batches of this process.
        batches: iterator of the loader, in the order of ``parts``.
        requests: signal number (0 for no signal) and whether to save a checkpoint.

    Raises:
        InputError: a loss or gradient is not finite; the weights do not change.
    """
    config, per_epoch = run.config, run.updates_per_epoch
    set_learning_rate(run.optimizer, schedule(config, run.updates, per_epoch))
    run.optimizer.zero_grad(set_to_none=True)
    exact = torch.float32 if run.device.type == "mps" else torch.float64  # mps has no float64
    sums: dict[str, Tensor] = {}
    names: list[str] = []
    stride = max(run.model.encoder.strides)
    size = training_size(config, run.epoch, run.step, per_epoch, run.image_size, stride)
    for part in parts:
        batch = next(batches)
        names += batch["name"]
        losses = _losses(run, batch, size)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.detach().to(exact) * part.ratio
        # DistributedDataParallel averages over processes, but the ratios already sum to 1.
        loss = losses["total"] * (part.ratio * distributed.world_size())
        unsummed = part is not parts[-1] and hasattr(run.network, "no_sync")
        with run.network.no_sync() if unsummed else contextlib.nullcontext():
            run.scaler.scale(loss).backward()
    run.scaler.unscale_(run.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.clip_norm)
    order = sorted(sums)
    local = torch.stack([sums[name] for name in order] + [norm.to(exact)]).tolist()
    # The scaler of fp16 skips updates with infinite gradients, which are expected.
    finite = math.isfinite(sum(local[:-1] if run.scaler.is_enabled() else local))
    flags = [float(value) for value in (not finite, *requests)]
    bad, *granted = distributed.all_reduce(flags, run.device, "MAX")
    if bad:
        _refuse(run, finite, names)
    means = distributed.all_reduce(local[:-1], run.device, "SUM")
    run.scaler.step(run.optimizer)
    run.scaler.update()
    if run.scaler.is_enabled() and run.scaler.get_scale() < LEAST_SCALE:
        _refuse(run, False, names)  # dozens of updates in a row were skipped
    if run.ema:
        run.ema.update(run.model)
    losses = dict(zip(order, means, strict=True))
    return Update(losses, local[-1], [round(value) for value in granted])


def _losses(run: Run, batch: dict[str, Any], size: tuple[int, int]) -> dict[str, Tensor]:
    planes = ("rgb", "depth", "gt")
    if batch["rgb"].shape[-2:] != size:
        resized = resize_batch(*(batch[name] for name in planes), size)
        batch = batch | dict(zip(planes, resized, strict=True))
    rgb, depth, has_depth, gt = run.place(batch)
    # The "no depth" map is not part of the batch, so seed, epoch and step determine its key.
    words = np.random.SeedSequence([run.config.seed, run.epoch, run.step]).generate_state(2)
    own = torch.from_numpy(words.view(np.int64).copy())
    keys = torch.cat((batch["key"], own)).to(run.device, non_blocking=True)
    with run.precision():
        if run.teacher:
            gt = run.teacher.blend(rgb, depth, has_depth, gt)
        output = run.network(rgb, depth, has_depth, keys)
    losses = losses_of(output, gt, run.config)
    return losses | {STATISTICS + name: value for name, value in output.statistics.items()}


def losses_of(output: DetectorOutput, gt: Tensor, config: TrainConfig) -> dict[str, Tensor]:
    """Return the ``detector_losses`` of the network's output, computed in float32."""

    def exact(part: DetectorOutput) -> tuple[Tensor, list[Tensor]]:
        return part.logits.float(), [side.float() for side in part.side_logits]

    return detector_losses(
        *exact(output),
        output.extra_losses,
        gt,
        config.loss,
        ssim_weight=config.ssim_weight,
        boundary_weight=config.boundary_weight,
        streams={name: exact(stream) for name, stream in output.streams.items()},
    )


def training_size(
    config: TrainConfig, epoch: int, step: int, per_epoch: int, full: tuple[int, int], stride: int
) -> tuple[int, int]:
    """Return the size (h, w) in pixels of one update's images, from the seed and the position.

    Sizes are multiples of 16, or of 32 with ``multi_scale``. If ``stride`` does not divide 32,
    sizes are multiples of ``stride``, or of twice ``stride`` with ``multi_scale``.
    """
    multiple = 16 if 32 % stride == 0 else stride
    if config.progressive < 1:
        done = (epoch * per_epoch + step) / (config.epochs * per_epoch)
        grown = config.progressive + (1 - config.progressive) * min(1.0, done / GROWTH_RATIO)
        full = tuple(max(2 * multiple, round(grown * side / multiple) * multiple) for side in full)
    if not config.multi_scale:
        return full
    rng = np.random.default_rng([config.seed, epoch, step])
    return draw_training_size(full, rng, multiple=2 * multiple)


def _refuse(run: Run, finite: bool, names: list[str]) -> None:
    suspects = [name for found in distributed.gather([] if finite else names) for name in found]
    if not distributed.is_main():
        raise ReportedElsewhere
    raise InputError(
        f"the loss or its gradient is not finite in epoch {run.epoch + 1}, update {run.step + 1}, "
        f"for the images {', '.join(suspects)}. Fix: check the images, or lower `lr`."
    )
