"""Two-stream encoder with one timm model for each modality."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mutualformer_sod.configs.model import TIMM_STEMS, EncoderConfig
from mutualformer_sod.errors import InputError
from mutualformer_sod.models import vit
from mutualformer_sod.models.backbone import create_timm_model
from mutualformer_sod.models.drop_path import DEPTH_STREAM, RGB_STREAM, branch_draws
from mutualformer_sod.models.joint_encoder import JointEncoder, Method, Notes
from mutualformer_sod.models.skeleton import timm_skeleton
from mutualformer_sod.models.stem import FineStem, HybridStem, TimmStem

Features = list[Tensor]  # (B, C_l, h_l, w_l) float each, shallow to deep


class TwoStreamEncoder(nn.Module):
    """Encode RGB with one timm backbone and depth with another.

    The features of a plain ViT are the finer maps of a stem, then the output tokens of the blocks
    ``config.feature_blocks``, after the final normalisation and without prefix tokens (CLS,
    registers). A hierarchical model has one feature map per stride of 4 or more. With
    ``config.share``, the streams share all weights except those of the normalisation layers.

    Attributes:
        channels: channel counts C_l of the features, shallow to deep.
        strides: strides of the features in pixels, shallow to deep.
        normalisation: mean and std of the input in the backbone's pretraining.
        recomputes: whether activations are recomputed in the backward pass.
        joint: runs both streams block by block for a method inside the encoder; otherwise None.
    """

    def __init__(
        self, config: EncoderConfig, image_size: int, pretrained: bool | str | Path = False
    ) -> None:
        super().__init__()
        self.rgb_stream = _Backbone(config, image_size, pretrained, RGB_STREAM)
        self.depth_stream = _Backbone(config, image_size, pretrained, DEPTH_STREAM)
        if config.share:
            share_all_but_norms(self.rgb_stream, self.depth_stream)
        self.channels, self.strides = self.rgb_stream.channels, self.rgb_stream.strides
        self.normalisation = self.rgb_stream.normalisation
        self.recomputes = False
        self.joint: JointEncoder | None = None

    def run_jointly(self, fusion: str) -> JointEncoder:
        """Set and return ``joint`` for the method ``fusion``, with the errors of `JointEncoder`."""
        self.joint = JointEncoder(self.rgb_stream.body, self.depth_stream.body, fusion)
        return self.joint

    def forward(
        self,
        rgb: Tensor,
        depth: Tensor,
        method: Method | None = None,
        rgb_keys: Tensor | None = None,
        depth_keys: Tensor | None = None,
    ) -> tuple[Features, Features, list[Notes]]:
        """Encode both modalities.

        Args:
            rgb: (B, 3, H, W) float, normalised. H and W are multiples of the coarsest stride.
            depth: (D, 3, H, W) float, normalised, D different maps. D is B if ``joint`` is used.
            method: the fusion method inside the encoder, if ``joint`` is used.
            rgb_keys, depth_keys: (B,) and (D,) int64, random keys of ``drop_path.branch_draws``.

        Returns:
            The features of each stream, (B, C_l, h_l, w_l) and (D, C_l, h_l, w_l), shallow to deep,
            and the method's notes for each block.
        """
        if self.joint is not None:
            indices = self.rgb_stream.indices
            return self.joint(rgb, depth, indices, method, rgb_keys, depth_keys)
        return self.rgb_stream(rgb, rgb_keys), self.depth_stream(depth, depth_keys), []

    def set_grad_checkpointing(self) -> None:
        """Recompute activations in the backward pass; raise InputError if timm cannot recompute."""
        self.recomputes = True
        for stream in (self.rgb_stream, self.depth_stream):
            try:
                stream.body.set_grad_checkpointing(True)
            except (AttributeError, AssertionError) as error:
                raise InputError(
                    "--grad-checkpointing cannot be used: timm does not support it for this "
                    "backbone. Fix: omit the option"
                ) from error


class _Backbone(nn.Module):
    """A timm model that returns a list of features, (B, C, h, w) float each."""

    def __init__(
        self,
        config: EncoderConfig,
        image_size: int,
        pretrained: bool | str | Path,
        first_branch: int,
    ) -> None:
        super().__init__()
        if not timm.is_model(config.backbone):
            close = timm.list_models(f"*{config.backbone[:6]}*")[:5]
            raise InputError(
                f"backbone {config.backbone!r} is unknown to timm. Fix: pass a name of "
                f"timm.list_models(), for example {', '.join(close) or 'vit_small_patch16_224'}"
            )
        self.first_branch = first_branch  # index of the first residual branch
        self.is_plain, arguments = _creation_arguments(config, image_size)
        # A stem of timm gets the pretrained weights; the ViT then starts from random weights.
        has_timm_stem = self.is_plain and config.stem in TIMM_STEMS
        body_weights = False if has_timm_stem else pretrained
        self.body = create_timm_model(config.backbone, body_weights, arguments)
        if not (self.is_plain or pretrained):
            _open_residual_branches(self.body)
        info = self.body.feature_info
        self.normalisation = _normalisation(self.body)
        if not self.is_plain:
            self.channels, self.strides = info.channels(), info.reduction()
            return
        depth = len(self.body.blocks)
        if config.feature_blocks[-1] > depth:
            raise InputError(
                f"feature_blocks={config.feature_blocks}: {config.backbone} has {depth} blocks. "
                f"Fix: pass numbers of at most {depth}"
            )
        self.indices = [number - 1 for number in config.feature_blocks]
        self.body.prune_intermediate_layers(self.indices, prune_norm=False, prune_head=True)
        width, stride = self.body.num_features, info[0]["reduction"]
        self.channels = [width] * len(self.indices)
        self.strides = [stride] * len(self.indices)
        if config.stem == "patch":
            return
        if config.stem == "hybrid":
            stem = HybridStem(config.stem_width, config.stem_blocks, width, stride)
        else:
            pyramid = {"features_only": True, "out_indices": (1, 2, 3, 4)}
            body = create_timm_model(config.stem, pretrained, pyramid)
            stem = TimmStem(body, width, stride)
            self.normalisation = _normalisation(body)
        self.body.patch_embed.proj = stem
        self.channels = stem.fine_channels + self.channels
        self.strides = stem.fine_strides + self.strides

    def forward(self, image: Tensor, keys: Tensor | None = None) -> Features:
        """Encode (B, 3, H, W) float images; ``keys`` (B,) seed the drops of residual branches."""
        if not self.is_plain:
            return [
                feature if feature.shape[1] == channels else feature.permute(0, 3, 1, 2)  # NHWC
                for feature, channels in zip(self.body(image), self.channels, strict=True)
            ]
        if isinstance(self.body, vit.VITS):
            return self._run_vit(image, keys)
        stem = self.body.patch_embed.proj
        # A timm model of another class runs the stem itself, but does not return the finer maps.
        fine_maps = stem.maps(image)[0] if isinstance(stem, FineStem) else []
        return fine_maps + self.body.forward_intermediates(
            image, indices=self.indices, norm=True, intermediates_only=True
        )

    def _run_vit(self, image: Tensor, keys: Tensor | None) -> Features:
        embedding = vit.embed(self.body, image)
        tokens, features = embedding.tokens, list(embedding.fine_maps)
        draws = branch_draws(keys, self.first_branch, 2 * len(self.body.blocks))
        run = vit.run_block
        if self.training and self.body.grad_checkpointing:
            run = partial(checkpoint, vit.run_block, use_reentrant=False)
        for layer, block in enumerate(self.body.blocks):
            own = draws[2 * layer : 2 * layer + 2]
            tokens = run(block, tokens, embedding.rotary[layer], own)
            if layer in self.indices:
                features.append(vit.feature_map(self.body, tokens, embedding.grid))
        return features


def _creation_arguments(config: EncoderConfig, image_size: int) -> tuple[bool, dict[str, Any]]:
    """Return whether the backbone is a plain ViT, and the arguments to create it with timm."""
    model = timm_skeleton(config.backbone)
    reductions = {info["reduction"] for info in model.feature_info}
    is_plain = len(reductions) == 1 and hasattr(model, "prune_intermediate_layers")
    arguments: dict[str, Any] = {}
    if config.encoder_drop_path:  # some timm models do not accept this argument
        arguments["drop_path_rate"] = config.encoder_drop_path
    if is_plain:
        arguments |= {"img_size": image_size, "num_classes": 0, "global_pool": ""}
        return True, arguments | {"dynamic_img_size": True}
    arguments |= {"features_only": True, "out_indices": _stage_indices(config.backbone)}
    # By default, window transformers accept only one input size.
    known = inspect.signature(type(model).__init__).parameters
    any_size = {"strict_img_size": False, "dynamic_mask": True}
    return False, arguments | {name: value for name, value in any_size.items() if name in known}


def _normalisation(model: nn.Module) -> tuple[tuple[float, ...], ...]:
    """Return the input mean and std from a timm model's pretrained configuration."""
    return tuple(tuple(model.pretrained_cfg[name]) for name in ("mean", "std"))


def _open_residual_branches(model: nn.Module) -> None:
    """Set zero-initialised BatchNorm scales to 1, because zeros block a branch's gradients."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.weight.any():
            nn.init.ones_(module.weight)


def _stage_indices(backbone: str) -> tuple[int, ...]:
    """Return the index of the last stage at each stride of 4 or more."""
    info = timm_skeleton(backbone, features_only=True).feature_info
    by_stride = dict(zip(info.reduction(), info.out_indices, strict=True))
    indices = tuple(index for stride, index in sorted(by_stride.items()) if stride >= 4)
    if len(indices) < 2:
        raise InputError(
            f"backbone {backbone!r} has features of fewer than two different strides of 4 or "
            "more. Fix: pass another backbone"
        )
    return indices


def share_all_but_norms(source: nn.Module, target: nn.Module) -> None:
    """Share all parameters of ``source`` with ``target``, except those of normalisation layers."""
    for module, twin in zip(source.modules(), target.modules(), strict=True):
        if isinstance(module, vit.NORMS):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            setattr(twin, name, parameter)


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, h, w) to ``size`` (H, W), bilinear with half-pixel centres."""
    if image.shape[-2:] == tuple(size):
        return image
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)
