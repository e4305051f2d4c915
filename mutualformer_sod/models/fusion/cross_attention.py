"""Cross-attention at the taps, plain and post-optimised by cross-diffusion."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mutualformer_sod.configs.fusion import FusionConfig
from mutualformer_sod.models.affinity import cross_diffusion, self_affinity
from mutualformer_sod.models.fusion.streams import Fusion


class CrossAttentionFusion(Fusion):
    """Each stream attends to the other one: Y_m = X_m + Attn(X_m W_Q, X_m' W_K, X_m' W_V) W_O.

    Pre-norm, as in CrossViT (ICCV 2021) and the two-stream detectors after it; every direction has
    projections of its own, ``config.blocks_per_tap`` of these blocks at a tap. With
    ``fusion="cross_attention_cda"`` the attention's affinity is S(0) of MutualFormer's
    cross-diffusion instead (the paper's second claim).
    """

    def __init__(self, config: FusionConfig, channels: list[int], strides: list[int]) -> None:
        super().__init__(config, channels, strides)
        block = CrossDiffused if config.fusion == "cross_attention_cda" else CrossAttention
        self.blocks = nn.ModuleList(
            nn.ModuleList(block(config) for _ in range(config.blocks_per_tap))
            for _ in self.rgb_proj
        )

    def mix(self, level: int, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, C) twice -> the same."""
        for block in self.blocks[level]:
            rgb, depth = block(rgb, depth)
        return rgb, depth


class CrossAttention(nn.Module):
    """Multi-head cross-attention in both directions, at once: the new tokens of both streams."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        dim, bias = config.dim, config.qkv_bias
        self.num_heads = config.num_heads
        self.rgb_norm, self.depth_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.rgb_query, self.depth_query = (nn.Linear(dim, dim, bias=bias) for _ in range(2))
        # What the other stream asks of this one.
        self.rgb_key_value, self.depth_key_value = (
            nn.Linear(dim, 2 * dim, bias=bias) for _ in range(2)
        )
        self.rgb_out, self.depth_out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, C) of each stream -> the same."""
        rgb_normed, depth_normed = self.rgb_norm(rgb), self.depth_norm(depth)
        (rgb_query,) = self._heads(self.rgb_query(rgb_normed), 1)
        (depth_query,) = self._heads(self.depth_query(depth_normed), 1)
        rgb_keys = self._heads(self.rgb_key_value(rgb_normed), 2)
        depth_keys = self._heads(self.depth_key_value(depth_normed), 2)
        rgb_update, depth_update = self.attend(
            (rgb_query, *rgb_keys), (depth_query, *depth_keys), rgb_normed, depth_normed
        )
        rgb = rgb + self.rgb_out(rgb_update.transpose(1, 2).flatten(2))
        return rgb, depth + self.depth_out(depth_update.transpose(1, 2).flatten(2))

    def attend(
        self, rgb: tuple[Tensor, ...], depth: tuple[Tensor, ...], *normed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Values of the other stream, weighted: (query, key, values) of each -> (B, heads, N, d).

        ``normed`` are the normalised tokens (B, N, C) of both streams.
        """
        return (
            F.scaled_dot_product_attention(rgb[0], *depth[1:]),
            F.scaled_dot_product_attention(depth[0], *rgb[1:]),
        )

    def _heads(self, tokens: Tensor, parts: int) -> tuple[Tensor, ...]:
        split = tokens.unflatten(2, (parts, self.num_heads, -1))
        return split.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, d) each


class CrossDiffused(CrossAttention):
    """Cross-attention whose affinity S(0) is diffused by self-affinities W_r, W_d of its own.

    S(0) of the rgb side is softmax(q_r k_d^T / sqrt(d)), and the reverse; see
    ``affinity.cross_diffusion`` for what comes of it.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__(config)
        self.rgb_own, self.depth_own = (
            nn.Linear(config.dim, 2 * config.dim, bias=config.qkv_bias) for _ in range(2)
        )
        names = ("form", "epsilon", "steps", "affinity")
        self.diffusion = {name: getattr(config, name) for name in names}

    def attend(
        self, rgb: tuple[Tensor, ...], depth: tuple[Tensor, ...], *normed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See ``CrossAttention.attend``."""
        crossed = self_affinity(rgb[0], depth[1]), self_affinity(depth[0], rgb[1])
        rgb_affinity = self_affinity(*self._heads(self.rgb_own(normed[0]), 2))
        depth_affinity = self_affinity(*self._heads(self.depth_own(normed[1]), 2))
        return cross_diffusion(
            rgb_affinity, depth_affinity, rgb[2], depth[2], initial=crossed, **self.diffusion
        )
