"""Channel exchange on LayerNorm (Wang et al., CEN, NeurIPS 2020; port of TokenFusion's appendix).

A channel whose LayerNorm scale gamma is small is replaced by the channel of the other modality,
    u'_m,c = u_m,c if |gamma_m,c| >= theta else u_m',c.
Only the first half of the rgb channels and the second half of the depth channels can be replaced,
so that no channel is lost in both modalities. An L1 penalty pulls gamma of the replaceable
channels towards 0.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mutualformer_sod.configs.fusion import FusionConfig, register_fusion
from mutualformer_sod.configs.switches import switch
from mutualformer_sod.models.fusion.streams import Fusion, Scalars
from mutualformer_sod.models.joint_encoder import BlockCall, JointEncoder, Notes


@dataclass(frozen=True)
class ChannelExchangeConfig(FusionConfig):
    """Switches of ``channel_exchange``.

    Attributes:
        theta: channels with |gamma| below theta are exchanged.
        sparsity: weight of the mean |gamma| in the loss.
    """

    theta: float = switch(0.02, "0 or more", lambda v: v >= 0)
    sparsity: float = switch(1.0, "0 or more", lambda v: v >= 0)


@register_fusion(
    "channel_exchange",
    "replaces weak channels after every LayerNorm",
    ChannelExchangeConfig,
    in_encoder=True,
    ensemble=True,
)
class ChannelExchangeFusion(Fusion):
    """Exchange channels after both LayerNorms of every block of the shared encoder."""

    def __init__(
        self,
        config: ChannelExchangeConfig,
        channels: list[int],
        strides: list[int],
        joint: JointEncoder,
    ) -> None:
        super().__init__(config, channels, strides)
        self._norms = {point: joint.norms(point) for point in ("norm", "mlp_norm")}
        self.hooks = {point: partial(self._exchange, point) for point in self._norms}

    def report(self, notes: Sequence[Notes]) -> tuple[Scalars, Scalars]:
        """Return the loss ``sparsity`` (weighted mean |gamma|) and the ratio of exchanged channels.

        Loss and ratio are means over the channels that can be exchanged.
        """
        parts = []
        for rgb_norm, depth_norm in itertools.chain(*self._norms.values()):
            half = len(rgb_norm.weight) // 2
            parts += [rgb_norm.weight[:half], depth_norm.weight[half:]]
        scales = torch.cat(parts).abs()
        exchanged = (scales.detach() < self.config.theta).float().mean()
        return {"sparsity": self.config.sparsity * scales.mean()}, {"exchange_ratio": exchanged}

    def _exchange(
        self, point: str, call: BlockCall, rgb: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Exchange channels of the norm outputs at ``point``; all tensors are (B, N, C)."""
        rgb_norm, depth_norm = self._norms[point][call.layer]
        first = torch.arange(rgb.shape[-1], device=rgb.device) < rgb.shape[-1] // 2
        take_depth = (rgb_norm.weight.abs() < self.config.theta) & first
        take_rgb = (depth_norm.weight.abs() < self.config.theta) & ~first
        return torch.where(take_depth, depth, rgb), torch.where(take_rgb, rgb, depth)
