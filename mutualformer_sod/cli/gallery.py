"""Show the maps of several methods, their errors and per-image scores on one page."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from mutualformer_sod import __version__
from mutualformer_sod.cli import common as cli
from mutualformer_sod.cli.next_step import given, suggest
from mutualformer_sod.data.discovery.sets import discover_sets
from mutualformer_sod.errors import InputError, counted, name_list
from mutualformer_sod.files import check_writable
from mutualformer_sod.gallery.cards import ImageFiles, figure_rows, find_images, make_card
from mutualformer_sod.gallery.figure import save_paper_figure
from mutualformer_sod.gallery.page import ImageCard, pick, read_scores, write_page
from mutualformer_sod.gallery.pictures import PictureFolder
from mutualformer_sod.metrics.folder import list_methods
from mutualformer_sod.report.curves import check_matplotlib
from mutualformer_sod.workers import usable_cores, worker_pool

EPILOG = """\
Maps are found as in evaluate.py. OUTPUT/index.html opens in any browser without internet. The
pictures are in OUTPUT/thumbs and OUTPUT/full. An interrupted run continues. --figure, --worst,
--best or --disagreement also draw OUTPUT/figure.pdf and figure.png with a row for each image. Worst
and best are ranked by the S-measure, averaged over the methods. If a file is unreadable, the page
is written and the exit status is 2.
"""
FIGURES = ("figure.pdf", "figure.png")


def parse_arguments() -> argparse.Namespace:
    parser = cli.Parser(__doc__, EPILOG)
    cli.add_flags(parser, "--data", "--maps", "--methods", "--sets", "--near", "--limit")
    cli.add_flags(parser, "--workers", "--overwrite", "--map-prefix", "--map-suffix")
    cli.add_flags(parser, "--output", help="folder for the page")
    add = cli.flag_adder(parser)
    add("--scores", "read the scores from the output of evaluate.py", "DIR", Path)
    add("--no-normalize", "read maps as v/255, like --no-normalize of evaluate.py")
    parser.add_argument(
        "--title", default="Saliency maps", metavar="TEXT", help="title of the page"
    )
    effect = "longest side of the full-size pictures; larger pictures are shrunk"
    add("--zoom-side", effect, "PX", cli.at_least(100), default=2000)
    add = cli.flag_adder(parser.add_mutually_exclusive_group())
    add("--figure", "images to draw: STEM or SET/STEM", "STEM", nargs="+", default=[])
    add("--worst", "draw N images with the lowest scores", "N", cli.COUNT)
    add("--best", "draw N images with the highest scores", "N", cli.COUNT)
    add("--disagreement", "draw N images whose maps differ most", "N", cli.COUNT)
    return parser.parse_args()


@cli.kept("pictures")
def main() -> int:
    args = parse_arguments()
    cv2.setNumThreads(1)  # the work is divided among processes
    if args.scores and args.no_normalize:
        raise InputError(
            "--no-normalize has no effect: --scores determines the normalisation. "
            "Fix: omit --no-normalize."
        )
    wants_figure = bool(args.figure or args.worst or args.best or args.disagreement)
    if wants_figure:
        check_matplotlib("--figure, --worst, --best and --disagreement")
    methods = list_methods(args.maps, args.methods)
    known, normalize = read_scores(args.scores) if args.scores else (None, not args.no_normalize)
    check_output(args, wants_figure)
    images, lines = find_images(
        discover_sets(args.data, args.sets),
        args.maps,
        methods,
        near=args.near,
        limit=args.limit,
        affixes=cli.map_affixes(args),
        keep_unmapped=args.sets is not None,
        scores=known,
    )
    check_figure(args, images, methods)
    for folder in (args.output / "thumbs", args.output / "full"):
        check_writable(folder)  # before any map is read
        folder.mkdir(parents=True, exist_ok=True)
    pictures = PictureFolder(args.output, args.zoom_side)
    work = partial(make_card, pictures=pictures, normalize=normalize)
    made = in_processes(work, images, args.workers or usable_cores())
    cards = list(tqdm(made, total=len(images), unit="image", disable=None))
    maps = "stretched to its own minimum and maximum" if normalize else "read as v/255"
    note = f"Scores are per image; each map is {maps}; mutualformer_sod {__version__}."
    write_page(args.output / "index.html", args.title, methods, cards, note)
    if wants_figure:
        draw_figure(args, cards, images, methods)
    pictures.remove_all_but({picture.name for card in cards for picture in card.pictures()})
    return report(args, methods, cards, lines)


def check_output(args: argparse.Namespace, wants_figure: bool) -> None:
    """Refuse to replace files, or to write a page in the folder of the maps."""
    output, maps = args.output.resolve(), args.maps.resolve()
    if output == maps or maps in output.parents:
        raise InputError(f"--output {args.output}: is inside --maps. Fix: pass a folder elsewhere.")
    for name in ("index.html", *(FIGURES if wants_figure else ())):
        cli.refuse_existing(args.output / name, args.overwrite)


def check_figure(
    args: argparse.Namespace, images: Sequence[ImageFiles], methods: Sequence[str]
) -> None:
    """Check before any work that the figure can be drawn."""
    if args.figure:
        pick([ImageCard(image.set_name, image.sample.stem) for image in images], stems=args.figure)
    if args.disagreement and len(methods) < 2:
        problem = f"--disagreement {args.disagreement}: there is only one method."
        raise InputError(f"{problem} Fix: pass maps of two methods or more.")
    if (args.worst or args.best) and not any(image.sample.gt for image in images):
        flag = "--worst" if args.worst else "--best"
        raise InputError(f"{flag}: no set has ground truth. Fix: pass --figure STEM instead.")


def in_processes(
    work: Callable[[ImageFiles], ImageCard], images: Sequence[ImageFiles], workers: int
) -> Iterator[ImageCard]:
    """Yield one card for each image, in order."""
    if workers == 1:
        yield from map(work, images)
        return
    with worker_pool(workers) as pool:
        yield from pool.map(work, images, chunksize=2)


def draw_figure(
    args: argparse.Namespace, cards: list[ImageCard], images: list[ImageFiles], methods: list[str]
) -> None:
    counts = {name: getattr(args, name) or 0 for name in ("worst", "best", "disagreement")}
    chosen = pick(cards, stems=args.figure, **counts)
    by_name = {(image.set_name, image.sample.stem): image for image in images}
    chosen_images = [by_name[card.set_name, card.stem] for card in chosen]
    rows, titles = figure_rows(chosen_images, methods)
    files = [args.output / name for name in FIGURES]
    save_paper_figure(files, rows, titles)
    print(f"figure of {name_list(image.name for image in chosen_images)}: {files[0]}")


def report(
    args: argparse.Namespace, methods: list[str], cards: list[ImageCard], lines: list[str]
) -> int:
    """Print missing maps and unreadable files, and return the exit status."""
    for number, method in enumerate(methods):
        for note in ("missing", "two files"):
            absent = [c for c in cards if c.maps[number].note == note]
            if absent:
                names = name_list(f"{c.set_name}/{c.stem}" for c in absent)
                lines.append(f"{method}: {counted(len(absent), 'map')}: {note}: {names}")
    notes: dict[tuple[str, str], list[str]] = {}
    for card in cards:
        if card.gt_note:  # interprets ground-truth values other than 0 and 255
            notes.setdefault((card.set_name, card.gt_note), []).append(card.stem)
    for (set_name, note), stems in notes.items():
        count = counted(len(stems), "ground truth")
        lines.append(f"{set_name}: {count}, e.g. {stems[0]}: {note}")
    content = f"{counted(len(cards), 'image')}, {counted(len(methods), 'method')}"
    print(*lines, f"{content}: {args.output / 'index.html'}", sep="\n")
    problems = [line for card in cards for line in card.problems]
    for line in problems:
        print(f"{cli.program()}: {line}", file=sys.stderr)
    suggest("figure", *given(args, "data", "sets", "maps"), "--output", "outputs/figure.png")
    return cli.EXIT_INPUT_ERROR if problems else 0
