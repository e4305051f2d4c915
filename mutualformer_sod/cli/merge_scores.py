"""Merge the scores.json files of evaluations with the same protocol into one table."""

from pathlib import Path

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.evaluate import add_table_flags, quoted_methods
from mutualformer_sod.cli.next_step import suggest
from mutualformer_sod.metrics.extra import enabled
from mutualformer_sod.metrics.results import Results
from mutualformer_sod.report.formats import write_results
from mutualformer_sod.report.tables import check_columns, check_digits, default_columns


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="SCORES.json")
    cli.add_flags(parser, "--output", help="folder for the tables")
    cli.add_flags(parser, "--overwrite")
    add_table_flags(parser)
    args = parser.parse_args()
    check_digits(args.digits)
    published = quoted_methods(args.published)
    cli.refuse_existing(args.output / "scores.json", args.overwrite)
    merged = Results.read(args.files[0])
    for path in args.files[1:]:
        merged.merge(Results.read(path), str(path))
    with enabled(args.columns or ()):
        columns = check_columns(args.columns or default_columns())
        args.output.mkdir(parents=True, exist_ok=True)
        print(write_results(args.output, merged, columns, args.digits, published))
    suggest("gallery", "--help")
