"""A fusion method registered from outside the package: one class, and every part knows it."""

from dataclasses import dataclass

import pytest
import torch
from fused_models import SMALL
from torch import nn

from mutualformer_sod import build_model
from mutualformer_sod.benchmark.fusion_cost import check_fusions, layer_costs
from mutualformer_sod.cli.train import make_parser
from mutualformer_sod.configs.fusion import (
    FusionConfig,
    fusion_methods,
    register_fusion,
    unregister_fusion,
)
from mutualformer_sod.configs.switches import switch
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments.variants import parse_variants
from mutualformer_sod.models.fusion.streams import Fusion
from mutualformer_sod.models.weights import load_weights, save_weights
from mutualformer_sod.training.optimiser import make_optimizer


@dataclass(frozen=True)
class GatedConfig(FusionConfig):
    gain: float = switch(1.0, "a positive number", lambda v: v > 0)


class GatedFusion(Fusion):
    """Each stream gets a learned share of the other."""

    def __init__(self, config, channels, strides):
        super().__init__(config, channels, strides)
        self.gate = nn.Parameter(torch.full((2, config.dim), 0.1))

    def mix(self, level, rgb, depth):
        gain = self.config.gain
        return rgb + gain * self.gate[0] * depth, depth + gain * self.gate[1] * rgb


@pytest.fixture(autouse=True)
def registered():
    register_fusion(
        "gated", "a learned share of the other stream", GatedConfig, undecayed=("gate",)
    )(GatedFusion)
    yield
    unregister_fusion("gated")
    assert "gated" not in fusion_methods()


def test_registered_fusion_trains_saves_and_loads(tmp_path):
    model = build_model("tiny-scratch", fusion="gated", gain=2.0, **SMALL)
    rgb, depth = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 64, 64)
    model.train()(rgb, depth).logits.square().mean().backward()
    assert model.fusion.gate.grad.any()
    save_weights(model, tmp_path / "weights.safetensors", {})
    loaded, _ = load_weights(tmp_path / "weights.safetensors")
    assert loaded.config == model.config
    with torch.inference_mode():
        torch.testing.assert_close(loaded(rgb, depth), model.eval()(rgb, depth), rtol=0, atol=0)


def test_registered_fusion_is_listed_everywhere():
    assert "gated" in make_parser().format_help()
    assert "gated" in check_fusions(["all"])
    assert layer_costs(["gated"], 64, 16, 0)[1]["name"] == "gated"
    (variant,) = parse_variants(["gated"])
    assert variant.meaning == "a learned share of the other stream"


def test_registered_fusion_has_its_own_switches_alone():
    with pytest.raises(InputError, match=r"^gain has no effect: fusion=sum .* used by gated"):
        build_model("tiny-scratch", fusion="sum", gain=2.0)
    with pytest.raises(InputError, match=r"^theta has no effect: fusion=gated"):
        build_model("tiny-scratch", fusion="gated", theta=0.1)
    with pytest.raises(InputError, match=r"gain=-1\.0 is not usable"):
        build_model("tiny-scratch", fusion="gated", gain=-1.0)


def test_registered_fusion_exempts_its_parameters_from_decay():
    model = build_model("tiny-scratch", fusion="gated", **SMALL)
    groups = make_optimizer(model, TrainConfig(weight_decay=0.1)).param_groups
    (group,) = [g for g in groups if any(p is model.fusion.gate for p in g["params"])]
    assert group["weight_decay"] == 0


def test_name_that_is_taken_is_refused():
    with pytest.raises(ValueError, match="registered already"):
        register_fusion("gated", "again")(GatedFusion)
