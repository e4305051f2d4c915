"""Fusions of features against plain loop-written float64 versions; MutualFormer's ablations."""

import itertools
import math

import pytest
import torch

from mutualformer_sod.configs.diffusion import Diffusion
from mutualformer_sod.configs.fusion import find_fusion, make_fusion_config
from mutualformer_sod.models import MutualFormerBlock
from mutualformer_sod.models.fusion.cross_attention import CrossAttention
from mutualformer_sod.models.fusion.cross_attention_cda import CrossDiffused

B, N, C, HEADS = 2, 5, 8, 2
D = C // HEADS
EXACT = {"rtol": 1e-11, "atol": 1e-11}


def config(fusion="cross_attention", **options):
    heads = {"num_heads": HEADS} if "num_heads" in find_fusion(fusion).switches else {}
    return make_fusion_config(fusion, dim=C, **heads, **options)


def tokens(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(B, N, C, generator=generator, dtype=torch.float64) for _ in range(count)]


def scrambled(module, seed=1):
    """In float64, with no weight at a value that would hide a mistake."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return module


def by_hand_norm(norm, token):
    centred = token - token.mean()
    return centred / (centred.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias


def linear(layer, token, part=slice(None)):
    return layer.weight[part] @ token + layer.bias[part]


def softmax_rows(query, key):
    """softmax(q k^T / sqrt(d)), number by number: two lists of N tokens of d -> N x N."""
    rows = []
    for q in query:
        weights = [math.exp(sum(a * b for a, b in zip(q, k, strict=True)) / D**0.5) for k in key]
        rows.append([weight / sum(weights) for weight in weights])
    return torch.tensor(rows, dtype=torch.float64)


def head_of(layer, normed, part, head):
    """(N, d) of one head of the part'th C outputs of a Linear layer."""
    start = part * C + head * D
    return torch.stack([linear(layer, token, slice(start, start + D)) for token in normed])


def by_hand(block, rgb, depth, affinity_of):
    """Y_m = X_m + (A_m V_m') W_O, image by image and head by head.

    ``affinity_of(block, head, own, other)`` gives the N x N affinity of one side from what it
    of ``own`` and ``other``, names of modalities, from their normalised tokens.
    """
    result = []
    for own_name, other_name in (("rgb", "depth"), ("depth", "rgb")):
        images = []
        for image in range(B):
            normed = {
                name: torch.stack(
                    [by_hand_norm(getattr(block, f"{name}_norm"), token) for token in x[image]]
                )
                for name, x in (("rgb", rgb), ("depth", depth))
            }
            heads = []
            for head in range(HEADS):
                values = head_of(
                    getattr(block, f"{other_name}_key_value"), normed[other_name], 1, head
                )
                weights = affinity_of(block, head, normed, own_name, other_name)
                heads.append(weights @ values)
            merged = torch.cat(heads, dim=1)
            own = (rgb if own_name == "rgb" else depth)[image]
            update = [linear(getattr(block, f"{own_name}_out"), token) for token in merged]
            images.append(own + torch.stack(update))
        result.append(torch.stack(images))
    return result


def crossed(block, head, normed, own, other):
    query = head_of(getattr(block, f"{own}_query"), normed[own], 0, head)
    key = head_of(getattr(block, f"{other}_key_value"), normed[other], 0, head)
    return softmax_rows(query.tolist(), key.tolist())


def diffused(form, epsilon, steps, affinity):
    """S(t+1) = eps L S(t) R + (1 - eps) A from S(0), the cross-affinity, with N x N matrices."""

    def affinity_of(block, head, normed, own, other):
        own_affinity, other_affinity = (
            softmax_rows(
                *(head_of(getattr(block, f"{m}_own"), normed[m], p, head).tolist() for p in (0, 1))
            )
            for m in (own, other)
        )
        joint = (own_affinity + other_affinity) * (1 if affinity == "sum" else 0.5)
        if form == "released":
            left, right = own_affinity.T, other_affinity
        else:
            left, right = own_affinity, other_affinity.T
        state = crossed(block, head, normed, own, other)
        for _ in range(steps):
            state = epsilon * left @ state @ right + (1 - epsilon) * joint
        return state

    return affinity_of


@torch.no_grad()
def test_cross_attention_equals_its_equation():
    block = scrambled(CrossAttention(config()))
    rgb, depth = tokens(2)
    for got, want in zip(block(rgb, depth), by_hand(block, rgb, depth, crossed), strict=True):
        torch.testing.assert_close(got, want, **EXACT)


