"""Pack reduced copies of training sets into shards for another machine, or unpack the shards."""

import argparse
from pathlib import Path

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.data.packing.pack import PackOptions, pack_sets, unpack_sets
from mutualformer_sod.errors import counted
from mutualformer_sod.files import check_writable

EPILOG = """\
Here:   python tools/pack_data.py --data ROOT --sets train_rgb/DUTS_TR --side 160 --output packed
There:  python tools/pack_data.py --unpack packed --output ROOT
        bash train_sod.sh --recipe tiny --data ROOT
OUTPUT gets shard_0000.tar, ... (<set>/RGB/x.jpg, <set>/GT/x.png, <set>/depth/x.png: plain tar
files) and index.json with their sha256. Colour and ground truth are shrunk by area average, depth
by nearest neighbour, which preserves type and values. Unpacking compares the checksums first,
keeps existing files of equal content, and continues an interrupted run. Packed images differ in
their bytes from those of a test set: check the overlap of training and test sets on the originals.
"""

_OF_PACKING = ("sets", "near", "workers", "side", "quality", "share", "seed", "shard_mb")


def main() -> None:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--data", required=False, help="folders of sets to pack")
    cli.add_flags(parser, "--sets", help="sets to pack (default: all but test sets)")
    cli.add_flags(parser, "--near")
    cli.add_flags(parser, "--workers", help="threads that pack (default: all cores)")
    cli.add_flags(parser, "--output", help="folder for the pack, or for the unpacked sets")
    cli.add_flags(parser, "--overwrite", help="replace an existing pack, or existing files")
    add = cli.flag_adder(parser)
    add("--side", "longer side in pixels; no image is enlarged", "S", int)
    add("--quality", "JPEG quality, 1 to 100", "Q", int, default=85)
    add("--share", "ratio of the images of each set to pack", "X", float, default=1.0)
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="with --share: decides the first image"
    )
    add("--shard-mb", "size limit in MiB", "M", float, default=15)
    add("--unpack", "unpack this pack instead", "DIR", Path)
    args = parser.parse_args()
    check_writable(args.output)
    if args.unpack is not None:
        if args.data:
            parser.error("--data and --unpack exclude each other. Fix: pass only one flag")
        parser.refuse_unused(args, _OF_PACKING, "with --unpack")
        unpack(args)
    elif args.share == 1 and args.seed:
        parser.error("--seed has no effect without --share. Fix: pass --share, too.")
    elif not args.data or args.side is None:
        parser.error("nothing to do. Fix: pass --data and --side, or --unpack")
    else:
        pack(args)


def pack(args: argparse.Namespace) -> None:
    options = PackOptions(args.side, args.quality, args.share, args.seed, args.shard_mb)
    others = {name: getattr(args, name) for name in ("near", "overwrite", "workers")}
    index = pack_sets(args.data, args.sets, options, args.output, **others)
    for path, item in index["sets"].items():
        print(f"{path}: {item['images']} of {item['of']} images, {depth_text(item)}")
    size = sum(shard["bytes"] for shard in index["shards"])
    shards = counted(len(index["shards"]), "shard")
    print(f"pack: {args.output}: {shards}, {size / 1e6:.1f} MB")
    suggest("pack-data", "--unpack", args.output, "--output", "data")


def unpack(args: argparse.Namespace) -> None:
    index, remarks = unpack_sets(args.unpack, args.output, overwrite=args.overwrite)
    for path, item in index["sets"].items():
        print(f"{path}: {counted(item['images'], 'image')}, {depth_text(item)}")
    for remark in remarks:
        print(f"WARNING: {remark}")
    print(f"sets: {args.output}")
    chosen = ["--data", args.output, "--train-sets", *index["sets"]]
    suggest("train", *chosen, "--output", "runs/mine")


def depth_text(item: dict) -> str:
    if not item["depth"]:
        return "no depth"
    kind, near = item["depth"]["kind"], item["depth"]["near"]
    return kind if near == "none" else f"depth near = {near}"
