"""Score folders of saliency maps against ground truths: all measures of the field, one table."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
from tqdm import tqdm

from mutualformer_sod import __version__, cli
from mutualformer_sod.data.layout import SodSet, canonical_name, discover_sets
from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.folder import MapFolder, find_map_folder, list_methods, name_list
from mutualformer_sod.metrics.scoring import Cell, score_set, worker_pool
from mutualformer_sod.report.tables import DEFAULT_COLUMNS, Row, text_table

EPILOG = """\
Maps are read from MAPS/METHOD/SET/STEM.png, or from MAPS/METHOD/STEM.png where one set is
evaluated. The set's folder needs its ground truths only. Writes OUTPUT/scores.json.
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", required=True, metavar="ROOT", help="folders of sets")
    parser.add_argument("--maps", type=Path, required=True, metavar="DIR", help="folder of methods")
    parser.add_argument("--methods", nargs="+", metavar="M", help="only these (default: all)")
    parser.add_argument("--sets", nargs="+", metavar="SET", help="only these sets (default: all)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the results")
    parser.add_argument(
        "--no-normalize",
        action="store_true",
        help="take maps as v/255 instead of stretching each to its own minimum and maximum",
    )
    parser.add_argument(
        "--allow-missing",
        action="store_true",
        help="score the maps that are there, and mark the cell",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: all cores)")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    workers = len(os.sched_getaffinity(0)) if args.workers is None else args.workers
    if workers < 1:
        raise InputError(f"--workers {workers} is not usable: give 1 or more")
    cv2.setNumThreads(1)  # the work is shared by processes
    methods = list_methods(args.maps, args.methods)
    found = discover_sets(args.data, args.sets, need_gt=args.sets is not None)
    sets = [item for item in found if item.has_gt]
    if not sets:
        raise InputError(f"--data {' '.join(args.data)}: no set with ground truth (a GT folder)")
    if len(sets) < len(found):
        left_out = name_list(item.name for item in found if not item.has_gt)
        print(f"left out, no ground truth: {left_out}")
    args.output.mkdir(parents=True, exist_ok=True)
    cells, notes = score_all(args, methods, sets, workers)
    return report(args, sets, cells, notes)


def score_all(
    args: argparse.Namespace, methods: list[str], sets: list[SodSet], workers: int
) -> tuple[list[Cell], list[str]]:
    """Score every method on every set, with one pool of processes and one progress bar."""
    work = []
    for item in sets:
        gts = {t.stem: t.gt for t in item.triplets}
        folders = [
            find_map_folder(
                args.maps, m, item.name, gts, only_set=len(sets) == 1, canonical_name=canonical_name
            )
            for m in methods
        ]
        work.append((item, gts, folders))
    if not any(folder.folder for _, _, folders in work for folder in folders):
        raise InputError(
            f"--maps {args.maps}: no map of {name_list(s.name for s in sets)}; maps are expected "
            f"as <method>/<set>/<stem>.png, e.g. {args.maps / methods[0] / sets[0].name}"
        )
    cells, notes = [], []
    total = sum(len(gts) for _, gts, _ in work)
    with (
        worker_pool(workers) if workers > 1 else nullcontext() as pool,
        tqdm(total=total, unit="image", disable=None) as bar,
    ):
        for item, gts, folders in work:
            bar.set_description(item.name)
            # A cell that cannot be complete is not worth the time, unless it is wanted as it is.
            chosen = [f for f in folders if args.allow_missing or len(f.maps) == len(gts)]
            scored, gt_notes = score_set(
                chosen,
                gts,
                normalize=not args.no_normalize,
                pool=pool,
                workers=workers,
                each=lambda _: bar.update(),
            )
            done = {cell.folder.method: cell for cell in scored}
            cells += [done.get(f.method) or Cell.unscored(f, len(gts)) for f in folders]
            notes += [
                f"{item.name}: {len(stems)} ground truths, e.g. {stems[0]}: {note}"
                for note, stems in gt_notes.items()
            ]
    return cells, notes


