"""Map your own pictures or a video: maps, overlays, cut-outs; with or without depth."""

import argparse
import sys
from pathlib import Path

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.default_output import DEFAULT_OUTPUT, output_folders
from mutualformer_sod.cli.next_step import option, suggest
from mutualformer_sod.configs.released import DEFAULT_WEIGHTS, ESTIMATOR, find_weights
from mutualformer_sod.errors import InputError, OutputExists, with_flags
from mutualformer_sod.files import check_writable
from mutualformer_sod.signals import ended_by_sigterm

EPILOG = """\
    mutualformer-sod predict photo.jpg

needs no flag: without --output the outputs are in ./saliency, or in ./saliency-2 and so on if files
of other settings are there. Outputs are OUTPUT/maps/STEM.png (8-bit, at the size of the picture),
with --overlay OUTPUT/overlays/STEM.png, with --cutout OUTPUT/cutouts/STEM.png (RGBA); of a video
OUTPUT/NAME_map.webm, NAME_overlay.webm and NAME_cutout.webm, with its sound. A second run makes
the missing files. Status 1: some pictures failed and were named, the others are done. See
docs/predict.md.
"""
FAILED = 1
MOST_SMOOTH = 0.95
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    parser.add_argument(
        "pictures", nargs="*", type=Path, metavar="FILE|DIR", help="as --rgb; or one video"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--rgb", nargs="+", type=Path, metavar="FILE|DIR", help="pictures, or folders of pictures"
    )
    source.add_argument("--video", type=Path, metavar="FILE", help="a video, instead of pictures")
    parser.add_argument(
        "--depth",
        type=Path,
        metavar="FILE|DIR",
        help="depth of the picture, or a folder of depth maps paired by name (.png .tif .npy ...)",
    )
    parser.add_argument(
        "--depth-orientation",
        choices=("auto", "stored", "shown"),
        help="orientation of depth beside a picture with an orientation tag: that of the stored "
        "file, or of the picture as shown; auto: stored, unless its sides fit the shown picture "
        "only (default)",
    )
    parser.add_argument(
        "--estimate-depth",
        nargs="?",
        const=ESTIMATOR,
        type=Path,
        metavar="FILE",
        help="estimate depth from colour; FILE: your own estimator (tools/estimate_depth.py)",
    )
    parser.add_argument(
        "--thermal",
        type=Path,
        metavar="FILE|DIR",
        help="thermal image or images in place of depth, for weights that were trained on them",
    )
    parser.add_argument("--depth-video", type=Path, metavar="FILE", help="depth of the video")
    parser.add_argument(
        "--smooth",
        type=float,
        metavar="RATIO",
        help="smooth the maps of a video over time: ratio of the past in each map, 0 to 0.95",
    )
    cli.add_flags(parser, "--weights", "--device", "--amp")
    cli.add_flags(
        parser,
        "--output",
        required=False,
        help=f"folder of the outputs (default: {DEFAULT_OUTPUT}, or a new name like it)",
    )
    cli.add_flags(parser, "--overwrite", help="replace files made with other settings")
    cli.add_flags(parser, "--size", type=int, help="input size of the network in pixels a side")
    parser.add_argument(
        "--near",
        choices=("auto", "white", "black", "disparity", "strict"),
        default="auto",
        help="which depth values are near the camera: large (white) or small (black) ones; "
        "disparity: large, and 0 is no value; auto: decided from the maps and their type, such as "
        "millimetres (default); strict: auto, but stop if the evidence is weak or contradicts the "
        "type",
    )
    parser.add_argument("--overlay", action="store_true", help="write the map over the picture too")
    parser.add_argument("--cutout", action="store_true", help="write the object alone, too")
    parser.add_argument(
        "--background",
        metavar="COLOUR|FILE",
        help="of cut-outs: white, black, grey, #rrggbb, blur (the picture, blurred) or a picture "
        "(default: transparent)",
    )
    parser.add_argument("--crop", action="store_true", help="crop cut-outs to the object")
    args = parser.parse_args()
    take_pictures(parser, args)
    for name, value, needed in (
        ("--depth", args.depth, "--rgb"),
        ("--thermal", args.thermal, "--rgb"),
        ("--depth-video", args.depth_video, "--video"),
        ("--smooth", args.smooth, "--video"),
        ("--crop", args.crop or None, "--rgb"),
    ):
        if value is not None and getattr(args, needed[2:]) is None:
            parser.error(f"{name} needs {needed}")
    if (args.background or args.crop) and not args.cutout:
        parser.error("--background and --crop need --cutout")
    if args.smooth is not None and not 0 <= args.smooth <= MOST_SMOOTH:
        parser.error(f"--smooth {args.smooth:g}: not in 0 to {MOST_SMOOTH}")
    if args.near != "auto" and args.depth is None and args.depth_video is None:
        parser.error("--near needs --depth or --depth-video")
    if args.depth is not None and args.thermal is not None:
        parser.error("--depth and --thermal exclude each other")
    if args.depth_orientation is not None and args.depth is None and args.thermal is None:
        parser.error("--depth-orientation needs --depth or --thermal")
    if args.estimate_depth is not None and (args.depth or args.thermal or args.depth_video):
        parser.error("--estimate-depth has no effect with --depth, --thermal or --depth-video")
    return args


