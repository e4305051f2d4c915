"""Make the cards of a gallery from the files of sets and maps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mutualformer_sod.data.depth.polarity import with_encodings
from mutualformer_sod.data.discovery.benchmarks import canonical_name
from mutualformer_sod.data.discovery.sets import SodSet
from mutualformer_sod.data.modality import Encoding
from mutualformer_sod.data.sample import Sample
from mutualformer_sod.errors import InputError, name_list
from mutualformer_sod.files import escaped
from mutualformer_sod.gallery.page import ImageCard, MapCard, gallery_columns
from mutualformer_sod.gallery.pictures import PictureFolder, disagreement, error_map, map_as_scored
from mutualformer_sod.imaging.decoding import read_bytes
from mutualformer_sod.imaging.io import read_gt, read_rgb, read_saliency
from mutualformer_sod.imaging.masks import read_mask
from mutualformer_sod.metrics.evaluation import GtSet, find_map_folders
from mutualformer_sod.metrics.evaluator import score_image
from mutualformer_sod.metrics.folder import MapFolder
from mutualformer_sod.metrics.ground_truth import GroundTruth
from mutualformer_sod.metrics.results import Scores

_SAME_SCORE = 1e-9  # tolerance: above the rounding of a mean, below the difference of two maps


@dataclass(frozen=True)
class ImageFiles:
    """An image of the gallery and the files of its maps."""

    set_name: str
    sample: Sample
    encoding: Encoding | None  # of the set; None for a set without depth
    maps: dict[str, Path | None]  # method -> file; None if the file is absent
    notes: dict[str, str]  # method -> reason why the file is absent
    scores: dict[str, Scores] | None  # method -> scores of an evaluation; None computes the scores

    @property
    def name(self) -> str:
        """Name of the image as SET/STEM."""
        return f"{self.set_name}/{self.sample.stem}"


def find_images(
    sets: Sequence[SodSet],
    maps_root: Path,
    methods: Sequence[str],
    *,
    near: Sequence[str],
    limit: int | None,
    keep_unmapped: bool,
    affixes: tuple[str, str] | None,
    scores: dict[tuple[str, str, str], Scores] | None,
) -> tuple[list[ImageFiles], list[str]]:
    """Pair the images of sets with the maps of methods.

    Args:
        maps_root: folder of ``<method>/<set>/<stem>.png``, see `metrics.folder.find_map_folder`.
        near: values of ``--near``, see `depth.near.parse_near`.
        limit: use at most this number of first images of each set; None uses all images.
        keep_unmapped: include sets without any map.
        affixes: text around the stems in the names of the maps; None detects this text.
        scores: scores of an evaluation, as read by `page.read_scores`; None computes the scores. A
            map without a score is not an error: the map may be unreadable.

    Returns:
        The images, set by set, and messages about the sets and their maps.

    Raises:
        InputError: no map was found, or depth is unreadable.
    """
    paired = [GtSet(s.name, {t.stem: t.gt or t.rgb for t in s.samples}) for s in sets]
    found: dict[str, list[MapFolder]] = {s.name: [] for s in sets}
    for folder in find_map_folders(maps_root, methods, paired, canonical_name, affixes):
        found[folder.set_name].append(folder)
    mapped = {name for name, folders in found.items() if any(f.maps for f in folders)}
    chosen = [s for s in sets if keep_unmapped or s.name in mapped]
    lines = []
    if len(chosen) < len(sets):
        lines.append(f"sets without a map: {name_list(n for n in found if n not in mapped)}")
    images = []
    for sod_set in with_encodings(chosen, near):
        folders = found[sod_set.name]
        for sample in sod_set.samples[:limit]:
            stem = sample.stem
            notes = {f.method: "two files" if stem in f.duplicate else "missing" for f in folders}
            maps = {f.method: f.maps.get(stem) for f in folders}
            known = None
            if scores is not None:
                # Encode names as evaluate.py does: file names may be invalid Unicode.
                keys = {m: tuple(map(escaped, (sod_set.name, stem, m))) for m in maps}
                known = {method: scores[key] for method, key in keys.items() if key in scores}
            images.append(ImageFiles(sod_set.name, sample, sod_set.encoding, maps, notes, known))
        for f in folders:
            extra = f"without an image of that name: {name_list(f.extra)}" if f.extra else ""
            named = f"maps are named {'STEM'.join(f.affixes)}" if any(f.affixes) else ""
            own = filter(None, (extra, f.hint, named))
            lines += [f"{f.method}/{f.set_name}: {text}" for text in own]
    return images, lines


def make_card(image: ImageFiles, pictures: PictureFolder, normalize: bool) -> ImageCard:
    """Read the files of one image, score its maps and store its pictures.

    An unreadable file is named in the problems of the card. With ``normalize``, maps are stretched
    to their own minimum and maximum before they are scored.

    Raises:
        InputError: the scores of the evaluation do not belong to the maps of the image.
    """
    sample = image.sample
    card = ImageCard(image.set_name, sample.stem)
    if sample.rgb is not None:
        with _noted(card):
            rgb = read_rgb(sample.rgb)
            card.rgb = pictures.keep(rgb, b"rgb", read_bytes(sample.rgb), suffix=".jpg")
    if sample.depth is not None:
        card.map_name, card.map_label = sample.modality.name, sample.modality.title
        with _noted(card):
            kind = f"depth {image.encoding.kind} {image.encoding.near}".encode()
            unit = _unit(sample, image.encoding)
            card.depth = pictures.keep(unit, kind, read_bytes(sample.depth))
    scorer = _Scorer(image, pictures, normalize)
    if sample.gt is not None:
        with _noted(card):
            content = read_bytes(sample.gt)
            foreground, card.gt_note = read_mask(sample.gt, content)
            card.gt = pictures.keep(foreground, b"gt", content)
            scorer.gt, scorer.gt_content = GroundTruth(foreground), content
    for method, path in image.maps.items():
        if path is None:
            card.maps.append(MapCard(note=image.notes[method]))
            continue
        levels = None
        with _noted(card):
            content = read_bytes(path)
            levels = read_saliency(path, content)
        if levels is None:
            card.maps.append(MapCard(note="unreadable"))
        else:
            card.maps.append(scorer.card(method, content, levels))
    card.disagreement = disagreement(scorer.shown)
    return card


@contextlib.contextmanager
def _noted(card: ImageCard) -> Iterator[None]:
    """Context that adds the error of an unreadable file to the problems of a card."""
    try:
        yield
    except InputError as error:
        card.problems.append(str(error))


@dataclass
class _Scorer:
    """Score and draw the maps of one image."""

    image: ImageFiles
    pictures: PictureFolder
    normalize: bool
    gt: GroundTruth | None = None
    gt_content: bytes = b""
    shown: list[np.ndarray] = field(default_factory=list)  # (H, W) float32 in [0, 1], equal sizes

    def card(self, method: str, content: bytes, levels: np.ndarray) -> MapCard:
        """Return the card of one map, with scores if the image has a ground truth.

        ``content`` is the content of the file, and ``levels`` is the map, (H, W) uint8.
        """
        card = MapCard(self.pictures.keep(levels, b"map", content))
        like = self.gt or (self.shown or [levels])[0]
        saliency = map_as_scored(levels, like.shape, self.normalize)
        if levels.shape != like.shape:
            card.note = f"resized from {levels.shape[1]} x {levels.shape[0]}"
        if self.gt:
            kind = f"error {self.normalize}".encode()
            error = error_map(saliency, self.gt.mask)
            card.error = self.pictures.keep(error, kind, content, self.gt_content)
            card.scores = self._scores(method, levels, saliency)
        self.shown.append(saliency.astype(np.float32))  # half the memory; exact enough for a mean
        return card

    def _scores(self, method: str, levels: np.ndarray, saliency: np.ndarray) -> Scores:
        """Compute the scores of a map, or return the evaluation's scores if the MAE agrees."""
        given = self.image.scores
        if given is None:
            image = score_image(levels, self.gt, normalize=self.normalize, with_weighted_f=False)
            return {name: image.scores[name] for name in gallery_columns()}
        mae = np.abs(saliency - self.gt.mask).mean()
        if method not in given or abs(given[method]["mae"] - mae) > _SAME_SCORE:
            found = "not the scores of" if method in given else "no scores of"
            raise InputError(
                f"--scores: {found} the map of {method} on {self.image.name}. "
                "Fix: run tools/evaluate.py on these maps again, or omit --scores."
            )
        return given[method]


def _unit(sample: Sample, encoding: Encoding) -> np.ndarray:
    """Return the second-modality map of a sample, (H, W) float32 in [0, 1]."""
    return sample.modality.to_unit(sample.modality.read(sample.depth), encoding, "minmax")


def figure_rows(
    images: Sequence[ImageFiles], methods: Sequence[str]
) -> tuple[list[list], list[str]]:
    """Return the pictures of each image, and the titles of the columns, for a figure of a paper.

    Columns without a picture are left out.

    Raises:
        InputError: a file is unreadable.
    """
    nouns = {image.sample.modality.name for image in images if image.encoding} or {"depth"}
    titles = ["RGB", " / ".join(sorted(nouns)), "GT", *methods]
    rows = []
    for image in images:
        files = image.sample
        row = [
            None if files.rgb is None else read_rgb(files.rgb),
            None if files.depth is None else _unit(files, image.encoding),
            None if files.gt is None else read_gt(files.gt),
        ]
        maps = (image.maps[method] for method in methods)
        rows.append(row + [None if path is None else read_saliency(path) for path in maps])
    used = [c for c in range(len(titles)) if any(row[c] is not None for row in rows)]
    return [[row[c] for c in used] for row in rows], [titles[c] for c in used]
