"""Score the maps of a set against its ground truths, in one or several processes."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.imaging.decoding import read_bytes
from mutualformer_sod.imaging.io import check_size, image_size, read_rgb, read_saliency
from mutualformer_sod.imaging.masks import read_mask
from mutualformer_sod.metrics.cache import ScoreCache, cache_key
from mutualformer_sod.metrics.evaluator import Evaluator, ImageScores, score_image
from mutualformer_sod.metrics.f_measure import f_measure
from mutualformer_sod.metrics.folder import MapFolder
from mutualformer_sod.metrics.ground_truth import GroundTruth
from mutualformer_sod.metrics.pair import EMPTY_GT, RESIZED, Counts
from mutualformer_sod.metrics.registry import METRICS, Metric, added_metrics, register
from mutualformer_sod.metrics.suspicious import SwapSearch, Thumbnails, is_suspect, suspicions

_CHUNK = 4  # images per task: large tasks have less overhead, small tasks balance the load


@dataclass(frozen=True)
class Pairing:
    """One ground truth and the maps of its image, by method."""

    stem: str
    gt: Path
    maps: dict[str, Path]
    rgb: Path | None = None  # the colour image, if a metric reads it


@dataclass
class Outcome:
    """The scores of a pairing, or the error messages, by method.

    Attributes:
        errors: error messages of unreadable maps.
        thumbnails: thumbnails of poor maps, which may belong to other images.
        new: cache keys of the scores that were not in the cache.
        gt_error: error message of the ground truth.
        gt_note: interpretation of a ground truth whose values are not 0 and 255.
    """

    stem: str
    scores: dict[str, ImageScores] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    thumbnails: dict[str, Thumbnails] = field(default_factory=dict)
    new: dict[str, bytes] = field(default_factory=dict)
    gt_error: str = ""
    gt_note: str = ""


@dataclass
class Cell:
    """Scores of one method on one set, and the images with problems.

    Attributes:
        expected: number of images.
        with_foreground: scores of the images with foreground; None if every image has foreground.
        unreadable: error messages of unreadable maps.
        stems: kind of problem -> stems of the images. A kind is a flag of `ImageScores`, a kind of
            `suspicions`, or "square" for a resized map that is square.
        brightest: highest level of all maps, 0 to 255, as scored.
        inverted_f: (2, 256) sums of the F curves of the inverted maps, as stored and as 1 - map.
    """

    folder: MapFolder
    expected: int
    evaluator: Evaluator
    with_foreground: Evaluator | None = None
    unreadable: list[str] = field(default_factory=list)
    stems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    brightest: int = 0
    inverted_f: np.ndarray = field(default_factory=lambda: np.zeros((2, 256)))
    swaps: SwapSearch = field(default_factory=SwapSearch)

    @property
    def images(self) -> int:
        """Number of scored images."""
        return self.evaluator.images

    @property
    def problems(self) -> int:
        """Number of images without a usable map."""
        return self.expected - len(self.folder.maps) + len(self.unreadable)

    def add(self, outcome: Outcome, gt: Path) -> None:
        """Add the scores or the error of the method's map of one image."""
        method, stem = self.folder.method, outcome.stem
        if method in outcome.errors:
            self.unreadable.append(outcome.errors[method])
        if method not in outcome.scores:
            return
        image, path = outcome.scores[method], self.folder.maps[stem]
        if EMPTY_GT in image.flags:
            self.with_foreground = self.with_foreground or deepcopy(self.evaluator)
        elif self.with_foreground is not None:
            self.with_foreground.add(image)
        self.evaluator.add(image)
        self.brightest = max(self.brightest, image.brightest)
        problems = [*image.flags, *suspicions(image)]
        if RESIZED in image.flags and len(set(image_size(path))) == 1:
            problems.append("square")
        if "inverted" in problems:
            inverse = Counts.of_thresholds(image.quantised[:, ::-1])
            self.inverted_f += image.curves["f"], f_measure(inverse)
        for problem in problems:
            self.stems[problem].append(stem)
        self.swaps.add(stem, image.scores["iou"], path, gt, outcome.thumbnails.get(method))


