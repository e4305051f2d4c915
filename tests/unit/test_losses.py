"""The losses against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as F

from mutualformer_sod.losses import (
    border_weight,
    detector_losses,
    mean_absolute_error,
    structure_loss,
)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 40, 52, generator=generator, dtype=torch.float64)
    gt = torch.zeros_like(logits)
    gt[0, :, 5:20, 8:30] = 1
    gt[1, :, 30:, 40:] = 1
    return logits, gt


def by_hand(logits, gt, plain_bce):
    """Weighted BCE + weighted IoU pixel by pixel, from the equations."""
    batch, _, height, width = gt.shape
    totals = []
    all_bce = []
    for b in range(batch):
        weight_sum = bce_sum = intersection = union = 0.0
        for y in range(height):
            for x in range(width):
                window = gt[b, 0, max(0, y - 15) : y + 16, max(0, x - 15) : x + 16]
                g = gt[b, 0, y, x].item()
                w = 1 + 5 * abs(window.sum().item() / 31**2 - g)
                p = 1 / (1 + math.exp(-logits[b, 0, y, x].item()))
                bce = -(g * math.log(p) + (1 - g) * math.log(1 - p))
                all_bce.append(bce)
                weight_sum += w
                bce_sum += w * bce
                intersection += w * p * g
                union += w * (p + g)
        iou = 1 - (intersection + 1) / (union - intersection + 1)
        totals.append((bce_sum / weight_sum, iou))
    if plain_bce:
        mean_bce = sum(all_bce) / len(all_bce)
        totals = [(mean_bce, iou) for _, iou in totals]
    return sum(bce + iou for bce, iou in totals) / batch


@pytest.mark.parametrize("loss", ["weighted", "f3net-released"])
def test_structure_loss_equals_its_equation(pair, loss):
    got = structure_loss(*pair, loss=loss).item()
    assert got == pytest.approx(by_hand(*pair, loss == "f3net-released"), rel=1e-10)


def test_mistakes_at_the_border_cost_more_in_the_weighted_variant(pair):
    _, gt = pair
    blurred = 8 * (F.avg_pool2d(gt, 15, stride=1, padding=7) - 0.5)
    assert structure_loss(blurred, gt) > structure_loss(blurred, gt, loss="f3net-released") + 0.05


def test_border_weight_is_the_square_window(pair):
    _, gt = pair
    want = 1 + 5 * (F.avg_pool2d(gt, 31, stride=1, padding=15) - gt).abs()
    torch.testing.assert_close(border_weight(gt), want)


def test_right_logits_cost_nearly_nothing_and_wrong_ones_much(pair):
    _, gt = pair
    right = structure_loss(20 * (2 * gt - 1), gt)
    assert right < 1e-6 < 10 < structure_loss(-20 * (2 * gt - 1), gt)


def test_deep_supervision_halves_from_fine_to_coarse(pair):
    logits, gt = pair
    sides = [F.avg_pool2d(logits, factor) for factor in (2, 4, 4)]
    extra = torch.tensor(0.25)
    losses = detector_losses(logits, sides, {"sparsity": extra}, gt)
    want = structure_loss(logits, gt) + 0.25
    for weight, side in zip((1 / 2, 1 / 4, 1 / 8), sides, strict=True):
        full = F.interpolate(side, size=gt.shape[-2:], mode="bilinear", align_corners=False)
        want = want + weight * structure_loss(full, gt)
    torch.testing.assert_close(losses["total"], want)
    assert set(losses) == {"structure", "side_1", "side_2", "side_3", "sparsity", "total"}


def test_mean_absolute_error_is_of_the_saliency():
    logits = torch.tensor([[[[0.0, 100.0]]]])
    gt = torch.tensor([[[[0.0, 1.0]]]])
    assert mean_absolute_error(logits, gt).tolist() == [0.25]


def test_mistakes_are_named(pair):
    logits, gt = pair
    with pytest.raises(ValueError, match="f3net-released"):
        structure_loss(logits, gt, loss="f3net")
    with pytest.raises(ValueError, match="agree"):
        structure_loss(logits[..., 1:], gt)
