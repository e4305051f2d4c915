"""Channel exchange: which channels go over, where the penalty acts."""

import copy

import pytest
import torch
from fused_models import (
    COUNT,
    blocks_of,
    close,
    encode,
    images,
    loop_heads,
    loop_linear,
    loop_mlp,
    loop_norm,
    run_block,
    small_model,
    tokens,
    with_prefix,
)

from mutualformer_sod.models.encoder import TwoStreamEncoder
from mutualformer_sod.models.joint_encoder import BlockCall

WIDTH = 64


def make(theta=0.9, **options):
    """Scales lie around 1, so that theta = 0.9 exchanges some channels and leaves some."""
    return small_model("channel_exchange", theta=theta, **options).eval()


def loop_exchange(norms, streams, theta):
    """Channel c of m if |gamma| >= theta or c is not in the half of m, else that of m'."""
    out = [stream.clone() for stream in streams]
    halves = range(WIDTH // 2), range(WIDTH // 2, WIDTH)  # of rgb, of depth
    for own, partner in ((0, 1), (1, 0)):
        for c in halves[own]:
            if abs(norms[own].weight[c]) < theta:
                out[own][..., c] = streams[partner][..., c]
    return out


@pytest.mark.parametrize("layer", [0, 3])
def test_block_is_the_equation_in_loops(layer):
    model = make()
    blocks, streams = blocks_of(model, layer), tokens(number=1 + COUNT)
    got = run_block(model, layer, *streams)
    for name in ("norm1", "norm2"):
        norms = [getattr(block, name) for block in blocks]
        normed = [loop_norm(norm, stream) for norm, stream in zip(norms, streams, strict=True)]
        patches = loop_exchange(norms, [stream[:, 1:] for stream in normed], 0.9)
        normed = [with_prefix(n, p) for n, p in zip(normed, patches, strict=True)]
        if name == "norm1":
            streams = [
                stream + loop_linear(block.attn.proj, loop_heads(block.attn, n))
                for block, stream, n in zip(blocks, streams, normed, strict=True)
            ]
    for index, block in enumerate(blocks):
        close(got[index], loop_mlp(block, streams[index], normed[index]))


def test_scales_above_theta_exchange_nothing():
    model = make(theta=0.0)
    separate = TwoStreamEncoder(model.config.encoder, 64).double().eval()
    separate.load_state_dict(model.encoder.state_dict())
    rgb, depth = images(channels=(3, 3))
    for got, want in zip(encode(model, rgb, depth)[:2], separate(rgb, depth)[:2], strict=True):
        for got_tap, want_tap in zip(got, want, strict=True):
            close(got_tap, want_tap)
    assert model.fusion.report([])[1]["exchange_ratio"] == 0


def test_scales_below_theta_exchange_the_halves_and_nothing_else():
    model, (rgb, depth) = make(theta=9.0), tokens()
    got_rgb, got_depth = model.fusion.hooks["norm"](BlockCall(0), rgb, depth)
    half = WIDTH // 2
    for got in (got_rgb, got_depth):
        assert torch.equal(got[..., :half], depth[..., :half])
        assert torch.equal(got[..., half:], rgb[..., half:])
    assert model.fusion.report([])[1]["exchange_ratio"] == 1


def test_scale_of_theta_stays_and_a_negative_one_counts_by_its_size():
    model, (rgb, depth) = make(theta=0.5), tokens()
    norm = blocks_of(model, 0)[0].norm1
    with torch.no_grad():
        norm.weight[:4] = torch.tensor([0.5, -0.5, 0.49, -0.49])
    got, _ = model.fusion.hooks["norm"](BlockCall(0), rgb, depth)
    assert torch.equal(got[..., :2], rgb[..., :2])
    assert torch.equal(got[..., 2:4], depth[..., 2:4])


@pytest.mark.parametrize(("point", "norm"), [("norm", "norm1"), ("mlp_norm", "norm2")])
def test_modalities_and_halves_swapped_together_swap_the_outputs(point, norm):
    model, (rgb, depth) = make(), tokens()
    want = model.fusion.hooks[point](BlockCall(1), rgb, depth)
    norms = [getattr(block, norm) for block in blocks_of(model, 1)]
    halves = [n.weight.detach().roll(WIDTH // 2) for n in norms]
    with torch.no_grad():
        for target, source in zip(norms, reversed(halves), strict=True):
            target.weight.copy_(source)
    rolled = [stream.roll(WIDTH // 2, -1) for stream in (depth, rgb)]
    got = model.fusion.hooks[point](BlockCall(1), *rolled)
    for got_stream, want_stream in zip(got, reversed(want), strict=True):
        assert torch.equal(got_stream, want_stream.roll(WIDTH // 2, -1))


class TestReport:
    def test_penalty_is_the_weighted_mean_scale_of_the_halves(self):
        model = make(sparsity=0.3)
        scales = []
        for layer in range(4):
            for index, block in enumerate(blocks_of(model, layer)):
                for norm in (block.norm1, block.norm2):
                    for c in range(index * WIDTH // 2, (index + 1) * WIDTH // 2):
                        scales.append(norm.weight[c].abs())
        losses, statistics = model.fusion.report([])
        close(losses["sparsity"], 0.3 * sum(scales) / len(scales))
        below = sum(bool(scale < 0.9) for scale in scales)
        assert 0 < below < len(scales)
        assert statistics["exchange_ratio"].item() == pytest.approx(below / len(scales), abs=1e-6)

    def test_penalty_pulls_at_the_halves_alone(self):
        model = make()
        model.fusion.report([])[0]["sparsity"].backward()
        channels = torch.arange(WIDTH)
        for layer in range(4):
            for index, block in enumerate(blocks_of(model, layer)):
                allowed = channels // (WIDTH // 2) == index
                for norm in (block.norm1, block.norm2):
                    assert torch.equal(norm.weight.grad != 0, allowed)
        trained = {n for n, p in model.named_parameters() if p.grad is not None}
        assert all(".norm1.weight" in name or ".norm2.weight" in name for name in trained)

    def test_copy_reports_its_own_scales(self):
        model = make()
        twin = copy.deepcopy(model)
        want = model.fusion.report([])[0]["sparsity"].item()
        with torch.no_grad():
            for parameter in twin.encoder.parameters():
                parameter.mul_(2)
        assert twin.fusion.report([])[0]["sparsity"].item() == pytest.approx(2 * want)
        assert model.fusion.report([])[0]["sparsity"].item() == want
