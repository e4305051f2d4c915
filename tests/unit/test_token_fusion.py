"""TokenFusion: both published forms, what is exchanged, what flows between the modalities."""

import copy

import pytest
import torch
import torch.nn.functional as F
from fused_models import (
    COUNT,
    assert_swapped_taps,
    blocks_of,
    close,
    encode,
    images,
    loop_heads,
    loop_linear,
    loop_mlp,
    loop_norm,
    modalities_swapped,
    run_block,
    small_model,
    tokens,
    with_prefix,
)

from mutualformer_sod.models.joint_encoder import BlockCall

FORMS = ["output", "input"]


def make(**options):
    return small_model("token_fusion", **options).eval()


def score(model, layer, streams, keys=None):
    """Run the first point of a block; the call carries its notes."""
    call = BlockCall(layer, keys=keys)
    model.fusion.score(call, *streams)
    return call


def report(model, *images):
    """Losses and statistics of a batch of images."""
    return model.fusion.report(encode(model, *images)[2])


def loop_score(net, token):
    """First channel of the score of one token: (C,) -> ()."""
    norm, first, _, second, _, third, _, last = net
    hidden = loop_norm(norm, token[None, None])[0, 0]
    for layer in (first, second, third):
        hidden = F.gelu(layer.weight @ hidden + layer.bias)
    logits = (last.weight @ hidden + last.bias).exp()
    return logits[0] / logits.sum()


def loop_scores(nets, streams):
    """(B, N) of each modality, of the patch tokens."""
    return [
        torch.stack([torch.stack([loop_score(net, token) for token in image]) for image in stream])
        for net, stream in zip(nets, streams, strict=True)
    ]


def loop_exchange(streams, scores, theta):
    """Token i of m where its score is theta or more, else token i of the other one."""
    out = [stream.clone() for stream in streams]
    for own, partner in ((0, 1), (1, 0)):
        for b in range(len(streams[0])):
            for i in range(streams[0].shape[1]):
                if scores[own][b, i] < theta:
                    out[own][b, i] = streams[partner][b, i]
    return out


