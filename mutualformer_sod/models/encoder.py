"""Two-stream encoder: one timm model a modality, tapped at several depths or strides."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import Eva, VisionTransformer
from torch import Tensor, nn

from mutualformer_sod.configs.model import TIMM_STEMS, EncoderConfig
from mutualformer_sod.errors import InputError
from mutualformer_sod.models.backbone import create_timm_model
from mutualformer_sod.models.seam import NORMS, Seam, halves
from mutualformer_sod.models.skeleton import timm_skeleton
from mutualformer_sod.models.stem import FineStem, HybridStem, TimmStem, conv_stem

Taps = list[Tensor]  # (B, C_l, h_l, w_l) each, from the shallowest tap to the deepest

_TOKEN_MODELS = (VisionTransformer, Eva)  # give their taps as tokens; some timm models do not


class TwoStreamEncoder(nn.Module):
    """A timm backbone for RGB and one for depth.

    Plain ViTs are tapped after the blocks ``config.taps``, passed through their final
    normalisation, prefix tokens (CLS, registers) dropped; the finer maps of a hybrid stem are taps
    too, before them. Hierarchical models are tapped at their stages. With ``config.share`` the
    streams hold the same weights but for the normalisation layers, which stay individual to a
    modality.

    Attributes:
        channels: C_l of each tap.
        strides: pixels a cell of each tap.
        normalisation: mean and std of the colour channels that the backbone was trained with.
        recomputes: whether activations are recomputed in the backward pass.
        is_joint: whether a fusion method acts inside, so that both modalities go in lock-step.
    """

    def __init__(
        self, config: EncoderConfig, image_size: int, pretrained: bool | str | Path = False
    ) -> None:
        super().__init__()
        self.rgb_stream = _Backbone(config, image_size, pretrained)
        self.depth_stream = _Backbone(config, image_size, pretrained)
        if config.share:
            _share_all_but_norms(self.rgb_stream, self.depth_stream)
        self.channels = self.rgb_stream.channels
        self.strides = self.rgb_stream.strides
        self.normalisation = self.rgb_stream.normalisation
        self.recomputes = self.is_joint = False

    def open_seam(self, fusion: str) -> Seam:
        """The place in which a fusion method may act; see ``seam.Seam``.

        Raises:
            InputError: this backbone has no such place.
        """
        seam = Seam(self.rgb_stream.body, self.depth_stream.body, fusion)
        self.is_joint = True
        return seam

    def forward(self, rgb: Tensor, depth: Tensor) -> tuple[Taps, Taps]:
        """Encode both modalities.

        Args:
            rgb: (B, 3, H, W) float, normalised; H and W multiples of the coarsest stride.
            depth: (D, 3, H, W) float, normalised: the distinct maps, D = B or fewer; D = B where
                the encoder ``is_joint``.

        Returns:
            The taps of each stream, (B, C_l, h_l, w_l) and (D, C_l, h_l, w_l), shallow to deep.
        """
        if self.is_joint:
            pairs = [halves(tap) for tap in self.rgb_stream(torch.cat((rgb, depth)))]
            return [rgb_tap for rgb_tap, _ in pairs], [depth_tap for _, depth_tap in pairs]
        return self.rgb_stream(rgb), self.depth_stream(depth)

    def set_grad_checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of keeping them.

        Raises:
            InputError: timm offers it for no part of this backbone.
        """
        self.recomputes = True
        for stream in (self.rgb_stream, self.depth_stream):
            try:
                stream.body.set_grad_checkpointing(True)
            except (AttributeError, AssertionError) as error:
                raise InputError(
                    "--grad-checkpointing: timm has none for this backbone: leave it out"
                ) from error


