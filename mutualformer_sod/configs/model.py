"""Model and training configuration: one frozen dataclass a part, and the named presets.

Field names are unique over all parts, so that one flat override (``epsilon=0.5``) reaches any of
them. A configuration is plain data: it travels as JSON inside every checkpoint and weights file.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mutualformer_sod.configs.checks import check, check_types
from mutualformer_sod.configs.fusion import IN_ENCODER, FusionConfig
from mutualformer_sod.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TIMM_STEMS = ("tf_efficientnet_lite0", "tf_efficientnet_lite2")
STEMS = ("patch", "conv", "hybrid", *TIMM_STEMS)
DEFAULT_PRESET = "tiny-scratch"  # of the library and of every tool that trains
DEPTH_RULES = ("minmax", "range", "percentile")
LOSSES = ("weighted", "f3net-released")


@dataclass(frozen=True)
class EncoderConfig:
    """Two timm models, one for each modality."""

    backbone: str = "deit_small_patch16_224"  # any timm model with features (ViT or hierarchical)
    taps: tuple[int, ...] = (3, 6, 9, 12)  # ViT: blocks tapped, counted from 1; else ignored
    share: bool = False  # one set of weights for both streams, normalisation layers individual
    # ViT: "conv" puts strided 3x3 convolutions for the patch projection, "hybrid" residual ones
    # whose maps at strides finer than the tokens are taps too. A name of timm puts that pretrained
    # network there, its maps at strides 4 and 8 are taps likewise.
    stem: str = "patch"
    encoder_drop_path: float = 0.0
    stem_width: int = 48  # hybrid stem: width at stride 4; doubled with every halving
    stem_blocks: int = 1  # hybrid stem: residual blocks a stride, from 4 on

    @property
    def pretrained(self) -> str:
        """timm's name of the part that takes pretrained weights."""
        return self.stem if self.stem in TIMM_STEMS else self.backbone

    def __post_init__(self) -> None:
        check_types(self)
        object.__setattr__(self, "taps", tuple(self.taps))
        check(
            len(self.taps) > 0 and self.taps[0] >= 1 and list(self.taps) == sorted(set(self.taps)),
            "taps",
            self.taps,
            "increasing block numbers counted from 1, for example (3, 6, 9, 12)",
        )
        check(self.stem in STEMS, "stem", self.stem, f"one of {', '.join(STEMS)}")
        check(
            0 <= self.encoder_drop_path < 1, "encoder_drop_path", self.encoder_drop_path, "[0, 1)"
        )
        check(  # half of it at stride 2, in groups of 8 channels
            self.stem_width > 0 and self.stem_width % 16 == 0,
            "stem_width",
            self.stem_width,
            "a positive multiple of 16",
        )
        check(self.stem_blocks >= 0, "stem_blocks", self.stem_blocks, "0 or more")


