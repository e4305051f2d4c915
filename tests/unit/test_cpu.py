"""Rearranging a model for inference on a CPU: the same values, faster."""

import copy

import pytest
import torch
from torch import nn

from mutualformer_sod import Predictor, build_model
from mutualformer_sod.inference.export import CAN_EXPORT
from mutualformer_sod.models.device import optimise_for_cpu


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return build_model("tiny-scratch").eval()


def batch(size=(64, 96)):
    generator = torch.Generator().manual_seed(0)
    shape = (1, 3, *size)
    return torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)[:, :1]


@pytest.mark.parametrize("preset", ["tiny-scratch", "resnet50"])
def test_optimise_for_cpu_logits_change_by_rounding(preset):
    torch.manual_seed(0)
    model = build_model(preset).eval()
    with torch.inference_mode():
        before = model(*batch())
        after = optimise_for_cpu(model)(*batch())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_optimise_for_cpu_state_dict_is_unchanged(tiny):
    after = optimise_for_cpu(copy.deepcopy(tiny)).state_dict()
    before = tiny.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_optimise_for_cpu_shared_parameters_stay_shared():
    model = optimise_for_cpu(build_model("tiny-scratch", share=True))
    rgb, depth = (
        stream.body.blocks[0].mlp.fc1.weight
        for stream in (model.encoder.rgb_stream, model.encoder.depth_stream)
    )
    assert rgb is depth


def test_optimise_for_cpu_gradients_are_unchanged(tiny):
    plain, model = copy.deepcopy(tiny).train(), optimise_for_cpu(copy.deepcopy(tiny)).train()
    for network in (plain, model):
        network(*batch()).logits.square().mean().backward()
    for (name, expected), actual in zip(plain.named_parameters(), model.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(actual.grad, expected.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_optimise_for_cpu_model_loads_other_weights(tiny):
    torch.manual_seed(1)
    other = build_model("tiny-scratch").eval()
    model = optimise_for_cpu(copy.deepcopy(tiny))
    model.load_state_dict(other.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(model(*batch()), other(*batch()), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not CAN_EXPORT, reason="tracing needs torch 2.6 or newer")
def test_optimise_for_cpu_export_gives_equal_logits(tiny):
    model = optimise_for_cpu(copy.deepcopy(tiny))
    with torch.no_grad():
        program = torch.export.export(model, batch())
        torch.testing.assert_close(
            program.module()(*batch()), model(*batch()), rtol=1e-4, atol=1e-5
        )


def test_optimise_for_cpu_layer_types_are_unchanged(tiny):
    model = optimise_for_cpu(copy.deepcopy(tiny))
    types = [type(module) for module in tiny.modules()]
    assert [type(module) for module in model.modules()] == types


def test_predictor_cpu_convolutions_are_channels_last(tiny):
    model = Predictor(copy.deepcopy(tiny), device="cpu").model
    kernels = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_optimise_for_cpu_decoder_outputs_are_channels_last():
    model = optimise_for_cpu(build_model("small", image_size=64).eval())
    seen = []
    for stage in model.decoder.stages:
        stage[-1][-1].register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.inference_mode():
        model(*batch((64, 64)))
    assert seen
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in seen)
