"""Draw colour, depth, the maps of several methods and ground truth, a row for each image."""

import argparse

import cv2

from mutualformer_sod.cli import common as cli
from mutualformer_sod.data.depth.encoding import depth_to_unit
from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import check_writable, replacing
from mutualformer_sod.gallery.figure import picture_grid
from mutualformer_sod.imaging.io import read_depth, read_gt, read_rgb
from mutualformer_sod.metrics.folder import list_methods


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    cli.add_flags(parser, "--data", "--maps", "--methods", "--sets", "--near", "--overwrite")
    cli.add_flags(parser, "--output", metavar="FILE", help="a .png file")
    cli.add_flags(parser, "--limit", default=6, help="images of a set (default: 6)")
    parser.add_argument("--stems", nargs="+", metavar="STEM", help="only these images")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if args.output.suffix.lower() != ".png":
        raise InputError(f"--output {args.output}: no .png file. Fix: end the name in .png.")
    cli.refuse_existing(args.output, args.overwrite)
    check_writable(args.output.parent)
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
