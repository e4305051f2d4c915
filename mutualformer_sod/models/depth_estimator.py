"""Estimate depth from colour by a small decoder on frozen features of a pretrained ViT."""

import json
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mutualformer_sod.configs.model import DecoderConfig
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing, why_unreadable
from mutualformer_sod.models.backbone import create_timm_model
from mutualformer_sod.models.decoder import Decoder
from mutualformer_sod.models.safetensors_file import write_safetensors
from mutualformer_sod.models.weights import load_unique_state

_INDICES = [2, 5, 8, 11]  # indices of the blocks whose tokens are features
FORMAT = "mutualformer_sod depth estimator"


class DepthEstimator(nn.Module):
    """Estimate relative depth from a colour image (CHOSEN: ours).

    Features of four blocks of a frozen ViT feed a decoder of the same class as the saliency
    decoder.

    Args:
        backbone: timm's name of the ViT.
        image_size: side of the images in pixels, a multiple of the ViT's patch size.
        pretrained: source of the ViT's weights; ``build_model`` describes the values.
    """

    def __init__(
        self,
        backbone: str = "vit_small_patch14_dinov2",
        image_size: int = 224,
        pretrained: bool | str | Path = "auto",
    ) -> None:
        super().__init__()
        self.backbone, self.image_size = backbone, image_size
        arguments = {"img_size": image_size, "num_classes": 0}
        self.vit = create_timm_model(backbone, pretrained, arguments).requires_grad_(False).eval()
        widths = [self.vit.num_features] * len(_INDICES)
        strides = [self.vit.patch_embed.patch_size[0]] * len(_INDICES)
        self.decoder = Decoder(DecoderConfig(decoder_width=64, finest=2), widths, strides)
        for name in ("mean", "std"):
            values = torch.tensor(self.vit.pretrained_cfg[name]).view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def train(self, mode: bool = True) -> "DepthEstimator":
        super().train(mode)
        self.vit.eval()
        return self

    def forward(self, rgb: Tensor) -> Tensor:
        """Return the relative depth of every pixel, up to scale and shift; larger is nearer.

        With S = ``image_size``: (B, 3, S, S) float, RGB in [0, 1] -> (B, 1, S, S) float, unlimited.
        """
        rgb = (rgb - self.mean) / self.std
        with torch.no_grad():
            maps = self.vit.forward_intermediates(
                rgb, indices=_INDICES, norm=True, intermediates_only=True
            )
        absent = rgb.new_zeros(len(rgb), 1, *rgb.shape[-2:])
        return self.decoder(maps, rgb, absent, absent)[0]


def save_estimator(model: DepthEstimator, path: Path | str) -> None:
    """Write a file of the decoder's fp16 weights, the ViT's name and the image size."""
    state = {name: value.half().contiguous() for name, value in model.decoder.state_dict().items()}
    about = {"format": FORMAT, "backbone": model.backbone, "image_size": model.image_size}
    with replacing(path) as temporary:
        write_safetensors(state, temporary, {"about": json.dumps(about)})


def load_estimator(path: Path | str, pretrained: bool | str | Path = "auto") -> DepthEstimator:
    """Build an estimator in eval mode from a file that ``save_estimator`` wrote.

    Raises:
        InputError: the file is unreadable, the file has no depth estimator, or the ViT's weights
            are not found.
    """
    path = Path(path)
    remedy = "Fix: train a depth estimator with tools/estimate_depth.py train"
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        backbone, image_size = about["backbone"], about["image_size"]
        is_known = isinstance(backbone, str) and timm.is_model(backbone)
        is_size = isinstance(image_size, int) and image_size > 0
        is_estimator = about["format"] == FORMAT and is_known and is_size
    except (SafetensorError, OSError) as error:
        reason = why_unreadable(path) or f"{error}. Fix: pass weights of a depth estimator"
        raise InputError(f"{path}: {reason}") from error
    except (ValueError, TypeError, KeyError):
        is_estimator = False
    if not is_estimator:
        raise InputError(f"{path}: not the weights of a depth estimator. {remedy}")
    model = DepthEstimator(backbone, image_size, pretrained)
    try:
        load_unique_state(model.decoder, state)
    except InputError as error:
        raise InputError(f"{path}: {error}. {remedy}") from error
    return model.eval()


def affine_invariant_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Compute the depth loss of MiDaS (TPAMI 2022) with a small absolute term.

    Scale and shift of each predicted map are aligned to the target by least squares (CHOSEN). The
    loss is the mean absolute difference of aligned map and target, plus 0.5 (CHOSEN) times that of
    their gradients, summed over four scales, plus 0.1 times that of sigmoid(predicted) and target.

    Args:
        predicted: (B, 1, H, W) float, any real number.
        target: (B, 1, H, W) float in [0, 1].

    Returns:
        Scalar float, 0 or more.
    """
    flat, wanted = predicted.float().flatten(1), target.float().flatten(1)
    mean, wanted_mean = flat.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
    centred, goal = flat - mean, wanted - wanted_mean
    scale = (centred * goal).mean(1, keepdim=True) / (centred.square().mean(1, keepdim=True) + 1e-4)
    scale = scale.clamp(min=1e-3)  # positive, so that larger remains nearer
    error = (scale * centred - goal).unflatten(1, target.shape[-2:])
    loss = error.abs().mean()
    for step in (1, 2, 4, 8):
        coarse = F.avg_pool2d(error[:, None], step) if step > 1 else error[:, None]
        loss = loss + 0.5 * coarse.diff(dim=-1).abs().mean()
        loss = loss + 0.5 * coarse.diff(dim=-2).abs().mean()
    # The last term fixes scale and shift, which keeps logits in a range of high precision.
    return loss + 0.1 * (torch.sigmoid(flat) - wanted).abs().mean()
