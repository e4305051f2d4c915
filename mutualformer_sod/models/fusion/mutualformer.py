"""Stacked MutualFormer blocks over the encoder's features (IJCV 2024, Fig. 2b; stacking CHOSEN)."""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from mutualformer_sod.configs.diffusion import ATTENTIONS, Diffusion
from mutualformer_sod.configs.fusion import DEFAULT_FUSION, AttentionConfig, register_fusion
from mutualformer_sod.configs.switches import check, switch
from mutualformer_sod.models.block import CROSSINGS, MutualFormerBlock
from mutualformer_sod.models.drop_path import FUSION, branch_draws
from mutualformer_sod.models.fusion.streams import Fusion

BLOCK_OPTIONS = (
    *("dim", "num_heads", "mlp_ratio", "qkv_bias"),
    *("drop_path", "attention", "cross", "fused_attention"),
)


@dataclass(frozen=True)
class MutualFormerConfig(Diffusion, AttentionConfig):
    """Switches of ``mutualformer``, which ``MutualFormerBlock`` describes."""

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
        want = "a positive number that makes the MLP at least one channel wide"
        check(int(self.dim * self.mlp_ratio) >= 1, "mlp_ratio", self.mlp_ratio, want)
        merges = self.head != "ensemble"
        check(merges, "head", self.head, "merge: mutualformer has one fused stream")


@register_fusion(
    DEFAULT_FUSION, "cross-diffusion attention into a fused stream", MutualFormerConfig
)
class MutualFormerFusion(Fusion):
    """Fuse the features of two streams into one map for each level.

    The first fused stream is f_0 = A([r_1 ; d_1]) with a 1x1 aggregation A. The blocks at the
    attended level l update f_{l-1} to f_l with the modality tokens r_l and d_l. The paper's
    ablations are switches of ``MutualFormerConfig``.
    """

    def __init__(self, config: MutualFormerConfig, channels: list[int], strides: list[int]) -> None:
        super().__init__(config, channels, strides)
        options = {name: getattr(config, name) for name in BLOCK_OPTIONS}
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                MutualFormerBlock(diffusion=Diffusion.of(config), **options)
                for _ in range(config.blocks_per_level)
            )
            for _ in self.rgb_proj
        )
        self.first_aggregate = nn.Linear(2 * config.dim, config.dim)

    def fuse_levels(
        self, streams: Iterable[tuple[Tensor, Tensor]], keys: Tensor | None
    ) -> Iterator[Tensor]:
        """Update one fused stream level by level; shapes are those of ``Fusion.fuse_levels``."""
        draws = iter(branch_draws(keys, FUSION, 2 * sum(map(len, self.blocks))))
        fused_tokens: Tensor | None = None
        for pair, blocks in zip(streams, self.blocks, strict=True):
            tokens = torch.cat(pair, dim=-1)
            if fused_tokens is None:
                fused_tokens = self.first_aggregate(tokens)
            for block in blocks:
                fused_tokens = block(tokens, fused_tokens, (next(draws), next(draws)))
            yield fused_tokens
