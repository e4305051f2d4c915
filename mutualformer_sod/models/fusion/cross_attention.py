"""Fusion by cross-attention between the features of the two streams."""

import torch.nn.functional as F
from torch import Tensor, nn

from mutualformer_sod.configs.fusion import AttentionConfig, register_fusion
from mutualformer_sod.models.fusion.streams import Fusion


class CrossAttention(nn.Module):
    """Multi-head cross-attention in both directions, with separate projections.

    Y_m = X_m + Attn(X_m W_Q, X_m' W_K, X_m' W_V) W_O for m in {rgb, depth}, where a LayerNorm
    precedes each attention, as in CrossViT (ICCV 2021) and later two-stream detectors.
    """

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        dim, bias = config.dim, config.qkv_bias
        self.num_heads = config.num_heads
        self.rgb_norm, self.depth_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.rgb_query, self.depth_query = (nn.Linear(dim, dim, bias=bias) for _ in range(2))
        # The queries of each stream use the keys and values of the other stream.
        self.rgb_key_value, self.depth_key_value = (
            nn.Linear(dim, 2 * dim, bias=bias) for _ in range(2)
        )
        self.rgb_out, self.depth_out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Update both streams; all tensors are (B, N, C)."""
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
        """Attend from each stream to the other stream, and return (B, heads, N, d) for each stream.

        Args:
            rgb, depth: query, key and values of the stream, (B, heads, N, d) float each.
            *normed: normalised tokens (B, N, C) of both streams.
        """
        return (
            F.scaled_dot_product_attention(rgb[0], *depth[1:]),
            F.scaled_dot_product_attention(depth[0], *rgb[1:]),
        )

    def _heads(self, tokens: Tensor, parts: int) -> tuple[Tensor, ...]:
        split = tokens.unflatten(2, (parts, self.num_heads, -1))
        return split.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, d) each


@register_fusion(
    "cross_attention", "cross-attention between the features of the two streams", AttentionConfig
)
class CrossAttentionFusion(Fusion):
    """Run ``config.blocks_per_level`` blocks of cross-attention at every attended level."""

    block: type[CrossAttention] = CrossAttention

    def __init__(self, config: AttentionConfig, channels: list[int], strides: list[int]) -> None:
        super().__init__(config, channels, strides)
        self.blocks = nn.ModuleList(
            nn.ModuleList(self.block(config) for _ in range(config.blocks_per_level))
            for _ in self.rgb_proj
        )

    def mix(self, level: int, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Run the blocks of one level; all tensors are (B, N, C)."""
        for block in self.blocks[level]:
            rgb, depth = block(rgb, depth)
        return rgb, depth