class _Backbone(nn.Module):
    """One timm model behind one interface: image -> list of (B, C, h, w)."""

    def __init__(
        self, config: EncoderConfig, image_size: int, pretrained: bool | str | Path
    ) -> None:
        super().__init__()
        if not timm.is_model(config.backbone):
            close = timm.list_models(f"*{config.backbone[:6]}*")[:5]
            raise InputError(
                f"unknown timm backbone {config.backbone!r}: timm.list_models() names them, "
                f"for example {', '.join(close) or 'vit_small_patch16_224'}"
            )
        self.is_plain, arguments = _creation_arguments(config, image_size)
        has_timm_stem = self.is_plain and config.stem in TIMM_STEMS  # which takes the weights
        body_weights = False if has_timm_stem else pretrained
        self.body = create_timm_model(config.backbone, body_weights, arguments)
        if not (self.is_plain or pretrained):
            _open_residual_branches(self.body)
        info = self.body.feature_info
        self.normalisation = _normalisation(self.body)
        if self.is_plain:
            depth = len(self.body.blocks)
            if config.taps[-1] > depth:
                raise InputError(f"taps={config.taps}: {config.backbone} has {depth} blocks")
            self.indices = [tap - 1 for tap in config.taps]
            self.body.prune_intermediate_layers(self.indices, prune_norm=False, prune_head=True)
            self.channels = [self.body.num_features] * len(self.indices)
            self.strides = [info[0]["reduction"]] * len(self.indices)
            if config.stem == "conv":
                self.body.patch_embed.proj = conv_stem(self.channels[0], self.strides[0])
            stem: nn.Module | None = None
            if config.stem == "hybrid":
                stem = HybridStem(
                    config.stem_width, config.stem_blocks, self.channels[0], self.strides[0]
                )
            if has_timm_stem:
                pyramid = {"features_only": True, "out_indices": (1, 2, 3, 4)}
                body = create_timm_model(config.stem, pretrained, pyramid)
                stem = TimmStem(body, self.channels[0], self.strides[0])
                self.normalisation = _normalisation(body)
            if stem is not None:
                self.body.patch_embed.proj = stem
                self.channels = stem.fine_channels + self.channels
                self.strides = stem.fine_strides + self.strides
        else:
            self.channels = list(info.channels())
            self.strides = list(info.reduction())

    def forward(self, image: Tensor) -> Taps:
        if self.is_plain:
            taps = self._token_maps(image)
            stem = self.body.patch_embed.proj
            return stem.take_fine() + taps if isinstance(stem, FineStem) else taps
        taps = self.body(image)
        return [
            tap if tap.shape[1] == channels else tap.permute(0, 3, 1, 2)  # NHWC models
            for tap, channels in zip(taps, self.channels, strict=True)
        ]

    def _token_maps(self, image: Tensor) -> Taps:
        """A ViT's tapped tokens as maps; (B, N, C) seen as (B, C, h, w) where timm allows it."""
        arguments = {"indices": self.indices, "norm": True, "intermediates_only": True}
        if not isinstance(self.body, _TOKEN_MODELS):
            return self.body.forward_intermediates(image, **arguments)
        grid = self.body.patch_embed.dynamic_feat_size(image.shape[-2:])
        taps = self.body.forward_intermediates(image, output_fmt="NLC", **arguments)
        return [tap.transpose(1, 2).unflatten(2, grid) for tap in taps]


def _creation_arguments(config: EncoderConfig, image_size: int) -> tuple[bool, dict[str, Any]]:
    """Whether the backbone keeps one resolution (a ViT), and what timm is to be told."""
    model = timm_skeleton(config.backbone)
    reductions = {info["reduction"] for info in model.feature_info}
    is_plain = len(reductions) == 1 and hasattr(model, "prune_intermediate_layers")
    arguments: dict[str, Any] = {}
    if config.encoder_drop_path:  # not every timm model knows of it
        arguments["drop_path_rate"] = config.encoder_drop_path
    if is_plain:
        arguments |= {"img_size": image_size, "num_classes": 0, "global_pool": ""}
        return True, arguments | {"dynamic_img_size": True}
    arguments |= {"features_only": True, "out_indices": _stage_indices(config.backbone)}
    # Window transformers accept one input size only, unless they are told otherwise.
    known = inspect.signature(type(model).__init__).parameters
    any_size = {"strict_img_size": False, "dynamic_mask": True}
    return False, arguments | {name: value for name, value in any_size.items() if name in known}


def _normalisation(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std that a timm model, or its weights file, was trained with."""
    known = model.pretrained_cfg
    return tuple(known["mean"]), tuple(known["std"])


def _open_residual_branches(model: nn.Module) -> None:
    """Undo timm's zero-initialised last BatchNorm, behind which nothing receives a gradient."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.weight.any():
            nn.init.ones_(module.weight)


def _stage_indices(backbone: str) -> tuple[int, ...]:
    """The last stage of each stride from 4 on."""
    info = timm_skeleton(backbone, features_only=True).feature_info
    by_stride = {
        stride: index for index, stride in zip(info.out_indices, info.reduction(), strict=True)
    }
    indices = tuple(index for stride, index in sorted(by_stride.items()) if stride >= 4)
    if len(indices) < 2:
        raise InputError(f"backbone {backbone!r} gives no pyramid of strides that can be decoded")
    return indices


def _share_all_but_norms(source: nn.Module, target: nn.Module) -> None:
    """Make every parameter of ``target`` the one of ``source``, normalisation layers excepted."""
    for module, twin in zip(source.modules(), target.modules(), strict=True):
        if isinstance(module, NORMS):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            setattr(twin, name, parameter)


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (B, C, h, w) to ``size`` (H, W), half-pixel centres."""
    if image.shape[-2:] == tuple(size):
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)
