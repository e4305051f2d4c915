"""Options of the command predict, and the default folder of its outputs."""

import argparse
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from mutualformer_sod.cli import common as cli
from mutualformer_sod.configs.released import ESTIMATOR
from mutualformer_sod.errors import OutputExists, flag_of

_Result = TypeVar("_Result")

EPILOG = """\
    mutualformer-sod predict photo.jpg

This command needs no flags. Without --output, the outputs are in ./saliency, or in ./saliency-2 and
so on if that folder has files of other settings. The outputs of pictures are OUTPUT/maps/STEM.png
(8-bit, at the size of the picture), with --overlay OUTPUT/overlays/STEM.png, and with --cutout
OUTPUT/cutouts/STEM.png (RGBA). The outputs of a video are OUTPUT/NAME_map.webm, NAME_overlay.webm
and NAME_cutout.webm, with the sound of the video. A second run adds the missing files. Exit status
1 means that some pictures failed and were reported; the others are done. See docs/predict.md.
"""
DEFAULT_OUTPUT = "saliency"
MOST_SMOOTH = 0.95
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")


def parse_arguments(description: str) -> argparse.Namespace:
    parser = make_parser(description)
    args = parser.parse_args()
    take_pictures(parser, args)
    check_combinations(parser, args)
    return args


def make_parser(description: str) -> cli.Parser:
    parser = cli.Parser(description, EPILOG)
    add, files = cli.flag_adder(parser), ("FILE|DIR", Path)
    add("pictures", "pictures or folders, as --rgb; or one video", *files, nargs="*")
    add_source = cli.flag_adder(parser.add_mutually_exclusive_group())
    add_source("--rgb", "pictures, or folders of pictures", *files, nargs="+")
    add_source("--video", "a video, instead of pictures", "FILE", Path)
    effect = "depth of the picture, or a folder of depth maps paired by name (.png .tif .npy ...)"
    add("--depth", effect, *files)
    parser.add_argument(
        "--depth-orientation",
        choices=("auto", "stored", "shown"),
        help="orientation of the depth map of a picture with an orientation tag; stored: that of "
        "the picture in its file; shown: that of the picture as shown; auto (default): stored, "
        "unless the sides of the map match only the shown picture",
    )
    cli.add_flags(parser, "--estimate-depth")
    effect = "thermal image or images in place of depth, for weights that were trained on them"
    add("--thermal", effect, *files)
    add("--depth-video", "depth of the video", "FILE", Path)
    effect = "smooth the maps of a video over time: weight of the previous map, 0 to 0.95"
    add("--smooth", effect, "RATIO", float)
    cli.add_flags(parser, "--weights", "--device", "--amp")
    effect = f"folder of the outputs (default: {DEFAULT_OUTPUT}, or {DEFAULT_OUTPUT}-2 and so on)"
    cli.add_flags(parser, "--output", required=False, help=effect)
    cli.add_flags(parser, "--overwrite", help="replace files made with other settings")
    cli.add_flags(parser, "--size", **cli.INPUT_SIZE)
    parser.add_argument(
        "--near",
        choices=("auto", "white", "black", "disparity", "strict"),
        default="auto",
        help="which depth values are near the camera: large (white) or small (black); "
        "disparity: large, and 0 means no value; auto (default): decided from the maps and their "
        "type, such as millimetres; strict: auto, but stop if the evidence is weak or contradicts "
        "the type",
    )
    add("--overlay", "also write each picture blended with its map")
    add("--cutout", "also write the cut-out object")
    parser.add_argument(
        "--background",
        metavar="COLOUR|FILE",
        help="background of cut-outs: white, black, grey, #rrggbb, blur (the picture, blurred) or "
        "a picture (default: transparent)",
    )
    add("--crop", "crop cut-outs to the object")
    return parser


def check_combinations(parser: cli.Parser, args: argparse.Namespace) -> None:
    """Refuse flags without an effect in this combination, and values out of range."""
    if args.rgb:
        parser.refuse_unused(args, ("depth_video", "smooth"), "without a video")
    else:
        parser.refuse_unused(args, ("depth", "thermal", "crop"), "without pictures")
    if (args.background or args.crop) and not args.cutout:
        parser.error("--background and --crop need --cutout. Fix: pass --cutout, too.")
    if args.smooth is not None and not 0 <= args.smooth <= MOST_SMOOTH:
        parser.error(f"--smooth {args.smooth:g}: out of range. Fix: pass 0 to {MOST_SMOOTH}.")
    if args.near != "auto" and args.depth is None and args.depth_video is None:
        parser.error("--near has no effect without depth. Fix: pass --depth or --depth-video, too.")
    if args.depth is not None and args.thermal is not None:
        parser.error("--depth and --thermal exclude each other. Fix: pass only one flag.")
    if args.depth_orientation is not None and args.depth is None and args.thermal is None:
        parser.error(
            "--depth-orientation has no effect without --depth or --thermal. "
            "Fix: pass --depth or --thermal, too."
        )
    for name in ("depth", "thermal", "depth_video"):
        if args.estimate_depth is not None and getattr(args, name) is not None:
            flag = flag_of(name)
            parser.error(f"--estimate-depth has no effect with {flag}. Fix: omit one flag.")


def take_pictures(parser: cli.Parser, args: argparse.Namespace) -> None:
    """Store the arguments without a flag as the value of ``--rgb`` or, for a video, ``--video``."""
    if args.pictures and (args.rgb or args.video):
        parser.error("pictures are passed with and without a flag. Fix: pass all in one way")
    is_video = len(args.pictures) == 1 and args.pictures[0].suffix.lower() in VIDEO_SUFFIXES
    if is_video and not args.pictures[0].is_dir():
        args.video = args.pictures[0]
    elif args.pictures:
        args.rgb = args.pictures
    if args.rgb is None and args.video is None:
        taken = args.estimate_depth not in (None, ESTIMATOR)
        parser.error(
            "no picture given. Fix: pass pictures, folders or a video, with or without --rgb "
            "or --video"
            + (", before --estimate-depth, which uses the next argument as FILE" if taken else "")
        )


def output_folders(given: Path | None) -> Iterator[Path]:
    """Yield the passed folder; for None, yield the default folder and its numbered variants."""
    if given is not None:
        yield given
        return
    for suffix in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
        path = Path(f"{DEFAULT_OUTPUT}{suffix}")
        if path.is_dir() or not path.exists():
            yield path


def free_output(given: Path | None, use: Callable[[Path], _Result]) -> tuple[Path, _Result]:
    """Return the first of `output_folders` that ``use`` accepts, and the result of ``use``.

    Raises:
        OutputExists: the folder ``given`` has files that were written with other settings.
    """
    folders = output_folders(given)
    while True:
        folder = next(folders)
        try:
            return folder, use(folder)
        except OutputExists:
            if given is not None:
                raise
