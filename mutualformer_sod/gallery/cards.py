"""From the files of sets and maps to the cards of a gallery: pairing, reading, scoring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from mutualformer_sod.data.depth.units import DepthEncoding, depth_to_unit, with_encodings
from mutualformer_sod.data.discovery.benchmarks import canonical_name
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError
from mutualformer_sod.gallery.page import ImageCard, MapCard, Scores, gallery_columns
from mutualformer_sod.gallery.pictures import (
    Picture,
    PictureFolder,
    disagreement,
    error_map,
    map_as_scored,
)
from mutualformer_sod.imaging.decoding import read_bytes
from mutualformer_sod.imaging.io import read_depth, read_rgb
from mutualformer_sod.imaging.masks import decode_mask
from mutualformer_sod.imaging.saliency import decode_saliency
from mutualformer_sod.metrics.evaluation import GtSet, find_map_folders
from mutualformer_sod.metrics.evaluator import score_image
from mutualformer_sod.metrics.folder import MapFolder, name_list
from mutualformer_sod.metrics.ground_truth import GroundTruth

_SAME_SCORE = 1e-9  # far above the rounding of a mean, far below what another map would give
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Job:
    """An image to show: its files, and what is known of its maps.

    Attributes:
        set_name: of its set.
        sample: its files.
        encoding: of the set's depth; None for a set without depth.
        maps: method -> file; None where there is none.
        notes: method -> why there is none.
        scores: method -> scores that an evaluation gave; None: compute them.
    """

    set_name: str
    sample: Sample
    encoding: DepthEncoding | None = None
    maps: dict[str, Path | None] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    scores: dict[str, Scores] | None = None

    @property
    def name(self) -> str:
        """SET/STEM."""
        return f"{self.set_name}/{self.sample.stem}"


def find_jobs(
    sets: Sequence[SodSet],
    maps_root: Path,
    methods: Sequence[str],
    *,
    near: Sequence[str] = ("auto",),
    limit: int | None = None,
    keep_unmapped: bool = False,
) -> tuple[list[Job], list[str]]:
    """Pair the images of sets with the maps of methods.

    Args:
        sets: as found by `sets.discover_sets`.
        maps_root: holds ``<method>/<set>/<stem>.png``, see `metrics.folder.find_map_folder`.
        methods: names, in the order of the columns.
        near: values of ``--near``, see `depth.parse_near`.
        limit: the first so many images of each set.
        keep_unmapped: show sets of which no method has a map, too.

    Returns:
        The images, set by set, and lines on what was left out.

    Raises:
        InputError: no map at all; depth that cannot be read.
    """
    paired = [GtSet(s.name, {t.stem: t.gt or t.rgb for t in s.samples}) for s in sets]
    found: dict[str, list[MapFolder]] = {s.name: [] for s in sets}
    for folder in find_map_folders(maps_root, methods, paired, canonical_name):
        found[folder.set_name].append(folder)
    mapped = {name for name, folders in found.items() if any(f.maps for f in folders)}
    chosen = [s for s in sets if keep_unmapped or s.name in mapped]
    lines = []
    if len(chosen) < len(sets):
        lines.append(f"left out, no map: {name_list(n for n in found if n not in mapped)}")
    jobs = []
    for sod_set in with_encodings(chosen, near):
        folders = found[sod_set.name]
        jobs += [_job(sod_set.name, t, sod_set.encoding, folders) for t in sod_set.samples[:limit]]
        for f in folders:
            extra = f"of no image of the set: {name_list(f.extra)}" if f.extra else ""
            own = filter(None, (extra, f.hint))
            lines += [f"{f.method}/{f.set_name}: {text}" for text in own]
    return jobs, lines


def _job(
    set_name: str,
    sample: Sample,
    encoding: DepthEncoding | None,
    folders: Sequence[MapFolder],
) -> Job:
    stem = sample.stem
    notes = {f.method: "two files" if stem in f.duplicate else "missing" for f in folders}
    maps = {f.method: f.maps.get(stem) for f in folders}
    return Job(set_name, sample, encoding, maps, notes)


def with_scores(jobs: Sequence[Job], known: dict[tuple[str, str, str], Scores]) -> list[Job]:
    """The jobs with the scores that an evaluation gave, as `report.gallery.read_scores` reads them.

    A map without a score is no mistake yet: it may be one that cannot be read.
    """
    scored = []
    for job in jobs:
        # As evaluate.py writes names: those of files need not be Unicode.
        names = {m: (job.set_name, job.sample.stem, m) for m in job.maps}
        keys = {m: tuple(_escaped(part) for part in name) for m, name in names.items()}
        scores = {m: known[key] for m, key in keys.items() if key in known}
        scored.append(replace(job, scores=scores))
    return scored


def _escaped(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def make_card(job: Job, pictures: PictureFolder, normalize: bool = True) -> ImageCard:
    """Read the files of one image, score its maps and keep its pictures.

    A file that cannot be read is named among the card's problems.

    Args:
        job: the image.
        pictures: where thumbnails and full-size pictures are kept.
        normalize: score maps stretched to their own minimum and maximum.

    Raises:
        InputError: scores were given, but not of these maps.
    """
    sample = job.sample
    card = ImageCard(job.set_name, sample.stem)
    if sample.rgb is not None:
        card.rgb = _try(card, lambda: _keep_rgb(sample.rgb, pictures))
    if sample.depth is not None:
        card.depth = _try(card, lambda: _keep_depth(sample, job.encoding, pictures))
        card.thermal = sample.thermal
    truth = None
    if sample.gt is not None and (truth := _try(card, lambda: _Truth.read(sample.gt))):
        card.gt = pictures.keep(truth.gt.mask, b"gt", truth.content)
        card.gt_note = truth.note
    scorer = _Scorer(job, pictures, normalize, truth)
    for method, path in job.maps.items():
        if path is None:
            card.maps.append(MapCard(note=job.notes[method]))
        elif (content := _try(card, lambda path=path: _read_map(path))) is None:
            card.maps.append(MapCard(note="unreadable"))
        else:
            card.maps.append(scorer.card(method, *content))
    card.disagreement = disagreement(scorer.shown)
    return card


@dataclass(frozen=True)
class _Truth:
    """A ground truth, how it was understood, and the bytes of its file."""

    gt: GroundTruth
    note: str
    content: bytes

    @classmethod
    def read(cls, path: Path) -> _Truth:
        content = read_bytes(path)
        foreground, note = decode_mask(path, content)
        return cls(GroundTruth(foreground), note, content)


class _Scorer:
    """Scores and draws the maps of one image.

    Attributes:
        shown: the maps so far, as they are scored and of one size.
    """

    def __init__(
        self, job: Job, pictures: PictureFolder, normalize: bool, truth: _Truth | None
    ) -> None:
        self.shown: list[np.ndarray] = []
        self._job, self._pictures = job, pictures
        self._normalize, self._truth = normalize, truth

    def card(self, method: str, content: bytes, levels: np.ndarray) -> MapCard:
        """Score one map, given its file's bytes and (H, W) uint8."""
        card = MapCard(self._pictures.keep(levels, b"map", content))
        truth = self._truth
        like = truth.gt if truth else (self.shown or [levels])[0]
        saliency = map_as_scored(levels, like.shape, self._normalize)
        if levels.shape != like.shape:
            card.note = f"resized from {levels.shape[1]} x {levels.shape[0]}"
        if truth:
            kind = f"error {self._normalize}".encode()
            error = error_map(saliency, truth.gt.mask)
            card.error = self._pictures.keep(error, kind, content, truth.content)
            card.scores = self._scores(method, levels, saliency, truth.gt)
        self.shown.append(saliency.astype(np.float32))  # half the memory, enough for a mean
        return card

    def _scores(
        self, method: str, levels: np.ndarray, saliency: np.ndarray, gt: GroundTruth
    ) -> Scores:
        """The scores of a map: computed, or those given, if they are of this very map."""
        given = self._job.scores
        if given is None:
            image = score_image(levels, gt, normalize=self._normalize, with_weighted_f=False)
            return {name: image.scores[name] for name in gallery_columns()}
        mae = np.abs(saliency - gt.mask).mean()
        if method not in given or abs(given[method]["mae"] - mae) > _SAME_SCORE:
            what = "other scores" if method in given else "no scores"
            raise InputError(
                f"--scores: {what} for the map of {method} on {self._job.name}; "
                "run tools/evaluate.py on these maps again, or leave --scores out"
            )
        return given[method]