def take_pictures(parser: cli.Parser, args: argparse.Namespace) -> None:
    """Make the arguments without a flag the value of ``--rgb`` or, for a video, ``--video``."""
    if args.pictures and (args.rgb or args.video):
        parser.error("pictures with and without --rgb or --video. Fix: pass them in one way")
    is_video = len(args.pictures) == 1 and args.pictures[0].suffix.lower() in VIDEO_SUFFIXES
    if is_video and not args.pictures[0].is_dir():
        args.video = args.pictures[0]
    elif args.pictures:
        args.rgb = args.pictures
    if args.rgb is None and args.video is None:
        taken = args.estimate_depth not in (None, ESTIMATOR)
        parser.error(
            "no picture. Fix: pass pictures, folders or a video, also with --rgb or --video"
            + (", before --estimate-depth, which took the next word" if taken else "")
        )


def main() -> int:
    args = parse_arguments()
    if args.output is not None and args.output.exists() and not args.output.is_dir():
        raise InputError(f"--output {args.output}: is a file. Fix: pass a folder.")
    check_writable(next(output_folders(args.output)))
    kept = "finished files are kept" if args.video is None else "nothing is kept of the video"
    with ended_by_sigterm(f"{kept}; the same command continues"):
        return predict_video(args) if args.video is not None else predict_pictures(args)


def predict_pictures(args: argparse.Namespace) -> int:
    """Map the pictures of ``--rgb``."""
    from mutualformer_sod.data.modality import DEPTH, THERMAL
    from mutualformer_sod.inference.picture_pairs import pair_pictures

    modality = DEPTH if args.thermal is None else THERMAL
    maps = args.depth or args.thermal
    pictures, remarks = pair_pictures(args.rgb, maps, modality)
    for remark in remarks:
        print(remark)
    from mutualformer_sod.data.depth.notes import note_line
    from mutualformer_sod.inference.cutouts import CutoutStyle

    # Imported late: problems with the files are reported before the slow import of torch.
    from mutualformer_sod.inference.picture_depth import plan_depths
    from mutualformer_sod.inference.picture_maps import predict_pictures

    predictor, settings = load(args)
    plan = plan_depths(pictures, args.near, args.depth_orientation or "auto", modality)
    for remark in plan.remarks:
        print(with_flags(remark))
    style = CutoutStyle(args.background, args.crop)
    kinds = ["maps", *["overlays"] * args.overlay, *["cutouts"] * args.cutout]
    for output in output_folders(args.output):
        try:
            outcome = predict_pictures(
                *(predictor, pictures, plan, output, settings),
                kinds=kinds,
                style=style,
                overwrite=args.overwrite,
            )
            break
        except OutputExists:
            if args.output is not None:
                raise
    for doubt, names in outcome.doubts.items():
        print(note_line(doubt, names, f"{outcome.depths} maps", predictor.second.name))
    kept = f", {outcome.kept} were there" if outcome.kept else ""
    alone = "" if maps else ", RGB only"
    if args.estimate_depth:
        alone = ", with estimated depth"
    is_one = args.output is None and len(pictures) == 1 and not outcome.failed
    place = output / "maps" / f"{pictures[0].stem}.png" if is_one else output
    print(f"{outcome.made} of {len(pictures)} pictures mapped{alone}{kept}: {place}")
    if outcome.failed:
        print(f"{len(outcome.failed)} pictures failed, see above", file=sys.stderr)
    if outcome.made or outcome.kept:
        suggest_next(args, pictures, predictor.second)
    return FAILED if outcome.failed else 0


