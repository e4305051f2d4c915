"""Keyed stochastic depth: decisions that depend on sample and module alone."""

import pytest
import timm
import timm.layers
import torch
from torch import nn

from mutualformer_sod.inference.export import CAN_EXPORT
from mutualformer_sod.models.drop_path import (
    DropPath,
    keyed_draws,
    replace_drop_path,
    set_drop_path_keys,
)

KEYS = torch.arange(20_000)


def kept(layer, keys):
    """(B,) bool: which samples pass a layer in training mode."""
    set_drop_path_keys(layer, keys)
    return layer.train()(torch.ones(len(keys), 1))[:, 0] > 0


def splitmix(state):
    """SplitMix64's finaliser in Python's unbounded integers."""
    mask = 2**64 - 1
    state = (state ^ (state & mask) >> 30) * 0xBF58476D1CE4E5B9 & mask
    state = (state ^ state >> 27) * 0x94D049BB133111EB & mask
    return state ^ state >> 31


def test_draws_are_the_hash_modulo_2_to_the_64():
    keys = [0, 1, -1, 2**63 - 1, -(2**63), 123456789]
    gamma = 0x9E3779B97F4A7C15
    got = keyed_draws(torch.tensor(keys), torch.tensor([0, 7]))
    for row, index in zip(got.tolist(), (0, 7), strict=True):
        for draw, key in zip(row, keys, strict=True):
            inner = splitmix((key + gamma) % 2**64)
            assert draw == splitmix((inner + (index + 1) * gamma) % 2**64) >> 40


@pytest.mark.parametrize("stride", [1, 100_003, 2**40])
@pytest.mark.parametrize("drop_prob", [0.1, 0.5])
def test_the_share_kept_is_near_one_minus_p(drop_prob, stride):
    share = kept(DropPath(drop_prob, 3), KEYS * stride).float().mean().item()
    assert share == pytest.approx(1 - drop_prob, abs=0.015)  # 4 sigma


def test_modules_decide_independently_of_each_other():
    decisions = torch.stack([kept(DropPath(0.5, index), KEYS) for index in range(8)]).double()
    correlations = torch.corrcoef(decisions) - torch.eye(8)
    assert correlations.abs().max() < 0.03  # 4 sigma


def test_neighbouring_samples_decide_independently_of_each_other():
    decisions = kept(DropPath(0.5), KEYS).double()
    correlation = torch.corrcoef(torch.stack((decisions[1:], decisions[:-1])))[0, 1]
    assert abs(correlation) < 0.03


@pytest.mark.parametrize("sizes", [(1,) * 12, (5, 7), (3, 3, 6)])
def test_the_decision_is_the_same_in_any_batch(sizes):
    layer = DropPath(0.4, 11)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    whole = kept(layer, KEYS[:12])
    assert whole.any() and not whole.all()
    parts = torch.cat([kept(layer, keys) for keys in KEYS[:12][order].split(sizes)])
    assert torch.equal(parts, whole[order])


def test_torchs_generator_is_neither_read_nor_moved():
    layer = DropPath(0.5)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = kept(layer, KEYS[:64])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(kept(layer, KEYS[:64]), first)


def test_kept_samples_are_scaled_and_dropped_ones_get_no_gradient():
    layer = DropPath(0.25).train()
    set_drop_path_keys(layer, KEYS[:64])
    branch = torch.ones(64, 2, 3, requires_grad=True)
    out = layer(branch)
    out.sum().backward()
    assert out.detach().unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(branch.grad, out.detach())


@pytest.mark.parametrize("layer", [DropPath(0.5).eval(), DropPath(0.0).train()])
def test_eval_and_rate_zero_are_the_identity(layer):
    set_drop_path_keys(layer, KEYS[:4])
    branch = torch.randn(6, 2)
    assert layer(branch) is branch


def test_without_keys_torchs_generator_decides():
    layer = DropPath(0.5).train()
    set_drop_path_keys(layer, KEYS[:1])
    set_drop_path_keys(layer, None)
    outs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outs.append(layer(torch.ones(200, 1)))
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], outs[2])
    assert outs[0].mean().item() == pytest.approx(1, abs=0.3)


def test_keys_of_another_batch_are_refused():
    layer = DropPath(0.5, 4).train()
    set_drop_path_keys(layer, KEYS[:3])
    with pytest.raises(AssertionError, match="DropPath 4 has keys of 3 samples and a batch of 2"):
        layer(torch.ones(2, 1))


def test_timms_modules_are_replaced_and_all_are_numbered_in_module_order():
    inner = nn.ModuleDict({"a": timm.layers.DropPath(0.1), "b": nn.ReLU()})
    model = nn.Sequential(inner, DropPath(0.2), nn.Sequential(timm.layers.DropPath(0.3))).eval()
    assert replace_drop_path(model) == 3
    found = [module for module in model.modules() if isinstance(module, DropPath)]
    assert [(m.drop_prob, m.index, m.training) for m in found] == [
        (0.1, 0, False),
        (0.2, 1, False),
        (0.3, 2, False),
    ]
    assert not any(isinstance(module, timm.layers.DropPath) for module in model.modules())


def test_keys_make_a_timm_model_a_function_of_the_sample():
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=4, drop_path_rate=0.5, num_classes=0
    )
    assert replace_drop_path(model) == 6  # two a block, but for the first, whose rate is 0
    model.train()
    images = torch.rand(6, 3, 32, 32)

    def features(part, keys):
        set_drop_path_keys(model, keys[part])
        with torch.no_grad():
            return model(images[part])

    whole = features(slice(None), KEYS[:6])
    parts = torch.cat([features(slice(0, 2), KEYS[:6]), features(slice(2, 6), KEYS[:6])])
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)
    assert (features(slice(None), KEYS[6:12]) - whole).abs().max() > 1e-2


@pytest.mark.skipif(not CAN_EXPORT, reason="tracing needs torch 2.6 or newer")
def test_new_keys_do_not_compile_the_graph_anew():
    layer = DropPath(0.5).train()
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(layer, backend=backend, fullgraph=True)
    for start in (0, 8, 16):
        keys = KEYS[start : start + 8]
        set_drop_path_keys(layer, keys)
        assert torch.equal(compiled(torch.ones(8, 1))[:, 0] > 0, kept(layer, keys))
    assert len(graphs) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_decides_as_the_cpu_does():
    indices = torch.arange(5)
    assert torch.equal(keyed_draws(KEYS.cuda(), indices.cuda()).cpu(), keyed_draws(KEYS, indices))
