"""Fusion by cross-attention whose affinity is post-optimised by cross-diffusion."""

from dataclasses import dataclass

from torch import Tensor, nn

from mutualformer_sod.configs.diffusion import Diffusion, Recurrence
from mutualformer_sod.configs.fusion import AttentionConfig, register_fusion
from mutualformer_sod.models.affinity import cross_diffusion, self_affinity
from mutualformer_sod.models.fusion.cross_attention import CrossAttention, CrossAttentionFusion


@dataclass(frozen=True)
class CrossDiffusedConfig(Recurrence, AttentionConfig):
    """Switches of ``cross_attention_cda``, whose S(0) is the cross-affinity."""


class CrossDiffused(CrossAttention):
    """Cross-attention whose affinity S(0) is diffused by two self-affinities W_r and W_d.

    S(0) is softmax(q_r k_d^T / sqrt(d)) for the rgb side and softmax(q_d k_r^T / sqrt(d)) for the
    depth side. W_r and W_d have separate projections. Module ``affinity`` has the formula.
    """

    def __init__(self, config: CrossDiffusedConfig) -> None:
        super().__init__(config)
        self.rgb_own, self.depth_own = (
            nn.Linear(config.dim, 2 * config.dim, bias=config.qkv_bias) for _ in range(2)
        )
        self.diffusion = Diffusion.of(config)

    def attend(
        self, rgb: tuple[Tensor, ...], depth: tuple[Tensor, ...], *normed: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attend with diffused affinities; shapes are those of ``CrossAttention.attend``."""
        start = self_affinity(rgb[0], depth[1]), self_affinity(depth[0], rgb[1])
        rgb_affinity = self_affinity(*self._heads(self.rgb_own(normed[0]), 2))
        depth_affinity = self_affinity(*self._heads(self.depth_own(normed[1]), 2))
        return cross_diffusion(
            rgb_affinity, depth_affinity, rgb[2], depth[2], self.diffusion, start
        )


@register_fusion(
    "cross_attention_cda",
    "cross-attention with the affinity post-optimised by cross-diffusion",
    CrossDiffusedConfig,
)
class CrossDiffusedFusion(CrossAttentionFusion):
    """Fuse by cross-attention with diffused affinities (second claim of MutualFormer)."""

    block = CrossDiffused
