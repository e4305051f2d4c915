"""The released code's computation of cross-diffusion attention, as a reference for speed."""

from __future__ import annotations

import torch
from torch import Tensor

from mutualformer_sod.models.affinity import self_affinity
from mutualformer_sod.models.block import MutualFormerBlock

EPSILON = 0.6


def released_attention(*heads: Tensor) -> tuple[Tensor, ...]:
    """Compute O_r, O_d, O_rd, O_dr from (q, k, v) of rgb and depth as the released code does."""
    rgb_query, rgb_key, rgb_values, depth_query, depth_key, depth_values = heads
    rgb_affinity = self_affinity(rgb_query, rgb_key)
    depth_affinity = self_affinity(depth_query, depth_key)
    rgb_normal, depth_normal = released_normalise(rgb_affinity), released_normalise(depth_affinity)
    joint = rgb_affinity + depth_affinity
    identity = torch.diag_embed(joint.new_ones(joint.shape[:-1]))
    rgb_side = EPSILON * rgb_normal @ identity @ depth_normal.mT + (1 - EPSILON) * joint
    depth_side = EPSILON * depth_normal @ identity @ rgb_normal.mT + (1 - EPSILON) * joint
    return (
        rgb_affinity @ rgb_values,
        depth_affinity @ depth_values,
        rgb_side @ depth_values,
        depth_side @ rgb_values,
    )


def released_normalise(affinity: Tensor) -> Tensor:
    """Compute (D^-1/2 W D^-1/2)^T with explicit diagonal matrices, as published."""
    root = torch.diag_embed(affinity.sum(dim=-1).rsqrt())
    return (root @ affinity @ root).mT


class ReleasedBlock(MutualFormerBlock):
    """The block with the released computation and with plain self-attentions."""

    def _modality_attention(self, rgb: Tensor, depth: Tensor) -> Tensor:
        heads = (*self._heads(self.rgb_qkv(rgb)), *self._heads(self.depth_qkv(depth)))
        rgb_own, depth_own, rgb_cross, depth_cross = map(merge, released_attention(*heads))
        rgb_joined = self.rgb_aggregate(torch.cat((rgb_own, rgb_cross), dim=-1))
        depth_joined = self.depth_aggregate(torch.cat((depth_own, depth_cross), dim=-1))
        return self.joint_aggregate(torch.cat((rgb_joined, depth_joined), dim=-1))

    def _fused_self_attention(self, fused: Tensor) -> Tensor:
        query, key, values = self._heads(self.fused_qkv(fused))
        return self.fused_proj(merge(self_affinity(query, key) @ values))


def merge(heads: Tensor) -> Tensor:
    """Concatenate the heads: (B, heads, N, d) -> (B, N, C)."""
    return heads.transpose(1, 2).flatten(2)
