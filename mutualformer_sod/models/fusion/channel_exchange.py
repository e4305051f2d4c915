"""Channel exchange on LayerNorm (Wang et al., CEN, NeurIPS 2020; port of TokenFusion's appendix).

The channels of a normalised token that its own modality has scaled to nothing are taken from the
other modality:  u'_m,c = u_m,c if |gamma_m,c| >= theta else u_m',c.  Only the first half of the
channels of rgb and the second half of those of depth may be replaced, and only there an L1 penalty
pulls gamma towards 0, so that no channel can be lost in both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mutualformer_sod.configs.fusion import FusionConfig
from mutualformer_sod.models.fusion.streams import Fusion
from mutualformer_sod.models.seam import Seam


class ChannelExchangeFusion(Fusion):
    """Exchange of channels after both LayerNorms of every block of the shared encoder."""

    joint_attention = False

    def __init__(
        self, config: FusionConfig, channels: list[int], strides: list[int], seam: Seam
    ) -> None:
        super().__init__(config, channels, strides)
        self._norms = {point: seam.norms(point) for point in ("norm", "mlp_norm")}
        self.hooks = {point: getattr(self, f"exchange_{point}") for point in self._norms}

    def exchange_norm(self, layer: int, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """After the norm before attention: (B, N, C) twice -> the same."""
        return self._exchange(*self._norms["norm"][layer], rgb, depth)

    def exchange_mlp_norm(self, layer: int, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """After the norm before the MLP: (B, N, C) twice -> the same."""
        return self._exchange(*self._norms["mlp_norm"][layer], rgb, depth)

    def report(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``sparsity``: weighted mean |gamma|; ``exchange_ratio``: share of channels exchanged.

        Both over the channels that may be exchanged.
        """
        scales = torch.cat([scale.abs() for scale in self._exchangeable()])
        exchanged = (scales.detach() < self.config.theta).float().mean()
        return {"sparsity": self.config.sparsity * scales.mean()}, {"exchange_ratio": exchanged}

    def _exchange(
        self, rgb_norm: torch.nn.Module, depth_norm: torch.nn.Module, rgb: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor]:
        first = torch.arange(rgb.shape[-1], device=rgb.device) < rgb.shape[-1] // 2
        take_depth = (rgb_norm.weight.abs() < self.config.theta) & first
        take_rgb = (depth_norm.weight.abs() < self.config.theta) & ~first
        return torch.where(take_depth, depth, rgb), torch.where(take_rgb, rgb, depth)

    def _exchangeable(self) -> list[Tensor]:
        scales = []
        for norms in self._norms.values():
            for rgb_norm, depth_norm in norms:
                half = len(rgb_norm.weight) // 2
                scales += [rgb_norm.weight[:half], depth_norm.weight[half:]]
        return scales
