"""Write maps, overlays and cut-outs of your own pictures or a video, with or without depth."""

import argparse
import sys
from pathlib import Path

from mutualformer_sod.cli.next_step import given, option, suggest
from mutualformer_sod.cli.predict_options import free_output, output_folders, parse_arguments
from mutualformer_sod.configs.released import DEFAULT_WEIGHTS, find_weights
from mutualformer_sod.errors import InputError, counted, flag_of, with_flags
from mutualformer_sod.files import check_writable
from mutualformer_sod.signals import ended_by_sigterm

FAILED = 1


def main() -> int:
    args = parse_arguments(__doc__)
    if args.output is not None and args.output.exists() and not args.output.is_dir():
        raise InputError(f"--output {args.output}: is a file. Fix: pass a folder.")
    check_writable(next(output_folders(args.output)))
    message = "finished files are kept; the same command continues the run"
    if args.video is not None:
        message = "no output of the video is kept; the same command starts again"
    with ended_by_sigterm(message):
        return map_video(args) if args.video is not None else map_pictures(args)


def map_pictures(args: argparse.Namespace) -> int:
    """Predict maps of the pictures of ``--rgb``."""
    from mutualformer_sod.data.modality import DEPTH, THERMAL
    from mutualformer_sod.inference.picture_pairs import pair_pictures

    modality = DEPTH if args.thermal is None else THERMAL
    maps = args.depth or args.thermal
    pictures, remarks = pair_pictures(args.rgb, maps, modality)
    for remark in remarks:
        print(remark)
    # Problems with the files are reported before the slow import of torch.
    from mutualformer_sod.data.depth.notes import note_line
    from mutualformer_sod.inference.overlays import CutoutStyle
    from mutualformer_sod.inference.picture_depth import plan_depths
    from mutualformer_sod.inference.picture_maps import PictureOutputs, predict_pictures

    predictor, settings = load(args)
    plan = plan_depths(pictures, args.near, args.depth_orientation or "auto", modality)
    for remark in plan.remarks:
        print(with_flags(remark))
    style = CutoutStyle(args.background, args.crop)
    kinds = ["maps", *["overlays"] * args.overlay, *["cutouts"] * args.cutout]
    output, outcome = free_output(
        args.output,
        lambda folder: predict_pictures(
            *(predictor, pictures, plan, PictureOutputs(folder, settings, kinds, style)),
            overwrite=args.overwrite,
        ),
    )
    for doubt, names in outcome.doubts.items():
        print(note_line(doubt, names, counted(outcome.depths, "map"), predictor.second.name))
    kept = f", {outcome.kept} existed" if outcome.kept else ""
    alone = "" if maps else ", RGB only"
    if args.estimate_depth:
        alone = ", with estimated depth"
    is_one = args.output is None and len(pictures) == 1 and not outcome.failed
    place = output / "maps" / f"{pictures[0].stem}.png" if is_one else output
    where = f": {place}" if outcome.made or outcome.kept else ""
    print(f"{outcome.made} of {counted(len(pictures), 'picture')} processed{alone}{kept}{where}")
    if outcome.failed:
        print(f"{counted(len(outcome.failed), 'picture')} failed, see above", file=sys.stderr)
    if outcome.made or outcome.kept:
        suggest_next(args, pictures, predictor.second)
    return FAILED if outcome.failed else 0


def suggest_next(args: argparse.Namespace, pictures: list, second: object) -> None:
    """Print a command that adds depth found beside the picture, adds outputs or starts a demo."""
    from mutualformer_sod.inference.picture_pairs import depth_beside

    again = [*args.rgb] if args.pictures else ["--rgb", *args.rgb]
    depth = None
    if len(pictures) == 1 and not (args.depth or args.thermal or args.estimate_depth):
        depth = depth_beside(pictures[0].rgb)
    if depth is not None:
        suggest("predict", *again, "--depth", depth, *own_weights(args))
    elif args.overlay and args.cutout:
        suggest_demo(args, second)
    else:
        kept = without_defaults(args, "depth", "thermal", "depth_orientation", "crop", "output")
        suggest("predict", *again, *own_weights(args), *kept, "--overlay", "--cutout")


