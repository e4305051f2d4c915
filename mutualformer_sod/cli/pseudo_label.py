"""Write a training set from images without ground truth, with confident maps as labels."""

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.training.pseudo_labels import label_set
from mutualformer_sod.files import check_writable

EPILOG = """\
Write the maps with tools/test.py --modality rgb (MAPS/METHOD/SET/STEM.png). Each image with a
confident map is copied to OUTPUT/SET/{RGB,depth,GT}, with the binary map as ground truth. Train on
SET with --train-sets. If you publish the weights, cite the network that predicted the maps.
"""


def main() -> None:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--data")
    cli.add_flags(parser, "--sets", required=True, help="sets to label")
    cli.add_flags(parser, "--maps", help="maps of one method: MAPS/METHOD")
    cli.add_flags(parser, "--output", help="folder for the labelled sets")
    args = parser.parse_args()
    check_writable(args.output)
    for sod_set in discover_sets(args.data, args.sets, need_rgb=True):
        folder = args.output / sod_set.name
        taken = label_set(sod_set, args.maps / sod_set.name, folder)
        print(f"{sod_set.name}: {taken} of {len(sod_set.samples)} images labelled: {folder}")
    suggest("train", "--data", args.output, "--train-sets", *args.sets, "--output", "runs/pseudo")
