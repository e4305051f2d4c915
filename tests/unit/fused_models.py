"""Small models for the tests of the fusions, and a ViT block written in plain loops."""

import copy

import torch
import torch.nn.functional as F

from mutualformer_sod import build_model
from mutualformer_sod.configs.fusion import fusion_methods

FUSIONS = list(fusion_methods())
IN_ENCODER = [name for name, method in fusion_methods().items() if method.in_encoder]
ON_FEATURES = [name for name in FUSIONS if name not in IN_ENCODER]
GRID = (2, 3)
COUNT = GRID[0] * GRID[1]
SMALL = {
    "feature_blocks": (1, 3),
    "dim": 32,
    "decoder_width": 16,
    "detail_width": 8,
    "image_size": 64,
}


def small_model(fusion, seed=0, **overrides):
    """A detector on a ViT 64 wide with a CLS token, in float64, none of its weights trivial."""
    torch.manual_seed(seed)
    settings = {"backbone": "test_vit", "stem": "patch", "feature_blocks": (2, 4), "image_size": 64}
    model = build_model("tiny-scratch", fusion=fusion, **(settings | {"dim": 16} | overrides))
    return scrambled(model).double()


def scrambled(model, seed=0):
    """Move every vector, norms and layer scales among them, away from its 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():  # shared ones once
            if parameter.ndim == 1:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter += 0.3 * noise.to(parameter.dtype)
    return model


def images(count=2, size=(32, 48), seed=0, channels=(3, 1)):
    """rgb (B, 3, H, W) and depth (B, 1, H, W), float64 in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(count, c, *size, generator=generator, dtype=torch.float64) for c in channels]


def tokens(count=2, number=COUNT, width=64, seed=0):
    """Tokens of rgb and of depth, (B, N, C) float64 each."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(count, number, width, generator=generator, dtype=torch.float64)
        for _ in range(2)
    ]


def encode(model, rgb, depth):
    """Features of both streams with the model's method inside, and its notes."""
    return model.encoder(rgb, depth, model.fusion)


def run_block(model, layer, rgb, depth):
    """One block of the joint encoder with the model's method; all tensors are (B, 1 + N, C)."""
    joint = model.encoder.joint
    return joint.run_block(layer, rgb, depth, model.fusion, joint.position(GRID))[:2]


def blocks_of(model, layer):
    """A block as rgb and as depth have it: norms of their own, the rest shared."""
    streams = model.encoder.rgb_stream, model.encoder.depth_stream
    return [stream.body.blocks[layer] for stream in streams]


def loop_norm(norm, sequence):
    """LayerNorm token by token: (B, N, C) -> the same."""
    out = torch.empty_like(sequence)
    for b in range(sequence.shape[0]):
        for i in range(sequence.shape[1]):
            token = sequence[b, i]
            centred = token - token.mean()
            deviation = (centred.square().mean() + norm.eps).sqrt()
            out[b, i] = norm.weight * centred / deviation + norm.bias
    return out


def loop_heads(attention, sequence):
    """Merged heads of self-attention before its output projection: (B, N, C) -> the same."""
    batch, count, width = sequence.shape
    heads = attention.num_heads
    size = width // heads
    out = torch.empty_like(sequence)
    for b in range(batch):
        query, key, value = loop_linear(attention.qkv, sequence[b]).split(width, dim=-1)
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            for i in range(count):
                logits = torch.stack(
                    [query[i, part] @ key[j, part] / size**0.5 for j in range(count)]
                )
                weights = logits.exp() / logits.exp().sum()
                out[b, i, part] = sum(weights[j] * value[j, part] for j in range(count))
    return out


def loop_linear(linear, sequence):
    """A Linear layer's product without the module."""
    return sequence @ linear.weight.T + linear.bias


def loop_mlp(block, sequence, normed=None):
    """The second half of a block: X + MLP(LN(X))."""
    normed = loop_norm(block.norm2, sequence) if normed is None else normed
    return sequence + loop_linear(block.mlp.fc2, F.gelu(loop_linear(block.mlp.fc1, normed)))


def with_prefix(sequence, patches):
    """A sequence whose tokens after the CLS token are replaced."""
    return torch.cat((sequence[:, :1], patches), dim=1)


def modalities_swapped(model, own_names):
    """A copy whose norms, and whose parts of the method named by modality, have changed places."""
    swapped = copy.deepcopy(model)
    names = [("encoder.rgb_stream", "encoder.depth_stream"), *own_names]
    for rgb_name, depth_name in names:
        for own, other in ((rgb_name, depth_name), (depth_name, rgb_name)):
            swapped.get_submodule(own).load_state_dict(model.get_submodule(other).state_dict())
    return swapped


def assert_swapped_taps(model, swapped):
    rgb, depth = images(channels=(3, 3))
    for got, want in zip(
        encode(swapped, depth, rgb)[:2], reversed(encode(model, rgb, depth)[:2]), strict=True
    ):
        for got_tap, want_tap in zip(got, want, strict=True):
            close(got_tap, want_tap)


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