def suggest_demo(args: argparse.Namespace, second: object) -> None:
    """Print the command of the demo, or of evaluate if the demo does not accept the weights."""
    from mutualformer_sod.data.modality import DEPTH

    if second == DEPTH:
        suggest("demo", *own_weights(args))
    else:
        suggest("evaluate", "--help")


def own_weights(args: argparse.Namespace) -> list[object]:
    """Return the flag ``--weights`` with its value; [] for the default weights."""
    return option("--weights", None if args.weights == DEFAULT_WEIGHTS else args.weights)


def without_defaults(args: argparse.Namespace, *names: str) -> list[object]:
    """Return the flags of ``names`` and the flags that affect the maps, without default values."""
    names = (*names, "near", "size", "device", "amp", "estimate_depth", "background")
    return given(args, *(name for name in names if getattr(args, name) != "auto"))


def map_video(args: argparse.Namespace) -> int:
    """Predict maps of the frames of ``--video``."""
    from mutualformer_sod.data.modality import DEPTH
    from mutualformer_sod.inference.overlays import CutoutStyle
    from mutualformer_sod.inference.video import (
        CUTOUT,
        MAP,
        OVERLAY,
        VideoOutputs,
        check_videos,
        predict_video,
    )

    kinds = [MAP, *[OVERLAY] * args.overlay, *[CUTOUT] * args.cutout]
    style = CutoutStyle(args.background)

    def videos_in(folder: Path) -> tuple:
        return args.video, args.depth_video, VideoOutputs(folder, tuple(kinds), style)

    output, remarks = free_output(
        args.output, lambda folder: check_videos(*videos_in(folder), overwrite=args.overwrite)
    )
    for remark in remarks:
        print(remark)
    predictor, _ = load(args)
    if predictor.second != DEPTH:
        trained = f"--weights {args.weights}: trained on {predictor.second.maps}"
        print(f"{trained}; maps of a video are predicted from colour alone")
    options = {"near": args.near, "smooth": args.smooth or 0.0, "overwrite": args.overwrite}
    predict_video(predictor, *videos_in(output), **options)
    if args.overlay:
        suggest_demo(args, predictor.second)
    else:
        again = ["--video", args.video, *own_weights(args)]
        again += [*without_defaults(args, "depth_video", "smooth", "cutout"), "--overlay"]
        suggest("predict", *again, "--output", f"{output}-overlay")
    return 0


def load(args: argparse.Namespace) -> tuple:
    """Return the predictor, and the settings that affect the maps."""
    from mutualformer_sod.inference.picture_maps import settings_of
    from mutualformer_sod.inference.predictor import Predictor
    from mutualformer_sod.inference.progress import forecast

    weights = find_weights(args.weights)
    predictor = Predictor.from_weights(weights, args.size, args.device, args.amp)
    second = predictor.second.name
    names = ("depth", "thermal", "depth_video", "estimate_depth")
    passed = [name for name in names if getattr(args, name) is not None]
    for name in passed:
        flag, value = flag_of(name), getattr(args, name)
        if predictor.modality == "rgb":
            raise InputError(
                f"{flag} {value}: --weights {args.weights} were trained without {second}. Fix: "
                f"leave {flag} out, or pass other weights."
            )
        if second != ("thermal" if name == "thermal" else "depth"):
            raise InputError(
                f"{flag} {value}: --weights {args.weights} were trained on {second} maps. Fix: "
                f"leave {flag} out, pass --{second} with pictures, or pass other weights."
            )
    if predictor.modality == "depth" and not passed:
        raise InputError(
            f"--weights {args.weights} use only {second}. Fix: pass --{second}, or other weights."
        )
    if args.estimate_depth is not None:
        from mutualformer_sod.inference.estimated_depth import estimator_of

        predictor.estimator = estimator_of(args.estimate_depth)
    if line := forecast(predictor):
        print(with_flags(line), flush=True)
    return predictor, settings_of(weights, args.estimate_depth)
