"""Convolutional stems in place of a ViT's patch projection."""

from __future__ import annotations

from torch import Tensor, nn

from mutualformer_sod.errors import InputError


def conv_stem(width: int, stride: int) -> nn.Sequential:
    """Strided 3x3 convolutions in place of the patch projection (Xiao et al., NeurIPS 2021).

    Trained from scratch on little data it converges much faster than one large patch projection.
    """
    halvings = _halvings(stride, "conv")
    stem = nn.Sequential()
    channels = 3
    for step in range(halvings):
        out = max(8, width >> (halvings - 1 - step))
        stem.add_module(f"conv{step}", nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False))
        stem.add_module(f"norm{step}", nn.GroupNorm(1, out))
        stem.add_module(f"act{step}", nn.GELU())
        channels = out
    stem.add_module("proj", nn.Conv2d(channels, width, 1))
    return stem


class HybridStem(nn.Module):
    """A small convolutional network that ends in a ViT's patch embeddings (CHOSEN: ours).

    A strided 3x3 convolution halves the resolution, then ``blocks`` residual blocks follow, at
    every stride from 4 to half the patch size; one more strided convolution gives the tokens. What
    stands at each stride before the tokens is a tap of its own, so that a decoder gets borders
    from convolutions, which learn them from few images, and objects from attention.

    Args:
        width: channels at stride 4; doubled with every halving, half of it at stride 2.
        blocks: residual blocks a stride.
        out: width of the tokens.
        stride: patch size, a power of 2.

    Attributes:
        fine_channels, fine_strides: of the maps finer than the tokens, from the finest on.
    """

    def __init__(self, width: int, blocks: int, out: int, stride: int) -> None:
        super().__init__()
        halvings = _halvings(stride, "hybrid")
        self.fine_strides = [2**power for power in range(2, halvings)]
        self.fine_channels = [width << level for level in range(len(self.fine_strides))]
        self.entry = _down(3, width // 2)
        self.stages = nn.ModuleList()
        channels = width // 2
        for wider in self.fine_channels:
            stage = [_down(channels, wider), *(ResidualBlock(wider) for _ in range(blocks))]
            self.stages.append(nn.Sequential(*stage))
            channels = wider
        self.proj = nn.Conv2d(channels, out, 3, stride=2, padding=1)
        self._fine: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float -> patch embeddings (B, out, H / stride, W / stride)."""
        features = self.entry(image)
        self._fine = []
        for stage in self.stages:
            features = stage(features)
            self._fine.append(features)
        return self.proj(features)

    def take_fine(self) -> list[Tensor]:
        """The finer maps of the last ``forward``, once: timm's models hand on the tokens alone."""
        fine, self._fine = self._fine, []
        return fine


class ResidualBlock(nn.Module):
    """x + conv(act(norm(conv(x)))): two 3x3 convolutions around one normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, width)
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv2(self.act(self.norm(self.conv1(features))))


def _down(channels: int, out: int) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module("conv", nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False))
    layers.add_module("norm", nn.GroupNorm(8, out))
    layers.add_module("act", nn.GELU())
    return layers


def _halvings(stride: int, stem: str) -> int:
    if stride < 2 or stride & (stride - 1):
        raise InputError(f"stem={stem!r} needs a patch size that is a power of 2, not {stride}")
    return stride.bit_length() - 1
