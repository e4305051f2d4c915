"""Describe problems of the maps of a method on a set, as footnotes and as lists of files."""

from collections.abc import Sequence

from mutualformer_sod.errors import counted, name_list
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.metrics.results import format_score
from mutualformer_sod.metrics.scoring import Cell

_BRIGHT = 128  # maps that all stay below this level are probably not saliency in [0, 255]


def row_marks(
    cell: Cell, count: int, usual_count: int | None, other_version: str = ""
) -> list[str]:
    """Return the footnotes of a row, e.g. an unusual image count or images without a map.

    The set has ``count`` images; the cell may have fewer images. ``usual_count`` and
    ``other_version`` are those of `GtSet`.
    """
    marks, name = [], cell.folder.set_name
    if usual_count is not None and usual_count != count:
        which = f" ({other_version})" if other_version else ""
        marks.append(f"{name} has {counted(count, 'image')} here{which}, usually {usual_count}")
    if cell.expected < count:
        marks.append(f"only {cell.expected} of {count} images of {name}")
    if any(cell.folder.affixes):
        marks.append(f"maps are named {'STEM'.join(cell.folder.affixes)}")
    if cell.problems:
        marks.append(f"{cell.problems} of {cell.expected} images without a usable map")
    return marks + _suspicious_marks(cell)


def _suspicious_marks(cell: Cell) -> list[str]:
    """Return the footnotes of a row whose scores are misleading."""
    found, count, marks = cell.suspicious, cell.images, []
    for names, text in (
        (found.empty_gt, "ground truths without foreground, where F is 0 for any map"),
        (found.black, "maps all black"),
        (found.constant, "constant maps"),
        (found.zero_one, "maps of the values 0 and 1, almost black as v/255. Fix: save 0 to 255"),
    ):
        if names:
            marks.append(f"{len(names)} of {count}: {text}")
    if square := _square(cell):
        marks.append(
            f"{len(square)} of {count}: square maps of images that are not square. Fix: resize "
            "each map back to the size of its image"
        )
    if _looks_inverted(cell):
        mae = format_score(1 - cell.evaluator.results()["mae"])
        marks.append(
            f"inverted? background brighter than foreground in {len(found.inverted)} of {count} "
            f"maps; 1 - map would have MAE {mae}"
        )
    elif 1 < found.brightest < _BRIGHT:
        marks.append(f"no map has a value above {found.brightest} of 255")
    return marks


def _looks_inverted(cell: Cell) -> bool:
    found = cell.suspicious
    return 2 * len(found.inverted) > cell.images and found.inverse_is_better


def _square(cell: Cell) -> list[str]:
    """Return the stems of square maps of images that are not square, if most maps are square."""
    if 2 * len(cell.square) <= cell.images:
        return []
    others = set(cell.other_aspect)
    return [stem for stem in cell.square if stem in others]


def _without_empty(cell: Cell) -> str:
    """Return the scores of the images with foreground, or "" if all images or none have it."""
    if not (cell.with_foreground and cell.with_foreground.images):
        return ""
    scores = cell.with_foreground.results()
    listed = (
        f"{column.title} {format_score(scores[name])}"
        for name, column in COLUMNS.items()
        if column.in_table and name != "max_f"
    )
    return (
        f"max F is {format_score(scores['max_f'])} without the images that have no foreground"
        f" ({', '.join(listed)})"
    )


def complaints(cells: Sequence[Cell]) -> list[str]:
    """Return a line for each problem of the maps, with the names of the images or files."""
    lines = []
    for cell in cells:
        folder, square = cell.folder, dict.fromkeys(_square(cell))
        other_aspect = [stem for stem in cell.other_aspect if stem not in square]
        swapped = [f"{first} and {second}" for first, second in cell.swaps.pairs()]
        problems = (
            ("missing", folder.missing if folder.folder else ()),
            ("without an image of that name", folder.extra),
            ("two files", folder.duplicate),
            ("resized to the ground truth's size", cell.resized),
            ("square, but the image is not", square),
            ("of another aspect ratio than the ground truth, swapped?", other_aspect),
            ("ground truth without foreground", cell.suspicious.empty_gt),
            ("ground truth without background, inverted?", cell.suspicious.full_gt),
            ("map all black", cell.suspicious.black),
            ("constant map", cell.suspicious.constant),
            ("map of the values 0 and 1", cell.suspicious.zero_one),
            ("inverted?", cell.suspicious.inverted if _looks_inverted(cell) else ()),
            ("swapped? Each fits the other's ground truth far better", swapped),
        )
        texts = ["" if folder.folder else "no maps"]
        texts += [f"{problem}: {name_list(names)}" for problem, names in problems if names]
        texts += [folder.hint, *(f"unreadable: {message}" for message in cell.unreadable)]
        texts.append(_without_empty(cell))
        lines += [f"{folder.method}/{folder.set_name}: {text}" for text in texts if text]
    return lines
