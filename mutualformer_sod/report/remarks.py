"""What has to be said about an evaluated cell: footnotes of its row, and oddities by name."""

from __future__ import annotations

from collections.abc import Sequence

from mutualformer_sod.metrics.folder import name_list
from mutualformer_sod.metrics.scoring import Cell

# Counts under which sets circulate besides the usual one.
_VARIANTS = {
    ("STERE", 797): "the subset STERE797, not STERE",
    ("NJU2K", 485): "a variant that circulates",
    ("NJU2K", 498): "a variant that circulates",
    ("NJU2K", 503): "a variant that circulates",
}


def row_marks(cell: Cell, count: int, usual_count: int | None) -> list[str]:
    """Footnotes of a row: another image count than the set's usual one, images without a map.

    Args:
        cell: the method on the set.
        count: images of the set, of which the cell may have the first ones only.
        usual_count: images that papers report for the set; None for a custom set.
    """
    marks, name = [], cell.folder.set_name
    if usual_count is not None and usual_count != count:
        variant = _VARIANTS.get((name, count))
        which = f" ({variant})" if variant else ""
        marks.append(f"{name} has {count} images here{which}, usually {usual_count}")
    if cell.expected < count:
        marks.append(f"the first {cell.expected} of {count} images of {name}")
    if cell.problems:
        marks.append(f"{cell.problems} of {cell.expected} images without a usable map")
    return marks


def complaints(cells: Sequence[Cell]) -> list[str]:
    """What is wrong or odd with the maps, by name."""
    lines = []
    for cell in cells:
        folder, texts = cell.folder, []
        if folder.folder is None:
            texts.append("no maps")
        for what, names in (
            ("missing", folder.missing if folder.folder else ()),
            ("of no image of the set", folder.extra),
            ("there twice", folder.duplicate),
            ("resized to the ground truth's size", cell.resized),
            ("of another aspect ratio than the ground truth, swapped?", cell.other_aspect),
            ("swapped? Each fits the other's ground truth far better", _swapped(cell)),
        ):
            if names:
                texts.append(f"{what}: {name_list(names)}")
        texts += [f"unreadable: {message}" for message in cell.unreadable]
        lines += [f"{folder.method}/{folder.set_name}: {text}" for text in texts]
    return lines


def _swapped(cell: Cell) -> list[str]:
    return [f"{first} and {second}" for first, second in cell.swapped]