@pytest.mark.parametrize(
    ("form", "steps", "affinity"),
    list(itertools.product(("released", "paper"), (1, 2), ("sum", "mean"))),
)
@torch.no_grad()
def test_cross_attention_cda_equals_the_recurrence(form, steps, affinity):
    options = {"form": form, "epsilon": 0.3, "steps": steps, "affinity": affinity}
    block = scrambled(CrossDiffused(config(fusion="cross_attention_cda", **options)))
    rgb, depth = tokens(2)
    want = by_hand(block, rgb, depth, diffused(**options))
    for got, side in zip(block(rgb, depth), want, strict=True):
        torch.testing.assert_close(got, side, **EXACT)


@torch.no_grad()
def test_cross_attention_cda_starts_from_the_cross_affinity():
    block = scrambled(CrossDiffused(config(fusion="cross_attention_cda")))
    rgb, depth = tokens(2)
    before = block(rgb, depth)
    block.rgb_query.weight.mul_(2)
    after = block(rgb, depth)
    assert not torch.allclose(after[0], before[0])  # S_rd(0) is of rgb's queries,
    torch.testing.assert_close(after[1], before[1])  # S_dr(0) of those of depth


def swap_modalities(module):
    """Exchange every parameter of rgb with its counterpart of depth."""
    state = module.state_dict()
    twin = {"rgb": "depth", "depth": "rgb"}

    def renamed(name):
        words = name.replace(".", " . ").replace("_", " _ ").split(" ")
        return "".join(twin.get(word, word) for word in words)

    assert {renamed(name) for name in state} == set(state)
    module.load_state_dict({renamed(name): tensor.clone() for name, tensor in state.items()})


TAP_FUSIONS = ["cross_attention", "cross_attention_cda", "sum"]


def make_fusion(fusion, **options):
    settings = config(fusion=fusion, fine_width=8, **options)
    return scrambled(settings.method.module(settings, [6, 10], [16, 16]))


