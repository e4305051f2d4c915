"""Top-down decoder with a light detail branch, up to the input resolution (CHOSEN: ours)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutualformer_sod.configs.model import DecoderConfig
from mutualformer_sod.models.encoder import resize

_WORTH = 5 * 10**7  # minimum number of saved products that outweighs the additional calls (CHOSEN)


class Decoder(nn.Module):
    """Decode fused maps to saliency logits at input resolution.

    The first stage decodes the deepest map. Each later stage has the stride of the previous stage
    or half this stride, and the next map with this stride. Stages at strides 4 and 2 and the head
    also use the detail branch over RGB and depth at full resolution, which makes borders sharper
    than the token grid allows, even borders visible only in depth. With ``finest=2``, decoding ends
    at half resolution and the logits are interpolated, because full resolution takes most of the
    time. GroupNorm makes the results independent of the other images of the batch.

    Args:
        channels, strides: channel counts and strides of the fused maps, shallow to deep.
        streams: number k of streams of the same images. The streams follow one another in a batch
            and share the detail branch.
    """

    def __init__(
        self, config: DecoderConfig, channels: list[int], strides: list[int], streams: int = 1
    ) -> None:
        super().__init__()
        fine = config.detail_width
        # A quotient of batch sizes would fix the batch size of an exported graph.
        self.streams = streams
        self.finest = config.finest
        self.detail = DetailBranch(fine, config.finest)
        self.laterals = nn.ModuleList()
        self.stages = nn.ModuleList()
        self.stage_strides = _stage_strides(strides)
        width = 0
        for level, stride in enumerate(self.stage_strides):
            out = {4: config.decoder_width // 2, 2: 2 * fine}.get(stride, config.decoder_width)
            incoming = width + self.detail.channels.get(stride, 0)
            if level < len(channels):
                self.laterals.append(nn.Conv2d(channels[-1 - level], out, 1))
                incoming += out
            inputs = [incoming] + [out] * (config.stage_convs - 1)
            self.stages.append(nn.Sequential(*(conv_norm_act(count, out) for count in inputs)))
            width = out
        supervised = list(self.stages)[-1 - config.side_heads : -1]
        self.side_heads = nn.ModuleList(
            nn.Conv2d(stage[-1][0].out_channels, 1, 1) for stage in supervised
        )
        incoming = width if config.finest == 2 else width + fine
        self.head = nn.Sequential(
            nn.Conv2d(incoming, fine, 3, padding=1), nn.GELU(), nn.Conv2d(fine, 1, 1)
        )

    def forward(
        self, fused_maps: list[Tensor], rgb: Tensor, depth: Tensor, has_depth: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Decode the fused maps.

        Args:
            fused_maps: (k B, C_l, h_l, w_l) float, shallow to deep.
            rgb: (B, 3, H, W) float, normalised.
            depth: (B, 1, H, W) float, depth minus 0.5, or zero for images without depth.
            has_depth: (B, 1, H, W) float, 1 for images with depth.

        Returns:
            The logits (k B, 1, H, W) float, and in training mode ``config.side_heads`` side logits,
            (k B, 1, h, w) float each, from fine to coarse.
        """
        height, width = rgb.shape[-2:]
        details = self.detail(torch.cat((rgb, depth, has_depth), dim=1))
        if self.streams > 1:
            details = {stride: x.repeat(self.streams, 1, 1, 1) for stride, x in details.items()}
        outputs: list[Tensor] = []
        for level, (stage, stride) in enumerate(zip(self.stages, self.stage_strides, strict=True)):
            size = (height // stride, width // stride)
            parts = outputs[-1:]
            if level < len(fused_maps):  # the 1x1 convolution is cheaper before the resize
                parts.append(self.laterals[level](fused_maps[-1 - level]))
            if stride in details:
                parts.append(details[stride])
                # The size is rounded up if the stride does not divide the image size.
                size = details[stride].shape[-2:]
            (first, *norm_act), *rest = stage
            features = self._convolve(first, parts, size)
            for layer in (*norm_act, *rest):
                features = layer(features)
            outputs.append(features)
        if self.finest == 1:  # the concatenation would be the largest tensor
            features = resize(features, (height, width))
            logits = apply_to_concatenation(self.head, features, details[1])
        else:
            logits = resize(self.head(features), (height, width))
        if not self.training:
            return logits, []
        sides = zip(self.side_heads, outputs[-1 - len(self.side_heads) : -1], strict=True)
        return logits, [head(output) for head, output in sides][::-1]

    def _convolve(self, conv: nn.Conv2d, parts: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Resize ``parts``, (B, C, h, w) each, to ``size`` and convolve their concatenation.

        In eval mode and float32, `convolve_upsampled` processes sufficiently coarse parts.
        """
        kernels = conv.weight.split([part.shape[1] for part in parts], dim=1)
        pairs = list(zip(parts, kernels, strict=True))
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        mixed = None
        if not (self.training or traced or torch.is_autocast_enabled(parts[0].device.type)):
            for grid in dict.fromkeys(part.shape[-2:] for part in parts):
                chosen = [pair for pair in pairs if pair[0].shape[-2:] == grid]
                joined = torch.cat([part for part, _ in chosen], dim=1)
                if saves_products(joined.shape[1], conv.out_channels, grid, size):
                    kernel = torch.cat([kernel for _, kernel in chosen], dim=1)
                    coarse = convolve_upsampled(joined, kernel, size)
                    mixed = coarse if mixed is None else mixed + coarse
                    pairs = [pair for pair in pairs if pair[0].shape[-2:] != grid]
        if not pairs:
            return mixed
        joined = torch.cat([resize(part, size) for part, _ in pairs], dim=1)
        if mixed is None:
            return conv(joined)
        return mixed + F.conv2d(joined, torch.cat([kernel for _, kernel in pairs], 1), padding=1)


class DetailBranch(nn.Module):
    """Convolutions over (rgb, depth, has_depth), one for each stride from ``finest`` to 4."""

    def __init__(self, width: int, finest: int = 1) -> None:
        super().__init__()
        self.channels = {2: 2 * width, 4: 4 * width}
        if finest == 1:
            self.channels = {1: width} | self.channels
            self.stride1 = nn.Sequential(nn.Conv2d(5, width, 3, padding=1), nn.GELU())
        self.stride2 = conv_norm_act(width if finest == 1 else 5, 2 * width, stride=2)
        self.stride4 = conv_norm_act(2 * width, 4 * width, stride=2)

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        maps = {}
        for stride in self.channels:
            image = maps[stride] = getattr(self, f"stride{stride}")(image)
        return maps


def conv_norm_act(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """Build a 3x3 convolution, a GroupNorm with 8 groups and a GELU."""
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False),
        nn.GroupNorm(8, out),
        nn.GELU(),
    )


def saves_products(channels: int, out: int, grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Return whether ``convolve_upsampled`` of ``grid`` (h, w) to ``size`` (H, W) saves time."""
    (h, w), (height, width) = grid, size
    direct = 9 * channels * height * width
    coarse = 9 * channels * h * w + 9 * h * w * width + 3 * h * height * width
    # oneDNN's direct convolution is faster per product.
    return out * (direct - 2 * coarse) > _WORTH


def convolve_upsampled(features: Tensor, kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute conv(upsample(features)) from products at the resolution of ``features``.

    Upsampling acts on rows and columns, and the nine kernel positions act on channels, so the two
    operations commute. Two matrices upsample, shift and add the nine products. The result differs
    from conv(upsample) only by rounding.

    Args:
        features: (B, C, h, w) float.
        kernel: (out, C, 3, 3) float, for stride 1 and zero padding of 1.
        size: size (H, W) of the bilinear upsampling with half-pixel centres.

    Returns:
        (B, out, H, W) float, channels-last.
    """
    (batch, _, h, w), out = features.shape, len(kernel)
    parts = F.linear(features.permute(0, 2, 3, 1), kernel.permute(2, 3, 0, 1).flatten(0, 2))
    parts = parts.view(batch, h, w, 3, 3, out).permute(0, 3, 1, 4, 2, 5)  # (B, 3, h, 3, w, out)
    across = _shifted_upsampling(w, size[1], features)
    wide = across @ parts.reshape(batch, 3 * h, 3 * w, out)  # (B, 3 h, W, out)
    down = _shifted_upsampling(h, size[0], features)
    mixed = down @ wide.flatten(2)  # (B, H, W out)
    return mixed.unflatten(2, (size[1], out)).permute(0, 3, 1, 2)


def _shifted_upsampling(cells: int, size: int, like: Tensor) -> Tensor:
    """Return a (size, 3 cells) matrix; row p gives upsampled pixels p - 1, p, p + 1, 0 outside."""
    identity = torch.eye(cells, dtype=like.dtype, device=like.device)[None]
    weights = F.interpolate(identity, size=size, mode="linear", align_corners=False)[0]
    padded = F.pad(weights, (1, 1))  # (cells, size + 2)
    return torch.stack([padded[:, k : k + size].T for k in range(3)], dim=1).flatten(1)


def apply_to_concatenation(layers: nn.Sequential, left: Tensor, right: Tensor) -> Tensor:
    """Apply layers that begin with a 3x3 convolution to [left ; right] without a concatenation."""
    conv, *rest = layers
    left_kernel, right_kernel = conv.weight.split((left.shape[1], right.shape[1]), dim=1)
    mixed = F.conv2d(left, left_kernel, padding=1)
    mixed = mixed + F.conv2d(right, right_kernel, conv.bias, padding=1)
    for layer in rest:
        mixed = layer(mixed)
    return mixed


def _stage_strides(strides: list[int]) -> list[int]:
    """Return the coarsest stride and all smaller powers of 2 down to 2, such as [16, 8, 4, 2]."""
    # The coarsest stride is repeated if there are more maps than strides, or if there are finer
    # maps and several maps at the coarsest stride.
    coarsest = max(strides)
    finer = [2**power for power in range(coarsest.bit_length(), 0, -1) if 2**power < coarsest]
    first = len(strides) - len(finer)
    if min(strides) < coarsest:
        first = strides.count(coarsest)
    return [coarsest] * max(1, first) + finer
