"""The network of normalisation, two-stream encoder, fusion and decoder, and its builder."""

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mutualformer_sod.configs.model import DEFAULT_PRESET, ModelConfig, make_config
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.cpu_training import CpuTraining
from mutualformer_sod.models.decoder import Decoder
from mutualformer_sod.models.encoder import Features, TwoStreamEncoder, resize
from mutualformer_sod.models.fusion.streams import build_fusion
from mutualformer_sod.models.hub import HubModel
from mutualformer_sod.models.inputs import check_inputs, check_values
from mutualformer_sod.models.joint_encoder import Notes

NO_DEPTH_GRID = 14  # cells per side of the learned "no depth" map before resizing


@dataclass
class DetectorOutput:
    """Output of the detector in training mode.

    Attributes:
        logits: (B, 1, H, W) float at input size.
        side_logits: (B, 1, h, w) float each, fine to coarse, for deep supervision.
        extra_losses: additional losses of a fusion method, scalar tensors by name.
        statistics: values of a fusion method for the log, scalar tensors by name.
        streams: outputs of the streams "rgb" and "depth" with the head "ensemble", for which
            ``logits`` trains only the averaging weights, and ``side_logits`` is empty.
    """

    logits: Tensor
    side_logits: list[Tensor]
    extra_losses: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)
    streams: dict[str, "DetectorOutput"] = field(default_factory=dict)


