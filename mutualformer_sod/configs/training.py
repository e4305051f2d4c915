"""The configuration of one training run."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from os import PathLike
from typing import Any

from mutualformer_sod.configs.model import DEFAULT_PRESET, LOSSES
from mutualformer_sod.configs.recipes import RECIPES
from mutualformer_sod.errors import InputError

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "poly", "triangular", "constant")
AMP = ("auto", "off", "bf16", "fp16")
CACHES = ("off", "ram", "disk")


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Paths and set names as the user gave them; sizes in pixels."""

    preset: str = DEFAULT_PRESET
    # data
    data: tuple[str, ...] = ()
    train_sets: tuple[str, ...] = ()
    protocol: str | None = None  # "2185", "2985", "dut800", "come15k": stands for train_sets
    repeat: tuple[str, ...] = ()  # "SET=K": a small set's images are seen K times an epoch
    val_sets: tuple[str, ...] = ()
    choose_on_test_set: bool = False  # allow val_sets that are test sets of the benchmarks
    allow_overlap: bool = False  # train on images that a test set under ``data`` holds, too
    holdout: float = 0.1  # share of the training images held out when there are no val_sets
    holdout_by: str = "scene"  # "scene": frames of one scene stay together; "image"; "auto"
    near: tuple[str, ...] = ()
    limit: int | None = None  # the first images of each training set, for a trial
    cache: str = "off"  # "ram" or "disk": decode every image once, keep it shrunk as uint8
    cache_dir: str | None = None  # of cache="disk"; None: "cache" beside the run's folder
    cache_side: int | None = None  # bound of each side of cached images; None: 1.25 of the size
    workers: int = 2
    # augmentation
    size: int | None = None  # None: the preset's
    multi_scale: bool = True  # every batch at 0.75 to 1.25 times the size
    progressive: float = 1.0  # share of the size to start at; grows over the first 4/5 of the run
    depth_dropout: float = 0.0  # share of training images shown without their depth
    paste: float = 0.0  # share of RGB-D images that get another one's object with its depth
    invent_depth: float = 0.0  # share of images without depth that get an invented map
    estimated_depth: str | None = None  # folder of depth maps that take the place of invented ones
    wrong_depth: float = 0.0  # share of depth maps replaced by one that misleads
    poor_colour: float = 0.0  # share of images with right depth whose colours are made poor
    modality: str = "both"  # "rgb" or "depth" hides the other one: the controls of an ablation
    # optimisation
    epochs: int = 60
    batch_size: int = 8  # most images a process takes at a time
    global_batch_size: int | None = None  # images of one update; None: batch_size x processes
    optimizer: str = "adamw"
    lr: float = 1e-4
    encoder_lr_scale: float | None = None  # None: 0.1 with pretrained weights, else 1
    layer_decay: float | None = None  # each encoder layer's rate is this share of the next one's
    weight_decay: float = 0.05
    momentum: float = 0.9  # of sgd
    nesterov: bool = True  # of sgd
    schedule: str = "cosine"
    poly_power: float = 0.9  # of the schedule "poly"
    min_lr_share: float = 0.0  # share of the peak rate that the schedule ends at
    warmup_epochs: float = 1.0
    freeze_encoder_epochs: int = 0  # the first epochs train all but the encoder
    freeze_layers: int = 0  # the encoder's first layers stay as they are, in every epoch
    clip_norm: float = 1.0
    ema_decay: float | None = None  # validate and release a moving average of the weights
    loss: str = "weighted"
    ssim_weight: float = 0.0  # of the optional SSIM term
    boundary_weight: float = 0.0  # of the optional boundary term
    # precision and speed
    amp: str = "auto"  # "auto": bf16 where the device computes in it, else off
    channels_last: bool = False
    compile: bool = False
    grad_checkpointing: bool = False  # less memory, a third more time
    deterministic: bool = False
    # the run
    output: str = ""
    seed: int = 0
    device: str = "auto"
    pretrained: str | None = None  # "imagenet" for timm's weights, "auto", or a file
    init_weights: str | None = None  # a weights file of this project, for the encoder's start
    finetune: str | None = None  # a weights file of this project, for the whole network's start
    weights_dtype: str = "float32"  # of the weights file at the end; "float16" halves it
    checkpoint_minutes: float = 10.0  # a checkpoint at least this often, not only every epoch
    checkpoint_steps: int | None = None  # and every so many updates
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("data", "train_sets", "val_sets", "near", "repeat"):
            value = getattr(self, name)
            value = (value,) if isinstance(value, str | PathLike) else tuple(value)
            object.__setattr__(self, name, value)
        for item in dataclasses.fields(self):
            value, kinds = getattr(self, item.name), _NUMBERS.get(str(item.type).split(" |")[0])
            if kinds and value is not None and type(value) not in kinds:
                want = "a whole number" if kinds == (int,) else "a number"
                raise InputError(f"{_flag(item.name)}={value!r} is not usable: give {want}")
        for name, accepted, want in _LIMITS:
            for field in name.split():
                value = getattr(self, field)
                if not (value is None or accepted(value)):
                    raise InputError(f"{_flag(field)}={value!r} is not usable: give {want}")


