"""GeminiFusion: its block in loops, and that a token sees nobody but itself and its partner."""

import pytest
import torch
import torch.nn.functional as F
from fused_models import (
    COUNT,
    assert_swapped_taps,
    blocks_of,
    close,
    images,
    loop_heads,
    loop_linear,
    loop_mlp,
    loop_norm,
    modalities_swapped,
    run_block,
    scrambled,
    small_model,
    tokens,
    with_prefix,
)

from mutualformer_sod.models.fusion.gemini_fusion import GeminiBlock

SWITCHES = [(True, True), (False, True), (True, False), (False, False)]


def make_block(width=16, noise=True, phi=True):
    torch.manual_seed(0)
    return scrambled(GeminiBlock(width, noise, phi)).double()


def loop_token(block, attention, x, y):
    """x + MHA(x; [x + n_K, x phi]; [x + n_V, y]) of one token, over 8 heads."""
    noise_key, noise_value = torch.zeros(2, len(x)) if attention.noise is None else attention.noise
    second = y
    if block.relate is not None:
        first_layer, _, second_layer = block.relate
        hidden = F.gelu(loop_linear(first_layer, torch.cat((x, y))))
        exponentials = loop_linear(second_layer, hidden).exp()
        second = x * exponentials / exponentials.sum()
    query = loop_linear(attention.query, x)
    keys = [loop_linear(attention.key, key) for key in (x + noise_key, second)]
    values = [loop_linear(attention.value, value) for value in (x + noise_value, y)]
    mixed = torch.zeros_like(x)
    size = len(x) // 8
    for h in range(8):
        part = slice(h * size, (h + 1) * size)
        weights = torch.stack([(query[part] @ key[part] / size**0.5).exp() for key in keys])
        weights = weights / weights.sum()
        mixed[part] = weights[0] * values[0][part] + weights[1] * values[1][part]
    return x + loop_linear(attention.out, mixed)


def loop_fuse(block, rgb, depth):
    """Both directions, image by image, token by token."""
    out = [torch.empty_like(rgb), torch.empty_like(depth)]
    for b in range(rgb.shape[0]):
        for i in range(rgb.shape[1]):
            out[0][b, i] = loop_token(block, block.rgb, rgb[b, i], depth[b, i])
            out[1][b, i] = loop_token(block, block.depth, depth[b, i], rgb[b, i])
    return out


@pytest.mark.parametrize(("noise", "phi"), SWITCHES)
def test_module_is_the_papers_equations_in_loops(noise, phi):
    block, streams = make_block(noise=noise, phi=phi), tokens(number=3, width=16)
    for got, want in zip(block(*streams), loop_fuse(block, *streams), strict=True):
        close(got, want)


@pytest.mark.parametrize("layer", [0, 3])
def test_it_acts_on_the_merged_heads_of_its_block(layer):
    model = small_model("gemini_fusion").eval()
    streams, blocks = tokens(number=1 + COUNT), blocks_of(model, layer)
    heads = [
        loop_heads(block.attn, loop_norm(block.norm1, stream))
        for block, stream in zip(blocks, streams, strict=True)
    ]
    fused = loop_fuse(model.fusion.blocks[layer], *(stream[:, 1:] for stream in heads))
    got = run_block(model, layer, *streams)
    for index, block in enumerate(blocks):
        attended = loop_linear(block.attn.proj, with_prefix(heads[index], fused[index]))
        close(got[index], loop_mlp(block, streams[index] + attended))


@pytest.mark.parametrize(("noise", "phi"), SWITCHES)
@pytest.mark.parametrize("perturbed", [0, 1])
def test_gemini_fusion_ignores_the_partner_at_another_position(perturbed, noise, phi):
    block, streams = make_block(noise=noise, phi=phi), tokens(number=5, width=16)
    before = block(*streams)
    streams[perturbed][:, 2] += 1
    for old, new in zip(before, block(*streams), strict=True):
        assert ((old != new).any(-1) == (torch.arange(5) == 2)).all()


@pytest.mark.parametrize(("noise", "phi"), SWITCHES)
def test_gemini_fusion_with_swapped_modalities_swaps_the_features(noise, phi):
    model = small_model("gemini_fusion", noise=noise, phi=phi).eval()
    names = [(f"fusion.blocks.{i}.rgb", f"fusion.blocks.{i}.depth") for i in range(4)]
    assert_swapped_taps(model, modalities_swapped(model, names))


def test_noise_is_standard_normal_for_each_block_and_modality():
    torch.manual_seed(0)
    blocks = [GeminiBlock(256) for _ in range(4)]
    noise = torch.stack([p.noise for block in blocks for p in (block.rgb, block.depth)]).flatten(1)
    assert noise.mean().item() == pytest.approx(0, abs=0.06)  # 4 sigma of 4096 draws
    assert noise.std().item() == pytest.approx(1, abs=0.045)
    assert len(torch.unique(noise)) == noise.numel()


def test_gemini_block_without_a_part_lacks_its_parameters():
    names = {name for name, _ in GeminiBlock(16, noise=False, phi=False).named_parameters()}
    assert not any("noise" in name or "relate" in name for name in names)


def test_gemini_fusion_trains_every_parameter():
    model = small_model("gemini_fusion").train()
    output = model(*images())
    sum(stream.logits.square().mean() for stream in output.streams.values()).backward()
    for name, parameter in model.fusion.blocks.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith("key.bias"):  # the same in both keys: softmax does not see it
            assert parameter.grad.any(), name


def test_gemini_block_of_a_width_not_divisible_by_8_is_refused():
    with pytest.raises(ValueError, match=r"width 20 .* multiple of the method's 8 heads") as error:
        GeminiBlock(20)
    assert "\n" not in str(error.value)