def loop_block(model, layer, streams):
    """The whole block as the specification has it: (B, 1 + N, C) of each modality -> the same."""
    config, fusion, blocks = model.config.fusion, model.fusion, blocks_of(model, layer)
    nets = [nets[layer // 3] for nets in (fusion.rgb_scores, fusion.depth_scores)]
    scores = loop_scores(nets, [stream[:, 1:] for stream in streams])
    weights = [s.unsqueeze(-1) for s in scores]
    if config.score_on == "input":
        patches = loop_exchange([stream[:, 1:] for stream in streams], scores, config.theta)
        streams = [with_prefix(s, p) for s, p in zip(streams, patches, strict=True)]
    attended = []
    for block, stream, weight in zip(blocks, streams, weights, strict=True):
        normed = loop_norm(block.norm1, stream)
        if config.score_on == "input":
            normed = with_prefix(normed, weight * normed[:, 1:])
        attended.append(loop_linear(block.attn.proj, loop_heads(block.attn, normed)))
    if config.score_on == "output":
        scaled = [w * a[:, 1:] for w, a in zip(weights, attended, strict=True)]
        patches = loop_exchange(scaled, scores, config.theta)
        attended = [with_prefix(a, p) for a, p in zip(attended, patches, strict=True)]
    return [loop_mlp(b, s + a) for b, s, a in zip(blocks, streams, attended, strict=True)]


def theta_amid_scores(score_on, layer, streams):
    """A threshold below half of a layer's scores, whatever numbers torch draws for its nets."""
    fusion = make(score_on=score_on, theta=0.5).fusion
    nets = [nets[layer // 3] for nets in (fusion.rgb_scores, fusion.depth_scores)]
    scores = loop_scores(nets, [stream[:, 1:] for stream in streams])
    ranked = torch.cat([s.flatten() for s in scores]).sort().values
    middle = len(ranked) // 2
    return ranked[middle - 1 : middle + 1].mean().item()


@pytest.mark.parametrize("layer", [0, 3])
@pytest.mark.parametrize("score_on", FORMS)
def test_block_is_the_papers_equations_in_loops(score_on, layer):
    streams = tokens(number=1 + COUNT)
    model = make(score_on=score_on, theta=theta_amid_scores(score_on, layer, streams))
    for got, want in zip(
        run_block(model, layer, *streams), loop_block(model, layer, streams), strict=True
    ):
        close(got, want)
    kept = score(model, layer, [stream[:, 1:] for stream in streams]).notes["kept"]
    assert kept.any() and not kept.all()


def cross_gradients(model):
    """Whether each modality's features depend on the other modality's image."""
    rgb, depth = (image.requires_grad_() for image in images(channels=(3, 3)))
    rgb_features, depth_features, _ = encode(model, rgb, depth)
    pairs = (rgb_features, depth), (depth_features, rgb)
    return [
        bool(torch.autograd.grad(sum(t.sum() for t in features), image, retain_graph=True)[0].any())
        for features, image in pairs
    ]


@pytest.mark.parametrize("score_on", FORMS)
def test_scores_above_theta_let_no_gradient_cross(score_on):
    assert cross_gradients(make(score_on=score_on, theta=0.0)) == [False, False]


@pytest.mark.parametrize("score_on", FORMS)
def test_scores_below_theta_let_gradients_cross(score_on):
    assert cross_gradients(make(score_on=score_on, theta=2.0)) == [True, True]


@pytest.mark.parametrize("score_on", FORMS)
def test_scores_below_theta_are_full_exchange(score_on):
    below, full = make(score_on=score_on, theta=2.0), make(score_on=score_on, exchange="full")
    outputs = [encode(model, *inputs()) for model in (below, full)]
    for got, want in zip(outputs[0][:2], outputs[1][:2], strict=True):
        for got_tap, want_tap in zip(got, want, strict=True):
            close(got_tap, want_tap)
    for model, (*_, notes) in zip((below, full), outputs, strict=True):
        assert model.fusion.report(notes)[1]["exchange_ratio"] == 1


def inputs(size=(32, 48), count=2):
    return images(count=count, size=size, channels=(3, 3))


def test_full_exchange_swaps_the_outputs_of_attention():
    model = make(exchange="full")
    streams = tokens()
    call = score(model, 0, streams)
    rgb, depth = model.fusion.scale(call, *streams)
    got = model.fusion.scale_and_exchange(call, *streams)
    assert torch.equal(got[0], depth) and torch.equal(got[1], rgb)


def test_ratio_is_the_share_of_tokens_below_theta():
    model = make(theta=0.5)
    below = total = 0
    notes = []
    for layer in range(4):
        streams = tokens(seed=layer)
        notes.append(score(model, layer, streams).notes)
        nets = [n[layer // 3] for n in (model.fusion.rgb_scores, model.fusion.depth_scores)]
        scores = torch.stack(loop_scores(nets, streams))
        below, total = below + (scores < 0.5).sum().item(), total + scores.numel()
    ratio = model.fusion.report(notes)[1]["exchange_ratio"].item()
    assert ratio == pytest.approx(below / total, abs=1e-6)
    assert 0 < ratio < 1


class TestSparsity:
    def test_it_is_the_weighted_mean_of_all_scores(self):
        model = make(sparsity=0.7)
        means, notes = [], []
        for layer in range(4):
            streams = tokens(seed=layer)
            notes.append(score(model, layer, streams).notes)
            nets = [n[layer // 3] for n in (model.fusion.rgb_scores, model.fusion.depth_scores)]
            means += [scores.mean() for scores in loop_scores(nets, streams)]
        close(model.fusion.report(notes)[0]["sparsity"], 0.7 * torch.stack(means).mean())

    def test_batch_given_twice_leaves_it(self):
        model = make()
        twice = [torch.cat((image, image)) for image in inputs()]
        close(report(model, *twice)[0]["sparsity"], report(model, *inputs())[0]["sparsity"])

    def test_size_of_the_image_does_not_count(self):
        model = make(sparsity=2.0)
        for nets in (model.fusion.rgb_scores, model.fusion.depth_scores):
            for net in nets:
                torch.nn.init.zeros_(net[-1].weight)
                with torch.no_grad():
                    net[-1].bias.copy_(torch.tensor([0.0, 1.0]))
        want = torch.tensor(2 / (1 + torch.e), dtype=torch.float64)
        for size in ((32, 32), (64, 96)):
            close(report(model, *inputs(size))[0]["sparsity"], want)

    def test_it_trains_the_score_nets_of_both_modalities(self):
        model = make()
        report(model, *inputs())[0]["sparsity"].backward()
        for nets in (model.fusion.rgb_scores, model.fusion.depth_scores):
            assert all(parameter.grad.any() for parameter in nets.parameters())


@pytest.mark.parametrize(("per_block", "group"), [(False, 3), (True, 1)])
def test_score_net_serves_its_group_of_blocks(per_block, group):
    model = make(per_block=per_block)
    streams = tokens()
    assert len(model.fusion.rgb_scores) == len(model.fusion.depth_scores) == -(-4 // group)
    for index in range(len(model.fusion.rgb_scores)):
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.fusion.depth_scores[index][-1].bias[0] += 1
        for layer in range(4):
            (rgb, depth), (other_rgb, other_depth) = (
                score(network, layer, streams).notes["scores"] for network in (model, other)
            )
            assert torch.equal(rgb, other_rgb)
            assert torch.equal(depth, other_depth) == (layer // group != index)


class TestRealign:
    def record(self, model, size):
        """Inputs of the norms of rgb, and the same sums without the embedding."""
        given, left = {}, {}
        body = model.encoder.rgb_stream.body
        for layer, block in enumerate(body.blocks):
            block.norm1.register_forward_pre_hook(
                lambda module, args, layer=layer: given.update({layer: args[0]})
            )
            block.norm2.register_forward_pre_hook(
                lambda module, args, layer=layer: left.update({layer: args[0]})
            )
            block.mlp.register_forward_hook(
                # Called for rgb, then for depth, whose norm2 is another module.
                lambda module, args, out, layer=layer: left.setdefault((layer, "mlp"), out)
            )
        encode(model, *inputs(size))
        return given, {layer: left[layer] + left[layer, "mlp"] for layer in range(4)}

    @pytest.mark.parametrize("size", [(32, 48), (80, 64)])
    def test_later_blocks_get_the_position_embedding_again(self, size):
        model = make(realign=True, theta=0.0)
        given, left = self.record(model, size)
        body = model.encoder.rgb_stream.body
        grid = [side // 16 for side in size]
        position = body._pos_embed(torch.zeros(1, *grid, 64, dtype=torch.float64))
        position[:, 0] = 0  # the CLS token gets none
        assert position.any()
        for layer in (1, 2, 3):
            close(given[layer] - left[layer - 1], position.expand_as(given[layer]))

    def test_it_is_off_unless_asked_for(self):
        given, left = self.record(make(theta=0.0), (32, 48))
        assert all(torch.equal(given[layer], left[layer - 1]) for layer in (1, 2, 3))

    def test_embedding_gets_no_gradient_from_later_blocks(self):
        model = make(realign=True)
        embedding = model.encoder.rgb_stream.body.pos_embed
        out = run_block(model, 1, *tokens(number=1 + COUNT))
        assert torch.autograd.grad(out[0].sum(), embedding, allow_unused=True) == (None,)

    def test_backbone_without_one_is_refused(self):
        with pytest.raises(ValueError, match=r"realign=True: .* no position embedding"):
            make(realign=True, backbone="vit_small_patch16_dinov3")


class TestRandomExchange:
    KEYS = torch.arange(40)

    def kept(self, model, keys, layer=0, number=50):
        """(2, B, N) bool."""
        return score(model.train(), layer, tokens(len(keys), number), keys).notes["kept"]

    @pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("keyed", [True, False])
    def test_share_is_near_the_one_asked_for(self, ratio, keyed):
        model = make(exchange="random", exchange_ratio=ratio)
        if keyed:
            kept = self.kept(model, self.KEYS)
        else:
            kept = score(model.train(), 0, tokens(40, 50)).notes["kept"]
        assert 1 - kept.double().mean().item() == pytest.approx(ratio, abs=0.03)  # 4 sigma
        if ratio in (0, 1):
            assert kept.all() == (ratio == 0) and kept.any() == (ratio == 0)

    def test_image_keeps_its_pattern_in_any_batch(self):
        model = make(exchange="random")
        together = self.kept(model, self.KEYS)
        assert torch.equal(self.kept(model, self.KEYS[7:9]), together[:, 7:9])

    def test_images_layers_and_modalities_differ(self):
        model = make(exchange="random")
        first, second = self.kept(model, self.KEYS), self.kept(model, self.KEYS, layer=1)
        assert not torch.equal(first[:, 0], first[:, 1])
        assert not torch.equal(first[0], first[1])
        assert not torch.equal(first, second)

    def test_evaluation_has_one_pattern_for_all_images(self):
        model = make(exchange="random")
        kept = self.kept(model, self.KEYS)
        model.eval()
        patterns = [
            score(model, 0, tokens(count, 50, seed=count)).notes["kept"] for count in (1, 5)
        ]
        assert torch.equal(patterns[0].expand(2, 5, 50), patterns[1])
        assert not torch.equal(kept[:, :5], patterns[1])

    def test_batch_gives_the_logits_of_its_parts(self):
        model = make(exchange="random").train()
        rgb, depth = images(count=3)
        keys = torch.tensor([5, 6, 7, 99])
        together = model(rgb, depth, keys=keys).logits
        alone = model(rgb[1:2], depth[1:2], keys=keys[[1, 3]]).logits
        close(alone, together[1:2])


@pytest.mark.parametrize("exchange", [{"theta": 0.5}, {"exchange": "full"}])
@pytest.mark.parametrize("score_on", FORMS)
def test_modalities_swapped_with_their_parameters_swap_the_taps(score_on, exchange):
    model = make(score_on=score_on, **exchange)
    names = [("fusion.rgb_scores", "fusion.depth_scores")]
    assert_swapped_taps(model, modalities_swapped(model, names))


def test_scores_stay_in_float32_under_autocast():
    model = make().float()
    streams = [stream.bfloat16() for stream in tokens()]
    want = score(model, 0, [stream.float() for stream in streams]).notes["scores"]
    with torch.autocast("cpu", torch.bfloat16):
        got = score(model, 0, streams).notes["scores"]
    assert got.dtype == torch.float32
    assert torch.equal(got, want)
