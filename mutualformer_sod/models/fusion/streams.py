"""Base class of the fusion methods, which turn two streams' features into maps."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from mutualformer_sod.configs.fusion import FusionConfig
from mutualformer_sod.models.decoder import apply_to_concatenation, conv_norm_act
from mutualformer_sod.models.encoder import TwoStreamEncoder
from mutualformer_sod.models.joint_encoder import Notes

Scalars = dict[str, Tensor]  # by name


class Fusion(nn.Module):
    """Fuse the features of two streams into maps for the decoder, one for each level.

    The features at the coarsest stride (all blocks of a ViT, the last stage of a hierarchical
    backbone) are attended: they become tokens of width ``config.dim``. Methods that act on features
    override ``mix`` or ``fuse_levels``. Methods inside the encoder have the attributes of
    `joint_encoder.Method`. Every method fuses finer features by the same convolutions.

    The head "merge" adds the projections of both streams and returns one fused map. The head
    "ensemble" does not merge the streams; it returns a batch of 2B maps, rgb first.

    Args:
        channels, strides: channel counts and strides of the encoder's features, shallow to deep.

    Attributes:
        channels, strides: channel counts and strides of the maps, level by level.
        attended: whether the features of each level are attended.
    """

    joint_attention = False

    def __init__(self, config: FusionConfig, channels: list[int], strides: list[int]) -> None:
        super().__init__()
        self.config = config
        # MutualFormer's blocks update one fused stream, which needs one grid: the coarsest.
        self.attended = [stride == max(strides) for stride in strides]
        self.channels = [config.dim if a else config.fine_width for a in self.attended]
        self.strides = strides
        self.is_ensemble = config.is_ensemble  # so that a compiled graph does not read the property
        self.fine = nn.ModuleList()
        self.rgb_proj, self.depth_proj = nn.ModuleList(), nn.ModuleList()
        for width, attended in zip(channels, self.attended, strict=True):
            if attended:
                self.rgb_proj.append(nn.Linear(width, config.dim))
                self.depth_proj.append(nn.Linear(width, config.dim))
            else:
                self.fine.append(FineConv(width, config.fine_width, self.is_ensemble))

    def forward(
        self, rgb_features: list[Tensor], depth_features: list[Tensor], keys: Tensor | None = None
    ) -> list[Tensor]:
        """Fuse the features of both streams level by level.

        Args:
            rgb_features, depth_features: (B, C_l, h_l, w_l) float, shallow to deep.
            keys: (B,) int64 in training, keys of the images for a method that draws random numbers;
                None to draw from torch's generator.

        Returns:
            Maps (B, ``channels[l]``, h_l, w_l), or (2B, ...) with the head "ensemble".
        """
        count = len(self.fine)
        pairs = list(zip(rgb_features, depth_features, strict=True))
        maps = [fine(*pair) for fine, pair in zip(self.fine, pairs[:count], strict=True)]
        projections = zip(self.rgb_proj, self.depth_proj, pairs[count:], strict=True)
        streams = (  # (B, h w, C) tokens
            (rgb_proj(rgb.flatten(2).transpose(1, 2)), depth_proj(depth.flatten(2).transpose(1, 2)))
            for rgb_proj, depth_proj, (rgb, depth) in projections
        )
        grid = rgb_features[-1].shape[-2:]
        fused = self.fuse_levels(streams, keys)
        return maps + [tokens.transpose(1, 2).unflatten(2, grid) for tokens in fused]

    def fuse_levels(
        self, streams: Iterable[tuple[Tensor, Tensor]], keys: Tensor | None
    ) -> Iterator[Tensor]:
        """Fuse the tokens of every attended level: two (B, N, C) -> (B or 2B, N, C)."""
        for level, pair in enumerate(streams):
            rgb, depth = self.mix(level, *pair)
            yield torch.cat((rgb, depth)) if self.is_ensemble else rgb + depth

    def mix(self, level: int, rgb: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Fuse the streams of one attended ``level``; all tensors are (B, N, C)."""
        return rgb, depth

    def report(self, notes: Sequence[Notes]) -> tuple[Scalars, Scalars]:
        """Return the weighted losses and the statistics of a batch, as means over the images.

        ``notes`` has an item for each block if the method acts inside the encoder.
        """
        return {}, {}


class FineConv(nn.Module):
    """Reduce each modality by a 1x1 convolution and mix the results by a 3x3 convolution.

    The 3x3 convolution processes the concatenation or, with ``apart``, each modality separately.
    """

    def __init__(self, width: int, out: int, apart: bool) -> None:
        super().__init__()
        self.rgb_reduce = nn.Conv2d(width, out, 1)
        self.depth_reduce = nn.Conv2d(width, out, 1)
        self.apart = apart
        self.mix = conv_norm_act(out if apart else 2 * out, out)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """Fuse two (B, C, h, w) maps to (B, out, h, w), or to (2B, out, h, w) with ``apart``."""
        rgb, depth = self.rgb_reduce(rgb), self.depth_reduce(depth)
        if self.apart:
            return self.mix(torch.cat((rgb, depth)))
        return apply_to_concatenation(self.mix, rgb, depth)


def build_fusion(config: FusionConfig, encoder: TwoStreamEncoder) -> Fusion:
    """Build the fusion method of ``config``; a method inside the encoder gets a joint encoder.

    Raises:
        InputError: the method does not work with this encoder.
    """
    method = config.method
    shape = encoder.channels, encoder.strides
    if not method.in_encoder:
        return method.module(config, *shape)
    joint = encoder.run_jointly(config.fusion)
    fusion = method.module(config, *shape, joint)
    joint.check(fusion)
    return fusion
