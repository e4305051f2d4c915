"""Draw colour, depth, the maps of several methods and ground truth, a row for each image."""

from __future__ import annotations

import argparse

import cv2

from mutualformer_sod.cli import common as cli
from mutualformer_sod.data.depth.polarity import depth_to_unit, with_encodings
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import check_writable, replacing
from mutualformer_sod.gallery.figure import picture_grid
from mutualformer_sod.imaging.io import read_depth, read_gt, read_rgb
from mutualformer_sod.metrics.folder import list_methods


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    cli.add_maps(parser, output="a .png file")
    parser.add_argument("--stems", nargs="+", metavar="STEM", help="only these images")
    parser.add_argument("--limit", type=int, default=6, metavar="N", help="images of a set (6)")
    parser.add_argument("--near", nargs="+", default=["auto"], metavar="SIDE", help="as in test.py")
    parser.add_argument("--overwrite", action="store_true", help="replace the file")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.output.suffix.lower() != ".png":
        raise InputError(f"--output {args.output}: no .png file. Fix: end the name in .png.")
    if args.output.exists() and not args.overwrite:
        raise InputError(f"--output {args.output}: exists. Fix: give another, or pass --overwrite.")
    check_writable(args.output.parent)
    cli.check_least(args, limit=1)
    methods = list_methods(args.maps, args.methods)
    sets = with_encodings(discover_sets(args.data, args.sets, need_rgb=True), args.near)
    rows = []
    for sod_set in sets:
        rows += figure_rows(sod_set, args, methods)
    stems = {sample.stem for sod_set in sets for sample in sod_set.samples}
    unknown = [stem for stem in args.stems or [] if stem not in stems]
    if unknown:
        raise InputError(f"--stems {' '.join(unknown)}: no such image in the sets")
    nouns = " / ".join(sorted({item.encoding.noun for item in sets if item.encoding})) or "depth"
    grid = picture_grid(rows, ["RGB", nouns, *methods, "ground truth"])
    with replacing(args.output) as temporary:
        temporary.write_bytes(cv2.imencode(".png", grid[..., ::-1])[1].tobytes())
    print(f"{len(rows)} images: {args.output}")


def figure_rows(sod_set: SodSet, args: argparse.Namespace, methods: list[str]) -> list:
    """Return one list of pictures for each chosen image of a set."""
    rows = []
    samples = [t for t in sod_set.samples if args.stems is None or t.stem in args.stems]
    for sample in samples[: args.limit]:
        row = [read_rgb(sample.rgb), None]
        if sample.depth is not None:
            row[1] = depth_to_unit(read_depth(sample.depth, sample.thermal), sod_set.encoding)
        for method in methods:
            path = args.maps / method / sod_set.name / f"{sample.stem}.png"
            row.append(read_rgb(path) if path.exists() else None)
        rows.append([*row, read_gt(sample.gt) if sample.gt is not None else None])
    return rows
