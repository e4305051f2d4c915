"""Compute loss and MAE on the validation images, in all processes."""

import math

import torch
from tqdm import tqdm

from mutualformer_sod.data.training.dataset import SodDataset
from mutualformer_sod.data.training.loader import open_stream
from mutualformer_sod.distributed import gather, is_main, rank, share_buffers, world_size
from mutualformer_sod.errors import InputError, ReportedElsewhere
from mutualformer_sod.losses import mean_absolute_error, structure_loss
from mutualformer_sod.signals import StopRequest
from mutualformer_sod.training.run import Run


@torch.inference_mode()
def validate(run: Run, val: SodDataset, stop: StopRequest) -> dict[str, float] | None:
    """Compute the mean structure loss and the MAE at training size, with the weights to release.

    Each of the n processes computes every n-th image. Sums are in float64 in the order of the
    images, and a CPU computes the images one by one. On a CPU, the result therefore does not depend
    on the number of processes.

    Returns:
        The means "loss" and "mae", or None if a process received a request to stop.

    Raises:
        InputError: the mean loss is not finite.
    """
    run.model.eval()
    share_buffers(run.model)
    size = 1 if run.device.type == "cpu" else run.config.batch_size
    mine = list(range(rank(), len(val), world_size()))
    batches = [mine[start : start + size] for start in range(0, len(mine), size)]
    scores: list[tuple[int, float, float]] = []
    hide = None if is_main() else True
    cuda = run.device.type == "cuda"
    with run.averaged(), open_stream(val, batches, run.config.workers, cuda) as stream:
        progress = tqdm(batches, desc="validating", leave=False, disable=hide)
        for indices, batch in zip(progress, stream, strict=True):
            rgb, depth, has_depth, gt = run.place(batch)
            with run.precision():
                logits = run.model(rgb, depth, has_depth).float()
            losses = [structure_loss(logits[k : k + 1], gt[k : k + 1]) for k in range(len(indices))]
            errors = mean_absolute_error(logits, gt)
            scores += zip(indices, torch.stack(losses).tolist(), errors.tolist(), strict=True)
            if stop.signal:
                break
    parts = gather(None if stop.signal else scores)
    if None in parts:
        return None
    together = sorted(score for part in parts for score in part)
    loss = math.fsum(score[1] for score in together) / len(val)
    if not math.isfinite(loss):
        if not is_main():
            raise ReportedElsewhere
        raise InputError(
            f"the validation loss is {loss} after epoch {run.epoch + 1}. Fix: lower `lr`, or "
            "check the validation images."
        )
    return {"loss": loss, "mae": math.fsum(score[2] for score in together) / len(val)}