@dataclass(frozen=True)
class DecoderConfig:
    """Top-down decoder with a detail branch over RGB and depth (CHOSEN)."""

    decoder_width: int = 128
    detail_width: int = 16  # width at full resolution; doubled at strides 2 and 4
    finest: int = 1  # stride of the finest maps: 1, or 2 from which the logits are interpolated
    stage_convs: int = 2  # 3x3 convolutions a stage
    side_heads: int = 3  # stages under deep supervision, from the last but one towards coarse

    def __post_init__(self) -> None:
        check_types(self)
        check(self.finest in (1, 2), "finest", self.finest, "1 or 2")
        check(self.stage_convs >= 1, "stage_convs", self.stage_convs, "1 or more")
        check(self.side_heads >= 0, "side_heads", self.side_heads, "0 or more")
        # Normalised in groups of 8 channels; the stage at stride 4 has half the decoder's width.
        for name, multiple in (("decoder_width", 16), ("detail_width", 8)):
            value = getattr(self, name)
            check(value > 0 and value % multiple == 0, name, value, f"a multiple of {multiple}")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the network's shape and arithmetic."""

    preset: str = "small"
    image_size: int = 384  # pixels a side; the size a model is built for, others work too
    depth_rule: str = "minmax"  # how a depth map becomes [0, 1], see data.depth.depth_to_unit
    # Normalisation of the colour channels, in units of [0, 1]. None: the pretrained configuration
    # of the backbone decides when the network is built, and the weights file records the result.
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        check_types(self)
        check(self.image_size >= 32, "image_size", self.image_size, "32 pixels or more")
        check(self.depth_rule in DEPTH_RULES, "depth_rule", self.depth_rule, ", ".join(DEPTH_RULES))
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is None:
                continue
            object.__setattr__(self, name, tuple(value))
            usable = len(value) == 3 and all(v >= 0 if name == "mean" else v > 0 for v in value)
            check(usable, name, value, "three numbers in [0, 1], one for each of R, G, B")
        check((self.mean is None) == (self.std is None), "mean", self.mean, "mean and std together")
        if self.fusion.in_encoder and not self.encoder.share:
            raise InputError(
                f"share=False: {self.fusion.fusion} acts inside an encoder that both modalities "
                "share: leave share out, or give share=true"
            )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionary, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Rebuild a configuration written by ``to_dict``.

        Raises:
            InputError: a field is unknown to this version or holds an illegal value.
        """
        parts = {"encoder": EncoderConfig, "fusion": FusionConfig, "decoder": DecoderConfig}
        if not isinstance(values, dict):
            raise InputError("the model configuration is not an object of named fields")
        # Files older than the fields mean and std were trained with ImageNet's values.
        values = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD} | values
        try:
            return cls(
                **{
                    name: parts[name](**value) if name in parts else value
                    for name, value in values.items()
                }
            )
        except TypeError as error:
            raise InputError(
                f"the model configuration does not fit this version: {error}"
            ) from error


PRESETS: dict[str, ModelConfig] = {
    # CHOSEN: a small pretrained network where the maps are fine, transformer blocks above it.
    "tiny": ModelConfig(
        preset="tiny",
        image_size=192,
        encoder=EncoderConfig(
            backbone="vit_tiny_patch16_224",
            taps=(2, 4),
            share=True,
            stem="tf_efficientnet_lite0",
        ),
        fusion=FusionConfig(dim=128, attention_stride=16, fine_width=32),
        decoder=DecoderConfig(decoder_width=64, detail_width=8, finest=2),
    ),
    # CHOSEN to learn fast from random weights on one CPU core: docs/experiments.md.
    "tiny-scratch": ModelConfig(
        preset="tiny-scratch",
        image_size=128,
        encoder=EncoderConfig(
            backbone="vit_tiny_patch16_224",
            taps=(4, 8),
            share=True,
            stem="hybrid",
        ),
        fusion=FusionConfig(dim=128, attention_stride=16, fine_width=32),
        decoder=DecoderConfig(decoder_width=64, detail_width=8, finest=2),
    ),
    # The ViT-S/14 of DINOv2 for both streams. CHOSEN: width and decoder keep a CPU fast.
    "small-dinov2": ModelConfig(
        preset="small-dinov2",
        image_size=224,
        encoder=EncoderConfig(backbone="vit_small_patch14_dinov2", share=True),
        fusion=FusionConfig(dim=192, num_heads=6),
        decoder=DecoderConfig(decoder_width=96, finest=2),
    ),
    # Detail of half the default width: full resolution is where a CPU's time goes.
    "small": ModelConfig(preset="small", decoder=DecoderConfig(detail_width=8)),
    "base": ModelConfig(preset="base", encoder=EncoderConfig(backbone="deit_base_patch16_224")),
    "resnet50": ModelConfig(
        preset="resnet50",
        image_size=320,
        encoder=EncoderConfig(backbone="resnet50"),
        fusion=FusionConfig(blocks_per_tap=2),
        decoder=DecoderConfig(decoder_width=64),
    ),
}


def list_presets() -> list[str]:
    """Names that ``build_model`` and ``--preset`` accept."""
    return list(PRESETS)


def make_config(preset: str = DEFAULT_PRESET, **overrides: Any) -> ModelConfig:
    """The preset's configuration with any field of any part replaced.

    Args:
        preset: a name of ``list_presets()``.
        **overrides: flat field names, for example ``epsilon=0.5, share=True, image_size=256``.

    Raises:
        InputError: unknown preset or field, an illegal value, or a field that has no effect
            beside the others; the message names the choices.
    """
    config = replace_fields(preset, overrides)
    for name in overrides:
        reason = config.fusion.why_unused(name)
        if name in ("stem_width", "stem_blocks") and config.encoder.stem != "hybrid":
            reason = "it needs stem=hybrid"
        if reason:
            raise InputError(f"{name} has no effect: {reason}. Fix: leave {name} out.")
    return config


def replace_fields(preset: str, overrides: Mapping[str, Any]) -> ModelConfig:
    """As ``make_config``, fields without an effect included."""
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}: choose from {', '.join(PRESETS)}")
    config = PRESETS[preset]
    owners = field_owners()
    parts: dict[str, dict[str, Any]] = {"model": {}, "encoder": {}, "fusion": {}, "decoder": {}}
    for name, value in overrides.items():
        if name not in owners:
            close = difflib.get_close_matches(name, owners, n=3) or sorted(owners)
            raise InputError(f"unknown model option {name!r}: did you mean {', '.join(close)}?")
        parts[owners[name]][name] = value
    if overrides.get("fusion") in IN_ENCODER:
        parts["encoder"].setdefault("share", True)
    replaced = {
        part: dataclasses.replace(getattr(config, part), **values)
        for part, values in parts.items()
        if part != "model" and values
    }
    return dataclasses.replace(config, **parts["model"], **replaced)


def field_owners() -> dict[str, str]:
    """Map every override's name to the part that owns it (``model`` for the top level)."""
    owners = dict.fromkeys(("image_size", "depth_rule", "mean", "std"), "model")
    for part, cls in (
        ("encoder", EncoderConfig),
        ("fusion", FusionConfig),
        ("decoder", DecoderConfig),
    ):
        owners.update({item.name: part for item in dataclasses.fields(cls)})
    return owners
