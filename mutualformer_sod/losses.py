"""Training losses: border-weighted BCE + IoU with deep supervision (F3Net, AAAI 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mutualformer_sod.config import LOSSES
from mutualformer_sod.errors import InputError

BORDER_WINDOW = 31  # pixels
BORDER_GAIN = 5.0


def border_weight(gt: Tensor) -> Tensor:
    """Pixel weight w = 1 + 5 |avgpool31(g) - g|: high where foreground and background meet.

    Args:
        gt: (B, 1, H, W) float in [0, 1].

    Returns:
        (B, 1, H, W) float in [1, 6].
    """
    reach = BORDER_WINDOW // 2
    # Two one-dimensional windows are the same mean as the square one at 1/15 of the cost.
    rows = F.avg_pool2d(gt, (BORDER_WINDOW, 1), stride=1, padding=(reach, 0))
    local_mean = F.avg_pool2d(rows, (1, BORDER_WINDOW), stride=1, padding=(0, reach))
    return 1 + BORDER_GAIN * (local_mean - gt).abs()


def structure_loss(
    logits: Tensor, gt: Tensor, weight: Tensor | None = None, loss: str = "weighted"
) -> Tensor:
    """Weighted BCE + weighted IoU of one output, averaged over the batch (F3Net, Eq. 6-8).

    BCE_w = sum(w bce) / sum(w);  IoU_w = 1 - (sum(w p g) + 1) / (sum(w (p + g - p g)) + 1).

    Args:
        logits: (B, 1, H, W) float.
        gt: (B, 1, H, W) float in [0, 1].
        weight: ``border_weight(gt)`` if it is at hand.
        loss: "weighted", or "f3net-released": F3Net's code passes an obsolete reduction argument,
            by which its weighted BCE is the plain mean of the BCE over the whole batch.

    Returns:
        Scalar.

    Raises:
        InputError (a ValueError): unknown ``loss``, or shapes that differ.
    """
    if loss not in LOSSES:
        raise InputError(f"loss={loss!r} is not usable: give one of {', '.join(LOSSES)}")
    if logits.shape != gt.shape:
        raise InputError(f"logits {tuple(logits.shape)} and gt {tuple(gt.shape)} must agree")
    weight = border_weight(gt) if weight is None else weight
    dims = (1, 2, 3)
    if loss == "weighted":
        bce = F.binary_cross_entropy_with_logits(logits, gt, reduction="none")
        bce = (weight * bce).sum(dims) / weight.sum(dims)
    else:
        bce = F.binary_cross_entropy_with_logits(logits, gt)
    saliency = logits.sigmoid()
    intersection = (weight * saliency * gt).sum(dims)
    union = (weight * (saliency + gt)).sum(dims) - intersection
    iou = 1 - (intersection + 1) / (union + 1)
    return (bce + iou).mean()


def detector_losses(
    logits: Tensor,
    side_logits: list[Tensor],
    extra_losses: dict[str, Tensor],
    gt: Tensor,
    loss: str = "weighted",
) -> dict[str, Tensor]:
    """All losses of one training step by name; ``total`` is their weighted sum.

    Deep supervision: the outputs, ``logits`` first and then ``side_logits`` from fine to coarse,
    weigh 1, 1/2, 1/4, 1/8; coarse ones are upsampled to the ground truth's size.

    Args:
        logits: (B, 1, H, W) float.
        side_logits: (B, 1, h, w) float each, fine to coarse.
        extra_losses: scalars that the fusion brings along, weighted already.
        gt: (B, 1, H, W) float in [0, 1].
        loss: see ``structure_loss``.
    """
    weight = border_weight(gt)
    losses = {"structure": structure_loss(logits, gt, weight, loss)}
    total = losses["structure"]
    for level, side in enumerate(side_logits, start=1):
        full = F.interpolate(side, size=gt.shape[-2:], mode="bilinear", align_corners=False)
        losses[f"side_{level}"] = structure_loss(full, gt, weight, loss)
        total = total + losses[f"side_{level}"] / 2**level
    for name, extra in extra_losses.items():
        losses[name] = extra
        total = total + extra
    losses["total"] = total
    return {name: value if name == "total" else value.detach() for name, value in losses.items()}


def mean_absolute_error(logits: Tensor, gt: Tensor) -> Tensor:
    """Mean |sigmoid(logits) - gt| of each image: (B, 1, H, W) twice -> (B,)."""
    return torch.abs(logits.sigmoid() - gt).mean(dim=(1, 2, 3))
