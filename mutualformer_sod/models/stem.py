"""Convolutional stems that replace the patch projection of a ViT."""

import itertools
from collections import OrderedDict

import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from mutualformer_sod.errors import InputError


class FineStem(nn.Module):
    """A stem that also returns maps at finer strides than the tokens."""

    fine_channels: list[int]  # of the finer maps, shallow to deep
    fine_strides: list[int]

    def maps(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the finer maps and the patch embeddings of (B, 3, H, W) float images.

        The maps are (B, C_l, h_l, w_l) float, shallow to deep, and the patch embeddings
        (B, out, H / stride, W / stride) float.
        """
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Return only the patch embeddings, as timm's own forward pass expects."""
        return self.maps(image)[1]


class TimmStem(FineStem):
    """A pretrained convolutional network that ends in a ViT's patch embeddings (CHOSEN: ours).

    The network's maps at strides 4 and 8 are features of the encoder. The tokens are the sum of the
    projected maps at strides 16 and 32, the latter upsampled. The BatchNorms use the statistics of
    the pretraining, so that the features of an image do not depend on the batch, but their scales
    and biases are trained.

    Args:
        body: a timm model with features at strides 4, 8, 16 and 32.
        out: width of the tokens.
        stride: patch size in pixels.

    Raises:
        InputError: the patch size is not 16.
    """

    def __init__(self, body: nn.Module, out: int, stride: int) -> None:
        super().__init__()
        if stride != 16:
            raise InputError(
                f"stem: patch size {stride}: a pretrained stem needs a patch size of 16. "
                "Fix: pass another backbone or stem."
            )
        _simplify_padding(body)
        self.body = body
        *fine, middle, deep = body.feature_info.channels()
        self.fine_channels, self.fine_strides = fine, [4, 8]
        self.proj = nn.Conv2d(middle, out, 1)
        self.deep_proj = nn.Conv2d(deep, out, 1)

    def train(self, mode: bool = True) -> "TimmStem":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def maps(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        *fine_maps, middle, deep = self.body(image)
        tokens, deep = self.proj(middle), self.deep_proj(deep)
        size = tokens.shape[-2:]
        return fine_maps, tokens + F.interpolate(deep, size, mode="bilinear", align_corners=False)


class HalvingConv2d(nn.Conv2d):
    """A convolution of stride 2 with TensorFlow's "same" padding, like timm's ``Conv2dSame``.

    timm computes the padding by floating-point division of the size, which torch.export cannot
    simplify for a variable size.
    """

    def forward(self, features: Tensor) -> Tensor:
        vertical, horizontal = (
            kernel - 2 + side % 2
            for kernel, side in zip(self.kernel_size, features.shape[-2:], strict=True)
        )
        left, top = horizontal // 2, vertical // 2
        padded = F.pad(features, (left, horizontal - left, top, vertical - top))
        return F.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)


def _simplify_padding(body: nn.Module) -> None:
    """Replace each ``Conv2dSame`` of stride 2 by a `HalvingConv2d` with the same parameters."""
    for parent in list(body.modules()):
        for name, conv in parent.named_children():
            if isinstance(conv, Conv2dSame) and conv.stride == (2, 2) and conv.dilation == (1, 1):
                sizes = conv.in_channels, conv.out_channels, conv.kernel_size
                halving = HalvingConv2d(*sizes, 2, groups=conv.groups, bias=conv.bias is not None)
                halving.weight, halving.bias = conv.weight, conv.bias
                setattr(parent, name, halving)


class HybridStem(FineStem):
    """A small convolutional network that ends in a ViT's patch embeddings (CHOSEN: ours).

    Strided 3x3 convolutions halve the resolution. Every stride from 4 to half the patch size has
    ``blocks`` residual blocks, whose output is a feature map of the encoder. Convolutions learn
    borders from few images.

    Args:
        width: number of channels at stride 4; stride 2 has width / 2, stride 8 has 2 width.
        blocks: number of residual blocks at each stride.
        out: width of the tokens.
        stride: patch size in pixels.

    Raises:
        InputError: the patch size is not a power of 2.
    """

    def __init__(self, width: int, blocks: int, out: int, stride: int) -> None:
        super().__init__()
        if stride < 2 or stride & (stride - 1):
            raise InputError(
                f"stem='hybrid': patch size {stride}: the size must be a power of 2. "
                "Fix: pass another backbone, or stem=patch."
            )
        self.fine_strides = [2**power for power in range(2, stride.bit_length() - 1)]
        self.fine_channels = [width << level for level in range(len(self.fine_strides))]
        channels = [width // 2, *self.fine_channels]
        self.entry = _down(3, channels[0])
        self.stages = nn.ModuleList(
            nn.Sequential(_down(*pair), *(ResidualBlock(pair[1]) for _ in range(blocks)))
            for pair in itertools.pairwise(channels)
        )
        self.proj = nn.Conv2d(channels[-1], out, 3, stride=2, padding=1)

    def maps(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        maps = [self.entry(image)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:], self.proj(maps[-1])


class ResidualBlock(nn.Module):
    """Residual block x + conv(act(norm(conv(x)))), with 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, width)
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.conv2(self.act(self.norm(self.conv1(features))))


def _down(channels: int, out: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.GroupNorm(8, out), act=nn.GELU()))
