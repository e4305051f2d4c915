"""Checks of the network's inputs: one error for each mistake, none for valid inputs."""

import numpy as np
import pytest
import torch

from mutualformer_sod import Predictor, build_model
from mutualformer_sod.errors import InputError
from mutualformer_sod.inference.export import CAN_EXPORT
from mutualformer_sod.models.inputs import hide_modality

SMALL = {
    "feature_blocks": (1,),
    "dim": 16,
    "decoder_width": 16,
    "detail_width": 8,
    "image_size": 32,
}
RGB = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
DEPTH = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
NAN = torch.full_like(DEPTH, torch.nan)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("tiny-scratch", num_heads=2, **SMALL).eval()


@pytest.fixture(params=["network", "predictor"])
def call(request, model):
    if request.param == "network":
        return model
    return Predictor(model, device="cpu").logits


MISTAKES = {
    "rgb missing": ((None, DEPTH, None), "rgb is a NoneType. Fix: pass a torch.Tensor"),
    "rgb numpy": ((RGB.numpy(), DEPTH, None), "rgb is a ndarray.*Predictor.predict"),
    "rgb uint8": (((RGB * 255).byte(), DEPTH, None), r"rgb is .*uint8.*rgb.float\(\) / 255"),
    "rgb 0 to 255": ((RGB * 255, DEPTH, None), "rgb has values .*perhaps 0 to 255"),
    "rgb normalised": ((RGB * 4 - 2, DEPTH, None), "rgb has values .*normalised already"),
    "depth numpy": ((RGB, np.zeros((2, 1, 32, 32)), None), "depth is a ndarray"),
    "depth uint8": ((RGB, (DEPTH * 255).byte(), None), "depth is torch.uint8 and rgb torch.float"),
    "depth uint16": ((RGB, DEPTH.to(torch.int32), None), "depth is torch.int32"),
    "depth double": ((RGB, DEPTH.double(), None), "depth is torch.float64 and rgb torch.float32"),
    "depth millimetres": ((RGB, DEPTH * 4000, None), "depth has values .*millimetres.*near = 1"),
    "depth negative": ((RGB, -DEPTH, None), "depth has values from -"),
    "has_depth list": (
        (RGB, DEPTH, [True, False]),
        "has_depth is a list. Fix: pass a torch.Tensor",
    ),
    "has_depth float": (
        (RGB, DEPTH, torch.ones(2)),
        r"has_depth .*float32\. Fix: pass \(2,\) bool",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_inputs_mistake_gives_one_line_error(call, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)


def test_network_with_float64_inputs_names_both_types(model):
    with pytest.raises(InputError, match=r"rgb is torch\.float64\. Fix: pass torch\.float32"):
        model(RGB.double(), DEPTH.double())


def test_inputs_empty_batch_is_refused(model):
    with pytest.raises(InputError, match="an empty tensor"):
        model(RGB[:0], DEPTH[:0])


def test_values_training_or_check_off_pass(model):
    training = build_model("tiny-scratch", num_heads=2, **SMALL).train()
    training(RGB, DEPTH * 2)
    model.check_values = False
    try:
        model(RGB, DEPTH * 2)
    finally:
        del model.check_values
    with pytest.raises(InputError):
        model(RGB, DEPTH * 2)


def test_values_outside_range_beside_nan_are_refused(model):
    depth = torch.cat((NAN[:1], DEPTH[1:] * 3000))
    with pytest.raises(InputError, match="millimetres"):
        model(RGB, depth)


def test_values_rounding_beyond_range_pass(model):
    assert model(RGB.clamp(max=1) * (1 + 5e-4), DEPTH - 5e-4).isfinite().all()


def test_values_hidden_depth_is_ignored(model):
    has_depth = torch.tensor([True, False])
    for hidden in (torch.full_like(DEPTH[1:], 4000.0), NAN[1:]):
        got = model(RGB, torch.cat((DEPTH[:1], hidden)), has_depth)
        torch.testing.assert_close(got, model(RGB, DEPTH, has_depth))


def test_values_nan_affects_only_its_image(model):
    logits = model(RGB, torch.cat((DEPTH[:1], NAN[1:])))
    assert logits[0].isfinite().all()
    assert logits[1].isnan().any()


@pytest.mark.skipif(not CAN_EXPORT, reason="tracing needs torch 2.6 or newer")
def test_network_with_checks_compiles_and_exports(model):
    with torch.no_grad():
        want = model(RGB, DEPTH)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(RGB, DEPTH), want)
        program = torch.export.export(model, (RGB, DEPTH))
        torch.testing.assert_close(program.module()(RGB, DEPTH), want)


def test_hide_modality_masks_depth_or_greys_colours():
    rgb, depth = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    has_depth = torch.tensor([True, False])
    assert hide_modality("both", rgb, depth, has_depth) == (rgb, depth, has_depth)
    assert not hide_modality("rgb", rgb, depth, has_depth)[2].any()
    assert not hide_modality("rgb", rgb, depth, None)[2].any()
    assert hide_modality("rgb", rgb, None, None) == (rgb, None, None)
    grey, *same = hide_modality("depth", rgb, depth, has_depth)
    assert (grey == 0.5).all()
    assert same == [depth, has_depth]
