"""Rearranging a model for inference on a CPU: the same values, faster."""

import copy

import pytest
import torch
from torch import nn

from mutualformer_sod import Predictor, build_model
from mutualformer_sod.models import cpu
from mutualformer_sod.models.cpu import OneDnnLinear, optimise_for_cpu

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


@pytest.fixture(autouse=True)
def _everywhere(monkeypatch):
    monkeypatch.setattr(cpu, "mkl_is_slow", lambda: True)


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return build_model("tiny").eval()


def batch(size=(64, 96)):
    generator = torch.Generator().manual_seed(0)
    shape = (1, 3, *size)
    return torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)[:, :1]


@pytest.mark.parametrize("preset", ["tiny", "resnet50"])
def test_logits_change_by_rounding_alone(preset):
    torch.manual_seed(0)
    model = build_model(preset).eval()
    with torch.inference_mode():
        before = model(*batch())
        after = optimise_for_cpu(model)(*batch())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_weights_keep_names_shapes_and_values(tiny):
    after = optimise_for_cpu(copy.deepcopy(tiny)).state_dict()
    before = tiny.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_shared_parameters_stay_shared():
    model = optimise_for_cpu(build_model("tiny", share=True))
    rgb, depth = (
        stream.body.blocks[0].mlp.fc1.weight
        for stream in (model.encoder.rgb_stream, model.encoder.depth_stream)
    )
    assert rgb is depth


def test_a_rearranged_model_still_trains(tiny):
    plain, model = copy.deepcopy(tiny).train(), optimise_for_cpu(copy.deepcopy(tiny)).train()
    for network in (plain, model):
        network(*batch()).logits.square().mean().backward()
    for (name, expected), actual in zip(plain.named_parameters(), model.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(actual.grad, expected.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_a_rearranged_model_loads_other_weights(tiny):
    torch.manual_seed(1)
    other = build_model("tiny").eval()
    model = optimise_for_cpu(copy.deepcopy(tiny))
    model.load_state_dict(other.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(model(*batch()), other(*batch()), rtol=1e-4, atol=1e-5)


def test_a_layer_without_bias_and_with_any_leading_axes():
    layer = nn.Linear(12, 20, bias=False)
    tokens = torch.rand(2, 3, 5, 12).transpose(0, 1)
    with torch.no_grad():
        expected = layer(tokens)
        torch.testing.assert_close(optimise_for_cpu(layer)(tokens), expected)
    assert type(layer) is OneDnnLinear


def test_autocast_double_and_gradients_take_the_ordinary_path():
    layer = optimise_for_cpu(nn.Linear(12, 20))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.rand(3, 12)).dtype == torch.bfloat16
    layer(torch.rand(3, 12)).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        assert layer.double()(torch.rand(3, 12).double()).dtype == torch.float64


def test_export_sees_ordinary_layers(tiny):
    model = optimise_for_cpu(copy.deepcopy(tiny))
    with torch.no_grad():
        program = torch.export.export(model, batch())
        called = {str(node.target) for node in program.graph.nodes}
        assert not any("mkldnn" in name for name in called)
        torch.testing.assert_close(
            program.module()(*batch()), model(*batch()), rtol=1e-4, atol=1e-5
        )


def test_the_predictor_rearranges_its_model(tiny):
    model = Predictor(copy.deepcopy(tiny), device="cpu").model
    assert any(isinstance(module, OneDnnLinear) for module in model.modules())
