"""The per-image CSV: one line for every scored map, written while the scores arrive."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np

from mutualformer_sod.files import replacing
from mutualformer_sod.metrics.registry import per_image_columns


@contextmanager
def per_image_file(path: Path) -> Iterator[PerImageFile]:
    """Open a per-image CSV. The file appears when the `with` block ends without an error."""
    # File names may be no valid Unicode.
    text = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    with replacing(path) as temporary, temporary.open("w", **text) as file:
        yield PerImageFile(file)


class PerImageFile:
    """Writes the per-image CSV line by line.

    Columns: set, image, method, the metrics at full precision, and the flags of the image,
    separated by blanks.

    Args:
        file: open for writing; see `per_image_file`.
    """

    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file, lineterminator="\n")
        self._columns = per_image_columns()
        self._writer.writerow(["set", "image", "method", *self._columns, "flags"])

    def write(
        self,
        set_name: str,
        stem: str,
        method: str,
        scores: Mapping[str, float],
        flags: tuple[str, ...],
    ) -> None:
        """Add the line of one map."""
        values = [repr(scores[name]) for name in self._columns]
        self._writer.writerow([set_name, stem, method, *values, " ".join(flags)])


def read_pair(
    path: Path, first: str, second: str
) -> dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Read two methods' scores of the images that both have.

    Returns:
        set -> (metric -> (N,) scores of the first method, the same of the second). Both have the
        same order of images.
    """
    columns = per_image_columns()
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if line["method"] in (first, second):
                images = found.setdefault(line["set"], {}).setdefault(line["image"], {})
                images[line["method"]] = [float(line[name]) for name in columns]
    pairs = {}
    for set_name, images in found.items():
        both = [scores for scores in images.values() if len(scores) == 2]
        if both:
            one, two = (np.array([scores[m] for scores in both]).T for m in (first, second))
            pairs[set_name] = tuple(dict(zip(columns, s, strict=True)) for s in (one, two))
    return pairs
