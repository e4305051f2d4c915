"""Depth estimated from colour: the loss, the file of weights, the maps."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mutualformer_sod import Predictor, build_model
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.synthetic.scenes import write_samples
from mutualformer_sod.errors import InputError
from mutualformer_sod.inference.estimated_depth import estimate, write_estimates
from mutualformer_sod.models.depth_estimator import (
    FORMAT,
    DepthEstimator,
    affine_invariant_loss,
    load_estimator,
    save_estimator,
)
from mutualformer_sod.training.depth_estimation import train_estimator

BACKBONE = "vit_tiny_patch16_224"


def estimator():
    torch.manual_seed(0)
    return DepthEstimator(BACKBONE, 64, pretrained=False)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_samples(folder, 20, 1, size=(64, 88))
    return discover_sets([folder])[0]


def test_loss_scale_and_shift_are_ignored():
    target = torch.rand(2, 1, 16, 16)
    found = [affine_invariant_loss(a * (target - 0.5), target) for a in (4.0, 8.0)]
    other = affine_invariant_loss(torch.rand(2, 1, 16, 16), target)
    assert max(found) < 0.1 * other


def test_loss_inverted_map_exceeds_constant_map():
    target = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    constant = affine_invariant_loss(torch.zeros_like(target), target)
    assert affine_invariant_loss(4 * (0.5 - target), target) > constant


def test_training_backbone_is_unchanged(scenes):
    model = estimator()
    before = {name: value.clone() for name, value in model.vit.state_dict().items()}
    train_estimator(model, [scenes], epochs=1)
    assert all(torch.equal(value, before[name]) for name, value in model.vit.state_dict().items())


def test_training_correlation_with_depth_rises(scenes):
    trained = train_estimator(estimator(), [scenes], epochs=60, holdout=0.2)
    untrained = train_estimator(estimator(), [scenes], epochs=0, holdout=0.2)
    assert trained > untrained + 0.2


def test_training_of_nine_steps_ends(scenes):
    train_estimator(estimator(), [scenes], epochs=9)  # torch's schedule divides by zero


def test_training_sets_without_depth_are_refused(scenes):
    no_depth = dataclasses.replace(scenes, samples=())
    with pytest.raises(InputError, match="`sets`: none"):
        train_estimator(estimator(), [no_depth], epochs=1)


def test_load_estimator_saved_file_restores_maps(scenes, tmp_path, monkeypatch):
    model = estimator().eval()
    model.decoder.half().float()  # the file holds fp16
    save_estimator(model, tmp_path / "depth.safetensors")
    loaded = load_estimator(tmp_path / "depth.safetensors", pretrained=False)
    loaded.vit.load_state_dict(model.vit.state_dict())
    picture = cv2.imread(str(scenes.samples[0].rgb))
    first, second = (estimate(m, [picture], [(64, 88)])[0] for m in (model, loaded))
    np.testing.assert_array_equal(first, second)


def test_load_estimator_other_file_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"none")
    with pytest.raises(InputError, match=r"x\.safetensors"):
        load_estimator(tmp_path / "x.safetensors", pretrained=False)


def _about(**changes) -> str:
    return json.dumps({"format": FORMAT, "backbone": BACKBONE, "image_size": 64} | changes)


_UNUSABLE = (
    *("{", "[]", "1", "{}", json.dumps({"format": FORMAT}), _about(format="other")),
    *(_about(backbone=value) for value in ("nope", 5, None)),
    *(_about(image_size=value) for value in (0, -16, "64", [64])),
)


@pytest.mark.parametrize("about", _UNUSABLE)
def test_load_estimator_unusable_metadata_is_refused(tmp_path, about):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"about": about})
    with pytest.raises(InputError, match=r"x\.safetensors: not the weights of a depth estimator"):
        load_estimator(tmp_path / "x.safetensors", pretrained=False)


def test_load_estimator_other_tensors_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {"about": _about()})
    with pytest.raises(InputError, match=r"x\.safetensors: the weights lack .* Fix: "):
        load_estimator(tmp_path / "x.safetensors", pretrained=False)


def test_estimates_size_equals_picture_size(scenes, tmp_path):
    assert write_estimates(estimator().eval(), scenes, tmp_path) == 20
    found = cv2.imread(str(tmp_path / f"{scenes.samples[0].stem}.png"), cv2.IMREAD_UNCHANGED)
    assert found.shape == (64, 88) and found.dtype == np.uint8


def test_estimates_existing_files_are_kept(scenes, tmp_path):
    kept = tmp_path / f"{scenes.samples[0].stem}.png"
    kept.write_bytes(b"mine")
    assert write_estimates(estimator().eval(), scenes, tmp_path) == 19
    assert kept.read_bytes() == b"mine"


def test_predictor_estimator_equals_given_depth(scenes):
    rgb = cv2.imread(str(scenes.samples[0].rgb))
    depth = np.tile(np.linspace(0, 1, 88, dtype=np.float32), (64, 1))
    predictor = Predictor(build_model("tiny", image_size=64), device="cpu")
    wanted = predictor.predict(rgb, depth)
    predictor.estimator = lambda picture: depth
    np.testing.assert_array_equal(predictor.predict(rgb), wanted)


def test_predictor_estimator_ignores_picture_with_depth(scenes):
    rgb = cv2.imread(str(scenes.samples[0].rgb))
    depth = np.tile(np.linspace(0, 1, 88, dtype=np.float32), (64, 1))
    predictor = Predictor(build_model("tiny", image_size=64), device="cpu")
    wanted = predictor.predict(rgb, depth)
    predictor.estimator = lambda picture: 1 - depth
    np.testing.assert_array_equal(predictor.predict(rgb, depth), wanted)


def test_training_without_holdout_gives_no_correlation(scenes):
    assert train_estimator(estimator(), [scenes], epochs=1, holdout=0.0) is None


def test_training_one_image_succeeds(scenes):
    one = dataclasses.replace(scenes, samples=scenes.samples[:1])
    train_estimator(estimator(), [one], epochs=1)
