"""A 3x3 convolution over an upsampled map, computed without that map."""

import torch
import torch.nn.functional as F
from torch import Tensor

_WORTH = 5 * 10**7  # least number of saved products; with fewer, the calls cost more (CHOSEN)


def saves_products(channels: int, out: int, grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether ``convolve_upsampled`` is faster than a convolution of the upsampled map.

    Its products count twice, because a convolution of oneDNN does more of them in a second.

    Args:
        channels, out: input and output channels of the kernel.
        grid: (h, w) of the map.
        size: (H, W) to upsample to.
    """
    (h, w), (height, width) = grid, size
    direct = 9 * channels * height * width
    coarse = 9 * channels * h * w + 9 * h * w * width + 3 * h * height * width
    return out * (direct - 2 * coarse) > _WORTH


def convolve_upsampled(features: Tensor, kernel: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute conv(upsample(features)) from products at the resolution of ``features``.

    Upsampling acts on rows and columns, each of the nine kernel positions on channels, so both
    commute. The nine products are taken at the coarse resolution, and two matrices upsample, shift
    and add them. The result differs by rounding alone.

    Args:
        features: (B, C, h, w) float.
        kernel: (out, C, 3, 3) float, for stride 1 and zero padding of 1.
        size: (H, W) to upsample to, bilinear with half-pixel centres.

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
    """Return (size, 3 cells): upsampled pixel p + k - 1, or 0, for k = 0, 1, 2 and pixel p."""
    identity = torch.eye(cells, dtype=like.dtype, device=like.device)[None]
    weights = F.interpolate(identity, size=size, mode="linear", align_corners=False)[0]
    padded = F.pad(weights, (1, 1))  # (cells, size + 2)
    return torch.stack([padded[:, k : k + size].T for k in range(3)], dim=1).flatten(1)
