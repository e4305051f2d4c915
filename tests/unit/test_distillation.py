"""A teacher's maps in the ground truth of a training."""

import pytest
import torch

from mutualformer_sod import build_model
from mutualformer_sod.models.weights import load_weights, save_weights
from mutualformer_sod.training.distillation import Teacher

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    model = build_model(
        "tiny-scratch", backbone="test_vit", feature_blocks=(2, 4), dim=16, image_size=64
    )
    save_weights(model, path, {})
    return path


def batch(height, width):
    generator = torch.Generator().manual_seed(1)
    rgb, depth, gt = (torch.rand(2, c, height, width, generator=generator) for c in (3, 1, 1))
    return rgb, depth, torch.tensor([True, False]), gt


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_blend_mixes_ground_truth_and_teacher_map(weights, ratio):
    rgb, depth, has_depth, gt = batch(64, 96)
    model, _ = load_weights(weights)
    with torch.no_grad():
        want = (1 - ratio) * gt + ratio * model(rgb, depth, has_depth).sigmoid()
    got = Teacher(str(weights), ratio, CPU).blend(rgb, depth, has_depth, gt)
    torch.testing.assert_close(got, want)


def test_blend_of_size_beside_the_stride_keeps_the_size(weights):
    got = Teacher(str(weights), 1.0, CPU).blend(*batch(40, 56))
    assert got.shape == (2, 1, 40, 56)
    assert 0 < got.min() < got.max() < 1


def test_blend_of_image_without_depth_ignores_its_depth_values(weights):
    rgb, depth, has_depth, gt = batch(64, 64)
    teacher = Teacher(str(weights), 1.0, CPU)
    got = teacher.blend(rgb, depth, has_depth, gt)
    depth[1] = 0
    assert torch.equal(teacher.blend(rgb, depth, has_depth, gt), got)
