"""The whole network: normalisation, two-stream encoder, fusion, decoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutualformer_sod.config import ModelConfig
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.decoder import Decoder
from mutualformer_sod.models.encoder import TwoStreamEncoder, resize
from mutualformer_sod.models.fusion.mutualformer import MutualFormerFusion

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
NO_DEPTH_GRID = 14  # cells a side of the learned "no depth" map, stretched to the image


@dataclass
class DetectorOutput:
    """What the detector returns in training mode.

    Attributes:
        logits: (B, 1, H, W) float at input size.
        side_logits: (B, 1, h, w) float, fine to coarse, for deep supervision.
        extra_losses: losses that a fusion brings along, scalar tensors by name.
    """

    logits: Tensor
    side_logits: list[Tensor]
    extra_losses: dict[str, Tensor] = field(default_factory=dict)


class SaliencyDetector(nn.Module):
    """RGB-D salient object detector (MutualFormer, IJCV 2024; encoder and decoder CHOSEN).

    Args:
        config: see ``config.ModelConfig``.
        pretrained: True for timm's ImageNet weights from the hub in both streams, a path for the
            same from a local file, False for random weights.
    """

    def __init__(self, config: ModelConfig, pretrained: bool | str | Path = False) -> None:
        super().__init__()
        self.config = config
        self.encoder = TwoStreamEncoder(config.encoder, config.image_size, pretrained)
        channels, strides = self.encoder.channels, self.encoder.strides
        self.fusion = MutualFormerFusion(config.fusion, channels, strides)
        self.decoder = Decoder(config.decoder, self.fusion.channels, self.fusion.strides)
        self.no_depth = nn.Parameter(torch.full((1, 1, NO_DEPTH_GRID, NO_DEPTH_GRID), 0.5))
        mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(
        self, rgb: Tensor, depth: Tensor | None = None, has_depth: Tensor | None = None
    ) -> Tensor | DetectorOutput:
        """Saliency logits of a batch.

        Args:
            rgb: (B, 3, H, W) float in [0, 1].
            depth: (B, 1, H, W) float in [0, 1], near = 1; None for RGB-only use.
            has_depth: (B,) bool, which images' depth is real; None means all of them.
                Where False the depth values are not looked at.

        Returns:
            In eval mode logits (B, 1, H, W) at input size; in training mode a DetectorOutput.

        Raises:
            InputError (a ValueError): shapes that do not fit each other.
        """
        _check_inputs(rgb, depth, has_depth)
        height, width = rgb.shape[-2:]
        rgb, depth = self._pad(rgb), None if depth is None else self._pad(depth)
        rgb = (rgb - self.mean) / self.std
        encoder_depth, decoder_depth, mask = self._place_depth(rgb, depth, has_depth)
        rgb_taps, depth_taps = self.encoder(rgb, encoder_depth)
        depth_taps = [tap.expand(len(rgb), -1, -1, -1) for tap in depth_taps]
        fused_maps = self.fusion(rgb_taps, depth_taps)
        logits, side_logits = self.decoder(fused_maps, rgb, decoder_depth, mask)
        logits = logits[..., :height, :width]
        return DetectorOutput(logits, side_logits) if self.training else logits

    def _place_depth(
        self, rgb: Tensor, depth: Tensor | None, has_depth: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Depth for the encoder (the learned map where absent), for the decoder, and the mask."""
        size = rgb.shape[-2:]
        absent = (resize(self.no_depth, size) - self.mean) / self.std  # (1, 3, H, W)
        plane = rgb.new_zeros(len(rgb), 1, *size)
        if depth is None:  # one constant image stands for the whole batch
            return absent, plane, plane
        present = (depth - self.mean) / self.std
        centred = depth - 0.5
        if has_depth is None:
            return present, centred, torch.ones_like(plane)
        real = has_depth.view(-1, 1, 1, 1)
        # where, not a product: a NaN under the mask must not spread.
        shown = torch.where(real, centred, plane)
        return torch.where(real, present, absent), shown, plane + real.to(plane.dtype)

    def _pad(self, image: Tensor) -> Tensor:
        """Repeat the border up to a multiple of the coarsest stride, right and bottom."""
        stride = max(self.encoder.strides)
        bottom, right = (-image.shape[-2] % stride, -image.shape[-1] % stride)
        if not (bottom or right):
            return image
        return F.pad(image, (0, right, 0, bottom), mode="replicate")


def _check_inputs(rgb: Tensor, depth: Tensor | None, has_depth: Tensor | None) -> None:
    if rgb.ndim != 4 or rgb.shape[1] != 3 or not rgb.is_floating_point():
        raise InputError(
            f"rgb is {tuple(rgb.shape)} {rgb.dtype}: give (B, 3, H, W) float in [0, 1]"
        )
    if depth is not None and depth.shape != (len(rgb), 1, *rgb.shape[-2:]):
        raise InputError(
            f"depth is {tuple(depth.shape)}: give {(len(rgb), 1, *rgb.shape[-2:])}, "
            "one channel at the size of rgb"
        )
    if has_depth is not None and depth is None:
        raise InputError("has_depth is given without depth: give both, or neither")
    if has_depth is not None and (has_depth.shape != (len(rgb),) or has_depth.dtype != torch.bool):
        raise InputError(
            f"has_depth is {tuple(has_depth.shape)} {has_depth.dtype}: give ({len(rgb)},) bool"
        )
