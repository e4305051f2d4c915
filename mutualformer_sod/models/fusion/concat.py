"""Fusion by joint attention over the concatenated tokens of both modalities."""

import torch
from torch import Tensor, nn

from mutualformer_sod.configs.fusion import FusionConfig, register_fusion
from mutualformer_sod.models.fusion.streams import Fusion
from mutualformer_sod.models.joint_encoder import BlockCall, JointEncoder


@register_fusion(
    "concat",
    "self-attention over the tokens of both modalities, in every block",
    in_encoder=True,
    undecayed=("modality_embed",),
)
class ConcatFusion(Fusion):
    """Fuse the modalities by joint attention in every block of the shared encoder.

    A learned modality embedding is added before the first block. Attention runs over the joint
    sequence of both modalities' tokens, prefix tokens included. All other parts of a block process
    each modality separately.
    """

    joint_attention = True

    def __init__(
        self, config: FusionConfig, channels: list[int], strides: list[int], joint: JointEncoder
    ) -> None:
        super().__init__(config, channels, strides)
        self.modality_embed = nn.Parameter(torch.zeros(2, joint.dim))
        nn.init.trunc_normal_(self.modality_embed, std=0.02)
        self.hooks = {"input": self.embed}

    def embed(self, call: BlockCall, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Add the modality embedding before the first block; all tensors are (B, N, C)."""
        if call.layer > 0:
            return rgb, depth
        return rgb + self.modality_embed[0], depth + self.modality_embed[1]
