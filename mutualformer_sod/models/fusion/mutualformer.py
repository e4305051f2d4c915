"""Stacked MutualFormer blocks over the encoder's taps (IJCV 2024, Fig. 2b; stacking CHOSEN)."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mutualformer_sod.configs.diffusion import ATTENTIONS, Diffusion
from mutualformer_sod.configs.fusion import DEFAULT_FUSION, AttentionConfig, register_fusion
from mutualformer_sod.configs.switches import check, switch
from mutualformer_sod.models.block import CROSSINGS, MutualFormerBlock
from mutualformer_sod.models.drop_path import FUSION, branch_draws
from mutualformer_sod.models.fusion.streams import Fusion, map_of, tokens_of


@dataclass(frozen=True)
class MutualFormerConfig(Diffusion, AttentionConfig):
    """Switches of ``mutualformer``; see ``MutualFormerBlock``."""

    NEEDS: ClassVar = dict.fromkeys(
        (*(item.name for item in dataclasses.fields(Diffusion)), "attention"),
        ("cross", "diffusion"),
    )

    mlp_ratio: float = 4.0
    drop_path: float = switch(0.0, "a number in [0, 1)", lambda v: 0 <= v < 1)
    attention: str = switch("auto", choices=ATTENTIONS)
    cross: str = switch("diffusion", choices=CROSSINGS)
    fused_attention: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            int(self.dim * self.mlp_ratio) >= 1,
            "mlp_ratio",
            self.mlp_ratio,
            "a positive number that makes the MLP at least one channel wide",
        )
        merges = self.head != "ensemble"
        check(merges, "head", self.head, "merge: mutualformer has one fused stream")


@register_fusion(
    DEFAULT_FUSION,
    "cross-diffusion attention into a fused stream",
    MutualFormerConfig,
)
class MutualFormerFusion(Fusion):
    """Fuse the taps of two streams into one feature map for each tap.

    The first fused stream is f_0 = A([r_1 ; d_1]) with a 1x1 aggregation A. The blocks at the
    attended tap l take the modality tokens of tap l and f_{l-1}. The stack keeps its resolution.

    Wang et al., "MutualFormer: Multi-Modality Representation Learning via Cross-Diffusion
    Attention", IJCV 2024. Its ablations are switches of ``MutualFormerConfig``.
    """

    def __init__(self, config: MutualFormerConfig, channels: list[int], strides: list[int]) -> None:
        super().__init__(config, channels, strides)
        self.blocks = nn.ModuleList(
            nn.ModuleList(_make_block(config) for _ in range(config.blocks_per_tap))
            for _ in self.rgb_proj
        )
        self.first_aggregate = nn.Linear(2 * config.dim, config.dim)

    def forward(
        self, rgb_taps: list[Tensor], depth_taps: list[Tensor], keys: Tensor | None = None
    ) -> list[Tensor]:
        """Fuse tap by tap, see ``Fusion.forward``; maps (B, ``channels[l]``, h_l, w_l)."""
        fused_maps: list[Tensor] = []
        fused_tokens: Tensor | None = None
        fine = iter(self.fine)
        branches = 2 * sum(len(blocks) for blocks in self.blocks)
        draws = iter(branch_draws(keys, FUSION, branches))
        stack = iter(zip(self.rgb_proj, self.depth_proj, self.blocks, strict=True))
        for rgb, depth, attended in zip(rgb_taps, depth_taps, self.attended, strict=True):
            if not attended:
                fused_maps.append(next(fine)(rgb, depth))
                continue
            rgb_proj, depth_proj, blocks = next(stack)
            depth_tokens = depth_proj(tokens_of(depth))
            tokens = torch.cat((rgb_proj(tokens_of(rgb)), depth_tokens), dim=-1)
            if fused_tokens is None:
                fused_tokens = self.first_aggregate(tokens)
            for block in blocks:
                fused_tokens = block(tokens, fused_tokens, (next(draws), next(draws)))
            fused_maps.append(map_of(fused_tokens, rgb.shape[-2:]))
        return fused_maps


def _make_block(config: MutualFormerConfig) -> MutualFormerBlock:
    return MutualFormerBlock(
        config.dim,
        config.num_heads,
        mlp_ratio=config.mlp_ratio,
        qkv_bias=config.qkv_bias,
        drop_path=config.drop_path,
        diffusion=Diffusion.of(config),
        attention=config.attention,
        cross=config.cross,
        fused_attention=config.fused_attention,
    )
