"""Train a depth estimator on measured depth, or write estimated depth of photographs."""

import argparse
from pathlib import Path

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.files import check_writable, file_sha256
from mutualformer_sod.output_folder import OutputFolder

EPILOG = """\
"train" trains a decoder for a frozen pretrained ViT on the depth maps of the sets, and writes the
decoder to one file. "maps" writes OUTPUT/SET/STEM.png with near = white, for tools/train.py
--estimated-depth OUTPUT.
"""

RECORD = "estimates.json"  # in each folder of estimated depth: the settings of the maps


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--data", "--amp")
    cli.add_flags(parser, "--sets", required=True, help="sets to train on, or to write maps of")
    cli.add_flags(parser, "--output", metavar="PATH", help="train: a weights file; maps: a folder")
    cli.add_flags(parser, "--near", default=[])
    cli.add_flags(parser, "--limit")
    parser.add_argument("command", choices=("train", "maps"))
    add = cli.flag_adder(parser)
    add("--weights", "maps: the file that train wrote", "FILE", Path)
    add("--pretrained", "weights of the ViT", "FILE", default="auto")
    add("--epochs", "train: epochs", "N", cli.COUNT, default=8)
    args = parser.parse_args()
    if (args.command == "train") == (args.weights is not None):
        remedy = "omit it" if args.weights else "pass the file that train wrote"
        parser.error(f'"maps" needs --weights, and "train" does not accept it. Fix: {remedy}.')
    if args.command == "maps":
        parser.refuse_unused(args, ("near", "epochs"), "with the command maps")
    return args


def main() -> None:
    args = parse_arguments()
    is_training = args.command == "train"
    check_writable(args.output.parent if is_training else args.output)
    if is_training and args.output.exists():
        raise InputError(f"{args.output}: exists. Fix: pass the name of a new file.")
    # Import late, because --help needs no torch.
    import torch

    from mutualformer_sod.data.discovery.sets import discover_sets, limited
    from mutualformer_sod.inference.estimated_depth import write_estimates
    from mutualformer_sod.models import depth_estimator
    from mutualformer_sod.models.device import pick_amp
    from mutualformer_sod.training.depth_estimation import train_estimator

    amp = pick_amp(args.amp, torch.device("cpu"))
    sets = limited(discover_sets(args.data, args.sets, need_rgb=True, split="train"), args.limit)
    if is_training:
        torch.manual_seed(0)
        model = depth_estimator.DepthEstimator(pretrained=args.pretrained)
        score = train_estimator(model, sets, epochs=args.epochs, near=args.near, amp=amp)
        depth_estimator.save_estimator(model, args.output)
        result = "no image was held out" if score is None else f"{score:.3f} on held-out images"
        print(f"estimator: {args.output}; correlation with measured depth: {result}")
        chosen = ["--data", *args.data, "--sets", *args.sets, "--weights", args.output]
        suggest("estimate-depth", "maps", *chosen, "--output", "outputs/estimated")
        return
    settings = {"weights": file_sha256(args.weights), "pretrained": args.pretrained, "amp": amp}
    for sod_set in sets:  # before the slow load of the ViT
        OutputFolder(args.output / sod_set.name, RECORD, RECORD).claim(settings)
    model = depth_estimator.load_estimator(args.weights, args.pretrained)
    for sod_set in sets:
        folder = args.output / sod_set.name
        written = write_estimates(model, sod_set, folder, amp)
        print(f"{sod_set.name}: {counted(written, 'map')}: {folder}")
    chosen = ["--data", *args.data, "--train-sets", *args.sets, "--estimated-depth", args.output]
    suggest("train", *chosen, "--output", "runs/mine")
