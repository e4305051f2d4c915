"""Score folders of saliency maps against ground truths: all measures of the field, one table."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
from tqdm import tqdm

from mutualformer_sod import __version__
from mutualformer_sod.cli import common as cli
from mutualformer_sod.data.discovery.benchmarks import canonical_name
from mutualformer_sod.data.discovery.sets import SodSet, discover_sets, keep_images
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import check_writable
from mutualformer_sod.metrics.cache import ScoreCache
from mutualformer_sod.metrics.folder import (
    MapFolder,
    find_map_folder,
    list_methods,
    name_list,
    refuse_no_maps,
)
from mutualformer_sod.metrics.scoring import Cell, Outcome, score_set
from mutualformer_sod.report.curves import check_plotting, plot_curves, save_curves
from mutualformer_sod.report.files import write_results
from mutualformer_sod.report.per_image import per_image_file, read_pair
from mutualformer_sod.report.remarks import complaints, row_marks
from mutualformer_sod.report.results import Results, scoring_protocol
from mutualformer_sod.report.significance import compare, comparison_text
from mutualformer_sod.report.tables import COLUMNS, check_columns, check_digits, default_columns
from mutualformer_sod.workers import worker_pool

EPILOG = """\
Maps are read from MAPS/METHOD/SET/STEM.png, or from MAPS/METHOD/STEM.png where one set is
evaluated. Of a set, its ground truths are all that is needed. Written to OUTPUT: scores.json,
table.csv, table.md, table.tex, per_image.csv, curves.npz, and with --plots plots/SET.pdf and .png.
Scores are kept in OUTPUT/cache.sqlite: run again after adding a method, and only that is computed.
"""


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    add = parser.add_argument
    add("--data", nargs="+", required=True, metavar="ROOT", help="folders of sets")
    add("--maps", type=Path, required=True, metavar="DIR", help="folder of methods")
    add("--methods", nargs="+", metavar="M", help="only these (default: all)")
    add("--sets", nargs="+", metavar="SET", help="only these (default: all)")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    add(
        "--columns",
        nargs="+",
        default=default_columns(),
        metavar="C",
        help=f"measures in the tables, of: {' '.join(COLUMNS)}",
    )
    add("--digits", type=int, default=3, metavar="N", help="decimals in the tables (default: 3)")
    add(
        "--no-normalize",
        action="store_true",
        help="take maps as v/255 instead of stretching each to its own minimum and maximum",
    )
    add(
        "--allow-missing",
        action="store_true",
        help="score the maps that are there, and mark the cell",
    )
    add(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="per-image differences of two methods with bootstrap intervals",
    )
    add("--published", action="store_true", help="add the paper's rows, marked as quoted")
    add("--plots", action="store_true", help="draw the curves (needs matplotlib)")
    add("--no-cache", action="store_true", help="compute every score anew")
    add("--images", type=Path, metavar="FILE", help="only those in a list SET/STEM, as in test.py")
    add("--limit", type=int, metavar="N", help="the first N images of each set, as in test.py")
    add("--workers", type=int, metavar="N", help="processes (default: all cores)")
    return parser.parse_args()


@dataclass
class Job:
    """A set to evaluate: its ground truths by stem, and a folder of maps a method.

    Attributes:
        name: of the set.
        count: its images, of which `--limit` may leave some out.
        usual_count: images that papers report for it; None for a custom set.
        ground_truths: stem -> file, of the images to evaluate.
        folders: the maps of these images, method by method.
    """

    name: str
    count: int
    usual_count: int | None
    ground_truths: dict[str, Path]
    folders: list[MapFolder]


def evaluate() -> int:
    args = parse_arguments()
    cv2.setNumThreads(1)  # the work is shared by processes
    columns = check_columns(args.columns)
    workers = count_workers(args.workers)
    check_digits(args.digits)
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit {args.limit} is not usable: give 1 or more")
    if args.plots:
        check_plotting()
    methods = list_methods(args.maps, args.methods)
    if args.compare:
        check_compared(args.compare, methods)
    jobs = find_jobs(args, methods)
    prepare_output(args.output, args.maps)
    cells, notes = score_all(args, jobs, workers)
    results = collect(args, jobs, cells, notes)
    return report(args, columns, results, cells)


def count_workers(asked: int | None) -> int:
    """The number of processes: what was asked for, or the cores this process may use."""
    if asked is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if asked < 1:
        raise InputError(f"--workers {asked} is not usable: give 1 or more")
    return asked


def find_jobs(args: argparse.Namespace, methods: list[str]) -> list[Job]:
    """Pair every method's maps with every set that has ground truth."""
    found = discover_sets(args.data, args.sets, need_gt=args.sets is not None, with_depth=False)
    sets: list[SodSet] = [item for item in found if item.has_gt]
    if not sets:
        raise InputError(f"--data {' '.join(args.data)}: no set with ground truth (a GT folder)")
    if len(sets) < len(found):
        left_out = name_list(item.name for item in found if not item.has_gt)
        print(f"left out, no ground truth: {left_out}")
    listed = {item.name: item for item in keep_images(sets, args.images)} if args.images else {}
    jobs = []
    for item in sets:
        if args.images and item.name not in listed:
            continue
        whole = {t.stem: t.gt for t in item.samples}
        chosen = {t.stem: t.gt for t in listed.get(item.name, item).samples}
        gts = dict(islice(chosen.items(), args.limit))
        single = len(sets) == 1
        folders = [
            find_map_folder(
                args.maps, m, item.name, whole, only_set=single, canonical_name=canonical_name
            ).part(gts)
            for m in methods
        ]
        jobs.append(Job(item.name, len(whole), item.usual_count, gts, folders))
    found = [folder for job in jobs for folder in job.folders]
    if not any(folder.maps for folder in found):
        refuse_no_maps(args.maps, found)
    return jobs


