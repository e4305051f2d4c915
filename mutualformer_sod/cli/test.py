"""Write saliency maps of RGB-D, RGB-T or RGB sets with trained weights."""

import argparse
import logging
from pathlib import Path

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import given, suggest
from mutualformer_sod.configs.released import find_weights
from mutualformer_sod.configs.training import VISIBLE
from mutualformer_sod.errors import InputError, name_list, with_flags
from mutualformer_sod.files import check_writable

EPILOG = """\
Maps are OUTPUT/METHOD/SET/STEM.png, 8-bit, at the size of the ground truth, or of the colour image
if there is no ground truth. OUTPUT/METHOD/run.json has the settings. A second run continues an
interrupted run. Under torchrun (tools/launch.py) each process writes a part of the maps. The line
"speed" shows images/s and the ratio of the network's time to the total time.
"""

_log = logging.getLogger(__name__)


def main() -> None:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--data", "--sets", "--weights", "--batch-size", "--device", "--limit")
    cli.add_flags(parser, "--output", help="folder of the maps")
    cli.add_flags(parser, "--overwrite", help="replace maps made with other settings")
    cli.add_flags(parser, "--size", **cli.INPUT_SIZE)
    add = cli.flag_adder(parser)
    add("--workers", "loader processes", "N", cli.at_least(0), default=2)
    add("--writers", "threads that write maps", "N", cli.at_least(0), default=2)
    add("--preset", "accept only weights of this preset", "PRESET")
    add("--method", "name of the maps' folder (default: FUSION_PRESET)", "METHOD")
    cli.add_flags(
        parser,
        "--near",
        help="which depth values are near the camera: auto (decided from the depth maps), white, "
        "black, disparity (white, and 0 means no value), strict (auto, but stop if the evidence is "
        "weak or contradicts the type), or one value for a set: SET=white",
    )
    effect = "auto, off, bf16 or fp16 (default: auto, bf16 on CUDA devices that support it)"
    cli.add_flags(parser, "--amp", help=effect)
    cli.add_flags(parser, "--images")
    effect = "rgb: colour alone; depth or thermal: the maps alone (default: as trained)"
    add("--modality", effect, choices=VISIBLE)
    args = parser.parse_args()
    if args.method and (Path(args.method).name != args.method or args.method == ".."):
        raise InputError(
            f"--method {args.method!r} is a path. Fix: pass a folder name, such as small_rgb."
        )
    # Import late, because --help and wrong flags need no torch.
    from mutualformer_sod.distributed import one_voice

    with one_voice():
        check_writable(args.output)
        make_maps(args)


def make_maps(args: argparse.Namespace) -> None:
    """Load weights and sets, and write maps; under torchrun, each process writes a part of them."""
    from mutualformer_sod.distributed import is_main, start_processes
    from mutualformer_sod.inference.benchmark_maps import map_sets, method_name, provenance_of
    from mutualformer_sod.inference.predictor import Predictor
    from mutualformer_sod.inference.progress import forecast
    from mutualformer_sod.models.weights import load_weights

    device = start_processes(args.device)
    weights = find_weights(args.weights)
    model, protocol = load_weights(weights, args.preset)
    modality = args.modality or protocol.get("modality", "both")
    predictor = Predictor(model, args.size, str(device), args.amp, modality)
    method = args.method or method_name(model.config, predictor.modality)
    sets = find_sets(args, modality, model.config.second_modality)
    if is_main() and (line := forecast(predictor)):
        print(with_flags(line), flush=True)
    provenance = provenance_of(weights, model.config, protocol)
    map_sets(
        predictor,
        sets,
        args.output / method,
        provenance,
        batch_size=args.batch_size,
        workers=args.workers,
        writers=args.writers,
        overwrite=args.overwrite,
    )
    if is_main():
        print(f"maps: {args.output / method}")
        chosen = [*given(args, "data", "sets"), "--maps", args.output]
        if any(item.has_gt for item in sets):
            limits = given(args, "images", "limit")
            suggest("evaluate", *chosen, *limits, "--output", "outputs/scores")
        else:
            suggest("gallery", *chosen, "--output", "outputs/gallery")


def find_sets(args: argparse.Namespace, modality: str, second: str) -> list:
    """Return the sets for which maps are predicted; the main process prints remarks on the sets.

    The network sees ``modality``; ``second`` is the second modality of its training.
    """
    from mutualformer_sod.data.depth.notes import relation_notes
    from mutualformer_sod.data.depth.polarity import print_maps, with_encodings
    from mutualformer_sod.data.discovery.sets import (
        discover_sets,
        keep_images,
        limited,
        refuse_other_modality,
    )
    from mutualformer_sod.distributed import is_main

    # Hidden depth may be missing or unreadable, and its polarity is not decided.
    sees_depth = modality != "rgb"
    if not sees_depth and args.near != ["auto"]:
        raise InputError(
            "--near has no effect: it needs a --modality with depth. Fix: leave --near out."
        )
    need_rgb = args.sets is not None
    found = discover_sets(args.data, args.sets, need_rgb=need_rgb, with_depth=sees_depth)
    sets = [item for item in found if item.has_rgb]
    for item in found if is_main() else ():
        if not item.has_rgb:
            print(f"{item.name}: no colour images, so no maps are written")
    refuse_other_modality(sets, second, f"--weights {args.weights}")
    blind = [item.name for item in sets if modality not in ("both", "rgb") and not item.has_depth]
    if blind:
        raise InputError(
            f"{name_list(blind)}: no {second}, but the network uses only {second}. Fix: pass"
            " other --sets, --weights or --modality."
        )
    sets = with_encodings(sets, args.near)
    if is_main():
        print_maps(sets)
    if args.images is not None:
        sets = keep_images(sets, args.images)
    if not sets:
        roots = " ".join(args.data)
        raise InputError(
            f"--data {roots}: no set with colour images. Fix: pass sets with RGB folders."
        )
    sets = limited(sets, args.limit)
    for item in sets if is_main() else ():
        for note in relation_notes(item):
            _log.warning("%s: %s", item.name, note)
    return sets