_NUMBERS = {"int": (int,), "float": (int, float)}  # not bool, which is an int to Python


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _one_of(*choices: str) -> tuple[Any, str]:
    return (lambda value: value in choices), ", ".join(choices)


_LIMITS = [  # fields, what is accepted, its name in messages; None stands for "not given"
    ("epochs batch_size global_batch_size limit", lambda v: v >= 1, "1 or more"),
    ("cache_side checkpoint_steps", lambda v: v >= 1, "1 or more"),
    ("lr clip_norm poly_power", lambda v: math.isfinite(v) and v > 0, "a positive number"),
    (
        "weight_decay warmup_epochs workers encoder_lr_scale freeze_encoder_epochs freeze_layers "
        "ssim_weight boundary_weight checkpoint_minutes",
        lambda v: math.isfinite(v) and v >= 0,
        "0 or more",
    ),
    ("seed", lambda v: 0 <= v < 2**32, "a whole number from 0 to 4294967295"),
    ("holdout momentum", lambda v: 0 <= v < 1, "a share in [0, 1)"),
    (
        "depth_dropout paste invent_depth wrong_depth poor_colour min_lr_share",
        lambda v: 0 <= v <= 1,
        "a share from 0 to 1",
    ),
    ("ema_decay", lambda v: 0 < v < 1, "a number between 0 and 1, for example 0.999"),
    ("layer_decay progressive", lambda v: 0 < v <= 1, "a share above 0, at most 1"),
    ("size", lambda v: v >= 32, "32 pixels or more"),
    ("holdout_by", *_one_of("scene", "image", "auto")),
    ("modality", *_one_of("both", "rgb", "depth")),
    ("loss", *_one_of(*LOSSES)),
    ("weights_dtype", *_one_of("float32", "float16")),
    ("amp", *_one_of(*AMP)),
    ("optimizer", *_one_of(*OPTIMIZERS)),
    ("schedule", *_one_of(*SCHEDULES)),
    ("cache", *_one_of(*CACHES)),
]

_NEEDS = [  # fields, whether they have an effect in a configuration, and what they need for it
    ("momentum nesterov", lambda c: c.optimizer == "sgd", "--optimizer sgd"),
    ("poly_power", lambda c: c.schedule == "poly", "--schedule poly"),
    ("min_lr_share", lambda c: c.schedule != "constant", "a --schedule that falls"),
    ("warmup_epochs", lambda c: c.schedule != "triangular", "another --schedule than triangular"),
    ("cache_dir", lambda c: c.cache == "disk", "--cache disk"),
    ("cache_side", lambda c: c.cache != "off", "--cache ram or disk"),
    ("choose_on_test_set", lambda c: bool(c.val_sets), "--val-sets"),
    ("holdout", lambda c: not c.val_sets, "a run without --val-sets"),
    ("holdout_by", lambda c: c.holdout > 0 and not c.val_sets, "a --holdout"),
    (
        "near depth_dropout invent_depth wrong_depth poor_colour",
        lambda c: c.modality != "rgb",
        "a --modality with depth",
    ),
    (
        "pretrained",
        lambda c: not (c.init_weights or c.finetune),
        "a run without --init-weights and --finetune",
    ),
    ("init_weights", lambda c: not c.finetune, "a run without --finetune"),
    ("estimated_depth", lambda c: c.invent_depth > 0, "--invent-depth"),
]
_OFF = (None, False, 0, (), ("auto",))


def make_train_config(recipe: str | None = None, **fields: Any) -> TrainConfig:
    """The recipe's configuration, or the defaults, with the given fields replaced.

    Raises:
        InputError: unknown recipe, an illegal value, or one of ``fields`` that has no effect beside
            the others; what the recipe brings along, and what switches a thing off, may have none.
    """
    if recipe is not None and recipe not in RECIPES:
        raise InputError(f"unknown --recipe {recipe!r}: choose from {', '.join(RECIPES)}")
    known = {item.name for item in dataclasses.fields(TrainConfig)}
    values = dict(RECIPES[recipe]) if recipe else {}
    if fields.get("train_sets"):  # the user's sets stand for the recipe's protocol
        values.pop("protocol", None)
    if fields.get("init_weights") or fields.get("finetune"):  # likewise for the encoder's start
        values.pop("pretrained", None)
    values |= fields
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(f"unknown training option {unknown[0]!r}")
    config = TrainConfig(**values)
    for names, has_effect, need in _NEEDS:
        for name in names.split():
            if name in fields and getattr(config, name) not in _OFF and not has_effect(config):
                flag = _flag(name)
                raise InputError(f"{flag} has no effect: it needs {need}. Fix: leave {flag} out.")
    return config
