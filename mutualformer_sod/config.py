"""Model and training configuration: one frozen dataclass a part, and the named presets.

Field names are unique over all parts, so that one flat override (``epsilon=0.5``) reaches any of
them. A configuration is plain data: it travels as JSON inside every checkpoint and weights file.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from dataclasses import dataclass, field
from typing import Any

from mutualformer_sod.errors import InputError

FORMS = ("released", "paper")
AFFINITIES = ("sum", "mean")
INITIALS = ("identity", "affinity")
ATTENTIONS = ("auto", "dense", "tiled")
FUSIONS = ("mutualformer",)
STEMS = ("patch", "conv", "hybrid")
DEPTH_RULES = ("minmax", "range", "percentile")
LOSSES = ("weighted", "f3net-released")


def _check(condition: bool, name: str, value: object, want: str) -> None:
    if not condition:
        raise InputError(f"{name}={value!r} is not usable: give {want}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES = {  # of the model's fields, by annotation: what is accepted, and its name in messages
    "str": (lambda value: isinstance(value, str), "a word"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "int": (_is_whole, "a whole number"),
    "float": (
        lambda value: (_is_whole(value) or isinstance(value, float)) and math.isfinite(value),
        "a number",
    ),
    "tuple[int, ...]": (
        lambda value: isinstance(value, tuple | list) and all(map(_is_whole, value)),
        "a list of whole numbers, for example [3, 6, 9, 12]",
    ),
}


def _check_types(part: object) -> None:
    """Values come from command lines and files: a wrong type must not get to the arithmetic."""
    for item in dataclasses.fields(part):
        if item.type in _TYPES:
            accepted, want = _TYPES[item.type]
            value = getattr(part, item.name)
            _check(accepted(value), item.name, value, want)


@dataclass(frozen=True)
class EncoderConfig:
    """Two timm models, one for each modality."""

    backbone: str = "deit_small_patch16_224"  # any timm model with features (ViT or hierarchical)
    taps: tuple[int, ...] = (3, 6, 9, 12)  # ViT: blocks tapped, counted from 1; else ignored
    share: bool = False  # one set of weights for both streams, normalisation layers individual
    # ViT: "conv" puts strided 3x3 convolutions for the patch projection, "hybrid" residual ones
    # whose maps at strides finer than the tokens are taps too.
    stem: str = "patch"
    encoder_drop_path: float = 0.0
    stem_width: int = 48  # hybrid stem: width at stride 4; doubled with every halving
    stem_blocks: int = 1  # hybrid stem: residual blocks a stride, from 4 on

    def __post_init__(self) -> None:
        _check_types(self)
        object.__setattr__(self, "taps", tuple(self.taps))
        _check(
            len(self.taps) > 0 and self.taps[0] >= 1 and list(self.taps) == sorted(set(self.taps)),
            "taps",
            self.taps,
            "increasing block numbers counted from 1, for example (3, 6, 9, 12)",
        )
        _check(self.stem in STEMS, "stem", self.stem, f"one of {', '.join(STEMS)}")
        _check(
            0 <= self.encoder_drop_path < 1, "encoder_drop_path", self.encoder_drop_path, "[0, 1)"
        )
        _check(  # half of it at stride 2, in groups of 8 channels
            self.stem_width > 0 and self.stem_width % 16 == 0,
            "stem_width",
            self.stem_width,
            "a positive multiple of 16",
        )
        _check(self.stem_blocks >= 0, "stem_blocks", self.stem_blocks, "0 or more")


@dataclass(frozen=True)
class FusionConfig:
    """The MutualFormer stack (IJCV 2024, Fig. 2); READ and CHOSEN parts are named in the README."""

    fusion: str = "mutualformer"
    dim: int = 256  # width of the projected tokens and of the fused stream
    num_heads: int = 8
    blocks_per_tap: int = 1
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_path: float = 0.0
    form: str = "released"
    epsilon: float = 0.6
    steps: int = 1
    affinity: str = "sum"
    initial: str = "identity"
    attention: str = "auto"  # affinities whole ("dense") or in row tiles ("tiled"): same results
    attention_stride: int = 32  # hierarchical encoders: levels this coarse get attention
    fine_width: int = 64  # width of the finer levels, fused by concat + conv

    def __post_init__(self) -> None:
        _check_types(self)
        _check(self.fusion in FUSIONS, "fusion", self.fusion, f"one of {', '.join(FUSIONS)}")
        _check(
            self.dim > 0 and self.num_heads > 0 and self.dim % self.num_heads == 0,
            "dim",
            self.dim,
            f"a positive multiple of num_heads={self.num_heads}",
        )
        _check(self.blocks_per_tap >= 1, "blocks_per_tap", self.blocks_per_tap, "1 or more")
        _check(
            int(self.dim * self.mlp_ratio) >= 1,
            "mlp_ratio",
            self.mlp_ratio,
            "a positive number that makes the MLP at least one channel wide",
        )
        _check(0 <= self.drop_path < 1, "drop_path", self.drop_path, "a number in [0, 1)")
        _check(self.attention_stride >= 1, "attention_stride", self.attention_stride, "1 or more")
        _check(
            self.fine_width >= 8 and self.fine_width % 8 == 0,
            "fine_width",
            self.fine_width,
            "a positive multiple of 8",
        )
        check_cross_diffusion(self.form, self.epsilon, self.steps, self.affinity)
        for name, choices in (("initial", INITIALS), ("attention", ATTENTIONS)):
            value = getattr(self, name)
            _check(value in choices, name, value, f"one of {', '.join(choices)}")


def check_cross_diffusion(form: str, epsilon: float, steps: int, affinity: str) -> None:
    """Raise InputError (a ValueError) unless these are legal cross-diffusion settings."""
    _check(form in FORMS, "form", form, f"one of {', '.join(FORMS)}")
    _check(affinity in AFFINITIES, "affinity", affinity, f"one of {', '.join(AFFINITIES)}")
    _check(
        isinstance(epsilon, numbers.Real) and 0 < epsilon < 1,
        "epsilon",
        epsilon,
        "a number strictly between 0 and 1",
    )
    _check(
        isinstance(steps, numbers.Integral) and not isinstance(steps, bool) and steps >= 1,
        "steps",
        steps,
        "a whole number, 1 or more",
    )


@dataclass(frozen=True)
class DecoderConfig:
    """Top-down decoder with a detail branch over RGB and depth (CHOSEN)."""

    decoder_width: int = 128
    detail_width: int = 16  # width at full resolution; doubled at strides 2 and 4
    finest: int = 1  # stride of the finest maps: 1, or 2 from which the logits are interpolated
    stage_convs: int = 2  # 3x3 convolutions a stage
    side_heads: int = 3  # stages under deep supervision, from the last but one towards coarse

    def __post_init__(self) -> None:
        _check_types(self)
        _check(self.finest in (1, 2), "finest", self.finest, "1 or 2")
        _check(self.stage_convs >= 1, "stage_convs", self.stage_convs, "1 or more")
        _check(self.side_heads >= 0, "side_heads", self.side_heads, "0 or more")
        # Normalised in groups of 8 channels; the stage at stride 4 has half the decoder's width.
        for name, multiple in (("decoder_width", 16), ("detail_width", 8)):
            value = getattr(self, name)
            _check(value > 0 and value % multiple == 0, name, value, f"a multiple of {multiple}")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the network's shape and arithmetic."""

    preset: str = "small"
    image_size: int = 384  # pixels a side; the size a model is built for, others work too
    depth_rule: str = "minmax"  # how a depth map becomes [0, 1], see data.depth.depth_to_unit
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    def __post_init__(self) -> None:
        _check_types(self)
        _check(self.image_size >= 32, "image_size", self.image_size, "32 pixels or more")
        _check(
            self.depth_rule in DEPTH_RULES, "depth_rule", self.depth_rule, ", ".join(DEPTH_RULES)
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
    # CHOSEN to learn fast from random weights on one CPU core: docs/experiments.md.
    "tiny": ModelConfig(
        preset="tiny",
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
    "small": ModelConfig(preset="small"),
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


def make_config(preset: str = "small", **overrides: Any) -> ModelConfig:
    """The preset's configuration with any field of any part replaced.

    Args:
        preset: a name of ``list_presets()``.
        **overrides: flat field names, for example ``epsilon=0.5, share=True, image_size=256``.

    Raises:
        InputError: unknown preset or field, or an illegal value; the message names the choices.
    """
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
    replaced = {
        part: dataclasses.replace(getattr(config, part), **values)
        for part, values in parts.items()
        if part != "model" and values
    }
    return dataclasses.replace(config, **parts["model"], **replaced)


def field_owners() -> dict[str, str]:
    """Map every override's name to the part that owns it (``model`` for the top level)."""
    owners = {"image_size": "model", "depth_rule": "model"}
    for part, cls in (
        ("encoder", EncoderConfig),
        ("fusion", FusionConfig),
        ("decoder", DecoderConfig),
    ):
        owners.update({item.name: part for item in dataclasses.fields(cls)})
    return owners
