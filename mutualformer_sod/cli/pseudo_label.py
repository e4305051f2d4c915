"""Make a training set of images without ground truth from a network's confident maps."""

from __future__ import annotations

from pathlib import Path

from mutualformer_sod.cli import common as cli
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.data.training.pseudo_labels import label_set
from mutualformer_sod.files import check_writable

EPILOG = """\
Maps come from tools/test.py --modality rgb (MAPS/METHOD/SET/STEM.png). Each image whose map is
confident goes to OUTPUT/SET/{RGB,depth,GT} with the map's binary form as its ground truth; train
on it with --train-sets. Weights trained so are to name the network that made the maps.
"""


def main() -> None:
    parser = cli.Parser(__doc__, EPILOG)
    add = parser.add_argument
    add("--data", nargs="+", required=True, metavar="ROOT", help="folders of sets")
    add("--sets", nargs="+", required=True, metavar="SET", help="the sets to label")
    add("--maps", required=True, type=Path, metavar="DIR", help="maps of one method: MAPS/METHOD")
    add("--output", required=True, type=Path, metavar="DIR", help="folder for the labelled sets")
    args = parser.parse_args()
    check_writable(args.output)
    for sod_set in discover_sets(args.data, args.sets, need_rgb=True):
        folder = args.output / sod_set.name
        taken = label_set(sod_set, args.maps / sod_set.name, folder)
        print(f"{sod_set.name}: {taken} of {len(sod_set.samples)} images labelled: {folder}")
