"""Joint transforms from the arrays of one sample to aligned tensors of the network input size.

Colour, depth and ground truth are stacked before they are cropped, flipped or resized, so that they
stay aligned. Augmentations of values change one modality, independently of the others. The polarity
of depth (near = 1) never changes.

The augmentations are flip, crop and multi-scale as in F3Net; changes of the colours; and, for
RGB-D, noise, quantisation and holes in the depth. The default strengths were chosen for this
package.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from mutualformer_sod.data.modality import DEPTH
from mutualformer_sod.data.training.degradations import degrade

_SCALES = (0.75, 0.875, 1.0, 1.125, 1.25)  # scales of multi-scale training
Planes = tuple[Tensor, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the training augmentations."""

    flip: float = 0.5  # probability of a left-right flip
    crop: float = 1 / 8  # maximum crop at each of the four borders, relative to the side
    brightness: float = 0.3  # x: the factor is drawn uniformly from 1 - x to 1 + x
    contrast: float = 0.3  # as for brightness
    saturation: float = 0.3  # as for brightness
    hue: float = 0.03  # x: the shift is drawn from -x to x, relative to the colour circle
    depth_noise: float = 0.03  # maximum standard deviation of the noise added to depth in [0, 1]
    depth_levels: int = 16  # minimum number of grey levels to which depth is quantised
    depth_holes: int = 4  # maximum number of holes in a depth map
    depth_change: float = 0.3  # probability of each of the degradations of the modality
    # Probabilities of augmentations that the dataset applies:
    paste: float = 0.0  # of `copy_paste.paste_object` in an image with depth
    invent_depth: float = 0.0  # of `pseudo_depth.invent_depth` for an image without depth
    twin: float = 0.5  # of `copy_paste.add_twin` in an image with an invented map
    wrong_depth: float = 0.0  # of `pseudo_depth.mislead` in place of depth
    # Probability that an image with depth loses most of its colours, so that depth is needed:
    poor_colour: float = 0.0


def resize_sample(
    rgb: np.ndarray, depth: np.ndarray | None, gt: np.ndarray | None, size: tuple[int, int]
) -> Planes:
    """Resize one sample to the network input size, by bilinear interpolation with antialiasing.

    The ground truth is resized like the images, as in F3Net: pixels at object borders get
    fractions, and all other pixels remain exactly 0 or 1.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) float in [0, 1], or None.
        gt: (H, W) bool or float in [0, 1], or None.
        size: (h, w) of the result.

    Returns:
        rgb (3, h, w), depth (1, h, w), gt (1, h, w), float32 in [0, 1]; None for missing parts.
    """
    return _split(_resample(_stack(rgb, depth, gt), size), depth is not None, gt is not None)


def augment_sample(
    rgb: np.ndarray,
    depth: np.ndarray | None,
    gt: np.ndarray | None,
    size: tuple[int, int],
    rng: np.random.Generator,
    strength: Augmentation,
    *,
    depth_is_right: bool = True,
    degradations: Sequence[str] = DEPTH.degradations,
) -> Planes:
    """Crop, flip and resize all parts of a sample alike, then augment colours and depth.

    Arguments and result are those of `resize_sample`. All random numbers are from ``rng``. Colours
    are degraded only if the sample has depth and ``depth_is_right`` is true. ``degradations`` are
    the names of the degradations of ``depth``.
    """
    planes = _stack(rgb, depth, gt)
    height, width = planes.shape[-2:]
    top, bottom = (int(cut) for cut in rng.random(2) * strength.crop * height)
    left, right = (int(cut) for cut in rng.random(2) * strength.crop * width)
    planes = planes[:, top : height - bottom, left : width - right]
    if rng.random() < strength.flip:
        planes = planes.flip(-1)
    planes = _resample(planes, size)
    rgb_tensor, depth_tensor, gt_tensor = _split(planes, depth is not None, gt is not None)
    rgb_tensor = _jitter_colours(rgb_tensor, rng, strength)
    if depth_tensor is not None:
        ratio = strength.poor_colour
        if depth_is_right and ratio and rng.random() < ratio:
            rgb_tensor = _degrade_colours(rgb_tensor, rng)
        depth_tensor = degrade(depth_tensor, rng, strength, degradations)
    return rgb_tensor, depth_tensor, gt_tensor