def _try(card: ImageCard, read: Callable[[], _Read]) -> _Read | None:
    """What reading a file gives, or None and a line among the card's problems."""
    try:
        return read()
    except InputError as error:
        card.problems.append(str(error))
        return None


def _keep_rgb(path: Path, pictures: PictureFolder) -> Picture:
    return pictures.keep(read_rgb(path), b"rgb", read_bytes(path), suffix=".jpg")


def _keep_depth(sample: Sample, encoding: DepthEncoding, pictures: PictureFolder) -> Picture:
    unit = depth_to_unit(read_depth(sample.depth, sample.thermal), encoding)
    kind = f"depth {encoding.kind} {encoding.near}".encode()
    return pictures.keep(unit, kind, read_bytes(sample.depth))


def _read_map(path: Path) -> tuple[bytes, np.ndarray]:
    content = read_bytes(path)
    return content, decode_saliency(path, content)


def figure_rows(jobs: Sequence[Job], methods: Sequence[str]) -> tuple[list[list], list[str]]:
    """The pictures of a figure: colour, depth, ground truth and maps, without empty columns.

    Returns:
        One list of pictures a job, and the columns' titles; see `report.paper_figure`.

    Raises:
        InputError: a file cannot be read.
    """
    nouns = " / ".join(sorted({job.encoding.noun for job in jobs if job.encoding})) or "depth"
    titles = ["RGB", nouns, "GT", *methods]
    rows = []
    for job in jobs:
        files = job.sample
        row = [
            None if files.rgb is None else read_rgb(files.rgb),
            None
            if files.depth is None
            else depth_to_unit(read_depth(files.depth, files.thermal), job.encoding),
            None if files.gt is None else _Truth.read(files.gt).gt.mask,
        ]
        maps = (job.maps[method] for method in methods)
        rows.append(row + [None if path is None else _read_map(path)[1] for path in maps])
    used = [c for c in range(len(titles)) if any(row[c] is not None for row in rows)]
    return [[row[c] for c in used] for row in rows], [titles[c] for c in used]
