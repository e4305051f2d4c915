"""The per-image file: one line for every map that was scored, written as the scores arrive."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from mutualformer_sod.report.tables import COLUMNS

_MEASURES = tuple(name for name in COLUMNS if name != "max_f_of_mean_pr")  # that is of a set alone


class PerImageFile:
    """Writes the per-image CSV aside, line by line; it appears when all is done.

    Columns: set, image, method, the measures at full precision, flags (what was special about the
    image, separated by blanks). Leaving the `with` block by an exception leaves no file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.with_name(f".{path.name}.partial")

    def __enter__(self) -> PerImageFile:
        self._file = self._aside.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(["set", "image", "method", *_MEASURES, "flags"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind is None:
            self._aside.replace(self._path)
        else:
            self._aside.unlink()

    def write(
        self,
        set_name: str,
        stem: str,
        method: str,
        scores: Mapping[str, float],
        flags: tuple[str, ...],
    ) -> None:
        """Add the line of one map."""
        values = [repr(scores[name]) for name in _MEASURES]
        self._writer.writerow([set_name, stem, method, *values, " ".join(flags)])


def read_pair(
    path: Path, first: str, second: str
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Read two methods' scores of the images that both have.

    Returns:
        set -> (measure -> (N,) scores of the first method, the same of the second), in one order.
    """
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["method"] in (first, second):
                images = found.setdefault(line["set"], {}).setdefault(line["image"], {})
                images[line["method"]] = [float(line[name]) for name in _MEASURES]
    pairs = {}
    for set_name, images in found.items():
        both = [scores for scores in images.values() if len(scores) == 2]
        if both:
            one, two = (np.array([scores[m] for scores in both]).T for m in (first, second))
            names = zip(_MEASURES, one, two, strict=True)
            by_measure = [(name, a, b) for name, a, b in names]
            pairs[set_name] = (
                {name: a for name, a, _ in by_measure},
                {name: b for name, _, b in by_measure},
            )
    return pairs