def draw_training_size(
    size: tuple[int, int], rng: np.random.Generator, multiple: int = 32
) -> tuple[int, int]:
    """Draw the size (h, w) of a batch: ``size`` times a scale, rounded to ``multiple`` per side."""
    scale = _SCALES[rng.integers(len(_SCALES))]
    height, width = (max(multiple, round(scale * side / multiple) * multiple) for side in size)
    return height, width


def resize_batch(rgb: Tensor, depth: Tensor, gt: Tensor, size: tuple[int, int]) -> Planes:
    """Resize the parts (B, C, H, W) of a batch, as in multi-scale training."""
    planes = _resample(torch.cat([rgb, depth, gt], dim=1), size)
    return planes[:, :3], planes[:, 3:4], planes[:, 4:]


def _stack(rgb: np.ndarray, depth: np.ndarray | None, gt: np.ndarray | None) -> Tensor:
    """Stack all parts as float32 planes (C, H, W) in [0, 1], C = 3 to 5."""
    colours = torch.from_numpy(rgb.transpose(2, 0, 1).astype(np.float32)) / 255
    planes = [plane.astype(np.float32)[None] for plane in (depth, gt) if plane is not None]
    return torch.cat([colours, *map(torch.from_numpy, planes)])


def _split(planes: Tensor, has_depth: bool, has_gt: bool) -> Planes:
    return planes[:3], planes[3:4] if has_depth else None, planes[-1:] if has_gt else None


def _resample(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize with antialiasing; clamp, because the weights sum to 1 only up to rounding errors."""
    return tvf.resize(planes, list(size), antialias=True).clamp(0, 1)


def _jitter_colours(rgb: Tensor, rng: np.random.Generator, strength: Augmentation) -> Tensor:
    brightness, contrast, saturation, hue = rng.uniform(-1, 1, 4)
    rgb = tvf.adjust_brightness(rgb, 1 + strength.brightness * brightness)
    rgb = tvf.adjust_contrast(rgb, 1 + strength.contrast * contrast)
    rgb = tvf.adjust_saturation(rgb, 1 + strength.saturation * saturation)
    return turn_hue(rgb, strength.hue * hue)


def turn_hue(rgb: Tensor, shift: float) -> Tensor:
    """Shift the hue like torchvision's ``adjust_hue``, but with cv2, in a tenth of the time.

    ``rgb`` is (3, h, w) float32 in [0, 1]; ``shift`` is relative to the colour circle.
    """
    hsv = cv2.cvtColor(rgb.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2HSV)
    hsv[..., 0] += 360 * (shift % 1)  # degrees; cv2 wraps values above 360, but not below 0
    turned = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=hsv)
    return torch.from_numpy(turned).permute(2, 0, 1).contiguous().clamp_(0, 1)


def _degrade_colours(rgb: Tensor, rng: np.random.Generator) -> Tensor:
    """Make colours grey, dim, low in contrast, blurred or noisy, as in the dark."""
    grey, blurred = rng.random(2) < 0.5
    if grey:
        rgb = tvf.rgb_to_grayscale(rgb, num_output_channels=3)
    if blurred:
        size = 2 * int(rng.integers(1, max(2, rgb.shape[-1] // 28))) + 1
        rgb = tvf.gaussian_blur(rgb, [size, size])
    mean = rgb.mean(dim=(1, 2), keepdim=True)
    rgb = mean * rng.uniform(0.4, 1.0) + (rgb - mean) * rng.uniform(0.1, 0.6)
    noise = torch.from_numpy(rng.standard_normal(rgb.shape, dtype=np.float32))
    return (rgb + noise * rng.uniform(0, 0.05)).clamp(0, 1)
