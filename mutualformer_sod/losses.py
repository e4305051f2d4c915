"""Training losses: border-weighted BCE + IoU (F3Net, AAAI 2020), SSIM and boundary losses.

Every loss is the mean of the losses of the individual images. The loss of a batch is therefore the
mean of the losses of its parts, weighted by their sizes, as distributed training requires.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mutualformer_sod.configs.model import LOSSES
from mutualformer_sod.configs.switches import check
from mutualformer_sod.errors import InputError

BORDER_WINDOW = 31  # side of the averaging window in pixels
BORDER_GAIN = 5.0
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # side and sigma of the window in pixels
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # for values in [0, 1]
BOUNDARY_WINDOW, BOUNDARY_TOLERANCE = 3, 5  # theta_0 and theta in pixels


def border_weight(gt: Tensor) -> Tensor:
    """Compute the pixel weight w = 1 + 5 |avgpool31(g) - g| in [1, 6], high at the object's border.

    gt and the result are (B, 1, H, W) float, gt in [0, 1].
    """
    window_sum = _filter(gt, gt.new_ones(BORDER_WINDOW))
    return 1 + BORDER_GAIN * (window_sum / BORDER_WINDOW**2 - gt).abs()


def structure_loss(
    logits: Tensor, gt: Tensor, weight: Tensor | None = None, loss: str = "weighted"
) -> Tensor:
    """Compute weighted BCE + weighted IoU of one output, averaged over the batch (F3Net, Eq. 6-8).

    BCE_w = sum(w bce) / sum(w);  IoU_w = 1 - (sum(w p g) + 1) / (sum(w (p + g - p g)) + 1).

    Args:
        logits: (B, 1, H, W) float.
        gt: (B, 1, H, W) float in [0, 1].
        weight: (B, 1, H, W) float, the result of ``border_weight(gt)``; None: computed here.
        loss: "weighted", or "f3net-released", whose BCE is the plain mean over all pixels, because
            F3Net's code passes an obsolete reduction argument.

    Raises:
        InputError (a ValueError): ``loss`` is unknown, or the shapes of the tensors differ.
    """
    check(loss in LOSSES, "loss", loss, f"one of {', '.join(LOSSES)}")
    _check_shapes(logits, gt)
    weight = border_weight(gt) if weight is None else weight
    dims = (1, 2, 3)
    bce = F.binary_cross_entropy_with_logits(logits, gt, reduction="none")
    bce = (weight * bce).sum(dims) / weight.sum(dims) if loss == "weighted" else bce.mean(dims)
    saliency = logits.sigmoid()
    intersection = (weight * saliency * gt).sum(dims)
    union = (weight * (saliency + gt)).sum(dims) - intersection
    iou = 1 - (intersection + 1) / (union + 1)
    return (bce + iou).mean()


def ssim_loss(logits: Tensor, gt: Tensor) -> Tensor:
    """Compute 1 - mean SSIM of saliency and ground truth (BASNet, CVPR 2019, Eq. 5).

    SSIM = (2 m_p m_g + C1) (2 s_pg + C2) / ((m_p^2 + m_g^2 + C1) (s_p^2 + s_g^2 + C2)) at each
    pixel, with the means m, variances s^2 and covariance s_pg under a Gaussian window of 11 x 11
    pixels and sigma 1.5 (Wang et al., TIP 2004), C1 = 0.01^2, C2 = 0.03^2. Both maps are
    zero-padded, as in BASNet's code.

    ``logits`` and ``gt`` are as in ``structure_loss``. The result is a scalar in [0, 2].
    """
    _check_shapes(logits, gt)
    offsets = torch.arange(SSIM_WINDOW, device=gt.device, dtype=gt.dtype) - SSIM_WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    p = logits.sigmoid()
    products = torch.cat((p, gt, p * p, gt * gt, p * gt), dim=1)  # (B, 5, H, W)
    mean_p, mean_g, pp, gg, pg = _filter(products, window / window.sum()).unbind(1)
    covariance = pg - mean_p * mean_g
    squares = mean_p**2 + mean_g**2
    ssim = (2 * mean_p * mean_g + SSIM_C1) * (2 * covariance + SSIM_C2)
    ssim = ssim / ((squares + SSIM_C1) * (pp + gg - squares + SSIM_C2))
    return (1 - ssim).mean()


def boundary_loss(logits: Tensor, gt: Tensor) -> Tensor:
    """Compute 1 - F1 of soft boundaries (Bokhovkin and Burnaev, ISNN 2019, arXiv 1905.07852).

    Boundaries are b(y) = maxpool3(1 - y) - (1 - y) of the saliency p and the ground truth g. A
    boundary pixel matches if it is inside maxpool5 of the other boundary:
        P = (sum(b(p) maxpool5(b(g))) + 1) / (sum(b(p)) + 1),
        R = (sum(b(g) maxpool5(b(p))) + 1) / (sum(b(g)) + 1),  loss = 1 - 2 P R / (P + R).
    The constants 1 are an addition of this project: if neither map has a boundary, the loss is 0.
    Of the losses, only the structure loss distinguishes the inside of an object from its outside.

    ``logits`` and ``gt`` are as in ``structure_loss``. The result is a scalar in [0, 1).
    """
    _check_shapes(logits, gt)
    edges, gt_edges = _boundary(logits.sigmoid()), _boundary(gt)
    dims = (1, 2, 3)
    met, gt_met = edges * _dilate(gt_edges), gt_edges * _dilate(edges)
    precision = (met.sum(dims) + 1) / (edges.sum(dims) + 1)
    recall = (gt_met.sum(dims) + 1) / (gt_edges.sum(dims) + 1)
    return (1 - 2 * precision * recall / (precision + recall)).mean()


def detector_losses(
    logits: Tensor,
    side_logits: list[Tensor],
    extra_losses: dict[str, Tensor],
    gt: Tensor,
    loss: str = "weighted",
    ssim_weight: float = 0.0,
    boundary_weight: float = 0.0,
    streams: Mapping[str, tuple[Tensor, list[Tensor]]] | None = None,
) -> dict[str, Tensor]:
    """Compute the named losses of one training step, and their weighted sum ``total``.

    For deep supervision, the structure loss of ``logits`` has weight 1, and those of
    ``side_logits``, upsampled to the size of ``gt``, have weights 1/2, 1/4, 1/8 and so on. The SSIM
    and boundary terms apply to ``logits`` alone. Every stream of an ensemble adds the losses of its
    own outputs.

    Args:
        logits: (B, 1, H, W) float.
        side_logits: (B, 1, h, w) float each, fine to coarse.
        extra_losses: scalar losses of the fusion by name, already weighted.
        gt, loss: as in ``structure_loss``.
        ssim_weight, boundary_weight: weights of the SSIM and boundary terms; 0 omits a term.
        streams: (logits, side logits) of each stream of an ensemble, by name.

    Returns:
        Scalars by name: "structure", "side_1" and so on, "ssim" and "boundary", all unweighted;
        those of each stream with its name as prefix ("rgb_structure"); the extra losses; and
        "total", the only loss with a gradient.
    """
    weight = border_weight(gt)
    losses, total = {}, 0.0
    terms = ("ssim", ssim_loss, ssim_weight), ("boundary", boundary_loss, boundary_weight)
    outputs = {"": (logits, side_logits)}
    outputs |= {f"{name}_": pair for name, pair in (streams or {}).items()}
    for prefix, (full, sides) in outputs.items():
        for level, output in enumerate((full, *sides)):
            name = prefix + (f"side_{level}" if level else "structure")
            losses[name] = structure_loss(_upsample(output, gt), gt, weight, loss)
            total = total + losses[name] / 2**level
        for name, term, factor in terms:
            if factor:
                losses[prefix + name] = term(full, gt)
                total = total + factor * losses[prefix + name]
    losses |= extra_losses
    total = sum(extra_losses.values(), total)
    return {name: value.detach() for name, value in losses.items()} | {"total": total}


def mean_absolute_error(logits: Tensor, gt: Tensor) -> Tensor:
    """Compute means (B,) of |sigmoid(logits) - gt| over each image of (B, 1, H, W) tensors."""
    return torch.abs(logits.sigmoid() - gt).mean(dim=(1, 2, 3))


def _check_shapes(logits: Tensor, gt: Tensor) -> None:
    if logits.shape != gt.shape:
        raise InputError(
            f"logits {tuple(logits.shape)} and gt {tuple(gt.shape)} have different shapes. "
            "Fix: pass equal shapes."
        )


def _upsample(logits: Tensor, gt: Tensor) -> Tensor:
    if logits.shape[-2:] == gt.shape[-2:]:
        return logits
    return F.interpolate(logits, size=gt.shape[-2:], mode="bilinear", align_corners=False)


def _filter(maps: Tensor, window: Tensor) -> Tensor:
    """Filter zero-padded maps (B, C, H, W) with the kernel ``window[i] window[j]``.

    ``window`` is (K,) float and symmetric, with odd K.
    """
    # Two products with band matrices are several times faster than a pooling or a convolution.
    half = torch.cat((window[len(window) // 2 :], window.new_zeros(1)))

    def band(size: int) -> Tensor:
        place = torch.arange(size, device=maps.device)
        distance = (place[:, None] - place).abs()
        return half[distance.clamp(max=len(half) - 1)]  # (size, size)

    # Under autocast a matrix product would lose the precision that a variance needs.
    with torch.autocast(maps.device.type, enabled=False):
        return band(maps.shape[-2]) @ maps @ band(maps.shape[-1])


def _boundary(maps: Tensor) -> Tensor:
    """Return the inner boundary, one pixel wide, of (B, 1, H, W) maps in [0, 1]."""
    background = 1 - maps
    return F.max_pool2d(background, BOUNDARY_WINDOW, 1, BOUNDARY_WINDOW // 2) - background


def _dilate(maps: Tensor) -> Tensor:
    return F.max_pool2d(maps, BOUNDARY_TOLERANCE, 1, BOUNDARY_TOLERANCE // 2)
