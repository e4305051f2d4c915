"""Configuration of the network: one frozen dataclass for each part, and the named presets.

Option names are unique across parts, so that a flat override (``epsilon=0.5``) reaches any part.
A configuration is plain data; every weights file contains it as JSON.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mutualformer_sod.configs.fusion import (
    DEFAULT_FUSION,
    FusionConfig,
    find_fusion,
    fusion_options,
    make_fusion_config,
    restrict_to_method,
)
from mutualformer_sod.configs.switches import (
    Switches,
    check,
    current_names,
    stored_options,
    switch,
)
from mutualformer_sod.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TIMM_STEMS = ("tf_efficientnet_lite0", "tf_efficientnet_lite2")
STEMS = ("patch", "hybrid", *TIMM_STEMS)
DEFAULT_PRESET = "tiny-scratch"  # of the library and of every command that trains
DEPTH_RULES = ("minmax", "percentile")
DEPTH = "depth"  # the second modality of configurations that name none
LOSSES = ("weighted", "f3net-released")


@dataclass(frozen=True)
class EncoderConfig(Switches):
    """Two timm models, one for each modality.

    Attributes:
        backbone: any timm model with features (ViT or hierarchical).
        feature_blocks: ViT blocks whose features are used, counted from 1; unused in other models.
        share: use one set of weights for both streams, except for the normalisation layers.
        stem: embedding of the patches of a ViT: its own projection ("patch"), residual
            convolutions ("hybrid") or a pretrained timm model of this name. The maps of such
            convolutions and models at strides of 4 or more are also features.
        encoder_drop_path: stochastic depth rate.
        stem_width: width of the hybrid stem at stride 4; half at stride 2. GroupNorm has 8 groups.
        stem_blocks: number of residual blocks of the hybrid stem for each stride from 4 on.
    """

    backbone: str = "deit_small_patch16_224"
    feature_blocks: tuple[int, ...] = (3, 6, 9, 12)
    share: bool = False
    stem: str = switch("patch", choices=STEMS)
    encoder_drop_path: float = switch(0.0, "[0, 1)", lambda v: 0 <= v < 1)
    stem_width: int = switch(48, "a positive multiple of 16", lambda v: v > 0 and v % 16 == 0)
    stem_blocks: int = switch(1, "0 or more", lambda v: v >= 0)

    @property
    def pretrained(self) -> str:
        """Return timm's name of the part that loads pretrained weights."""
        return self.stem if self.stem in TIMM_STEMS else self.backbone

    def __post_init__(self) -> None:
        super().__post_init__()
        blocks = tuple(self.feature_blocks)
        object.__setattr__(self, "feature_blocks", blocks)
        usable = min(blocks, default=0) >= 1 and list(blocks) == sorted(set(blocks))
        want = "increasing block numbers counted from 1, for example (3, 6, 9, 12)"
        check(usable, "feature_blocks", blocks, want)


@dataclass(frozen=True)
class DecoderConfig(Switches):
    """Top-down decoder with a detail branch over RGB and depth (CHOSEN).

    Attributes:
        decoder_width: width of the stages; half of this width at stride 4.
        detail_width: width of the detail branch at stride 1, doubled at stride 2 and again at 4.
        finest: stride of the finest maps, 1 or 2. With stride 2, the logits are interpolated.
        stage_convs: number of 3x3 convolutions in a stage.
        side_heads: number of deeply supervised stages: the second-to-last and then coarser ones.
    """

    # GroupNorm has 8 groups, and the stage at stride 4 has half the decoder's width.
    decoder_width: int = switch(128, "a multiple of 16", lambda v: v > 0 and v % 16 == 0)
    detail_width: int = switch(16, "a multiple of 8", lambda v: v > 0 and v % 8 == 0)
    finest: int = switch(1, "1 or 2", lambda v: v in (1, 2))
    stage_convs: int = switch(2, "1 or more", lambda v: v >= 1)
    side_heads: int = switch(3, "0 or more", lambda v: v >= 0)


_PARTS = {  # functions that build the parts of a configuration
    "encoder": EncoderConfig,
    "fusion": lambda **options: make_fusion_config(**restrict_to_method(options)),
    "decoder": DecoderConfig,
}