def report(
    args: argparse.Namespace, sets: list[SodSet], cells: list[Cell], notes: list[str]
) -> int:
    """Print the table with its protocol, write scores.json, and return the exit status."""
    usual = {item.name: item.usual_count for item in sets}
    rows, scores = [], {}
    for cell in cells:
        folder = cell.folder
        usable = cell.images > 0 and (args.allow_missing or cell.problems == 0)
        results = cell.evaluator.results() if usable else {}
        if usable:
            scores.setdefault(folder.method, {})[folder.set_name] = results
        marks = row_marks(cell, usual[folder.set_name])
        rows.append(Row(folder.set_name, folder.method, results, results.get("images", 0), marks))
    protocol = protocol_of(args, cells)
    result = {"protocol": protocol, "scores": scores}
    write_text(args.output / "scores.json", json.dumps(result, indent=1) + "\n")
    print(text_table(rows, DEFAULT_COLUMNS))
    print(protocol_line(protocol))
    for line in [*notes, *complaints(cells)]:
        print(line)
    failed = [c for c in cells if c.problems]
    if failed and not args.allow_missing:
        names = name_list(f"{c.folder.method}/{c.folder.set_name}" for c in failed)
        print(
            f"evaluate.py: not scored: {names}; give the missing maps, or --allow-missing to score "
            "what is there",
            file=sys.stderr,
        )
        return cli.EXIT_INPUT_ERROR
    return 0


def row_marks(cell: Cell, usual_count: int | None) -> tuple[str, ...]:
    """Footnotes of a row: another image count than the set's usual one, images without a map."""
    marks = []
    if usual_count is not None and usual_count != cell.expected:
        marks.append(
            f"{cell.folder.set_name} has {cell.expected} images here, usually {usual_count}"
        )
    if cell.problems:
        marks.append(f"{cell.problems} of {cell.expected} images without a usable map")
    return tuple(marks)


def protocol_of(args: argparse.Namespace, cells: list[Cell]) -> dict:
    """How the scores were computed, and how the maps were made where their run.json says so."""
    protocol = {
        "normalize": not args.no_normalize,
        "thresholds": 256,
        "aggregation": "curves averaged over the images, then maximum or mean",
        "resize": "8-bit maps to the ground truth's size, bilinear",
        "resized": {f"{c.folder.method}/{c.folder.set_name}": len(c.resized) for c in cells},
        "version": __version__,
    }
    training = {c.folder.method: training_protocol(args.maps / c.folder.method) for c in cells}
    protocol["training"] = {method: text for method, text in training.items() if text is not None}
    return protocol


def training_protocol(method_folder: Path) -> object | None:
    """The "protocol" of the run.json that tools/test.py leaves beside the maps."""
    try:
        return json.loads((method_folder / "run.json").read_text())["protocol"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "run.json not readable"


def protocol_line(protocol: dict) -> str:
    """The protocol as it stands under a table."""
    normalized = "stretched to their own min-max" if protocol["normalize"] else "not normalized"
    resized = sum(protocol["resized"].values())
    lines = [
        f"maps {normalized}; {protocol['thresholds']} thresholds; {protocol['aggregation']}; "
        f"{resized} maps resized; mutualformer_sod {protocol['version']}"
    ]
    for method, training in protocol["training"].items():
        lines.append(f"{method}: {json.dumps(training)}")
    return "\n".join(lines)


def complaints(cells: list[Cell]) -> list[str]:
    """What is wrong or odd with the maps, by name."""
    lines = []
    for cell in cells:
        where = f"{cell.folder.method}/{cell.folder.set_name}"
        lines += [f"{where}: {text}" for text in folder_complaints(cell.folder)]
        lines += [f"{where}: unreadable: {message}" for message in cell.unreadable]
        if cell.resized:
            lines.append(f"{where}: resized to the ground truth's size: {name_list(cell.resized)}")
    return lines


def folder_complaints(folder: MapFolder) -> list[str]:
    """Maps that are missing, extra or there twice."""
    if folder.folder is None:
        return ["no folder of maps"]
    named = {"missing": folder.missing, "of no image of the set": folder.extra}
    named["there twice"] = folder.duplicate
    return [f"{what}: {name_list(names)}" for what, names in named.items() if names]


def write_text(path: Path, text: str) -> None:
    """Write a file by writing aside and renaming."""
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(text)
    aside.replace(path)


if __name__ == "__main__":
    cli.run(main)
