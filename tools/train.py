"""Train a saliency detector on RGB-D (or RGB) sets."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mutualformer_sod import cli, list_presets
from mutualformer_sod.config import field_owners
from mutualformer_sod.errors import InputError
from mutualformer_sod.training_config import TrainConfig

EPILOG = """\
OUTPUT gets config.json, log.jsonl (one line an epoch), last.pt, best.pt and, at the end,
weights.safetensors: the epoch with the least loss on a seeded hold-out of the training images.
Interrupted? The same command with --resume goes on after the last finished epoch.
"""


def parse_arguments() -> argparse.Namespace:
    default = TrainConfig()
    parser = cli.Parser(__doc__, EPILOG)
    data = parser.add_argument_group("data")
    data.add_argument("--data", nargs="+", required=True, metavar="ROOT", help="folders of sets")
    data.add_argument("--train-sets", nargs="+", default=[], metavar="SET", help="train on these")
    data.add_argument("--protocol", help="or on a benchmark's: 2185, 2985, dut800, come15k")
    data.add_argument("--val-sets", nargs="+", default=[], metavar="SET", help="validate on these")
    data.add_argument(
        "--choose-on-test-set",
        action="store_true",
        help="allow a test set in --val-sets; stamped into the weights and every table",
    )
    data.add_argument(
        "--holdout",
        type=float,
        default=default.holdout,
        metavar="SHARE",
        help=f"of the training images, without --val-sets (default: {default.holdout}); 0: none",
    )
    data.add_argument(
        "--holdout-by",
        choices=("scene", "image"),
        default=default.holdout_by,
        help="scene: stems that differ only in their last number stay together (default)",
    )
    data.add_argument("--near", nargs="+", default=["auto"], metavar="SIDE", help="as in test.py")
    data.add_argument("--limit", type=int, metavar="N", help="the first N images of each set")
    model = parser.add_argument_group("model")
    model.add_argument("--preset", default="small", help=f"{', '.join(list_presets())}")
    model.add_argument(
        "--pretrained", metavar="FILE", help="backbone weights: imagenet (timm's hub), or a file"
    )
    model.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        dest="fields",
        help=f"model options: {', '.join(sorted(field_owners()))}",
    )
    recipe = parser.add_argument_group("recipe")
    numbers = {
        "epochs": (int, "N"),
        "batch_size": (int, "N"),
        "lr": (float, "X"),
        "encoder_lr_scale": (float, "X"),
        "weight_decay": (float, "X"),
        "warmup_epochs": (float, "X"),
        "clip_norm": (float, "X"),
        "depth_dropout": (float, "SHARE"),
        "size": (int, "S"),
        "seed": (int, "S"),
        "workers": (int, "N"),
    }
    unset = {"size": "default: the preset's", "encoder_lr_scale": "0.1 with --pretrained, else 1"}
    for name, (kind, metavar) in numbers.items():
        value = getattr(default, name)
        note = unset.get(name, f"default: {value}")
        flag = "--" + name.replace("_", "-")
        recipe.add_argument(flag, type=kind, default=value, metavar=metavar, help=note)
    recipe.add_argument(
        "--multi-scale",
        action=argparse.BooleanOptionalAction,
        default=default.multi_scale,
        help="every batch at 0.75 to 1.25 times the size (default: on)",
    )
    recipe.add_argument("--loss", default=default.loss, help="weighted (default), f3net-released")
    recipe.add_argument("--amp", default=default.amp, help="off (default), or bf16")
    recipe.add_argument(
        "--modality", default=default.modality, help="both (default); rgb or depth hides the other"
    )
    run = parser.add_argument_group("run")
    run.add_argument("--output", required=True, metavar="DIR", help="folder of this run")
    run.add_argument("--device", default=default.device, help="auto (default), cpu or cuda")
    run.add_argument(
        "--weights-dtype",
        default=default.weights_dtype,
        metavar="TYPE",
        help="of weights.safetensors: float32 (default) or float16",
    )
    run.add_argument("--resume", action="store_true", help="go on with the run in --output")
    return parser.parse_args()


def parse_fields(assignments: list[str]) -> dict[str, Any]:
    """``["epsilon=0.5", "share=true"]`` -> a dictionary with typed values."""
    fields = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"--set {assignment!r}: give FIELD=VALUE, for example epsilon=0.5")
        if name == "preset":
            raise InputError(f"--set {assignment!r}: choose the preset with --preset")
        if name in fields:
            raise InputError(f"--set {assignment!r}: {name} is given twice")
        try:
            fields[name] = json.loads(text)
        except json.JSONDecodeError:
            fields[name] = text
    return fields


def main() -> None:
    args = vars(parse_arguments())
    resume, overrides = args.pop("resume"), parse_fields(args.pop("fields"))
    config = TrainConfig(**args)
    from mutualformer_sod.engine.train import train  # only now: --help needs no torch

    train(config, overrides, resume)


if __name__ == "__main__":
    cli.run(main)
