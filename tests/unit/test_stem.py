"""A pretrained convolutional network as the stem of a ViT."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from mutualformer_sod import build_model
from mutualformer_sod.training.optimiser import encoder_layers

LITE = "tf_efficientnet_lite0"
STEM = {"stem": LITE, "feature_blocks": (1, 2), "image_size": 64}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("tiny-scratch", **STEM)


def norms(model):
    return [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]


def test_stem_image_gives_strides_4_8_and_16(model):
    assert model.encoder.strides == [4, 8, 16, 16]
    assert model.encoder.channels == [24, 40, 192, 192]


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (50, 37)])
def test_logits_odd_image_size_is_kept(model, size):
    model.eval()
    with torch.inference_mode():
        assert model(torch.rand(2, 3, *size), torch.rand(2, 1, *size)).shape == (2, 1, *size)


def test_normalisation_with_stem_is_of_stem(model):
    assert model.config.mean == (0.5, 0.5, 0.5)


def test_logits_other_batch_stay_equal(model):
    model.train()
    rgb, depth = torch.rand(3, 3, 64, 64), torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        together, alone = model(rgb, depth).logits[:1], model(rgb[:1], depth[:1]).logits
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_batch_norm_training_keeps_statistics(model):
    before = [norm.running_mean.clone() for norm in norms(model)]
    model.train()(torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64))
    assert before
    assert all(
        torch.equal(old, norm.running_mean) for old, norm in zip(before, norms(model), strict=True)
    )


def test_batch_norm_training_scales_differ_by_modality(model):
    own = model.encoder.rgb_stream.body.patch_embed.proj.body.bn1
    other = model.encoder.depth_stream.body.patch_embed.proj.body.bn1
    assert own.weight is not other.weight and own.weight.requires_grad


def test_convolutions_of_streams_are_shared(model):
    own = model.encoder.rgb_stream.body.patch_embed.proj.body.conv_stem
    other = model.encoder.depth_stream.body.patch_embed.proj.body.conv_stem
    assert own.weight is other.weight


def test_stem_pretrained_file_loads_into_both_streams(tmp_path):
    path = tmp_path / "lite.safetensors"
    source = timm.create_model(LITE)
    save_file(source.state_dict(), path)
    model = build_model("tiny-scratch", pretrained=path, **STEM)
    for stream in (model.encoder.rgb_stream, model.encoder.depth_stream):
        stem = stream.body.patch_embed.proj.body
        assert torch.equal(stem.conv_stem.weight, source.conv_stem.weight)
        assert torch.equal(stem.bn1.running_var, source.bn1.running_var)


def test_stem_layer_number_is_first(model):
    layers, count = encoder_layers(model)
    assert layers["encoder.rgb_stream.body.patch_embed.proj.body.conv_stem.weight"] == 0
    assert count == 3  # the stem and two blocks


def test_stem_other_patch_size_is_refused():
    with pytest.raises(ValueError, match="patch size of 16"):
        build_model("small-dinov2", stem=LITE)
