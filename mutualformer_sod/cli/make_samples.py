"""Write generated RGB-D scenes to ``OUTPUT/SAMPLES``, or RGB-T scenes to ``OUTPUT/SAMPLES-T``."""

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.data.synthetic.scenes import DEFAULT_SIZE, SENSORS, write_samples
from mutualformer_sod.errors import counted


def main() -> None:
    parser = cli.Parser(__doc__)
    cli.add_flags(parser, "--output", help="folder for SAMPLES/")
    cli.add_flags(parser, "--overwrite", help="replace the scenes of another seed, count or size")
    parser.add_argument("--count", type=int, default=30, help="number of scenes (default 30)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the scenes (default 0)")
    add = cli.flag_adder(parser)
    effect = "size in pixels (default %(default)s)"
    add("--size", effect, ("H", "W"), int, nargs=2, default=DEFAULT_SIZE)
    effect = "second modality; with thermal, the set is SAMPLES-T/{RGB,T,GT}"
    add("--modality", effect, choices=tuple(SENSORS), default="depth")
    args = parser.parse_args()
    options = {"size": tuple(args.size), "overwrite": args.overwrite, "modality": args.modality}
    root = write_samples(args.output, args.count, args.seed, **options)
    print(f"{counted(args.count, 'scene')} in {root}")
    suggest("check-data", "--data", args.output)