def features(seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [
        [torch.randn(B, c, 2, 3, generator=generator, dtype=torch.float64) for c in (6, 10)]
        for _ in range(2)
    ]


@pytest.mark.parametrize("fusion", TAP_FUSIONS)
@torch.no_grad()
def test_fusion_with_swapped_modalities_swaps_the_streams(fusion):
    blocks = {} if fusion == "sum" else {"blocks_per_level": 2}
    module = make_fusion(fusion, head="ensemble", **blocks)
    rgb, depth = features()
    before = module(rgb, depth)
    swap_modalities(module)
    for was, now in zip(before, module(depth, rgb), strict=True):
        torch.testing.assert_close(now, torch.cat(was.chunk(2)[::-1]), **EXACT)
        assert not torch.allclose(*was.chunk(2))


@pytest.mark.parametrize("fusion", TAP_FUSIONS)
@torch.no_grad()
def test_merged_map_with_swapped_modalities_is_the_same(fusion):
    module = make_fusion(fusion, head="merge")
    rgb, depth = features()
    before = module(rgb, depth)
    swap_modalities(module)
    for was, now in zip(before, module(depth, rgb), strict=True):
        torch.testing.assert_close(now, was, **EXACT)


@torch.no_grad()
def test_sum_adds_the_projections():
    module = make_fusion("sum", head="merge")
    rgb, depth = features()
    for level, got in enumerate(module(rgb, depth)):
        pairs = ((module.rgb_proj, rgb), (module.depth_proj, depth))
        want = sum(proj[level](x[level].permute(0, 2, 3, 1)) for proj, x in pairs)
        torch.testing.assert_close(got, want.permute(0, 3, 1, 2), **EXACT)


@torch.no_grad()
def test_sum_keeps_the_streams_independent():
    module = make_fusion("sum", head="ensemble")
    rgb, depth = features()
    other = [tokens + 1 for tokens in depth]
    for was, now in zip(module(rgb, depth), module(rgb, other), strict=True):
        torch.testing.assert_close(now[:B], was[:B], rtol=0, atol=0)


def make_block(**options):
    return scrambled(MutualFormerBlock(C, HEADS, **options))


@torch.no_grad()
def block_output(block):
    rgb, depth, fused = tokens(3)
    return block(torch.cat((rgb, depth), dim=-1), fused)


@torch.no_grad()
def aggregates(block, rgb, depth):
    """Return the inputs of the joint aggregation, (B, N, C) of each modality."""
    seen = []
    handle = block.joint_aggregate.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    block.modality_norm = torch.nn.Identity()  # of both modalities together
    block(torch.cat((rgb, depth), dim=-1), torch.zeros_like(rgb))
    handle.remove()
    return seen[0].chunk(2, dim=-1)


def test_block_without_crossing_keeps_the_modalities_independent():
    block = make_block(cross="none")
    rgb, depth, other = tokens(3)
    before = aggregates(block, rgb, depth)
    torch.testing.assert_close(aggregates(block, rgb, other)[0], before[0], rtol=0, atol=0)
    torch.testing.assert_close(aggregates(block, other, depth)[1], before[1], rtol=0, atol=0)


@pytest.mark.parametrize("cross", ["diffusion", "attention"])
def test_block_with_crossing_makes_each_modality_depend_on_the_other(cross):
    block = make_block(cross=cross)
    rgb, depth, other = tokens(3)
    before = aggregates(block, rgb, depth)
    assert not torch.allclose(aggregates(block, rgb, other)[0], before[0])
    assert not torch.allclose(aggregates(block, other, depth)[1], before[1])


@pytest.mark.parametrize("cross", ["attention", "none"])
@torch.no_grad()
def test_block_with_another_crossing_equals_its_equation(cross):
    block = make_block(cross=cross)
    rgb, depth = tokens(2)
    got = aggregates(block, rgb, depth)
    for side, (own, other) in enumerate((("rgb", "depth"), ("depth", "rgb"))):
        aggregate = getattr(block, f"{own}_aggregate")
        for image in range(B):
            x = {"rgb": rgb[image], "depth": depth[image]}
            own_heads, crossed_heads = [], []
            for head in range(HEADS):
                query, key, values = (
                    head_of(getattr(block, f"{own}_qkv"), x[own], part, head) for part in range(3)
                )
                own_heads.append(softmax_rows(query.tolist(), key.tolist()) @ values)
                _, key, values = (
                    head_of(getattr(block, f"{other}_qkv"), x[other], part, head)
                    for part in range(3)
                )
                crossed_heads.append(softmax_rows(query.tolist(), key.tolist()) @ values)
            joined = torch.cat(own_heads + (crossed_heads if cross == "attention" else []), dim=1)
            want = torch.stack([linear(aggregate, token) for token in joined])
            torch.testing.assert_close(got[side][image], want, **EXACT)


def shapes(block):
    return {name: tuple(parameter.shape) for name, parameter in block.named_parameters()}


def test_block_without_fused_attention_lacks_its_parameters_alone():
    whole, without = shapes(make_block()), shapes(make_block(fused_attention=False))
    gone = {
        f"{layer}.{kind}"
        for layer in ("fused_norm", "fused_qkv", "fused_proj")
        for kind in ("weight", "bias")
    }
    assert without == {name: shape for name, shape in whole.items() if name not in gone}
    assert gone < set(whole)


def test_block_without_crossing_has_aggregations_of_half_the_width():
    whole, without = shapes(make_block()), shapes(make_block(cross="none"))
    narrow = dict.fromkeys(("rgb_aggregate.weight", "depth_aggregate.weight"), (C, C))
    assert without == whole | narrow
    assert shapes(make_block(cross="attention")) == whole


def test_block_without_fused_attention_passes_the_fused_stream_on():
    block = make_block(fused_attention=False)
    rgb, depth, fused = tokens(3)
    with torch.no_grad():
        for layer in (block.mlp.fc2, block.joint_aggregate):
            layer.weight.zero_()
            layer.bias.zero_()
        got = block(torch.cat((rgb, depth), dim=-1), fused)
    torch.testing.assert_close(got, fused, **EXACT)


@pytest.mark.parametrize(
    "switch",
    [
        {"diffusion": Diffusion(form="paper")},
        {"diffusion": Diffusion(epsilon=0.3)},
        {"diffusion": Diffusion(steps=2)},
        {"diffusion": Diffusion(affinity="mean")},
        {"diffusion": Diffusion(initial="affinity")},
        {"cross": "attention"},
        {"cross": "none"},
        {"fused_attention": False},
    ],
    ids=str,
)
def test_block_output_depends_on_every_switch(switch):
    default, switched = make_block(), make_block(**switch)
    if switch != {"cross": "none"}:  # whose weights are of another shape
        state = default.state_dict()
        switched.load_state_dict({name: state[name] for name in switched.state_dict()})
    assert not torch.allclose(block_output(switched), block_output(default), atol=1e-4)
