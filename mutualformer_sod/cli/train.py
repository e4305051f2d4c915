"""Train a saliency detector on RGB-D, RGB-T or RGB sets, on one device or several."""

import argparse
from pathlib import Path
from typing import Any

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import is_first_process, option, suggest
from mutualformer_sod.configs.fusion import HEADS
from mutualformer_sod.configs.fusion_names import fusion_names, fusion_option_names
from mutualformer_sod.configs.model import option_owners, overrides_of
from mutualformer_sod.configs.options import Option, describe_default, options_of
from mutualformer_sod.configs.recipes import FINE_TUNE, RECIPES, make_train_config
from mutualformer_sod.configs.released import find_weights
from mutualformer_sod.configs.switches import field_types, parse_fields
from mutualformer_sod.configs.training import TrainConfig
from mutualformer_sod.errors import InputError, flag_of

EPILOG = """\
OUTPUT gets config.json, starts.json (code, versions, data of each start), log.jsonl (one line per
epoch), checkpoints/ and, at the end, weights.safetensors: the epoch with the lowest loss on a
seeded hold-out of the training images. The same command with --resume continues a stopped run.
Several GPUs or hosts: GPUS=4 bash train_sod.sh ..., or torchrun --nproc-per-node 4 tools/train.py
"""

_ALIASES = {"finetune": ("--finetune",), "min_lr_ratio": ("--min-lr-share",)}


def make_parser() -> cli.Parser:
    """Return the parser, with the flags that TrainConfig declares.

    argparse prints grouped help and one-line errors without a further dependency.
    """
    # An omitted flag stays out of the result, so the recipe's value or the default applies.
    parser = cli.Parser(__doc__, EPILOG)
    parser.usage = "%(prog)s --data ROOT ... --output DIR [options]"
    groups = {"": parser}
    for name, declared in options_of(TrainConfig).items():
        if declared.group not in groups:
            groups[declared.group] = parser.add_argument_group(declared.group)
        _add_option(groups[declared.group], name, declared)
    optional = {"default": argparse.SUPPRESS, "metavar": "NAME"}
    effect = f"{', '.join(RECIPES)}: values for several options below; flags override them"
    parser.add_argument("--recipe", **optional, help=effect)
    effect = "continue the run in --output; previous: from the checkpoint before the last"
    states = ("last", "previous")
    parser.add_argument("--resume", nargs="?", choices=states, const="last", help=effect)
    for name, choices in (("fusion", fusion_names()), ("head", HEADS)):
        effect = f"{', '.join(choices)} (default: {choices[0]})"
        groups["model"].add_argument(f"--{name}", **optional, help=effect)
    model_options = ", ".join(sorted(option_owners(fusion_option_names())))
    cli.add_flags(groups["model"], "--set", help=f"model options: {model_options}")
    return parser


def _add_option(group: argparse._ActionsContainer, name: str, declared: Option) -> None:
    kind, default = field_types(TrainConfig)[name], describe_default(TrainConfig, name)
    text = f"{declared.effect} (default: {default})" if default else declared.effect
    rest: dict[str, Any] = {"help": text, "default": argparse.SUPPRESS}
    if name in ("data", "output"):
        rest["required"] = True
    if kind is bool:
        rest["action"] = argparse.BooleanOptionalAction if default else "store_true"
    else:
        rest |= {"type": kind, "metavar": declared.value.metavar}
    if kind == tuple[str, ...]:
        rest |= {"type": str, "nargs": "+", "action": "extend" if name == "data" else "store"}
    group.add_argument(flag_of(name), *_ALIASES.get(name, ()), dest=name, **rest)


def read_options(args: dict[str, Any]) -> tuple[TrainConfig, dict[str, Any], str | None]:
    """Return the configuration of the run, the fields of its model, and the value of --resume.

    Fine-tuning without --preset and --recipe uses the network of the weights file and the recipe
    ``fine-tune``.
    """
    resume, overrides = args.pop("resume"), parse_fields(args.pop("fields"))
    for name in ("fusion", "head"):
        if name in args and name in overrides:
            raise InputError(
                f"--{name} and --set {name}= set the same option. Fix: pass only one flag"
            )
        if name in args:
            overrides[name] = args.pop(name)
    if args.get("finetune") and not {"preset", "recipe"} & args.keys():
        from mutualformer_sod.models.weights import read_metadata  # late: imports torch

        stored, _ = read_metadata(find_weights(args["finetune"]))
        own = overrides_of(stored)
        if "size" in args:
            own.pop("image_size", None)
        args |= {"preset": stored.preset, "recipe": FINE_TUNE}
        overrides = own | overrides
    return make_train_config(args.pop("recipe", None), **args), overrides, resume


def main() -> None:
    config, overrides, resume = read_options(vars(make_parser().parse_args()))
    from mutualformer_sod.training.trainer import train  # late: the import takes seconds

    train(config, overrides, resume)
    if is_first_process():  # the other processes end before the weights are written
        suggest_next(config)


def suggest_next(config: TrainConfig) -> None:
    """Print the command that tests the new weights on the test sets of a usable modality."""
    from mutualformer_sod.data.discovery.folders import search
    from mutualformer_sod.models.weights import read_metadata

    weights = Path(config.output) / "weights.safetensors"
    second = read_metadata(weights)[0].second_modality
    found = [item for item in search(config.data) if "rgb" in item.roles and item.split != "train"]
    fitting = [i.name for i in found if "depth" not in i.roles or i.modality.name == second]
    chosen: list[object] = ["--data", *config.data]
    if len(fitting) < len(found) and config.modality != "rgb":
        chosen += option("--sets", fitting) or ["--modality", "rgb"]
    if found:
        output = Path("outputs") / weights.parent.name
        suggest("test", *chosen, "--weights", weights, "--output", output)
    else:
        suggest("predict", "photo.jpg", "--weights", weights)
