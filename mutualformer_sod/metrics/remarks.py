"""Describe problems of the maps of a method on a set, as footnotes and as lists of files."""

from collections.abc import Sequence

from mutualformer_sod.errors import counted, name_list
from mutualformer_sod.metrics.pair import EMPTY_GT, FULL_GT, OTHER_ASPECT, RESIZED
from mutualformer_sod.metrics.registry import COLUMNS
from mutualformer_sod.metrics.results import format_score
from mutualformer_sod.metrics.scoring import Cell

_MISLEADING = {  # footnotes by the kind of problem
    EMPTY_GT: "ground truths without foreground, where F is 0 for any map",
    "black": "maps all black",
    "constant": "constant maps",
    "zero_one": "maps of the values 0 and 1, almost black as v/255. Fix: save 0 to 255",
}
_GAIN = 0.1  # minimum gain in max F of 1 - map over the map; inverted maps gain far more
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
    count, inverted = cell.images, len(cell.stems["inverted"])
    marks = [
        f"{len(cell.stems[kind])} of {count}: {text}"
        for kind, text in _MISLEADING.items()
        if cell.stems[kind]
    ]
    if square := _square(cell):
        marks.append(
            f"{len(square)} of {count}: square maps of images that are not square. Fix: resize "
            "each map back to the size of its image"
        )
    if _looks_inverted(cell):
        mae = format_score(1 - cell.evaluator.results()["mae"])
        marks.append(
            f"inverted? background brighter than foreground in {inverted} of {count} maps; "
            f"1 - map would have MAE {mae}"
        )
    elif 1 < cell.brightest < _BRIGHT:
        marks.append(f"no map has a value above {cell.brightest} of 255")
    return marks


def _looks_inverted(cell: Cell) -> bool:
    """Return whether most maps are inverted, and have a far higher max F as 1 - map.

    If a map is poor but not inverted, neither its max F nor that of 1 - map is far above the F of
    an all-foreground map.
    """
    number = len(cell.stems["inverted"])
    own, inverse = cell.inverted_f.max(axis=1)
    return 2 * number > cell.images and bool(inverse - own > _GAIN * number)


def _square(cell: Cell) -> list[str]:
    """Return the stems of square maps of images that are not square, if most maps are square."""
    square, others = cell.stems["square"], set(cell.stems[OTHER_ASPECT])
    return [stem for stem in square if stem in others and 2 * len(square) > cell.images]


def _without_empty(cell: Cell) -> str:
    """Return the scores of the images with foreground, or "" if no image or every image has it."""
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
        folder, stems, square = cell.folder, cell.stems, dict.fromkeys(_square(cell))
        other_aspect = [stem for stem in stems[OTHER_ASPECT] if stem not in square]
        swapped = [f"{first} and {second}" for first, second in cell.swaps.pairs()]
        problems = (
            ("missing", folder.missing if folder.folder else ()),
            ("without an image of that name", folder.extra),
            ("two files", folder.duplicate),
            ("resized to the ground truth's size", stems[RESIZED]),
            ("square, but the image is not", square),
            ("of another aspect ratio than the ground truth, swapped?", other_aspect),
            ("ground truth without foreground", stems[EMPTY_GT]),
            ("ground truth without background, inverted?", stems[FULL_GT]),
            ("map all black", stems["black"]),
            ("constant map", stems["constant"]),
            ("map of the values 0 and 1", stems["zero_one"]),
            ("inverted?", stems["inverted"] if _looks_inverted(cell) else ()),
            ("swapped? Each fits the other's ground truth far better", swapped),
        )
        texts = ["" if folder.folder else "no maps"]
        texts += [f"{problem}: {name_list(names)}" for problem, names in problems if names]
        texts += [folder.hint, *(f"unreadable: {message}" for message in cell.unreadable)]
        texts.append(_without_empty(cell))
        lines += [f"{folder.method}/{folder.set_name}: {text}" for text in texts if text]
    return lines
