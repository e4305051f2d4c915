"""Show the maps of several methods, their errors and per-image scores on one page, from disk."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from mutualformer_sod import __version__
from mutualformer_sod.cli import common as cli
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import check_writable
from mutualformer_sod.gallery.cards import Job, figure_rows, find_jobs, make_card, with_scores
from mutualformer_sod.gallery.page import ImageCard, pick, read_scores, write_page
from mutualformer_sod.gallery.paper_figure import check_matplotlib, save_paper_figure
from mutualformer_sod.gallery.pictures import PictureFolder
from mutualformer_sod.metrics.folder import list_methods, name_list
from mutualformer_sod.workers import worker_pool

EPILOG = """\
Maps are found as by evaluate.py. OUTPUT/index.html opens in any browser, without a network; its
pictures lie in OUTPUT/thumbs and OUTPUT/full. A run that was interrupted goes on where it was.
--figure, --worst, --best or --disagreement also draw OUTPUT/figure.pdf and figure.png, a row an
image: worst and best by the S-measure averaged over the methods. The status is 2 where a file
cannot be read; the page is written all the same.
"""
FIGURES = ("figure.pdf", "figure.png")


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    add = parser.add_argument
    add("--data", nargs="+", required=True, metavar="ROOT", help="folders of sets")
    add("--maps", type=Path, required=True, metavar="DIR", help="folder of methods")
    add("--methods", nargs="+", metavar="M", help="only these, in this order (default: all)")
    add("--sets", nargs="+", metavar="SET", help="only these (default: all that have a map)")
    add("--output", type=Path, required=True, metavar="DIR", help="folder for the page")
    add("--limit", type=int, metavar="N", help="the first N images of each set")
    add("--near", nargs="+", default=["auto"], metavar="SIDE", help="of depth, as in test.py")
    add("--scores", type=Path, metavar="DIR", help="take the scores from evaluate.py's output")
    add("--no-normalize", action="store_true", help="score maps as v/255, as in evaluate.py")
    add("--title", default="Saliency maps", metavar="TEXT", help="of the page")
    add(
        "--zoom-side",
        type=int,
        default=2000,
        metavar="PX",
        help="longest side of the pictures to zoom into; larger ones are shrunk (default: 2000)",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--figure", nargs="+", default=[], metavar="STEM", help="draw these: STEM or SET/STEM"
    )
    for flag, which in (
        ("--worst", "with the lowest scores"),
        ("--best", "with the highest scores"),
        ("--disagreement", "whose maps differ most"),
    ):
        chosen.add_argument(flag, type=int, metavar="N", help=f"draw N images {which}")
    add("--workers", type=int, metavar="N", help="processes (default: all cores)")
    add("--overwrite", action="store_true", help="replace the page and the figure")
    return parser.parse_args()


def make_gallery() -> int:
    args = parse_arguments()
    cv2.setNumThreads(1)  # the work is shared by processes
    check_numbers(args)
    wants_figure = bool(args.figure or args.worst or args.best or args.disagreement)
    if wants_figure:
        check_matplotlib()
    methods = list_methods(args.maps, args.methods)
    normalize, known = not args.no_normalize, None
    if args.scores:
        known, normalize = read_scores(args.scores)
    check_output(args, wants_figure)
    jobs, lines = find_jobs(
        discover_sets(args.data, args.sets),
        args.maps,
        methods,
        near=args.near,
        limit=args.limit,
        keep_unmapped=args.sets is not None,
    )
    check_figure(args, jobs, methods)
    if known is not None:
        jobs = with_scores(jobs, known)
    make_folders(args.output)
    pictures = PictureFolder(args.output, args.zoom_side)
    work = partial(make_card, pictures=pictures, normalize=normalize)
    made = in_processes(work, jobs, args.workers)
    cards = list(tqdm(made, total=len(jobs), unit="image", disable=None))
    maps = "stretched to their own min-max" if normalize else "taken as v/255"
    note = f"Scores of each image alone; maps {maps}; mutualformer_sod {__version__}."
    write_page(args.output / "index.html", args.title, methods, cards, note)
    if wants_figure:
        draw_figure(args, cards, jobs, methods)
    pictures.remove_all_but({picture.name for card in cards for picture in card.pictures()})
    return report(args.output, methods, cards, lines)


def check_numbers(args: argparse.Namespace) -> None:
    least = {"limit": 1, "worst": 1, "best": 1, "disagreement": 1, "workers": 1, "zoom_side": 100}
    for name, smallest in least.items():
        value = getattr(args, name)
        if value is not None and value < smallest:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} {value} is not usable: give {smallest} or more")
    if args.scores and args.no_normalize:
        raise InputError("--no-normalize: --scores says how its maps were taken; leave one out")


def check_output(args: argparse.Namespace, wants_figure: bool) -> None:
    """Refuse to replace what is there, or to put a page among the maps."""
    output, maps = args.output.resolve(), args.maps.resolve()
    if output == maps or maps in output.parents:
        raise InputError(f"--output {args.output}: lies in --maps; give a folder elsewhere")
    for name in ("index.html", *(FIGURES if wants_figure else ())):
        if (args.output / name).exists() and not args.overwrite:
            raise InputError(
                f"--output {args.output}: has {name}: give another folder, or --overwrite"
            )


def check_figure(args: argparse.Namespace, jobs: Sequence[Job], methods: Sequence[str]) -> None:
    """Refuse before any work what no figure can be drawn of."""
    if args.figure:
        pick([ImageCard(job.set_name, job.sample.stem) for job in jobs], stems=args.figure)
    if args.disagreement and len(methods) < 2:
        raise InputError(f"--disagreement {args.disagreement}: needs two methods or more")
    if (args.worst or args.best) and not any(job.sample.gt for job in jobs):
        flag = "--worst" if args.worst else "--best"
        raise InputError(f"{flag}: the sets have no ground truth; choose with --figure STEM")


def make_folders(output: Path) -> None:
    """Find out now rather than in a worker whether the pictures can be written."""
    for folder in ("thumbs", "full"):
        check_writable(output / folder)
        (output / folder).mkdir(parents=True, exist_ok=True)


def in_processes(
    work: Callable[[Job], ImageCard], jobs: Sequence[Job], workers: int | None
) -> Iterator[ImageCard]:
    """One card a job, in order."""
    if workers is None:
        cores = getattr(os, "sched_getaffinity", None)
        workers = len(cores(0)) if cores else os.cpu_count() or 1
    if workers == 1:
        yield from map(work, jobs)
        return
    with worker_pool(workers) as pool:
        yield from pool.map(work, jobs, chunksize=2)


def draw_figure(
    args: argparse.Namespace, cards: list[ImageCard], jobs: list[Job], methods: list[str]
) -> None:
    counts = {name: getattr(args, name) or 0 for name in ("worst", "best", "disagreement")}
    chosen = pick(cards, stems=args.figure, **counts)
    by_name = {(job.set_name, job.sample.stem): job for job in jobs}
    chosen_jobs = [by_name[card.set_name, card.stem] for card in chosen]
    rows, titles = figure_rows(chosen_jobs, methods)
    save_paper_figure([args.output / name for name in FIGURES], rows, titles)
    print(f"figure of {name_list(job.name for job in chosen_jobs)}: {args.output / FIGURES[0]}")


def report(output: Path, methods: list[str], cards: list[ImageCard], lines: list[str]) -> int:
    """Say what is missing, name what cannot be read, and return the exit status."""
    for number, method in enumerate(methods):
        for note in ("missing", "two files"):
            absent = [c for c in cards if c.maps[number].note == note]
            if absent:
                names = name_list(f"{c.set_name}/{c.stem}" for c in absent)
                lines.append(f"{method}: {len(absent)} maps: {note}: {names}")
    for (set_name, note), stems in gt_notes(cards).items():
        lines.append(f"{set_name}: {len(stems)} ground truths, e.g. {stems[0]}: {note}")
    print(*lines, f"{len(cards)} images, {len(methods)} methods: {output / 'index.html'}", sep="\n")
    problems = [line for card in cards for line in card.problems]
    for line in problems:
        print(f"gallery.py: {line}", file=sys.stderr)
    return cli.EXIT_INPUT_ERROR if problems else 0


def gt_notes(cards: list[ImageCard]) -> dict[tuple[str, str], list[str]]:
    """Stems by set and by how their ground truth was understood where it is not 0 and 255."""
    notes: dict[tuple[str, str], list[str]] = {}
    for card in cards:
        if card.gt_note:
            notes.setdefault((card.set_name, card.gt_note), []).append(card.stem)
    return notes


def main() -> int:
    try:
        return make_gallery()
    except KeyboardInterrupt:
        print("\npictures so far are kept; the same command goes on from there", file=sys.stderr)
        raise
