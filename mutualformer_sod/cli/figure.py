"""Draw one row per image, with colour, depth, maps of several methods and ground truth."""

import argparse
import contextlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import given, suggest
from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.discovery.benchmarks import canonical_name
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.gallery.figure import picture_grid
from mutualformer_sod.imaging.io import read_gt, read_rgb, read_saliency, write_image
from mutualformer_sod.metrics.folder import find_map_folder, list_methods


def main() -> None:
    parser = cli.Parser(__doc__)
    cli.add_flags(parser, "--data", "--maps", "--methods", "--sets", "--near", "--overwrite")
    cli.add_flags(parser, "--output", metavar="FILE", help="a .png file")
    cli.add_flags(
        parser, "--limit", help="the first N images of each set (default: 6, or all with --stems)"
    )
    parser.add_argument("--stems", nargs="+", metavar="STEM", help="only these images")
    args = parser.parse_args()
    if args.output.suffix.lower() != ".png":
        raise InputError(f"--output {args.output}: not a .png file. Fix: pass a .png file.")
    cli.check_result_files(args, "output")
    methods = list_methods(args.maps, args.methods)
    sets = with_encodings(discover_sets(args.data, args.sets, need_rgb=True), args.near)
    rows = []
    for sod_set in sets:
        rows += figure_rows(sod_set, args, methods, only_set=len(sets) == 1)
    known = {sample.stem for sod_set in sets for sample in sod_set.samples}
    unknown = [stem for stem in args.stems or () if stem not in known]
    if unknown:
        stems = " ".join(unknown)
        raise InputError(f"--stems {stems}: no such image in the sets. Fix: pass other stems.")
    nouns = {item.modality.name for item in sets if item.modality} or {"depth"}
    grid = picture_grid(rows, ["RGB", " / ".join(sorted(nouns)), *methods, "ground truth"])
    write_image(args.output, grid[..., ::-1])
    print(f"{counted(len(rows), 'image')}: {args.output}")
    suggest("gallery", *given(args, "data", "sets", "maps"), "--output", "outputs/gallery")


def figure_rows(
    sod_set: SodSet, args: argparse.Namespace, methods: list[str], only_set: bool
) -> list:
    """Return one list of pictures for each chosen image of a set."""
    rows = []
    found = [find_maps(args.maps, method, sod_set, only_set) for method in methods]
    samples = [t for t in sod_set.samples if args.stems is None or t.stem in args.stems]
    limit = args.limit or (6 if args.stems is None else None)
    for sample in tqdm(samples[:limit], sod_set.name, leave=False, disable=None):
        row = [read_rgb(sample.rgb), None]
        if sample.depth is not None:
            modality = sample.modality
            row[1] = modality.to_unit(modality.read(sample.depth), sod_set.encoding, "minmax")
        row += [read_map_picture(maps.get(sample.stem)) for maps in found]
        rows.append([*row, read_gt(sample.gt) if sample.gt is not None else None])
    return rows


def find_maps(folder: Path, method: str, sod_set: SodSet, only_set: bool) -> dict[str, Path]:
    """Return stem -> map of a method on a set; if a stem has two files, the PNG file is used."""
    files = {sample.stem: sample.gt or sample.rgb for sample in sod_set.samples}
    found = find_map_folder(
        *(folder, method, sod_set.name, files), only_set=only_set, canonical_name=canonical_name
    )
    pngs = {stem: found.folder / f"{stem}.png" for stem in found.duplicate}
    return found.maps | {stem: path for stem, path in pngs.items() if path.exists()}


def read_map_picture(path: Path | None) -> np.ndarray | None:
    """Read a map as an 8-bit colour picture if possible, otherwise as saliency; None for None."""
    if path is None:
        return None
    if path.suffix.lower() not in (".npy", ".tif", ".tiff"):
        with contextlib.suppress(InputError):  # 16-bit grey; `read_saliency` reports other errors
            return read_rgb(path)
    return read_saliency(path)
