"""Colours are normalised as the backbone was pretrained, and weights keep their own values."""

import json

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mutualformer_sod import build_model
from mutualformer_sod.configs.model import IMAGENET_MEAN, IMAGENET_STD, ModelConfig, make_config
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.starting import load_encoder, load_network
from mutualformer_sod.models.weights import load_weights, save_weights

HALF = (0.5, 0.5, 0.5)
SMALL = {"feature_blocks": (1, 2), "dim": 32, "image_size": 32}
PYRAMID = {"backbone": "tf_efficientnet_lite0", "dim": 32, "image_size": 64}


def model(backbone="vit_tiny_patch16_224", **options):
    torch.manual_seed(0)
    return build_model("tiny-scratch", backbone=backbone, **(SMALL | options)).eval()


@pytest.mark.parametrize(
    ("backbone", "mean"),
    [("vit_tiny_patch16_224", HALF), ("deit_tiny_patch16_224", IMAGENET_MEAN)],
)
def test_mean_is_that_of_the_backbones_pretrained_configuration(backbone, mean):
    detector = model(backbone)
    assert detector.config.mean == mean
    assert detector.mean.flatten().tolist() == pytest.approx(mean)


def test_hierarchical_backbone_gives_its_own_values():
    detector = build_model("resnet50", **PYRAMID)
    assert (detector.config.mean, detector.config.std) == (HALF, HALF)


def test_given_values_win_over_the_backbones():
    detector = model(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    assert detector.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_values_decide_the_map():
    rgb = torch.rand(1, 3, 32, 32)
    own, other = model(), model(mean=IMAGENET_MEAN, std=IMAGENET_STD)
    assert not torch.allclose(own(rgb), other(rgb))


def test_weights_file_keeps_the_values(tmp_path):
    path = tmp_path / "weights.safetensors"
    detector = model(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    save_weights(detector, path, {})
    loaded, _ = load_weights(path)
    assert loaded.config == detector.config
    rgb = torch.rand(1, 3, 32, 32)
    assert torch.equal(loaded(rgb), detector(rgb))


def test_weights_file_without_values_means_imagenet(tmp_path):
    path = tmp_path / "old.safetensors"
    save_weights(model(), path, {})
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    config = json.loads(metadata["config"])
    del config["mean"], config["std"]
    old = {"format": metadata["format"], "protocol": "{}", "config": json.dumps(config)}
    save_file(load_file(path), path, metadata=old)
    assert load_weights(path)[0].config.mean == IMAGENET_MEAN


@pytest.mark.parametrize("load", [load_encoder, load_network])
def test_weights_bring_their_values_to_the_model_they_start(tmp_path, load):
    path = tmp_path / "weights.safetensors"
    save_weights(model(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)), path, {})
    started = model()
    load(started, path)
    assert started.config.mean == (0.1, 0.2, 0.3)
    assert started.std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])


@pytest.mark.parametrize("bad", [(0.5,), (0.5, 0.5, -1.0), (0.5, 0.5, 0.0)])
def test_unusable_std_is_refused(bad):
    with pytest.raises(InputError, match="std"):
        make_config("tiny-scratch", mean=HALF, std=bad)


def test_mean_without_std_is_refused():
    with pytest.raises(InputError, match="mean"):
        make_config("tiny-scratch", mean=HALF)


def test_configuration_survives_json():
    config = make_config("tiny-scratch", mean=HALF, std=HALF)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("preset", "backbone"), [("tiny-scratch", "deit_tiny_patch16_224"), ("resnet50", "resnet18")]
)
def test_backbone_file_that_records_its_values_decides(tmp_path, preset, backbone):
    arguments = {"features_only": True} if preset == "resnet50" else {}
    state = timm.create_model(backbone, **arguments).state_dict()
    path = tmp_path / "backbone.safetensors"
    save_file(state, path, metadata={"mean": "[0.1, 0.2, 0.3]", "std": "[0.4, 0.5, 0.6]"})
    detector = build_model(preset, backbone=backbone, pretrained=path)
    assert detector.config.mean == (0.1, 0.2, 0.3)
    assert detector.config.std == (0.4, 0.5, 0.6)
