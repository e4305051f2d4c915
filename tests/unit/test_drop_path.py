"""Keyed stochastic depth: decisions that depend on the image and the branch alone."""

import pytest
import torch
from fused_models import images, small_model

from mutualformer_sod.inference.export import CAN_EXPORT
from mutualformer_sod.models.drop_path import branch_draws, drop_path, keyed_draws

KEYS = torch.arange(20_000)


def kept(rate, keys, branch=0):
    """(B,) bool: which images keep a residual branch."""
    (draws,) = branch_draws(keys, branch, 1)
    return drop_path(torch.ones(len(keys), 1), rate, draws)[:, 0] > 0


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
def test_share_kept_is_near_one_minus_p(drop_prob, stride):
    share = kept(drop_prob, KEYS * stride, 3).float().mean().item()
    assert share == pytest.approx(1 - drop_prob, abs=0.015)  # 4 sigma


def test_branches_decide_independently_of_each_other():
    decisions = torch.stack([kept(0.5, KEYS, index) for index in range(8)]).double()
    correlations = torch.corrcoef(decisions) - torch.eye(8)
    assert correlations.abs().max() < 0.03  # 4 sigma


def test_neighbouring_images_decide_independently_of_each_other():
    decisions = kept(0.5, KEYS).double()
    correlation = torch.corrcoef(torch.stack((decisions[1:], decisions[:-1])))[0, 1]
    assert abs(correlation) < 0.03


@pytest.mark.parametrize("sizes", [(1,) * 12, (5, 7), (3, 3, 6)])
def test_decision_is_the_same_in_any_batch(sizes):
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    whole = kept(0.4, KEYS[:12], 11)
    assert whole.any() and not whole.all()
    parts = torch.cat([kept(0.4, keys, 11) for keys in KEYS[:12][order].split(sizes)])
    assert torch.equal(parts, whole[order])


def test_torchs_generator_is_neither_read_nor_moved():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = kept(0.5, KEYS[:64])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(kept(0.5, KEYS[:64]), first)


def test_kept_images_are_scaled_and_dropped_ones_get_no_gradient():
    branch = torch.ones(64, 2, 3, requires_grad=True)
    out = drop_path(branch, 0.25, *branch_draws(KEYS[:64], 0, 1))
    out.sum().backward()
    assert out.detach().unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(branch.grad, out.detach())


def test_rate_zero_is_the_identity():
    branch = torch.randn(6, 2)
    assert drop_path(branch, 0.0, *branch_draws(KEYS[:6], 0, 1)) is branch


def test_without_keys_torchs_generator_decides():
    outs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outs.append(drop_path(torch.ones(200, 1), 0.5, *branch_draws(None, 0, 1)))
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], outs[2])
    assert outs[0].mean().item() == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("stem", ["patch", "hybrid"])
def test_keys_make_training_a_function_of_the_image(stem):
    options = {"encoder_drop_path": 0.5, "drop_path": 0.5, "stem": stem}
    model = small_model("mutualformer", **options).train()
    rgb, depth = images(count=6)
    has_depth = torch.tensor([True, False, True, True, False, True])
    keys = torch.cat((KEYS[:6], KEYS[99:100]))

    @torch.no_grad()
    def logits(part, keys):
        own = torch.cat((keys[:-1][part], keys[-1:]))
        return model(rgb[part], depth[part], has_depth[part], own).logits

    whole = logits(slice(None), keys)
    parts = torch.cat([logits(slice(0, 2), keys), logits(slice(2, 6), keys)])
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-9)
    assert (logits(slice(None), keys + 50) - whole).abs().max() > 1e-3


@pytest.mark.skipif(not CAN_EXPORT, reason="tracing needs torch 2.6 or newer")
def test_new_keys_do_not_compile_the_graph_anew():
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(kept, backend=backend, fullgraph=True)
    for start in (0, 8, 16):
        keys = KEYS[start : start + 8]
        assert torch.equal(compiled(0.5, keys), kept(0.5, keys))
    assert len(graphs) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_decides_as_the_cpu_does():
    indices = torch.arange(5)
    assert torch.equal(keyed_draws(KEYS.cuda(), indices.cuda()).cpu(), keyed_draws(KEYS, indices))
