"""Joint transforms keep a sample aligned and touch each modality only as they should."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import adjust_hue

from mutualformer_sod.data.training.transforms import (
    Augmentation,
    augment_sample,
    draw_training_size,
    resize_batch,
    resize_sample,
    turn_hue,
)

GEOMETRY_ONLY = Augmentation(brightness=0, contrast=0, saturation=0, hue=0, depth_change=0)
HEIGHT, WIDTH = 96, 130


def coordinate_grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sample whose every pixel tells where it came from: red = column, green = row."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    rgb = np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    depth = (columns / 255).astype(np.float32)
    gt = columns + rows >= 100
    return rgb, depth, gt


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("size", [(64, 64), (96, 130), (160, 224), (50, 120)])
@pytest.mark.parametrize("seed", range(4))
def test_geometry_moves_colour_and_depth_alike(size, seed):
    rgb, depth, _ = augment_sample(*coordinate_grid(), size, rng(seed), GEOMETRY_ONLY)
    torch.testing.assert_close(depth[0], rgb[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (96, 130), (160, 224), (50, 120)])
@pytest.mark.parametrize("seed", range(4))
def test_geometry_moves_ground_truth_with_colour(size, seed):
    rgb, _, gt = augment_sample(*coordinate_grid(), size, rng(seed), GEOMETRY_ONLY)
    source = 255 * (rgb[0] + rgb[1])  # column + row of the pixel's source
    pixel = max(1.0, HEIGHT / size[0], WIDTH / size[1])
    away = (source - 99.5).abs() > 2 * pixel  # from the border, where gt is a fraction
    assert away.float().mean() > 0.5
    torch.testing.assert_close(gt[0][away], (source >= 99.5)[away].float(), rtol=0, atol=1e-6)


def test_row_stays_a_row():
    rgb, _, _ = augment_sample(*coordinate_grid(), (80, 80), rng(1), GEOMETRY_ONLY)
    torch.testing.assert_close(rgb[1], rgb[1][:, :1].expand(-1, 80), rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(30))
def test_crop_leaves_at_least_three_quarters_of_each_side(seed):
    rgb, _, _ = augment_sample(*coordinate_grid(), (HEIGHT, WIDTH), rng(seed), GEOMETRY_ONLY)
    columns, rows = 255 * rgb[0], 255 * rgb[1]
    assert columns.max() - columns.min() >= 0.74 * WIDTH - 1
    assert rows.max() - rows.min() >= 0.74 * HEIGHT - 1


def test_half_of_the_images_are_flipped():
    depths = (
        augment_sample(*coordinate_grid(), (32, 32), rng(seed), Augmentation())[1]
        for seed in range(60)
    )
    flipped = [bool(depth[0, 0, 0] > 0.3) and bool(depth[0, 0, -1] < 0.3) for depth in depths]
    assert 15 <= sum(flipped) <= 45


def test_resize_to_the_same_size_changes_nothing():
    rgb, depth, gt = coordinate_grid()
    tensors = resize_sample(rgb, depth, gt, (HEIGHT, WIDTH))
    torch.testing.assert_close(tensors[0], torch.from_numpy(rgb).permute(2, 0, 1) / 255)
    torch.testing.assert_close(tensors[1][0], torch.from_numpy(depth))
    assert torch.equal(tensors[2][0], torch.from_numpy(gt).float())


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = np.zeros((64, 64), np.float32)
    stripes[:, ::2] = 1
    _, depth, _ = resize_sample(np.zeros((64, 64, 3), np.uint8), stripes, None, (16, 16))
    assert (depth - 0.5).abs().max() < 0.1


def test_ground_truth_becomes_soft_only_at_its_border():
    rgb, depth, _ = coordinate_grid()
    gt = np.zeros((HEIGHT, WIDTH), bool)
    gt[20:60, 30:90] = True
    small = resize_sample(rgb, depth, gt, (48, 65))[2][0]
    inner, outer = small[12:28, 17:43], torch.cat([small[:8], small[34:]])
    assert inner.min() == 1
    assert outer.max() == 0


def test_absent_parts_stay_absent():
    rgb, _, _ = coordinate_grid()
    assert augment_sample(rgb, None, None, (32, 32), rng(), Augmentation())[1:] == (None, None)
    assert resize_sample(rgb, None, None, (32, 32))[1:] == (None, None)


@pytest.mark.parametrize("seed", range(12))
def test_augmented_values_stay_in_range(seed):
    rough = Augmentation(
        brightness=0.9, contrast=0.9, saturation=0.9, hue=0.3, depth_noise=0.5, depth_change=1
    )
    for tensor in augment_sample(*coordinate_grid(), (64, 96), rng(seed), rough):
        assert tensor.dtype == torch.float32
        assert tensor.shape[1:] == (64, 96)
        assert tensor.min() >= 0
        assert tensor.max() <= 1


@pytest.mark.parametrize("seed", range(6))
def test_colour_jitter_leaves_depth_and_ground_truth_alone(seed):
    plain = augment_sample(*coordinate_grid(), (64, 64), rng(seed), GEOMETRY_ONLY)
    jitter = Augmentation(depth_change=0)
    jittered = augment_sample(*coordinate_grid(), (64, 64), rng(seed), jitter)
    assert not torch.equal(jittered[0], plain[0])
    assert torch.equal(jittered[1], plain[1])
    assert torch.equal(jittered[2], plain[2])


@pytest.mark.parametrize("shift", [-0.5, -0.03, 0.0, 0.02, 0.5])
def test_hue_turns_as_in_torchvision(shift):
    colours = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    colours[:, :5] = colours[:1, :5]  # grey
    colours[:, 5] = 0
    colours[:, 6] = 1
    torch.testing.assert_close(
        turn_hue(colours, shift), adjust_hue(colours, shift), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("seed", range(6))
def test_depth_augmentation_leaves_colour_and_ground_truth_alone(seed):
    plain = augment_sample(*coordinate_grid(), (64, 64), rng(seed), GEOMETRY_ONLY)
    rough = Augmentation(brightness=0, contrast=0, saturation=0, hue=0, depth_change=1)
    degraded = augment_sample(*coordinate_grid(), (64, 64), rng(seed), rough)
    assert not torch.equal(degraded[1], plain[1])
    assert torch.equal(degraded[0], plain[0])
    assert torch.equal(degraded[2], plain[2])


@pytest.mark.parametrize("seed", range(40))
def test_depth_polarity_is_left_alone(seed):
    rgb, _, gt = coordinate_grid()
    depth = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None].repeat(WIDTH, axis=1)
    always = Augmentation(depth_change=1)
    result = augment_sample(rgb, depth, gt, (64, 64), rng(seed), always)[1][0]
    assert result[-16:].median() > result[:16].median() + 0.4


def test_augmentation_is_decided_by_its_generator_alone():
    first = augment_sample(*coordinate_grid(), (64, 64), rng(5), Augmentation())
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002  the global state is what must not matter
    second = augment_sample(*coordinate_grid(), (64, 64), rng(5), Augmentation())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_training_size_is_a_multiple_near_the_wanted_size():
    sizes = {draw_training_size((224, 320), rng(seed)) for seed in range(50)}
    assert len(sizes) > 2
    assert all(h % 32 == 0 and w % 32 == 0 for h, w in sizes)
    assert all(abs(h / 224 - 1) < 0.35 and abs(w / 320 - 1) < 0.35 for h, w in sizes)


def test_resizing_a_batch_keeps_it_aligned():
    parts = [part[None] for part in resize_sample(*coordinate_grid(), (96, 130))]
    rgb, depth, gt = resize_batch(*parts, (64, 96))
    assert rgb.shape == (1, 3, 64, 96)
    assert gt.shape == (1, 1, 64, 96)
    torch.testing.assert_close(depth[:, 0], rgb[:, 0], rtol=0, atol=1e-6)


class TestPoorColour:
    def make(self, share, depth=True, **options):
        rgb, near, gt = coordinate_grid()
        strength = Augmentation(depth_change=0, poor_colour=share)
        given = (rgb, near if depth else None, gt, (64, 64), rng(), strength)
        return augment_sample(*given, **options)

    def test_poor_colours_vary_less(self):
        assert self.make(1.0)[0].std() < 0.8 * self.make(0.0)[0].std()

    def test_poor_colours_leave_depth_and_ground_truth(self):
        for poor, plain in zip(self.make(1.0)[1:], self.make(0.0)[1:], strict=True):
            assert torch.equal(poor, plain)

    def test_without_depth_colours_stay(self):
        assert torch.equal(self.make(1.0, depth=False)[0], self.make(0.0, depth=False)[0])

    def test_with_wrong_depth_colours_stay(self):
        poor, plain = (self.make(share, depth_is_right=False)[0] for share in (1.0, 0.0))
        assert torch.equal(poor, plain)
