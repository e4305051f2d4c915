"""Score folders of maps against ground truths, in one process or many, in the images' order."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import cv2

from mutualformer_sod.errors import InputError
from mutualformer_sod.metrics.evaluator import RESIZED, Evaluator, ImageScores, score_image
from mutualformer_sod.metrics.folder import MapFolder
from mutualformer_sod.metrics.ground_truth import GroundTruth
from mutualformer_sod.metrics.images import read_ground_truth, read_saliency

_CHUNK = 4  # images a task: enough to hide its cost, few enough to share the end of a set
_WINDOW = 8  # tasks in flight for each worker


@dataclass(frozen=True)
class Pairing:
    """One image of a set and the maps of it, by method."""

    stem: str
    gt: Path
    maps: dict[str, Path]


@dataclass(frozen=True)
class Outcome:
    """What became of a pairing: for each method its scores, or the message of what is wrong."""

    stem: str
    scores: dict[str, ImageScores] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    gt_error: str = ""
    gt_note: str = ""


@dataclass
class Cell:
    """One method on one set: its scores and everything that has to be said about them."""

    folder: MapFolder
    expected: int
    evaluator: Evaluator
    unreadable: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)

    @classmethod
    def unscored(cls, folder: MapFolder, expected: int) -> Cell:
        """A cell that was left out, with what is known of its files."""
        return cls(folder, expected, Evaluator())

    @property
    def images(self) -> int:
        """Images that have scores."""
        return self.evaluator.images

    @property
    def problems(self) -> int:
        """Images of the set that have no scores."""
        return self.expected - self.images


def score_pairing(pairing: Pairing, normalize: bool = True) -> Outcome:
    """Read one ground truth and score every method's map of it."""
    try:
        mask, note = read_ground_truth(pairing.gt)
    except InputError as error:
        return Outcome(pairing.stem, gt_error=str(error))
    gt = GroundTruth(mask)
    scores, errors = {}, {}
    for method, path in pairing.maps.items():
        try:
            scores[method] = score_image(read_saliency(path), gt, normalize=normalize)
        except InputError as error:
            errors[method] = str(error)
    return Outcome(pairing.stem, scores, errors, gt_note=note)


def score_set(
    folders: list[MapFolder],
    ground_truths: dict[str, Path],
    *,
    normalize: bool = True,
    pool: Executor | None = None,
    workers: int = 1,
    each: Callable[[Outcome], None] = lambda _: None,
) -> tuple[list[Cell], dict[str, list[str]]]:
    """Score the maps of several methods on one set.

    Args:
        folders: one `MapFolder` a method, of the same set.
        ground_truths: stem -> file.
        normalize: stretch every map to its own minimum and maximum.
        pool: processes to share the work with, see `worker_pool`; this process alone if None.
        workers: processes of the pool.
        each: called with every image's outcome, in the order of the ground truths.

    Returns:
        The cells in the order of the folders, and notes on how ground truths were understood
        (note -> stems).

    Raises:
        InputError: ground truths cannot be read; all are named.
    """
    cells = [Cell(f, len(ground_truths), Evaluator(normalize)) for f in folders]
    pairings = (
        Pairing(stem, gt, {f.method: f.maps[stem] for f in folders if stem in f.maps})
        for stem, gt in ground_truths.items()
    )
    notes: dict[str, list[str]] = {}
    bad_ground_truths = []
    score = partial(score_pairing, normalize=normalize)
    for outcome in _in_order(score, pairings, pool, workers):
        each(outcome)
        if outcome.gt_error:
            bad_ground_truths.append(outcome.gt_error)
        if outcome.gt_note:
            notes.setdefault(outcome.gt_note, []).append(outcome.stem)
        for cell in cells:
            _book(cell, outcome)
    if bad_ground_truths:
        count = len(bad_ground_truths)
        more = f" (and {count - 1} more ground truths like it)" if count > 1 else ""
        raise InputError(bad_ground_truths[0] + more)
    return cells, notes


def _book(cell: Cell, outcome: Outcome) -> None:
    method = cell.folder.method
    if method in outcome.errors:
        cell.unreadable.append(outcome.errors[method])
    if method in outcome.scores:
        image = outcome.scores[method]
        cell.evaluator.add(image)
        if RESIZED in image.flags:
            cell.resized.append(outcome.stem)


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of scoring processes; leaving its `with` block ends them."""
    # fork starts in milliseconds; nothing here holds threads or a GPU.
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


def _in_order(
    score: Callable[[Pairing], Outcome],
    pairings: Iterable[Pairing],
    pool: Executor | None,
    workers: int,
) -> Iterator[Outcome]:
    """Map over the pairings in order, with a bounded number of them in flight."""
    if pool is None:
        yield from map(score, pairings)
        return
    pairings = iter(pairings)
    running: deque = deque()
    while True:
        while len(running) < _WINDOW * workers and (chunk := list(islice(pairings, _CHUNK))):
            running.append(pool.submit(_score_chunk, score, chunk))
        if not running:
            return
        yield from running.popleft().result()


def _score_chunk(score: Callable[[Pairing], Outcome], chunk: list[Pairing]) -> list[Outcome]:
    return [score(pairing) for pairing in chunk]
