"""Run timm's plain vision transformers block by block.

timm's own ``forward_intermediates`` does not return the finer maps of a stem and does not let
a fusion method act between the parts of a block.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import RmsNorm, apply_rot_embed_cat
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import Tensor, nn

from mutualformer_sod.models.drop_path import Draws, drop_path
from mutualformer_sod.models.stem import FineStem

VITS = (VisionTransformer, Eva)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, RmsNorm, nn.modules.batchnorm._BatchNorm)
BLOCKS = (Block, EvaBlock)
ATTENTIONS = (Attention, EvaAttention)


class Embedding(NamedTuple):
    """Input of the first block."""

    tokens: Tensor  # (B, P + N, C) float, prefix tokens (CLS, registers), then patches
    rotary: Sequence[Tensor | None]  # one rotary embedding or None per block
    fine_maps: list[Tensor]  # finer maps of a stem, (B, C_l, h_l, w_l) each, shallow to deep
    grid: tuple[int, int]  # numbers (h, w) of patches per column and row; N = h w


def embed(body: nn.Module, image: Tensor) -> Embedding:
    """Embed the patches of normalised (B, 3, H, W) float images and add position embeddings.

    ``body`` is one of ``VITS``, created with ``dynamic_img_size=True``. H and W must be multiples
    of the patch size.
    """
    patches, fine_maps = body.patch_embed, []
    if isinstance(patches.proj, FineStem):
        fine_maps, coarse = patches.proj.maps(image)
        tokens = patches.norm(coarse.permute(0, 2, 3, 1))  # dynamic_img_size requires NHWC
    else:
        tokens = patches(image)
    tokens, rotary = body._pos_embed(tokens), None
    if isinstance(body, Eva):
        tokens, rotary = tokens
    depth = len(body.blocks)
    per_block = rotary is not None and getattr(body, "rope_mixed", False)
    return Embedding(
        body.norm_pre(tokens),
        list(rotary) if per_block else [rotary] * depth,
        fine_maps,
        patches.dynamic_feat_size(image.shape[-2:]),
    )


def run_block(block: nn.Module, tokens: Tensor, rotary: Tensor | None, draws: Draws) -> Tensor:
    """Run one block on (B, P + N, C) tokens, with its rotary position embedding or None.

    ``draws`` are the random numbers of the two residual branches, for ``drop_path.drop_path``. Only
    ``BLOCKS`` use them; timm's other blocks draw stochastic depth from torch's generator.
    """
    if type(block) not in BLOCKS:
        return block(tokens) if rotary is None else block(tokens, rope=rotary)
    tokens = add_branch(block, 1, tokens, attend(block, block.norm1(tokens), rotary), draws[0])
    return add_branch(block, 2, tokens, block.mlp(block.norm2(tokens)), draws[1])


def attend(block: nn.Module, normed: Tensor, rotary: Tensor | None) -> Tensor:
    """Apply a block's attention and output projection: (B, P + N, C) -> (B, P + N, C)."""
    return block.attn(normed) if rotary is None else block.attn(normed, rope=rotary)


def attention_heads(block: nn.Module, normed: Tensor, rotary: Tensor | None) -> Tensor:
    """Return the merged heads before the output projection: (B, P + N, C) -> (B, P + N, C).

    The block's attention is one of ``ATTENTIONS``.
    """
    attention = block.attn
    qkv = _qkv(attention, normed).unflatten(2, (3, attention.num_heads, -1))
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    query, key = attention.q_norm(query), attention.k_norm(key)
    if rotary is not None:
        query, key = (_rotate(attention, part, rotary).type_as(value) for part in (query, key))
    heads = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    heads = attention.norm(heads)
    gate = getattr(attention, "gate", None)  # old versions of timm have no gate
    return heads if gate is None else heads * gate(normed).sigmoid()


def add_branch(
    block: nn.Module, number: int, tokens: Tensor, branch: Tensor, draws: Tensor | None
) -> Tensor:
    """Add residual branch 1 (attention) or 2 (MLP) with layer scale and stochastic depth."""
    if isinstance(block, Block):
        branch = getattr(block, f"ls{number}")(branch)
    elif (gamma := getattr(block, f"gamma_{number}")) is not None:
        branch = gamma * branch
    rate = getattr(getattr(block, f"drop_path{number}"), "drop_prob", 0.0)
    return tokens + drop_path(branch, rate if block.training else 0.0, draws)


def feature_map(body: nn.Module, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the normalised patch tokens of a block as a map: (B, P + h w, C) -> (B, C, h, w)."""
    patches = body.norm(tokens)[:, body.num_prefix_tokens :]
    return patches.transpose(1, 2).unflatten(2, grid)


def _qkv(attention: nn.Module, normed: Tensor) -> Tensor:
    """Return query, key and value of every head in timm's order, (B, N, 3 C)."""
    if attention.qkv is None:
        projections = attention.q_proj, attention.k_proj, attention.v_proj
        return torch.cat([project(normed) for project in projections], dim=-1)
    if getattr(attention, "q_bias", None) is None:
        return attention.qkv(normed)
    bias = torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
    return F.linear(normed, attention.qkv.weight, bias)


def _rotate(attention: nn.Module, part: Tensor, rotary: Tensor) -> Tensor:
    """Apply rotary position embedding to the patches of queries or keys (B, heads, P + N, d)."""
    prefix = attention.num_prefix_tokens
    half = {"half": True} if getattr(attention, "rotate_half", False) else {}
    patches = apply_rot_embed_cat(part[:, :, prefix:], rotary, **half)
    return torch.cat((part[:, :, :prefix], patches), dim=2)