def check_compared(pair: list[str], methods: list[str]) -> None:
    absent = [name for name in pair if name not in methods]
    if absent:
        raise InputError(
            f"--compare {name_list(absent)}: not evaluated; there: {name_list(methods)}"
        )
    if pair[0] == pair[1]:
        raise InputError(f"--compare {pair[0]} {pair[1]}: name two different methods")


def prepare_output(output: Path, maps: Path) -> None:
    """Make the folder, and find out now rather than at the end whether it can be written to."""
    if maps.resolve() in (output.resolve(), output.resolve().parent):
        raise InputError(
            f"--output {output}: would be taken for a method of --maps {maps} in the next run; "
            "give a folder elsewhere"
        )
    check_writable(output)
    output.mkdir(parents=True, exist_ok=True)


def score_all(
    args: argparse.Namespace, jobs: list[Job], workers: int
) -> tuple[list[Cell], list[str]]:
    """Score every method on every set, with one pool of processes and one progress bar."""
    cells, notes = [], []
    with ExitStack() as stack:
        pool = stack.enter_context(worker_pool(workers)) if workers > 1 else None
        cache = None
        if not args.no_cache:
            cache = ScoreCache(args.output / "cache.sqlite", writable=True)
            stack.callback(close_cache, cache)
        per_image = stack.enter_context(per_image_file(args.output / "per_image.csv"))
        total = sum(len(job.ground_truths) for job in jobs)
        bar = stack.enter_context(tqdm(total=total, unit="image", disable=None))
        for job in jobs:
            bar.set_description(job.name)

            def book(outcome: Outcome, name: str = job.name) -> None:
                bar.update()
                for method, image in outcome.scores.items():
                    per_image.write(name, outcome.stem, method, image.scores, image.flags)

            # Incomplete cells too: everything that is wrong with them is said at once, and what is
            # scored now comes from the cache when they are complete.
            scored, gt_notes = score_set(
                job.folders,
                job.ground_truths,
                normalize=not args.no_normalize,
                cache=cache,
                pool=pool,
                workers=workers,
                each=book,
            )
            cells += scored
            notes += [
                f"{job.name}: {len(stems)} ground truths, e.g. {stems[0]}: {note}"
                for note, stems in gt_notes.items()
            ]
    return cells, notes


