"""GeminiFusion: pixel-wise attention between aligned tokens (Jia et al., ICML 2024).

In every block, x are the merged self-attention heads of a token and y those of its partner, the
token at the same place in the other modality:

    phi(x, y) = softmax over channels of W2 GELU(W1 [x ; y]);
    query x;  keys [x + n_K, x * phi];  values [x + n_V, y];  out = x + MHA(query, keys, values).

Token i attends only to itself and to token i of the other modality, so the cost is linear in the
number of tokens.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutualformer_sod.configs.fusion import FusionConfig, register_fusion
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.fusion.streams import Fusion
from mutualformer_sod.models.joint_encoder import BlockCall, JointEncoder

NUM_HEADS = 8


@dataclass(frozen=True)
class GeminiConfig(FusionConfig):
    """Switches of ``gemini_fusion``; ``GeminiBlock`` describes the switches."""

    noise: bool = True
    phi: bool = True


@register_fusion(
    "gemini_fusion",
    "in every block, each token attends to the token at its position in the other modality",
    GeminiConfig,
    in_encoder=True,
    ensemble=True,
    undecayed=("noise",),
)
class GeminiFusion(Fusion):
    """Run a ``GeminiBlock`` in every encoder block, before the attention's output projection."""

    def __init__(
        self, config: GeminiConfig, channels: list[int], strides: list[int], joint: JointEncoder
    ) -> None:
        super().__init__(config, channels, strides)
        self.blocks = nn.ModuleList(
            GeminiBlock(joint.dim, config.noise, config.phi) for _ in range(joint.depth)
        )
        self.hooks = {"heads": self.fuse}

    def fuse(self, call: BlockCall, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse the tokens of one block; all tensors are (B, N, C)."""
        return self.blocks[call.layer](rgb, depth)


class GeminiBlock(nn.Module):
    """Pixel-wise attention in both directions, which share only phi.

    Args:
        dim: width C of the tokens, a multiple of the 8 heads.
        noise: learn n_K and n_V, initialised from N(0, 1). If False, n_K and n_V are zero.
        phi: use the relation discriminator phi. If False, the second key is y (cross-attention).
    """

    def __init__(self, dim: int, noise: bool = True, phi: bool = True) -> None:
        super().__init__()
        if dim % NUM_HEADS:
            raise InputError(
                f"fusion=gemini_fusion: the encoder's width {dim} is not a multiple of the "
                f"method's {NUM_HEADS} heads. Fix: pass another backbone."
            )
        self.relate = None
        if phi:
            self.relate = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, dim))
        self.rgb = PixelAttention(dim, noise)
        self.depth = PixelAttention(dim, noise)

    def forward(self, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Update both modalities; all tensors are (B, N, C)."""
        return (
            rgb + self.rgb(rgb, depth, self._second_key(rgb, depth)),
            depth + self.depth(depth, rgb, self._second_key(depth, rgb)),
        )

    def _second_key(self, own: Tensor, partner: Tensor) -> Tensor:
        if self.relate is None:
            return partner
        return own * self.relate(torch.cat((own, partner), dim=-1)).softmax(dim=-1)


class PixelAttention(nn.Module):
    """Multi-head attention of one query over two keys at each token."""

    def __init__(self, dim: int, noise: bool) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.noise = nn.Parameter(torch.randn(2, dim)) if noise else None  # n_K, n_V

    def forward(self, own: Tensor, partner: Tensor, second_key: Tensor) -> Tensor:
        """Attend from each token to itself and its partner; all tensors are (B, N, C)."""
        key_source = value_source = own
        if self.noise is not None:
            key_source, value_source = own + self.noise[0], own + self.noise[1]
        query = self._heads(self.query(own))
        first, second = self._heads(self.key(key_source)), self._heads(self.key(second_key))
        # A softmax over two logits is a sigmoid of their difference.
        scale = query.shape[-1] ** -0.5
        to_own = F.sigmoid((query * (first - second)).sum(dim=-1, keepdim=True) * scale)
        values = self._heads(self.value(value_source)), self._heads(self.value(partner))
        mixed = to_own * values[0] + (1 - to_own) * values[1]
        return self.out(mixed.flatten(2))

    @staticmethod
    def _heads(tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (NUM_HEADS, -1))  # (B, N, heads, d)
