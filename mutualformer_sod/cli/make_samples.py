"""Write generated RGB-D scenes to ``OUTPUT/SAMPLES``, or RGB-T scenes to ``OUTPUT/SAMPLES-T``."""

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.data.synthetic.scenes import DEFAULT_SIZE, SENSORS, write_samples
from mutualformer_sod.errors import counted


def main() -> None:
    parser = cli.Parser(__doc__)
    cli.add_flags(parser, "--output", help="folder for SAMPLES/")
    cli.add_flags(parser, "--overwrite", help="replace the scenes of another seed, count or size")
    add = parser.add_argument
    add("--count", type=int, default=30, help="number of scenes (default 30)")
    add("--seed", type=int, default=0, help="seed of the scenes (default 0)")
    add(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=DEFAULT_SIZE,
        help="size in pixels (default %(default)s)",
    )
    add(
        "--modality",
        choices=tuple(SENSORS),
        default="depth",
        help="second modality; with thermal, the set is SAMPLES-T/{RGB,T,GT} (default: depth)",
    )
    args = parser.parse_args()
    root = write_samples(
        args.output,
        args.count,
        args.seed,
        size=tuple(args.size),
        overwrite=args.overwrite,
        modality=args.modality,
    )
    print(f"{counted(args.count, 'scene')} in {root}")
    suggest("check-data", "--data", args.output)