class SaliencyDetector(nn.Module, HubModel):
    """RGB-D salient object detector (MutualFormer, IJCV 2024; encoder and decoder CHOSEN).

    ``config.fusion`` selects the fusion method; encoder and decoder are the same for all methods.
    With the head "ensemble", one decoder decodes both streams, and the logits of the streams are
    averaged with the weights softmax(alpha) (TokenFusion, CVPR 2022).

    Args:
        pretrained: source of both streams' weights; ``build_model`` describes the values.

    Attributes:
        check_values: refuse values outside [0, 1] in eval mode, except in a compiled or exported
            graph. NaN is not refused; the logits of an image with NaN become NaN. Depth is not
            checked where ``has_depth`` is False.
    """

    check_values = True

    def __init__(self, config: ModelConfig, pretrained: bool | str | Path = False) -> None:
        super().__init__()
        self.encoder = TwoStreamEncoder(config.encoder, config.image_size, pretrained)
        self.config = config
        self.fusion = build_fusion(config.fusion, self.encoder)
        ensemble = config.fusion.is_ensemble
        self.decoder = Decoder(
            config.decoder, self.fusion.channels, self.fusion.strides, 2 if ensemble else 1
        )
        self.alpha = nn.Parameter(torch.zeros(2)) if ensemble else None
        # A mean of 0.5 would normalise 0.5 to 0, and convolutions would get no gradient.
        self.no_depth = nn.Parameter(torch.full((1, 1, NO_DEPTH_GRID, NO_DEPTH_GRID), 0.4))
        given = None if config.mean is None else (config.mean, config.std)
        self.normalise_with(*(given or self.encoder.normalisation))

    def forward(
        self,
        rgb: Tensor,
        depth: Tensor | None = None,
        has_depth: Tensor | None = None,
        keys: Tensor | None = None,
    ) -> Tensor | DetectorOutput:
        """Compute the saliency logits of a batch.

        Args:
            rgb: (B, 3, H, W) float in [0, 1].
            depth: (B, 1, H, W) float in [0, 1], near = 1; None for RGB-only use.
            has_depth: (B,) bool, False for an image without depth, whose depth values are
                ignored; None if all images have depth.
            keys: (B + 1,) int64, seeds of random choices in training for the images and for the
                "no depth" map; None selects torch's generator.

        Returns:
            Logits (B, 1, H, W) float at input size in eval mode; a DetectorOutput in training mode.

        Raises:
            InputError (a ValueError): a type or a shape is wrong, or a value is outside [0, 1] in
                eval mode.
        """
        check_inputs(rgb, depth, has_depth)
        if rgb.dtype == torch.float64 != self.mean.dtype:  # autocast does not convert float64
            raise InputError(f"rgb is {rgb.dtype}. Fix: pass {self.mean.dtype}, as in the network")
        # A compiled or exported graph must not depend on values.
        if self.check_values and not (self.training or torch.compiler.is_compiling()):
            check_values(rgb, depth, has_depth)
        height, width = rgb.shape[-2:]
        rgb, depth = self._pad(rgb), None if depth is None else self._pad(depth)
        rgb = (rgb - self.mean) / self.std
        with self._kernels(rgb):
            rgb_features, depth_features, notes = self._encode(rgb, depth, has_depth, keys)
            rgb_keys = None if keys is None else keys[:-1]
            fused_maps = self.fusion(rgb_features, depth_features, rgb_keys)
        decoder_depth, mask = _decoder_depth(rgb, depth, has_depth)
        logits, side_logits = self.decoder(fused_maps, rgb, decoder_depth, mask)
        logits = logits[..., :height, :width]
        if self.training:  # DistributedDataParallel needs every parameter in every step
            logits = logits + 0 * self.no_depth.sum()
        output = DetectorOutput(logits, side_logits, *self.fusion.report(notes))
        if self.alpha is not None:
            output = self._ensemble(output)
        return output if self.training else output.logits

    def normalise_with(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Set mean and std of RGB in [0, 1] for normalisation, and store both in ``config``."""
        self.config = dataclasses.replace(self.config, mean=mean, std=std)
        for name in ("mean", "std"):  # stored in the configuration, not in the state dict
            values = torch.tensor(getattr(self.config, name)).view(1, 3, 1, 1)
            self.register_buffer(name, values.to(self.no_depth.device), persistent=False)

    def _ensemble(self, both: DetectorOutput) -> DetectorOutput:
        """Split and average logits (2B, 1, H, W) of both streams; the mean trains only alpha."""
        # chunk would fix the batch size of an exported graph
        halves = [part.unflatten(0, (2, -1)).unbind(0) for part in (both.logits, *both.side_logits)]
        (rgb, *rgb_sides), (depth, *depth_sides) = zip(*halves, strict=True)
        streams = {
            "rgb": DetectorOutput(rgb, rgb_sides),
            "depth": DetectorOutput(depth, depth_sides),
        }
        rgb_weight, depth_weight = self.alpha.softmax(0).unbind(0)
        average = rgb_weight * rgb.detach() + depth_weight * depth.detach()
        statistics = both.statistics | {"rgb_weight": rgb_weight.detach()}
        return DetectorOutput(average, [], both.extra_losses, statistics, streams)

    def _encode(
        self, rgb: Tensor, depth: Tensor | None, has_depth: Tensor | None, keys: Tensor | None
    ) -> tuple[Features, Features, list[Notes]]:
        """Return the features of each stream, (B, C_l, h_l, w_l) each, and the fusion's notes."""
        own_keys = depth_keys = None if keys is None else keys[:-1]
        seen, rows = self._depth_images(rgb, depth, has_depth)
        if keys is not None and rows is not None:
            real_keys = keys[:0] if has_depth is None else own_keys[has_depth]
            depth_keys = torch.cat((real_keys, keys[-1:]))
        if self.encoder.joint is not None and rows is not None:
            depth_keys = None if keys is None else depth_keys[rows]
            seen, rows = _pick(seen, rows), None
        rgb_features, depth_features, notes = self.encoder(
            rgb, seen, self.fusion, own_keys, depth_keys
        )
        return rgb_features, [_pick(feature, rows) for feature in depth_features], notes

    def _kernels(self, image: Tensor) -> AbstractContextManager:
        """Return a context with fast kernels for training on a CPU, or a context without effect."""
        plain = self.training and image.device.type == "cpu"
        plain &= not self.encoder.recomputes  # recomputation runs outside this context
        if plain and torch.compiler.is_compiling():  # compile accepts only torch's contexts
            return sdpa_kernel(SDPBackend.MATH)
        return CpuTraining() if plain else nullcontext()

    def _depth_images(
        self, rgb: Tensor, depth: Tensor | None, has_depth: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the input maps of the depth stream, and the index of each image's map.

        The maps are (D, 3, H, W) float, normalised: the real maps, then the learned map "no depth"
        if any image has no depth. The indices are (B,) int64, or None if image i has map i. A
        compiled or exported graph in eval mode has one map per image if ``depth`` is present,
        because shapes must not depend on values.
        """
        if depth is not None and has_depth is None:
            return (depth - self.mean) / self.std, None
        absent = (resize(self.no_depth, rgb.shape[-2:]) - self.mean) / self.std  # (1, 3, H, W)
        if depth is not None and torch.compiler.is_compiling() and not self.training:
            real = (depth - self.mean) / self.std
            return torch.where(has_depth.view(-1, 1, 1, 1), real, absent), None
        if depth is None or not has_depth.any():
            return absent, torch.zeros(len(rgb), dtype=torch.long, device=rgb.device)
        real = (depth[has_depth] - self.mean) / self.std
        if len(real) == len(rgb):
            return real, None
        rows = torch.where(has_depth, has_depth.cumsum(0) - 1, len(real))
        return torch.cat((real, absent)), rows

    def _pad(self, image: Tensor) -> Tensor:
        """Repeat the right and bottom border up to a multiple of the coarsest stride."""
        stride = max(self.encoder.strides)
        bottom, right = (-image.shape[-2] % stride, -image.shape[-1] % stride)
        if not (bottom or right):
            return image
        return F.pad(image, (0, right, 0, bottom), mode="replicate")


def build_model(
    preset: str = DEFAULT_PRESET, *, pretrained: bool | str | Path = False, **overrides: Any
) -> SaliencyDetector:
    """Build a saliency detector.

    Example:
        >>> model = build_model("small", pretrained=True, steps=2).eval()
        >>> logits = model(rgb, depth)  # (B, 3, H, W), (B, 1, H, W) in [0, 1] -> (B, 1, H, W)

    Args:
        preset: one of `list_presets()`.
        pretrained: weights of the backbones. True selects timm's ImageNet weights from the hub, a
            path selects a local file, "auto" selects the first available source
            (`models.pretrained.find_backbone_weights`), and False selects random weights.
        **overrides: options of the configuration by name, for example ``epsilon=0.5``,
            ``share=True``, ``backbone="pvt_v2_b2"``, ``image_size=256``.

    Returns:
        The detector in training mode. `SaliencyDetector.forward` documents inputs and outputs.

    Raises:
        InputError (a ValueError): a preset or option is unknown, a value is invalid, an option has
            no effect, or the weights are not available.
    """
    model = SaliencyDetector(make_config(preset, **overrides), pretrained)
    plain = model.encoder.rgb_stream.is_plain
    needs = {  # whether an option has an effect with this backbone, and otherwise the reason
        "feature_blocks": (plain, "this backbone is hierarchical and returns a map for each stage"),
        "stem": (plain or overrides.get("stem") == "patch", "this backbone has a stem of its own"),
        "fine_width": (not all(model.fusion.attended), "no map is finer than the attended maps"),
    }
    for name in overrides:
        used, reason = needs.get(name, (True, ""))
        if not used:
            raise InputError(f"{name} has no effect: {reason}. Fix: leave {name} out.")
    return model


def _pick(items: Tensor, rows: Tensor | None) -> Tensor:
    """Select the item of each image, or expand the only item: (D, ...) -> (B, ...)."""
    if rows is None:
        return items
    if len(items) == 1:
        return items.expand(len(rows), *items.shape[1:])
    # The gradient of items[rows] on a CPU would be summed by several threads in random order.
    return items.index_select(0, rows)


def _decoder_depth(
    rgb: Tensor, depth: Tensor | None, has_depth: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return depth minus 0.5, or zero if absent, and a mask of real depth, (B, 1, H, W) each."""
    plane = rgb.new_zeros(rgb.shape[0], 1, *rgb.shape[-2:])
    if depth is None:
        return plane, plane
    centred = depth - 0.5
    if has_depth is None:
        return centred, torch.ones_like(plane)
    real = has_depth.view(-1, 1, 1, 1)
    # torch.where, not a product: NaN * 0 is NaN.
    return torch.where(real, centred, plane), plane + real.to(plane.dtype)
