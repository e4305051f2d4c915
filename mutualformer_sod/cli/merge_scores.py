"""Merge the scores.json of several evaluations into one table; refuses different protocols."""

from __future__ import annotations

from pathlib import Path

from mutualformer_sod.cli import common as cli
from mutualformer_sod.errors import InputError
from mutualformer_sod.report.files import write_results
from mutualformer_sod.report.results import Results
from mutualformer_sod.report.tables import COLUMNS, check_columns, check_digits, default_columns


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="SCORES.json")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the tables")
    parser.add_argument(
        "--columns",
        nargs="+",
        default=default_columns(),
        metavar="C",
        help=f"measures in the tables, of: {' '.join(COLUMNS)}",
    )
    parser.add_argument("--digits", type=int, default=3, metavar="N", help="decimals (default: 3)")
    parser.add_argument("--published", action="store_true", help="add the paper's rows")
    parser.add_argument("--overwrite", action="store_true", help="replace a table that is there")
    args = parser.parse_args()
    columns = check_columns(args.columns)
    check_digits(args.digits)
    target = args.output / "scores.json"
    if target.exists() and not args.overwrite:
        raise InputError(f"{target}: exists; give another --output, or --overwrite")
    merged = Results.read(args.files[0])
    for path in args.files[1:]:
        merged.merge(Results.read(path), str(path))
    args.output.mkdir(parents=True, exist_ok=True)
    print(write_results(args.output, merged, columns, args.digits, args.published))
