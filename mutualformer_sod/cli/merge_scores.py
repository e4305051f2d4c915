"""Merge the scores.json of several evaluations of the same protocol into one table."""

from __future__ import annotations

from pathlib import Path

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.evaluate import add_table_options
from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.results import Results
from mutualformer_sod.report.files import write_results
from mutualformer_sod.report.tables import check_columns, check_digits


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="SCORES.json")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the tables")
    add_table_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing table")
    args = parser.parse_args()
    columns = check_columns(args.columns)
    check_digits(args.digits)
    target = args.output / "scores.json"
    if target.exists() and not args.overwrite:
        raise InputError(f"{target}: exists. Fix: give another --output, or pass --overwrite.")
    merged = Results.read(args.files[0])
    for path in args.files[1:]:
        merged.merge(Results.read(path), str(path))
    args.output.mkdir(parents=True, exist_ok=True)
    print(write_results(args.output, merged, columns, args.digits, args.published))
