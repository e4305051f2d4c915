"""Score saliency maps against ground truths by all common metrics, in one table."""

import argparse
import contextlib
import sys
from pathlib import Path

import cv2
from tqdm import tqdm

from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import given, suggest
from mutualformer_sod.data.discovery.benchmarks import canonical_name
from mutualformer_sod.data.discovery.sets import discover_sets, keep_images
from mutualformer_sod.errors import InputError, name_list
from mutualformer_sod.files import check_writable
from mutualformer_sod.metrics.evaluation import GtSet, evaluate, find_map_folders
from mutualformer_sod.metrics.extra import enabled, extra_columns
from mutualformer_sod.metrics.folder import list_methods
from mutualformer_sod.metrics.per_image import read_common
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.metrics.results import Results
from mutualformer_sod.metrics.sequences import add_sequence_means
from mutualformer_sod.report.all_pairs import (
    LEAST_DRAWS,
    MOST_DRAWS,
    compare_all,
    metrics_per_image,
)
from mutualformer_sod.report.all_pairs_tables import write_all_pairs
from mutualformer_sod.report.curves import check_matplotlib, plot_curves, save_curves
from mutualformer_sod.report.formats import write_results
from mutualformer_sod.report.published import DEFAULT_PUBLISHED, PUBLISHED, check_published
from mutualformer_sod.report.rank_plot import plot_ranks
from mutualformer_sod.report.significance import compare, comparison_text
from mutualformer_sod.report.tables import check_columns, check_digits, default_columns
from mutualformer_sod.workers import usable_cores

EPILOG = """\
Maps are read from MAPS/METHOD/SET/STEM.png. If one set is evaluated, MAPS/METHOD/STEM.png is
accepted, too. Only the ground truths of a set are needed. The files in OUTPUT are scores.json,
table.csv, table.md, table.tex, per_image.csv, curves.npz, and with --plots plots/SET.pdf and .png.
--significance adds significance.json, .md and .tex, and with --plots plots/SET_ranks.pdf and .png.
OUTPUT/cache.sqlite stores the scores: a later run computes only new or changed maps.
"""
SWITCHES = {
    "--no-normalize": "read maps as v/255 instead of stretching each map to its own minimum and "
    "maximum",
    "--allow-missing": "score a method although maps are missing, and mark its row",
    "--significance": "compare all pairs of methods: paired bootstrap with Holm's correction, "
    "Friedman's test of the ranks with Nemenyi's critical difference",
    "--per-sequence": "video sets: add the mean over the sequences, which are the sets of one "
    "folder",
    "--plots": "draw the curves (needs matplotlib)",
    "--no-cache": "compute every score again",
}


def main() -> int:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--data", "--maps", "--methods", "--sets", "--limit", "--workers")
    cli.add_flags(parser, "--map-prefix", "--map-suffix")
    cli.add_flags(parser, "--output", help="folder for the results")
    add_table_flags(parser)
    parser.add_argument(
        "--metrics",
        choices=("table", "all"),
        default="table",
        help="table (default), or all: compute the slow metrics, too, and show them unless "
        "--columns is passed; camouflage_context is computed only if --columns names it",
    )
    add = cli.flag_adder(parser)
    for flag, effect in SWITCHES.items():
        add(flag, effect)
    effect = "per-image differences of two methods with bootstrap intervals"
    add("--compare", effect, ("A", "B"), nargs=2)
    parser.add_argument(
        "--draws",
        type=cli.at_least(100),
        metavar="N",
        help=f"draws of --significance (default: {LEAST_DRAWS}, or 100 per pair of methods if this "
        "is more)",
    )
    cli.add_flags(parser, "--images")
    args = parser.parse_args()
    cv2.setNumThreads(1)  # the work is divided among processes
    more = extra_columns(with_rgb=False) if args.metrics == "all" else ()
    after_ctrl_c = contextlib.nullcontext() if args.no_cache else cli.kept("scores")
    with after_ctrl_c, enabled((*(args.columns or ()), *more)):
        return score_maps(args, check_columns(args.columns or (*default_columns(), *more)))


def add_table_flags(parser: argparse.ArgumentParser) -> None:
    add = cli.flag_adder(parser)
    columns = " ".join((*COLUMNS, *extra_columns()))
    add("--columns", f"metrics in the tables, any of: {columns}", "C", nargs="+")
    add("--digits", "decimals in the tables", "N", int, default=3)
    methods = f"{', '.join(PUBLISHED)} (default: {', '.join(DEFAULT_PUBLISHED)})"
    effect = f"add rows quoted from papers: all, or some of {methods}"
    add("--published", effect, "METHOD", nargs="*")


def quoted_methods(given: list[str] | None) -> tuple[str, ...]:
    """Return the methods of ``--published``; () if this flag is not passed."""
    return () if given is None else check_published(given) or DEFAULT_PUBLISHED


def score_maps(args: argparse.Namespace, columns: tuple[str, ...]) -> int:
    """Evaluate by the registered metrics, and report ``columns``."""
    check_digits(args.digits)
    args.published = quoted_methods(args.published)
    if args.plots:
        check_matplotlib("--plots")
    methods = list_methods(args.maps, args.methods)
    if args.compare:
        check_compared(args.compare, methods)
    check_significance(args, columns, methods)
    sets = find_sets(args)
    folders = find_map_folders(args.maps, methods, sets, canonical_name, cli.map_affixes(args))
    prepare_output(args.output, args.maps)
    with tqdm(total=sum(len(item.files) for item in sets), unit="image", disable=None) as bar:

        def advance(set_name: str, _: object) -> None:
            bar.set_description(set_name, refresh=False)
            bar.update()

        results = evaluate(
            sets,
            folders,
            normalize=not args.no_normalize,
            allow_missing=args.allow_missing,
            cache=None if args.no_cache else args.output / "cache.sqlite",
            per_image=args.output / "per_image.csv",
            workers=args.workers or usable_cores(),
            each=advance,
        )
    if args.per_sequence:
        add_sequence_means(results)
    return report(args, columns, results)


