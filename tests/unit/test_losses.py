"""The losses against their definitions."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mutualformer_sod.losses import (
    border_weight,
    boundary_loss,
    detector_losses,
    mean_absolute_error,
    ssim_loss,
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


def test_structure_loss_weighted_costs_more_at_the_border(pair):
    _, gt = pair
    blurred = 8 * (F.avg_pool2d(gt, 15, stride=1, padding=7) - 0.5)
    assert structure_loss(blurred, gt) > structure_loss(blurred, gt, loss="f3net-released") + 0.05


def test_border_weight_uses_a_square_window(pair):
    _, gt = pair
    want = 1 + 5 * (F.avg_pool2d(gt, 31, stride=1, padding=15) - gt).abs()
    torch.testing.assert_close(border_weight(gt), want)


def test_structure_loss_is_small_for_right_and_large_for_wrong_logits(pair):
    _, gt = pair
    right = structure_loss(20 * (2 * gt - 1), gt)
    assert right < 1e-6 < 10 < structure_loss(-20 * (2 * gt - 1), gt)


def test_detector_losses_halve_the_weight_from_fine_to_coarse(pair):
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


def ssim_by_hand(p, g):
    """1 - mean SSIM of one image, window by window; zeros beyond the border."""
    height, width = g.shape
    p, g = np.pad(p, 5), np.pad(g, 5)
    profile = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
    window = np.outer(profile, profile) / sum(profile) ** 2
    total = 0.0
    for y in range(height):
        for x in range(width):
            here, there = p[y : y + 11, x : x + 11], g[y : y + 11, x : x + 11]
            m_p, m_g = (window * here).sum(), (window * there).sum()
            s_pp = (window * (here - m_p) ** 2).sum()
            s_gg = (window * (there - m_g) ** 2).sum()
            s_pg = (window * (here - m_p) * (there - m_g)).sum()
            ssim = (2 * m_p * m_g + 1e-4) * (2 * s_pg + 9e-4)
            total += ssim / ((m_p**2 + m_g**2 + 1e-4) * (s_pp + s_gg + 9e-4))
    return 1 - total / (height * width)


def boundary_by_hand(p, g):
    """1 - F1 of the boundaries of one image, pixel by pixel."""
    height, width = g.shape

    def greatest(values, y, x, reach):
        return values[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].max()

    def over(function):
        return np.array([[function(y, x) for x in range(width)] for y in range(height)])

    b_p = over(lambda y, x: greatest(1 - p, y, x, 1) - (1 - p[y, x]))
    b_g = over(lambda y, x: greatest(1 - g, y, x, 1) - (1 - g[y, x]))
    met = over(lambda y, x: b_p[y, x] * greatest(b_g, y, x, 2)).sum()
    gt_met = over(lambda y, x: b_g[y, x] * greatest(b_p, y, x, 2)).sum()
    precision, recall = (met + 1) / (b_p.sum() + 1), (gt_met + 1) / (b_g.sum() + 1)
    return 1 - 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("loss", "by_hand"), [(ssim_loss, ssim_by_hand), (boundary_loss, boundary_by_hand)]
)
def test_optional_terms_equal_their_equations(pair, loss, by_hand):
    logits, gt = (tensor[..., ::2, :31] for tensor in pair)  # rows and columns differ in number
    images = zip(logits.sigmoid().numpy()[:, 0], gt.numpy()[:, 0], strict=True)
    want = np.mean([by_hand(p, g) for p, g in images])
    assert loss(logits, gt).item() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("loss", [ssim_loss, boundary_loss])
def test_optional_terms_rise_with_the_shift_of_the_map(pair, loss):
    gt = pair[1][:1]
    values = [loss(20 * (2 * gt.roll(k, dims=-1) - 1), gt).item() for k in (0, 3, 6)]
    assert values[0] < 1e-3 < 0.1 < values[1] < values[2]


def test_boundary_loss_of_a_shift_by_one_pixel_is_small(pair):
    gt = pair[1][:1]
    assert boundary_loss(20 * (2 * gt.roll(1, dims=-1) - 1), gt).item() < 1e-3


def test_boundary_loss_without_an_object_favours_no_boundary():
    gt = torch.zeros(1, 1, 16, 16)
    blob = gt.clone()
    blob[..., 4:9, 4:9] = 1
    assert boundary_loss(-20 + 0 * gt, gt).item() < 1e-6
    assert boundary_loss(40 * blob - 20, gt).item() > 0.5


def total_loss(logits, gt, **options):
    sides = [F.avg_pool2d(logits, 4)]
    return detector_losses(logits, sides, {}, gt, **options)["total"]


LOSS_OPTIONS = [
    {},
    {"loss": "f3net-released"},
    {"ssim_weight": 1.0},
    {"boundary_weight": 1.0},
    {"loss": "f3net-released", "ssim_weight": 0.5, "boundary_weight": 2.0},
]


@pytest.mark.parametrize("options", LOSS_OPTIONS)
def test_loss_of_a_batch_is_the_mean_over_its_images(pair, options):
    logits, gt = (torch.cat((tensor, tensor.roll(9, dims=-2)[:1])) for tensor in pair)
    gt[2] = 0  # an image without an object is an image like any other
    alone = [total_loss(logits[k : k + 1], gt[k : k + 1], **options) for k in range(3)]
    assert max(alone) - min(alone) > 0.01
    torch.testing.assert_close(
        total_loss(logits, gt, **options), torch.stack(alone).mean(), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("options", LOSS_OPTIONS)
def test_every_loss_has_a_finite_gradient_in_float32(pair, options):
    logits, gt = (tensor.float() for tensor in pair)
    logits = (40 * logits).requires_grad_()
    total_loss(logits, gt, **options).backward()
    assert logits.grad.isfinite().all() and logits.grad.any()


def test_detector_losses_name_optional_terms_and_weight_them(pair):
    logits, gt = pair
    plain = detector_losses(logits, [], {}, gt)
    both = detector_losses(logits, [], {}, gt, ssim_weight=0.5, boundary_weight=2.0)
    assert set(plain) == {"structure", "total"}
    assert set(both) == {"structure", "ssim", "boundary", "total"}
    torch.testing.assert_close(both["ssim"], ssim_loss(logits, gt))
    torch.testing.assert_close(both["boundary"], boundary_loss(logits, gt))
    want = plain["total"] + 0.5 * both["ssim"] + 2 * both["boundary"]
    torch.testing.assert_close(both["total"], want)


@pytest.mark.parametrize("option", ["ssim_weight", "boundary_weight"])
def test_detector_losses_of_an_ensemble_add_those_of_each_stream(pair, option):
    logits, gt = pair
    streams = {
        name: (logits.roll(k, -1), [F.avg_pool2d(logits, k)])
        for k, name in ((2, "rgb"), (4, "depth"))
    }
    together = detector_losses(logits, [], {}, gt, streams=streams, **{option: 0.5})
    want = detector_losses(logits, [], {}, gt, **{option: 0.5})
    for name, (full, sides) in streams.items():
        alone = detector_losses(full, sides, {}, gt, **{option: 0.5})
        total = alone.pop("total")
        want |= {f"{name}_{term}": value for term, value in alone.items()}
        want["total"] = want["total"] + total
    assert set(together) == set(want)
    for name, value in want.items():
        torch.testing.assert_close(together[name], value)


def test_border_weight_under_autocast_keeps_its_precision(pair):
    gt = pair[1].float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(border_weight(gt), border_weight(gt.double()).float())


def test_mean_absolute_error_applies_the_sigmoid():
    logits = torch.tensor([[[[0.0, 100.0]]]])
    gt = torch.tensor([[[[0.0, 1.0]]]])
    assert mean_absolute_error(logits, gt).tolist() == [0.25]


def test_losses_with_illegal_arguments_name_them(pair):
    logits, gt = pair
    with pytest.raises(ValueError, match="f3net-released"):
        structure_loss(logits, gt, loss="f3net")
    with pytest.raises(ValueError, match="differ"):
        structure_loss(logits[..., 1:], gt)
