"""Scores of each image of all runs, in a file from which reports are written."""

import csv
import gzip
import io
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.experiments.data import groups_of
from mutualformer_sod.experiments.plan import RIGHT, Run
from mutualformer_sod.files import replacing

# Metrics whose mean over images is the score of a set; max_f and max_e need the mean curve.
METRICS = ("s_measure", "mean_f", "weighted_f", "mean_e", "mae")
_DIGITS = 5


@dataclass(frozen=True)
class ImageScores:
    """Scores of the images of every run; an image counts once for each kind of depth."""

    runs: list[tuple[str, int]]  # variant and seed
    images: list[tuple[str, str, str]]  # kind of depth, set and stem
    scores: np.ndarray  # (images, runs, metrics) float64, the metrics of `METRICS`
    sources: dict[str, Any]  # "sets" and "folders" of the test data, see `data.groups_of`

    @property
    def kinds(self) -> list[str]:
        """Return the kinds of test depth, starting with the right depth."""
        return list(dict.fromkeys(kind for kind, _, _ in self.images))

    def by_group(self, kind: str = RIGHT) -> dict[str, np.ndarray]:
        """Return group -> scores (images, runs, metrics) for one kind of test depth."""
        rows: dict[str, list[int]] = {}
        for number, (own_kind, sod_set, stem) in enumerate(self.images):
            if own_kind == kind:
                for group in groups_of(sod_set, stem, self.sources):
                    rows.setdefault(group, []).append(number)
        return {group: self.scores[numbers] for group, numbers in rows.items()}


def read_runs(runs: Sequence[Run], kinds: Sequence[str], sources: dict[str, Any]) -> ImageScores:
    """Read the scores of each image of finished runs, for the right test depth and ``kinds``.

    Raises:
        InputError: a file is missing or damaged, or two runs have scores of different images.
    """
    images: list[tuple[str, str, str]] = []
    columns = []
    for run in runs:
        own, values = [], []
        for kind in (RIGHT, *kinds):
            for line in _lines(run.per_image(kind)):
                own.append((kind, line["set"], line["image"]))
                values.append([float(line[name]) for name in METRICS])
        if columns and own != images:
            raise InputError(
                f"{run.folder}: its scored images differ from those of the other runs. "
                "Fix: remove the folder, and repeat the run."
            )
        images = own
        columns.append(values)
    scores = np.round(columns, _DIGITS).transpose(1, 0, 2)  # rounded as in the file
    return ImageScores([(r.variant.name, r.seed) for r in runs], images, scores, sources)


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: unreadable ({error}). Fix: remove the folder of the run, and repeat the run."
        ) from None


def write_scores(path: Path, scores: ImageScores, record: dict[str, Any]) -> None:
    """Write a gzip-compressed CSV with 5-digit scores, one line per image and kind of depth.

    The path ends in ``.csv.gz``; the record is JSON data for the first line.
    """
    text = io.StringIO()
    # Only the entries that `data.groups_of` needs: paths are not valid on another machine.
    sources = {name: scores.sources[name] for name in ("sets", "folders") if name in scores.sources}
    record = record | {"images": _counts(scores.images), "sources": sources}
    text.write(f"# {json.dumps(record, ensure_ascii=False)}\n")
    writer = csv.writer(text, lineterminator="\n")
    names = [f"{name}|{seed}|{metric}" for name, seed in scores.runs for metric in METRICS]
    writer.writerow(["depth", "set", "image", *names])
    for image, values in zip(scores.images, scores.scores, strict=True):
        writer.writerow([*image, *(f"{value:.{_DIGITS}f}" for value in values.ravel())])
    data = gzip.compress(text.getvalue().encode(), mtime=0)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _counts(images: Sequence[tuple[str, str, str]]) -> dict[str, Counter[str]]:
    """Return the number of different images by kind of depth and set."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, sod_set, _ in dict.fromkeys(images):
        counts[kind][sod_set] += 1
    return counts


def _check_complete(
    path: Path, images: Sequence[tuple[str, str, str]], written: dict[str, dict[str, int]]
) -> None:
    """Raise InputError for missing or repeated images; ``written`` is a result of `_counts`."""
    found = _counts(images)
    different = [
        f"{sod_set} {found[kind][sod_set]} of {count} with {kind} depth"
        for kind, counts in written.items()
        for sod_set, count in counts.items()
        if found[kind][sod_set] != count
    ]
    if different:
        raise InputError(
            f"{path}: images are missing or added ({'; '.join(different)}). Fix: restore the file."
        )
    if len(set(images)) < len(images):
        twice = next(image for image in images if images.count(image) > 1)
        raise InputError(f"{path}: {'/'.join(twice[1:])} occurs twice. Fix: restore the file.")


def read_scores(path: Path) -> tuple[ImageScores, dict[str, Any]]:
    """Read a file of `write_scores`.

    Raises:
        InputError: the file is missing, damaged or incomplete.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file. Fix: pass the image_scores.csv.gz of a comparison."
        )
    try:
        head, _, text = gzip.decompress(path.read_bytes()).decode().partition("\n")
        record = json.loads(head.removeprefix("# "))
        names, *lines = csv.reader(io.StringIO(text))
        runs = [name.rsplit("|", 2)[:2] for name in names[3 :: len(METRICS)]]
        images = [(line[0], line[1], line[2]) for line in lines]
        values = np.array([line[3:] for line in lines], np.float64)
        scores = values.reshape(len(images), len(runs), len(METRICS))
        if not np.isfinite(scores).all():
            raise ValueError("a score is NaN or infinite")
        numbered = [(name, int(seed)) for name, seed in runs]
        found = ImageScores(numbered, images, scores, record.pop("sources"))
        _check_complete(path, images, record.pop("images"))
        return found, record
    except InputError:
        raise
    except (OSError, EOFError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: not the image scores of a comparison ({error}). Fix: pass the "
            "image_scores.csv.gz of a comparison."
        ) from None
