"""Stacked MutualFormer blocks over the encoder's taps (IJCV 2024, Fig. 2b; stacking CHOSEN)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mutualformer_sod.configs.fusion import FusionConfig
from mutualformer_sod.models.block import MutualFormerBlock
from mutualformer_sod.models.fusion.streams import Fusion, map_of, pick, tokens_of


class MutualFormerFusion(Fusion):
    """Fuse the taps of two streams into one feature map a tap.

    The first fused stream is f_0 = A([r_1 ; d_1]) with A a 1x1 aggregation; blocks at the attended
    tap l take the modality tokens of tap l and f_{l-1}. The stack never changes resolution.

    Wang et al., "MutualFormer: Multi-Modality Representation Learning via Cross-Diffusion
    Attention", IJCV 2024. Its ablations are switches of ``FusionConfig``.
    """

    def __init__(self, config: FusionConfig, channels: list[int], strides: list[int]) -> None:
        super().__init__(config, channels, strides)
        self.blocks = nn.ModuleList(
            nn.ModuleList(_make_block(config) for _ in range(config.blocks_per_tap))
            for _ in self.rgb_proj
        )
        self.first_aggregate = nn.Linear(2 * config.dim, config.dim)

    def forward(
        self, rgb_taps: list[Tensor], depth_taps: list[Tensor], rows: Tensor | None = None
    ) -> list[Tensor]:
        """See ``Fusion.forward``; the maps are (B, ``channels[l]``, h_l, w_l)."""
        fused_maps: list[Tensor] = []
        fused_tokens: Tensor | None = None
        fine = iter(self.fine)
        stack = iter(zip(self.rgb_proj, self.depth_proj, self.blocks, strict=True))
        for rgb, depth, attended in zip(rgb_taps, depth_taps, self.attended, strict=True):
            if not attended:
                fused_maps.append(next(fine)(rgb, depth, rows))
                continue
            rgb_proj, depth_proj, blocks = next(stack)
            depth_tokens = pick(depth_proj(tokens_of(depth)), rows)
            tokens = torch.cat((rgb_proj(tokens_of(rgb)), depth_tokens), dim=-1)
            if fused_tokens is None:
                fused_tokens = self.first_aggregate(tokens)
            for block in blocks:
                fused_tokens = block(tokens, fused_tokens)
            fused_maps.append(map_of(fused_tokens, rgb.shape[-2:]))
        return fused_maps


def _make_block(config: FusionConfig) -> MutualFormerBlock:
    return MutualFormerBlock(
        config.dim,
        config.num_heads,
        config.mlp_ratio,
        config.qkv_bias,
        config.drop_path,
        config.form,
        config.epsilon,
        config.steps,
        config.affinity,
        config.initial,
        config.attention,
        config.cross,
        config.fused_attention,
    )