def close_cache(cache: ScoreCache) -> None:
    cache.close()
    if cache.failure:
        print(f"evaluate.py: {cache.failure}", file=sys.stderr)


def collect(
    args: argparse.Namespace, jobs: list[Job], cells: list[Cell], notes: list[str]
) -> Results:
    """Gather scores, marks, notes and protocol."""
    counts = {job.name: (job.count, job.usual_count) for job in jobs}
    results = Results(protocol_of(args, cells), notes=[*notes, *complaints(cells)])
    for cell in cells:
        method, set_name = cell.folder.method, cell.folder.set_name
        usable = is_usable(args, cell)
        scores = cell.evaluator.results() if usable else {}
        results.add(method, set_name, scores, row_marks(cell, *counts[set_name]))
    return results


def is_usable(args: argparse.Namespace, cell: Cell) -> bool:
    return cell.images > 0 and (args.allow_missing or cell.problems == 0)


def report(
    args: argparse.Namespace, columns: tuple[str, ...], results: Results, cells: list[Cell]
) -> int:
    """Write all files, print the table and comparison, and return the exit status."""
    print(write_results(args.output, results, columns, args.digits, args.published))
    curves: dict = {}
    for cell in cells:
        if is_usable(args, cell):
            by_method = curves.setdefault(cell.folder.set_name, {})
            by_method[cell.folder.method] = cell.evaluator.curves()
    save_curves(args.output / "curves.npz", curves)
    if args.plots and curves:
        plot_curves(args.output / "plots", curves, results.protocol_lines()[0])
    if args.compare:
        print_comparison(args, cells)
    failed = [cell for cell in cells if cell.problems]
    if failed and not args.allow_missing:
        names = name_list(f"{c.folder.method}/{c.folder.set_name}" for c in failed)
        print(
            f"evaluate.py: not scored: {names} (see above); give the missing maps, or "
            "--allow-missing to score what is there",
            file=sys.stderr,
        )
        return cli.EXIT_INPUT_ERROR
    return 0


def print_comparison(args: argparse.Namespace, cells: list[Cell]) -> None:
    """Print the paired comparison on every set that both methods are scored on."""
    left_out = {
        cell.folder.set_name
        for cell in cells
        if cell.folder.method in args.compare and not is_usable(args, cell)
    }
    pairs = read_pair(args.output / "per_image.csv", *args.compare)
    pairs = {name: pair for name, pair in pairs.items() if name not in left_out}
    for set_name, (first, second) in pairs.items():
        print(comparison_text(set_name, *args.compare, compare(first, second)))
    if not pairs:
        print(f"{' − '.join(args.compare)}: no image that both have")


def protocol_of(args: argparse.Namespace, cells: list[Cell]) -> dict:
    """How the scores were computed, and how the maps were made where their run.json says so."""
    training = {c.folder.method: training_protocol(args.maps / c.folder.method) for c in cells}
    return scoring_protocol(__version__, not args.no_normalize) | {
        "resized": {f"{c.folder.method}/{c.folder.set_name}": len(c.resized) for c in cells},
        "training": {method: text for method, text in training.items() if text is not None},
    }


def training_protocol(method_folder: Path) -> object | None:
    """The "protocol" of the run.json that tools/test.py leaves beside the maps."""
    try:
        text = (method_folder / "run.json").read_text(encoding="utf-8")
        # JSON has no NaN, and neither has scores.json.
        return json.loads(text, parse_constant=str)["protocol"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "run.json not readable"


def main() -> int:
    try:
        return evaluate()
    except KeyboardInterrupt:
        print("\nscores so far are kept; the same command goes on from there", file=sys.stderr)
        raise
