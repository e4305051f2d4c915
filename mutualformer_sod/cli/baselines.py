"""Write maps of two baselines that need no training: a centre prior and a depth threshold."""

from dataclasses import replace

import numpy as np
from tqdm import tqdm

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import given, suggest
from mutualformer_sod.data.depth.encoding import DepthEncoding, depth_to_unit
from mutualformer_sod.data.depth.polarity import encodings_by_name, print_maps, with_encodings
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets, limited
from mutualformer_sod.data.modality import DEPTH
from mutualformer_sod.data.sample import Sample, read_sample
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.imaging.io import image_size, write_map
from mutualformer_sod.inference.baselines import centre_prior, depth_otsu
from mutualformer_sod.inference.map_output import MapOutput

METHODS = ("centre", "depth_otsu")
EPILOG = """\
centre      a Gaussian around the middle of the image, a quarter of each side wide
depth_otsu  near pixels, by Otsu's threshold on the depth; sets without depth are skipped
Maps are written to OUTPUT/METHOD/SET/STEM.png, as by tools/test.py, for tools/evaluate.py. Existing
maps are kept.
"""


def main() -> None:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--data", "--sets", "--near", "--limit", "--overwrite")
    cli.add_flags(parser, "--output", metavar="MAPS", help="folder for maps")
    add = cli.flag_adder(parser)
    add("--methods", "baselines (default: both)", nargs="+", choices=METHODS, default=METHODS)
    args = parser.parse_args()
    wants_depth = "depth_otsu" in args.methods
    if args.near != ["auto"] and not wants_depth:
        raise InputError("--near has no effect: it needs --methods depth_otsu. Fix: omit --near.")
    sets = discover_sets(args.data, args.sets, with_depth=wants_depth)
    if wants_depth:
        sets = with_encodings(sets, args.near)
    encodings = encodings_by_name(sets)
    print_maps(sets)
    for method in dict.fromkeys(args.methods):
        near = {n: e.side for n, e in encodings.items()} if method == "depth_otsu" else {}
        settings = {"baseline": method, "near": near, "protocol": "baseline, not trained"}
        folder = MapOutput(args.output / method, settings, args.overwrite)
        folder.begin()
        for sod_set in limited(sets, args.limit):
            if method == "depth_otsu" and sod_set.modality != DEPTH:
                found = f"{sod_set.modality.maps} instead of" if sod_set.has_depth else "no"
                print(f"{method}: {sod_set.name}: skipped, because it has {found} depth")
                continue
            made = map_set(method, sod_set, folder)
            existed = len(sod_set.samples) - made
            print(f"{method}: {sod_set.name}: {counted(made, 'map')} written, {existed} existed")
    print(f"maps: {args.output}")
    chosen = [*given(args, "data", "sets"), "--maps", args.output, *given(args, "limit")]
    suggest("evaluate", *chosen, "--output", "outputs/scores")


def map_set(method: str, sod_set: SodSet, folder: MapOutput) -> int:
    """Write the missing maps of a method on a set, and return their number."""
    todo = folder.missing(sod_set).samples
    for sample in tqdm(todo, f"{method}: {sod_set.name}", leave=False, disable=None):
        path = folder.path / sod_set.name / f"{sample.stem}.png"
        write_map(path, saliency_of(method, sample, sod_set.encoding))
    folder.finish(sod_set)
    return len(todo)


def saliency_of(method: str, sample: Sample, encoding: DepthEncoding | None) -> np.ndarray:
    """Return one map, (H, W) float32, at the size of the colour image or the ground truth."""
    if method == "centre":
        return centre_prior(image_size(sample.rgb or sample.gt))
    # Colour image and ground truth have the same size; the ground truth is read faster.
    part = replace(sample, rgb=None) if sample.gt is not None else sample
    _, depth, _ = read_sample(part)
    return depth_otsu(depth_to_unit(depth, encoding))
