"""A convolution over an upsampled map, without that map."""

import pytest
import torch
import torch.nn.functional as F

from mutualformer_sod import build_model
from mutualformer_sod.benchmark.speed import count_macs
from mutualformer_sod.models.decoder import convolve_upsampled, saves_products


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("grid", "size"), [((6, 5), (12, 10)), ((6, 6), (48, 48)), ((5, 7), (19, 30)), ((1, 3), (4, 4))]
)
def test_convolve_upsampled_equals_the_convolution_of_the_upsampled_map(batch, grid, size):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn((batch, 7, *grid), generator=generator, dtype=torch.float64)
    kernel = torch.randn((4, 7, 3, 3), generator=generator, dtype=torch.float64)
    upsampled = F.interpolate(features, size=size, mode="bilinear", align_corners=False)
    expected = F.conv2d(upsampled, kernel, padding=1)
    torch.testing.assert_close(convolve_upsampled(features, kernel, size), expected)


def test_saves_products_at_the_sizes_of_small():
    assert saves_products(256, 128, (24, 24), (48, 48))
    assert saves_products(32, 32, (24, 24), (192, 192))
    assert not saves_products(64, 32, (96, 96), (192, 192))  # slower, measured
    assert not saves_products(128, 128, (24, 24), (24, 24))


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return build_model("small")


def images():
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(1, channels, 384, 384, generator=generator) for channels in (3, 1))


def test_convolve_upsampled_changes_the_maps_of_small_by_rounding_alone(small):
    rgb, depth = images()
    small.train()  # takes the upsampled maps; nothing in this preset is drawn
    with torch.no_grad():
        expected = small(rgb, depth).logits
        actual = small.eval()(rgb, depth)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_small_has_at_most_1_42_times_the_products_of_its_backbones(small):
    # 1.44 with upsampled maps.
    small.eval()
    macs = count_macs(small, list(images()))
    blocks = 12 * (12 * 577 * 384**2 + 2 * 577**2 * 384)
    assert macs["total"] < 1.42 * 2 * (blocks + 576 * 384 * 768)