def find_sets(args: argparse.Namespace) -> list[GtSet]:
    """Return the sets that have ground truth, with the requested images."""
    found = discover_sets(args.data, args.sets, need_gt=args.sets is not None, with_depth=False)
    sets = [item for item in found if item.has_gt]
    if not sets:
        problem = f"--data {' '.join(args.data)}: no set with ground truth."
        raise InputError(f"{problem} Fix: pass sets with GT folders.")
    if left_out := [item.name for item in found if not item.has_gt]:
        print(f"sets left out, because they have no ground truth: {name_list(left_out)}")
    chosen = keep_images(sets, args.images) if args.images else sets
    by_name = {item.name: item for item in sets}
    return [
        GtSet(
            item.name,
            {sample.stem: sample.gt for sample in item.samples[: args.limit]},
            {sample.stem: sample.gt for sample in by_name[item.name].samples},
            item.usual_count,
            {sample.stem: sample.rgb for sample in item.samples if sample.rgb},
            by_name[item.name].other_version,
        )
        for item in chosen
    ]


def check_compared(pair: list[str], methods: list[str]) -> None:
    absent = [name for name in pair if name not in methods]
    if absent:
        raise InputError(
            f"--compare {name_list(absent)}: not evaluated. Fix: pass two of {name_list(methods)}"
        )
    if pair[0] == pair[1]:
        raise InputError(f"--compare {pair[0]} {pair[1]}: equal. Fix: pass two different methods.")


def check_significance(
    args: argparse.Namespace, columns: tuple[str, ...], methods: list[str]
) -> None:
    """Check, before any evaluation, that --significance has methods and metrics to compare."""
    if not args.significance:
        if args.draws:
            raise InputError(
                "--draws has no effect without --significance. Fix: pass --significance, too."
            )
        return
    metrics_per_image(columns)
    if args.draws and args.draws > MOST_DRAWS:
        raise InputError(f"--draws {args.draws} is too large. Fix: pass {MOST_DRAWS} or fewer.")
    if len(methods) < 2:
        raise InputError(
            f"--significance: {methods[0]} is the only method. Fix: evaluate two methods or more."
        )


def prepare_output(output: Path, maps: Path) -> None:
    """Create the output folder; raise InputError if files cannot be written to this folder."""
    if maps.resolve() in (output.resolve(), output.resolve().parent):
        raise InputError(
            f"--output {output}: the next run would read this folder as a method of --maps {maps}. "
            "Fix: pass a folder elsewhere."
        )
    check_writable(output)
    output.mkdir(parents=True, exist_ok=True)


def report(args: argparse.Namespace, columns: tuple[str, ...], results: Results) -> int:
    """Write all files, print the table and the comparison, and return the exit status."""
    print(write_results(args.output, results, columns, args.digits, args.published))
    save_curves(args.output / "curves.npz", results.curves)
    if args.plots and results.curves:
        plot_curves(args.output / "plots", results.curves, results.protocol_lines()[0])
    if args.compare:
        print_comparison(args, results)
    if args.significance:
        report_significance(args, columns, results)
    if results.incomplete and not args.allow_missing:
        missing = name_list(results.incomplete)
        print(
            f"{cli.program()}: not scored: {missing} (see above). Fix: add or replace these maps, "
            "or pass --allow-missing to score the other maps.",
            file=sys.stderr,
        )
        return cli.EXIT_INPUT_ERROR
    same = ("data", "sets", "maps", "methods", "limit", "map_prefix", "map_suffix")
    suggest("gallery", *given(args, *same), "--output", args.output / "gallery")
    return 0


def print_comparison(args: argparse.Namespace, results: Results) -> None:
    """Print the paired comparison on every set with scores of both methods of ``--compare``."""
    scored = [results.scores.get(method, {}) for method in args.compare]
    wanted = {name: args.compare for name in scored[0] if name in scored[1]}
    tables = read_common(args.output / "per_image.csv", wanted)
    tables = {set_name: table.scores for set_name, table in tables.items() if table.images}
    for set_name, table in tables.items():
        first, second = ({name: s[:, i] for name, s in table.items()} for i in (0, 1))
        print(comparison_text(set_name, *args.compare, compare(first, second)))
    if not tables:
        print(f"{' − '.join(args.compare)}: no image has scores of both methods")


def report_significance(
    args: argparse.Namespace, columns: tuple[str, ...], results: Results
) -> None:
    """Compare all methods that are scored on a set, write the files, and print the tables."""
    wanted: dict[str, list[str]] = {}
    for method, scores in results.scores.items():
        for set_name in scores:
            wanted.setdefault(set_name, []).append(method)
    tables = read_common(args.output / "per_image.csv", wanted)
    metrics = metrics_per_image(columns)
    total = (len(tables) + (len(tables) > 1)) * len(metrics)
    with tqdm(total=total, unit="comparison", disable=None) as bar:
        found = compare_all(tables, metrics, args.draws, each=bar.update)
    print(write_all_pairs(args.output, found, args.digits + 1))
    if args.plots:
        plot_ranks(args.output / "plots", found)
