"""Stacked MutualFormer blocks over the encoder's taps (IJCV 2024, Fig. 2a; stacking CHOSEN)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutualformer_sod.config import FusionConfig
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.mutualformer import MutualFormerBlock


class MutualFormerFusion(nn.Module):
    """Fuse the taps of two streams into one feature map a tap.

    Taps of stride ``config.attention_stride`` or more, and all taps of a plain ViT, feed the stack:
    they are projected to ``config.dim``; the first fused stream is f_0 = A([r_1 ; d_1]) with A a
    1x1 aggregation; blocks at tap l take the modality tokens of tap l and f_{l-1}. The stack never
    changes resolution. Finer taps are fused by concatenation and convolution.

    Attributes:
        channels, strides: of the fused maps, shallow to deep, one for each tap.
    """

    def __init__(self, config: FusionConfig, channels: list[int], strides: list[int]) -> None:
        super().__init__()
        plain = len(set(strides)) == 1
        self.attended = [plain or stride >= config.attention_stride for stride in strides]
        if not any(self.attended):
            raise InputError(
                f"attention_stride={config.attention_stride}: the backbone's coarsest stride is "
                f"{max(strides)}; give that or less"
            )
        if len({s for s, attended in zip(strides, self.attended, strict=True) if attended}) > 1:
            # Blocks exchange one fused stream, hence one grid: only the coarsest stride keeps it.
            self.attended = [stride == max(strides) for stride in strides]
        self.fine = nn.ModuleList()
        self.rgb_proj, self.depth_proj = nn.ModuleList(), nn.ModuleList()
        self.blocks = nn.ModuleList()
        for width, attended in zip(channels, self.attended, strict=True):
            if not attended:
                self.fine.append(ConcatConv(width, config.fine_width))
                continue
            self.rgb_proj.append(nn.Linear(width, config.dim))
            self.depth_proj.append(nn.Linear(width, config.dim))
            self.blocks.append(
                nn.ModuleList(_make_block(config) for _ in range(config.blocks_per_tap))
            )
        self.first_aggregate = nn.Linear(2 * config.dim, config.dim)
        self.channels = [config.dim if a else config.fine_width for a in self.attended]
        self.strides = strides

    def forward(
        self, rgb_taps: list[Tensor], depth_taps: list[Tensor], rows: Tensor | None = None
    ) -> list[Tensor]:
        """Fuse tap by tap.

        Args:
            rgb_taps: (B, C_l, h_l, w_l) float each, shallow to deep.
            depth_taps: (D, C_l, h_l, w_l) each.
            rows: (B,) integers, which depth map belongs to each image; None where D = B.

        Returns:
            Fused maps (B, ``channels[l]``, h_l, w_l).
        """
        fused_maps: list[Tensor] = []
        fused_tokens: Tensor | None = None
        fine = iter(self.fine)
        stack = iter(zip(self.rgb_proj, self.depth_proj, self.blocks, strict=True))
        for rgb, depth, attended in zip(rgb_taps, depth_taps, self.attended, strict=True):
            if not attended:
                fused_maps.append(next(fine)(rgb, depth, rows))
                continue
            rgb_proj, depth_proj, blocks = next(stack)
            depth_tokens = pick(depth_proj(_tokens(depth)), rows)
            tokens = torch.cat((rgb_proj(_tokens(rgb)), depth_tokens), dim=-1)
            if fused_tokens is None:
                fused_tokens = self.first_aggregate(tokens)
            for block in blocks:
                fused_tokens = block(tokens, fused_tokens)
            fused_maps.append(fused_tokens.transpose(1, 2).unflatten(2, rgb.shape[-2:]))
        return fused_maps


class ConcatConv(nn.Module):
    """Reduce each modality by a 1x1 convolution, concatenate, mix by a 3x3 convolution."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.rgb_reduce = nn.Conv2d(width, out, 1)
        self.depth_reduce = nn.Conv2d(width, out, 1)
        self.mix = nn.Sequential(
            nn.Conv2d(2 * out, out, 3, padding=1, bias=False), nn.GroupNorm(8, out), nn.GELU()
        )

    def forward(self, rgb: Tensor, depth: Tensor, rows: Tensor | None = None) -> Tensor:
        """(B, C, h, w) and (D, C, h, w), of which image b takes ``rows[b]`` -> (B, out, h, w)."""
        conv, *rest = self.mix
        # The convolution of a concatenation is a sum: depth's share is computed D times, not B.
        rgb_kernel, depth_kernel = conv.weight.chunk(2, dim=1)
        mixed = F.conv2d(self.rgb_reduce(rgb), rgb_kernel, padding=1)
        shared = F.conv2d(self.depth_reduce(depth), depth_kernel, padding=1)
        mixed = mixed + pick(shared, rows)
        for layer in rest:
            mixed = layer(mixed)
        return mixed


def pick(items: Tensor, rows: Tensor | None) -> Tensor:
    """The item of each image: (D, ...) -> (B, ...); a single one is spread without a copy."""
    if rows is None:
        return items
    return items.expand(len(rows), *items.shape[1:]) if len(items) == 1 else items[rows]


def _tokens(feature_map: Tensor) -> Tensor:
    return feature_map.flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, N, C)


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
    )