def suggest_next(args: argparse.Namespace, pictures: list, second: object) -> None:
    """Print the same command with the depth that lies beside a picture, or with all outputs."""
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
        kept = given(args, "depth", "thermal", "depth_orientation", "crop", "output")
        suggest("predict", *again, *own_weights(args), *kept, "--overlay", "--cutout")


def suggest_demo(args: argparse.Namespace, second: object) -> None:
    """Print the command of the demo, or another one for weights that the demo does not take."""
    from mutualformer_sod.data.modality import DEPTH

    if second == DEPTH:
        suggest("demo", *own_weights(args))
    else:
        suggest("evaluate", "--help")


def own_weights(args: argparse.Namespace) -> list[object]:
    """Return ``--weights`` and its value; nothing for the default."""
    return option("--weights", None if args.weights == DEFAULT_WEIGHTS else args.weights)


def given(args: argparse.Namespace, *names: str) -> list[object]:
    """Return the flags of these names and those that decide the maps, without default values."""
    words: list[object] = []
    for name in (*names, "near", "size", "device", "amp", "estimate_depth", "background"):
        flag, value = f"--{name.replace('_', '-')}", getattr(args, name)
        if value is True:
            words.append(flag)
        elif value != "auto":
            words += option(flag, value)
    return words


def predict_video(args: argparse.Namespace) -> int:
    """Map the frames of ``--video``."""
    from mutualformer_sod.inference.cutouts import CutoutStyle
    from mutualformer_sod.inference.video import check_videos, predict_video
    from mutualformer_sod.inference.video_output import CUTOUT, MAP, OVERLAY, VideoOutputs

    kinds = [MAP, *[OVERLAY] * args.overlay, *[CUTOUT] * args.cutout]
    for output in output_folders(args.output):
        outputs = VideoOutputs(output, tuple(kinds), CutoutStyle(args.background))
        videos = (args.video, args.depth_video, outputs)
        try:
            remarks = check_videos(*videos, overwrite=args.overwrite)
            break
        except OutputExists:
            if args.output is not None:
                raise
    for remark in remarks:
        print(remark)
    predictor, _ = load(args)
    options = {"near": args.near, "smooth": args.smooth or 0.0, "overwrite": args.overwrite}
    predict_video(predictor, *videos, **options)
    if not args.overlay:
        again = ["--video", args.video, *own_weights(args)]
        again += [*given(args, "depth_video", "smooth", "cutout"), "--overlay"]
        suggest("predict", *again, "--output", f"{output}-overlay")
    else:
        suggest_demo(args, predictor.second)
    return 0


def load(args: argparse.Namespace) -> tuple:
    """Return the predictor, and the settings that its maps depend on."""
    from mutualformer_sod.inference.picture_maps import settings_of
    from mutualformer_sod.inference.predictor import Predictor
    from mutualformer_sod.inference.progress import forecast

    weights = find_weights(args.weights)
    predictor = Predictor.from_weights(weights, args.size, args.device, args.amp)
    second = predictor.second.name
    for name in ("depth", "thermal", "depth_video", "estimate_depth"):
        given, value = f"--{name.replace('_', '-')}", getattr(args, name)
        if value is None:
            continue
        if predictor.modality == "rgb":
            raise InputError(
                f"{given} {value}: --weights {args.weights} were trained without {second}. Fix: "
                f"leave {given} out, or pass other weights."
            )
        if second != ("thermal" if name == "thermal" else "depth"):
            raise InputError(
                f"{given} {value}: --weights {args.weights} were trained on {second} maps. Fix: "
                f"leave {given} out, pass --{second} with pictures, or pass other weights."
            )
    if args.estimate_depth is not None:
        from mutualformer_sod.inference.estimated_depth import estimator_of

        predictor.estimator = estimator_of(args.estimate_depth)
    if line := forecast(predictor):
        print(with_flags(line), flush=True)
    return predictor, settings_of(weights, args.estimate_depth)