def score_pairing(
    pairing: Pairing,
    normalize: bool = True,
    cache_path: Path | None = None,
    added: Sequence[Metric] = (),
) -> Outcome:
    """Read one ground truth, and score the map of each method unless the cache has the scores.

    A worker process registers the ``added`` metrics first.
    """
    for metric in added:
        if metric.name not in METRICS:
            register(metric)
    outcome = Outcome(pairing.stem)
    try:
        gt_content = read_bytes(pairing.gt)
        rgb_content = read_bytes(pairing.rgb) if pairing.rgb else b""
    except InputError as error:
        outcome.gt_error = str(error)
        return outcome
    cache = None if cache_path is None else _cache_for_reading(cache_path)
    gt = None
    for method, path in pairing.maps.items():
        try:
            content = read_bytes(path)
            if cache is not None:
                key = cache_key(content, gt_content, normalize, rgb_content)
                if (known := cache.get(key)) is not None:
                    outcome.scores[method], outcome.gt_note = known
                    continue
                outcome.new[method] = key
            levels = read_saliency(path, content)
        except InputError as error:
            outcome.errors[method] = str(error)
            outcome.new.pop(method, None)
            continue
        if gt is None:
            try:
                mask, outcome.gt_note = read_mask(pairing.gt, gt_content)
                rgb = None
                if pairing.rgb is not None:
                    rgb = read_rgb(pairing.rgb, rgb_content)
                    check_size(pairing.gt, mask.shape, pairing.rgb, rgb.shape[:2])
                gt = GroundTruth(mask, rgb)
            except InputError as error:
                return Outcome(pairing.stem, gt_error=str(error))
        image = outcome.scores[method] = score_image(levels, gt, normalize=normalize)
        if is_suspect(image.scores["iou"]):
            outcome.thumbnails[method] = Thumbnails.of(levels, gt.mask)
    return outcome


_cache_for_reading = lru_cache(maxsize=1)(ScoreCache)  # this process's connection


def score_set(
    folders: list[MapFolder],
    ground_truths: dict[str, Path],
    *,
    rgb: Mapping[str, Path] | None = None,
    normalize: bool = True,
    cache: ScoreCache | None = None,
    pool: Executor | None = None,
    each: Callable[[Outcome], None] = lambda _: None,
) -> tuple[list[Cell], dict[str, list[str]]]:
    """Score the maps of several methods on one set, for `metrics.evaluation.evaluate`.

    Args:
        rgb: stem -> colour image, for the metrics that need it.
        pool: processes of `workers.worker_pool`; None computes the scores in this process.
        each: function that is called with the outcome of each image, in the order of
            ``ground_truths``.

    Returns:
        The cells in the order of the folders, and the notes on ground truths (note -> stems).

    Raises:
        InputError: ground truths are unreadable. The message names the first file, and counts the
            other files.
    """
    cells = [Cell(f, len(ground_truths), Evaluator(normalize)) for f in folders]
    pairings = []
    for stem, gt in ground_truths.items():
        maps = {f.method: f.maps[stem] for f in folders if stem in f.maps}
        pairings.append(Pairing(stem, gt, maps, (rgb or {}).get(stem)))
    notes: dict[str, list[str]] = {}
    bad_ground_truths = []
    path = None if cache is None else cache.path.resolve()
    _cache_for_reading.cache_clear()  # an earlier call may have read another file with this name
    added = () if pool is None else added_metrics()
    score = partial(score_pairing, normalize=normalize, cache_path=path, added=added)
    scored = pool.map(score, pairings, chunksize=_CHUNK) if pool else map(score, pairings)
    for outcome in scored:
        for method, key in outcome.new.items():
            cache.put(key, outcome.scores[method], outcome.gt_note)
        each(outcome)
        if outcome.gt_error:
            bad_ground_truths.append(outcome.gt_error)
        if outcome.gt_note:
            notes.setdefault(outcome.gt_note, []).append(outcome.stem)
        for cell in cells:
            cell.add(outcome, ground_truths[outcome.stem])
    if bad_ground_truths:
        first, *others = bad_ground_truths
        more = f" (and {counted(len(others), 'more ground truth')})" if others else ""
        raise InputError(first + more)
    return cells, notes
