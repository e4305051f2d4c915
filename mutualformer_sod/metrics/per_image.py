"""Write and read the per-image CSV, which has one line for every scored map."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from mutualformer_sod.files import escaped, replacing
from mutualformer_sod.metrics.registry import per_image_columns


@contextmanager
def per_image_file(path: Path) -> Iterator[PerImageFile]:
    """Open a per-image CSV, which appears when the `with` block ends without an error."""
    # File names may not be valid Unicode.
    text = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    with replacing(path) as temporary, temporary.open("w", **text) as file:
        yield PerImageFile(file)


class PerImageFile:
    """Writer of the per-image CSV, line by line.

    The columns are set, image, method, the metrics at full precision, and flags. The flags of a map
    are separated by spaces.
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


@dataclass(frozen=True)
class CommonScores:
    """Scores of k methods on a set, for the N images on which all these methods have scores.

    Attributes:
        total: number of images for which one or more of the methods have scores.
        scores: metric -> (N, k) scores.
    """

    methods: tuple[str, ...]
    total: int
    scores: dict[str, np.ndarray]

    @property
    def images(self) -> int:
        """Number N of common images."""
        return len(next(iter(self.scores.values())))

    def of(self, methods: Sequence[str]) -> CommonScores:
        """Return the scores of the named methods on the same images."""
        chosen = [self.methods.index(name) for name in methods]
        scores = {name: values[:, chosen] for name, values in self.scores.items()}
        return CommonScores(tuple(methods), self.total, scores)


def read_common(path: Path, methods: Mapping[str, Sequence[str]]) -> dict[str, CommonScores]:
    """Read the scores of each set on the images for which all methods of the set have scores.

    ``methods`` maps each set to the names of the methods.

    Returns:
        set -> scores, in the order of the sets in the file.
    """
    columns = per_image_columns()
    sets = {escaped(name): name for name in methods}
    wanted = {escaped(name): name for names in methods.values() for name in names}
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            set_name, method = sets.get(line["set"]), wanted.get(line["method"])
            if set_name is not None and method in methods[set_name]:
                images = found.setdefault(set_name, {}).setdefault(line["image"], {})
                images[method] = [float(line[name]) for name in columns]
    common = {}
    for set_name, images in found.items():
        names = tuple(methods[set_name])
        rows = [[s[m] for m in names] for s in images.values() if len(s) == len(names)]
        values = np.array(rows).reshape(-1, len(names), len(columns))
        scores = {name: values[..., i] for i, name in enumerate(columns)}
        common[set_name] = CommonScores(names, len(images), scores)
    return common