@dataclass(frozen=True)
class ModelConfig(Switches):
    """Configuration of the complete network.

    Attributes:
        preset: name of the preset on which the configuration is based.
        image_size: side in pixels for which the model is built; inputs may have other sizes.
        depth_rule: conversion of a depth map to [0, 1], see ``data.depth.encoding``.
        second_modality: name of the second modality in training, which the training sets determine.
        mean, std: normalisation of the colour channels, in units of [0, 1]. None: the values of
            the pretrained backbone, which the weights file records.
    """

    preset: str
    image_size: int = switch(384, "32 pixels or more", lambda v: v >= 32)
    depth_rule: str = switch("minmax", choices=DEPTH_RULES)
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    second_modality: str = DEPTH
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    fusion: FusionConfig = field(default_factory=make_fusion_config)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mean", "std"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(value))
                usable = all(v >= 0 if name == "mean" else v > 0 for v in value)
                check(usable, name, value, "three numbers in [0, 1], one for each of R, G, B")
        check((self.mean is None) == (self.std is None), "mean", self.mean, "mean and std together")
        if self.fusion.method.in_encoder and not self.encoder.share:
            raise InputError(
                f"share=False is not usable: {self.fusion.fusion} acts inside an encoder that both "
                "modalities share. Fix: leave share out, or pass share=true."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a plain dictionary for JSON, without a second modality that is depth."""
        values = dataclasses.asdict(self)
        if self.second_modality == DEPTH:
            del values["second_modality"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """Rebuild a configuration written by ``to_dict``.

        Raises:
            InputError: a field is unknown to this version or has an illegal value.
        """
        if not isinstance(values, dict):
            raise InputError(
                "the model configuration is not a JSON object. Fix: pass other weights"
            )
        # If a file has no mean and std, its network was trained with ImageNet's values.
        values = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD} | values
        try:
            found = _PARTS.keys() & values.keys()
            built = {name: _PARTS[name](**stored_options(values[name])) for name in found}
            return cls(**(values | built))
        except TypeError as error:
            raise InputError(
                f"the model configuration is unusable in this version: {error}. "
                "Fix: pass other weights, or use the version that wrote the file"
            ) from error


_TINY = {
    "backbone": "vit_tiny_patch16_224",
    "share": True,
    "dim": 128,
    "fine_width": 32,
    "decoder_width": 64,
    "detail_width": 8,
    "finest": 2,
}
# Flat options by preset; options without an effect on the chosen fusion are ignored.
PRESETS: dict[str, dict[str, Any]] = {
    # CHOSEN: a small pretrained network at the fine strides, transformer blocks above it.
    "tiny": _TINY | {"image_size": 192, "feature_blocks": (2, 4), "stem": "tf_efficientnet_lite0"},
    # CHOSEN to learn fast from random weights on one CPU core, see docs/experiments.md.
    "tiny-scratch": _TINY | {"image_size": 128, "feature_blocks": (4, 8), "stem": "hybrid"},
    # The ViT-S/14 of DINOv2 for both streams. CHOSEN: width and decoder, for speed on a CPU.
    "small-dinov2": {
        "image_size": 224,
        "backbone": "vit_small_patch14_dinov2",
        "share": True,
        "dim": 192,
        "num_heads": 6,
        "decoder_width": 96,
        "finest": 2,
    },
    # The detail branch has half its default width: a CPU spends most time at full resolution.
    "small": {"detail_width": 8},
    "base": {"backbone": "deit_base_patch16_224"},
    "resnet50": {
        "image_size": 320,
        "backbone": "resnet50",
        "blocks_per_level": 2,
        "decoder_width": 64,
    },
}


def list_presets() -> list[str]:
    """Return the names of the presets, for `build_model` and ``--preset``."""
    return list(PRESETS)


def make_config(preset: str = DEFAULT_PRESET, **overrides: Any) -> ModelConfig:
    """Build the configuration of a preset with some options replaced.

    Args:
        preset: a name of ``list_presets()``.
        **overrides: flat option names, for example ``epsilon=0.5, share=True, image_size=256``.

    Raises:
        InputError: unknown preset or option, an illegal value, or an option that has no effect
            in combination with other options; the message names the choices.
    """
    overrides = current_names(overrides)
    config = replace_options(preset, overrides)
    options = PRESETS[preset] | overrides
    for name in overrides:
        reason = config.fusion.method.why_unused(name, options)
        if name in ("stem_width", "stem_blocks") and config.encoder.stem != "hybrid":
            reason = "it needs stem=hybrid"
        if reason:
            raise InputError(f"{name} has no effect: {reason}. Fix: leave {name} out.")
    return config


def replace_options(preset: str, overrides: Mapping[str, Any]) -> ModelConfig:
    """Build a configuration as ``make_config`` does, but ignore options without an effect."""
    overrides = current_names(overrides)
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}. Fix: choose from {', '.join(PRESETS)}.")
    owners = option_owners()
    for name in overrides:
        if name not in owners:
            close = difflib.get_close_matches(name, owners, n=3) or sorted(owners)
            raise InputError(f"unknown model option {name!r}. Fix: choose from {', '.join(close)}.")
    options = PRESETS[preset] | overrides
    if find_fusion(options.get("fusion", DEFAULT_FUSION)).in_encoder:
        options = {"share": True} | options
    flat: dict[str, dict[str, Any]] = {"model": {}} | {part: {} for part in _PARTS}
    for name, value in options.items():
        flat[owners[name]][name] = value
    parts = {part: build(**flat[part]) for part, build in _PARTS.items()}
    return ModelConfig(preset=preset, **parts, **flat["model"])


def overrides_of(config: ModelConfig) -> dict[str, Any]:
    """Return the options, without the normalisation, that differ from those of the preset."""
    fusion = config.fusion.fusion
    preset = replace_options(config.preset, {"fusion": fusion})
    changed = {} if fusion == make_config(config.preset).fusion.fusion else {"fusion": fusion}
    for name, part in option_owners().items():
        owner, base = (c if part == "model" else getattr(c, part) for c in (config, preset))
        if name in ("mean", "std", "fusion") or not hasattr(owner, name):
            continue
        if getattr(owner, name) != getattr(base, name):
            changed[name] = getattr(owner, name)
    return changed


def option_owners(of_fusions: Iterable[str] | None = None) -> dict[str, str]:
    """Return the part of the configuration that has each option; "model" is the top level.

    ``of_fusions`` has the options of all fusions; None reads the registry, which imports torch.
    """
    owners = dict.fromkeys(("image_size", "depth_rule", "mean", "std"), "model")
    owners |= dict.fromkeys((item.name for item in dataclasses.fields(EncoderConfig)), "encoder")
    owners |= dict.fromkeys(sorted(of_fusions or fusion_options()), "fusion")
    return owners | dict.fromkeys((x.name for x in dataclasses.fields(DecoderConfig)), "decoder")
