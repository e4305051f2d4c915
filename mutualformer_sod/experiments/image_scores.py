"""Scores of each image of all runs: their file, and differences between variants."""

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
from mutualformer_sod.report import hypothesis_tests

# Metrics whose mean over images is the score of a set; max_f and max_e need the mean curve.
METRICS = ("s_measure", "mean_f", "weighted_f", "mean_e", "mae")
_DIGITS = 5
DRAWS = 10_000
MEAN_OF_GROUPS = "mean"


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


@dataclass(frozen=True)
class Difference:
    """The S-measure of the reference minus the S-measure of another variant."""

    variant: str  # the other variant
    mean: float  # difference of the means over images and seeds
    low: float  # low and high: 95 % interval of the hierarchical bootstrap
    high: float
    p: float  # two-sided p-value of no difference, adjusted by `holm` for all variants


def differences(
    scores: ImageScores, reference: str, draws: int = DRAWS
) -> dict[str, list[Difference]]:
    """Compare a variant with all other variants by the S-measure on each group.

    Only scores with the right depth are used. Each resample draws the same images of a group for
    all variants, and draws seeds separately for each variant. The variance of draws from n seeds is
    too small, and is corrected by the factor n / (n - 1). A variant with one seed shows no
    variation over seeds.

    Returns:
        group -> one difference for each other variant. Each group resamples images independently;
        the mean over several groups is therefore included only if no image is in two groups.
    """
    column = METRICS.index("s_measure")
    groups = {name: values[..., column] for name, values in scores.by_group().items()}
    parts = {name: [values] for name, values in groups.items()}
    members = sum(map(len, groups.values()))
    if len(groups) > 1 and members == sum(kind == RIGHT for kind, _, _ in scores.images):
        parts[MEAN_OF_GROUPS] = list(groups.values())
    return {
        name: _compare(values, [variant for variant, _ in scores.runs], reference, draws)
        for name, values in parts.items()
    }


def _compare(
    groups: Sequence[np.ndarray], owners: Sequence[str], reference: str, draws: int
) -> list[Difference]:
    """Compare the reference with the other variants by the mean over groups.

    Each group has scores of shape (images, runs).
    """
    variants = [reference, *(name for name in dict.fromkeys(owners) if name != reference)]
    columns = [np.flatnonzero(np.array(owners) == name) for name in variants]
    observed = hypothesis_tests.mean_of_groups(groups)  # (runs,)
    resampled = hypothesis_tests.bootstrap_means(groups, draws)  # (draws, runs); only images drawn
    rng = np.random.default_rng(1)
    drawn = np.stack([_draw_seeds(resampled[:, own], rng) for own in columns], axis=1)
    means = np.array([observed[own].mean() for own in columns])
    found = hypothesis_tests.compare_pairs(means, drawn, sum(len(group) - 1 for group in groups))
    others = variants[1:]
    own = slice(len(others))  # the pairs of the reference are the first
    p = hypothesis_tests.holm(found.p[own])
    rows = zip(others, found.mean[own], found.low[own], found.high[own], p, strict=True)
    return [Difference(name, *map(float, row)) for name, *row in rows]


def _draw_seeds(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw seeds in each row of (draws, seeds) scores; return the (draws,) means."""
    draws, seeds = scores.shape
    centre = scores.mean(axis=1)
    if seeds == 1:
        return centre
    chosen = rng.integers(seeds, size=(draws, seeds))
    spread = np.take_along_axis(scores, chosen, axis=1).mean(axis=1) - centre
    return centre + spread * np.sqrt(seeds / (seeds - 1))
