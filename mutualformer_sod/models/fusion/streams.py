"""Base of the fusion methods: from the features of two streams to maps for the decoder."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutualformer_sod.configs.fusion import FusionConfig
from mutualformer_sod.errors import InputError


class Fusion(nn.Module):
    """Fuse the taps of two streams into maps for the decoder, one for each tap.

    Taps of stride ``config.attention_stride`` or more, and all taps of a plain ViT, are attended:
    their tokens are projected to ``config.dim`` and given to ``mix``, which a method at the taps
    overrides. Every method fuses finer taps by the same convolutions.

    The head "merge" adds the projections of both streams to one fused map. The head "ensemble"
    keeps the streams apart, as one batch of 2B maps, rgb first.

    Args:
        config: see ``FusionConfig``.
        channels, strides: of the encoder's taps, shallow to deep.

    Attributes:
        channels, strides: of the maps, one for each tap.
        attended: whether each tap is attended.

    Raises:
        InputError: no tap is coarse enough.
    """

    def __init__(self, config: FusionConfig, channels: list[int], strides: list[int]) -> None:
        super().__init__()
        self.config = config
        self.attended = attended_taps(config.attention_stride, strides)
        self.channels = [config.dim if a else config.fine_width for a in self.attended]
        self.strides = strides
        self.is_ensemble = config.is_ensemble  # not read in a compiled graph
        self.fine = nn.ModuleList()
        self.rgb_proj, self.depth_proj = nn.ModuleList(), nn.ModuleList()
        for width, attended in zip(channels, self.attended, strict=True):
            if attended:
                self.rgb_proj.append(nn.Linear(width, config.dim))
                self.depth_proj.append(nn.Linear(width, config.dim))
            else:
                fine = StreamConv if self.is_ensemble else ConcatConv
                self.fine.append(fine(width, config.fine_width))

    def forward(
        self, rgb_taps: list[Tensor], depth_taps: list[Tensor], keys: Tensor | None = None
    ) -> list[Tensor]:
        """Fuse tap by tap.

        Args:
            rgb_taps: (B, C_l, h_l, w_l) float each, shallow to deep.
            depth_taps: the same of the depth stream.
            keys: (B,) int64 in training, random keys of the images for a method that draws; None to
                draw from torch's generator.

        Returns:
            Maps (B, ``channels[l]``, h_l, w_l), or (2B, ...) with the head "ensemble".
        """
        maps: list[Tensor] = []
        fine = iter(self.fine)
        level = 0
        for rgb, depth, attended in zip(rgb_taps, depth_taps, self.attended, strict=True):
            if not attended:
                maps.append(next(fine)(rgb, depth))
                continue
            rgb_tokens = self.rgb_proj[level](tokens_of(rgb))
            depth_tokens = self.depth_proj[level](tokens_of(depth))
            streams = self.mix(level, rgb_tokens, depth_tokens)
            joined = torch.cat(streams) if self.is_ensemble else streams[0] + streams[1]
            maps.append(map_of(joined, rgb.shape[-2:]))
            level += 1
        return maps

    def mix(self, level: int, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse the streams at the attended tap ``level``: (B, N, C) twice -> the same."""
        return rgb, depth

    def report(
        self, notes: Sequence[dict[str, Tensor]]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the losses and statistics of a batch.

        Args:
            notes: of the batch, block by block, from a method inside the encoder; else empty.

        Returns:
            Weighted losses by name, and statistics for the log; each a mean over the images.
        """
        return {}, {}


class ConcatConv(nn.Module):
    """Reduce each modality by a 1x1 convolution, concatenate, mix by a 3x3 convolution."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.rgb_reduce = nn.Conv2d(width, out, 1)
        self.depth_reduce = nn.Conv2d(width, out, 1)
        self.mix = _conv(2 * out, out)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """Fuse (B, C, h, w) of both modalities to (B, out, h, w)."""
        conv, *rest = self.mix
        # The convolution of a concatenation is a sum; the concatenation is not written.
        rgb_kernel, depth_kernel = conv.weight.chunk(2, dim=1)
        mixed = F.conv2d(self.rgb_reduce(rgb), rgb_kernel, padding=1)
        mixed = mixed + F.conv2d(self.depth_reduce(depth), depth_kernel, padding=1)
        for layer in rest:
            mixed = layer(mixed)
        return mixed


class StreamConv(nn.Module):
    """Reduce and mix each modality alone, with one 3x3 convolution for both."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.rgb_reduce = nn.Conv2d(width, out, 1)
        self.depth_reduce = nn.Conv2d(width, out, 1)
        self.mix = _conv(out, out)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """Mix (B, C, h, w) of each modality to (2B, out, h, w)."""
        return self.mix(torch.cat((self.rgb_reduce(rgb), self.depth_reduce(depth))))


def attended_taps(attention_stride: int, strides: list[int]) -> list[bool]:
    """Select the attended taps: all of a plain ViT, else the coarsest of sufficient stride."""
    plain = len(set(strides)) == 1
    attended = [plain or stride >= attention_stride for stride in strides]
    if not any(attended):
        raise InputError(
            f"attention_stride={attention_stride} is too large: the backbone's coarsest stride is "
            f"{max(strides)}. Fix: give that or less."
        )
    if len({s for s, chosen in zip(strides, attended, strict=True) if chosen}) > 1:
        # MutualFormer's blocks pass on one fused stream, hence one grid: the coarsest.
        attended = [stride == max(strides) for stride in strides]
    return attended


def tokens_of(feature_map: Tensor) -> Tensor:
    """Flatten a map to tokens: (B, C, h, w) -> (B, h w, C)."""
    return feature_map.flatten(2).transpose(1, 2)


def map_of(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Arrange tokens as a map: (B, h w, C) -> (B, C, h, w)."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def _conv(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.GroupNorm(8, out), nn.GELU()
    )
