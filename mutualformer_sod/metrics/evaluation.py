"""Evaluate folders of saliency maps, and return scores, marks, notes and protocol as `Results`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import mutualformer_sod
from mutualformer_sod.errors import InputError, counted, name_list
from mutualformer_sod.imaging import image_files
from mutualformer_sod.metrics.cache import ScoreCache
from mutualformer_sod.metrics.folder import MapFolder, find_map_folder, list_methods
from mutualformer_sod.metrics.pair import RESIZED
from mutualformer_sod.metrics.per_image import per_image_file
from mutualformer_sod.metrics.registry import needs_rgb
from mutualformer_sod.metrics.remarks import complaints, row_marks
from mutualformer_sod.metrics.results import Results, scoring_protocol
from mutualformer_sod.metrics.scoring import Cell, Outcome, score_set
from mutualformer_sod.workers import worker_pool

_HINTS = 3  # maximum number of hints in one error


@dataclass(frozen=True)
class GtSet:
    """The ground truths of a set.

    Attributes:
        files: stem -> ground truth, for the images to evaluate.
        whole: stem -> ground truth, for all images of the set; None if `files` has all images.
        usual_count: number of images that papers report for the set; None for a custom set.
        rgb: stem -> colour image, for the metrics that need it; may be empty.
        other_version: description of the set version with an unusual number of images, or "".
    """

    name: str
    files: dict[str, Path]
    whole: dict[str, Path] | None = None
    usual_count: int | None = None
    rgb: dict[str, Path] = field(default_factory=dict)
    other_version: str = ""

    @classmethod
    def of_folder(cls, folder: Path) -> GtSet:
        """Return the set of all ground truths in a folder.

        Both "SIP/GT" and "SIP" become the set SIP. With "SIP/GT", the colour images of "SIP/RGB"
        are added.

        Raises:
            InputError: the folder does not exist, has no image, or two images have the same stem.
        """
        files = image_files(folder) if folder.is_dir() else []
        if not files:
            raise InputError(f"`gt` {folder}: no ground truth. Fix: pass a folder of masks.")
        named = folder.resolve()
        is_gt = named.name.lower() == "gt"
        name = named.parent.name if is_gt else named.name
        by_stem = {path.stem: path for path in files}
        if len(by_stem) < len(files):
            twice = name_list(p.name for p in files if p not in by_stem.values())
            raise InputError(
                f"`gt` {folder}: two files for one image: {twice}. Fix: keep one file per image."
            )
        colours = named.parent / "RGB"
        found = image_files(colours) if is_gt and colours.is_dir() else []
        return cls(name, by_stem, rgb={path.stem: path for path in found})


def find_map_folders(
    maps: Path,
    methods: Sequence[str],
    sets: Sequence[GtSet],
    canonical_name: Callable[[str], str] = str,
    affixes: tuple[str, str] | None = None,
) -> list[MapFolder]:
    """Return a `MapFolder` with the paired maps of each set and method, set by set.

    Args:
        maps: folder of methods, see `metrics.folder.find_map_folder`.
        canonical_name, affixes: as in `metrics.folder.find_map_folder`.

    Raises:
        InputError: no map was found.
    """
    how = {"only_set": len(sets) == 1, "canonical_name": canonical_name, "affixes": affixes}
    folders = [
        find_map_folder(maps, method, s.name, s.whole or s.files, **how).part(s.files)
        for s in sets
        for method in methods
    ]
    if any(folder.maps for folder in folders):
        return folders
    first, names = folders[0], dict.fromkeys(item.name for item in sets)
    stem = first.missing[0] if first.missing else "<stem>"
    hints = list(dict.fromkeys(folder.hint for folder in folders if folder.hint))
    example = maps / first.method / first.set_name / f"{stem}.png"
    problem = f"`maps` {maps}: no map of {name_list(names)}"
    if with_fix := [hint for hint in hints if "Fix: " in hint]:
        raise InputError(f"{problem}, such as {example}; {with_fix[0]}")
    raise InputError(
        f"{problem}. Fix: store maps as "
        f"<method>/<set>/<stem>.png, e.g. {'; '.join([str(example), *hints[:_HINTS]])}"
    )


def evaluate(
    gt: str | Path | Sequence[GtSet],
    maps: str | Path | Sequence[MapFolder],
    *,
    normalize: bool = True,
    allow_missing: bool = False,
    cache: Path | None = None,
    per_image: Path | None = None,
    workers: int = 1,
    each: Callable[[str, Outcome], None] | None = None,
) -> Results:
    """Score the maps of several methods on several sets.

    Args:
        gt: a folder of ground truths, or the ground truths of each set.
        maps: a folder with METHOD/SET/STEM.png (for one set also METHOD/STEM.png), or the result
            of `find_map_folders`.
        normalize: stretch every map to its own minimum and maximum.
        allow_missing: score a method on a set although maps are missing or unreadable.
        cache: SQLite file that stores scores; unchanged files are not scored again.
        per_image: CSV file to write, with a line for each map.
        workers: number of processes; 1 scores in the caller's process.
        each: function that is called with the set name and the outcome of each image, in order.

    Returns:
        The results. A method without scores on a set has marks that state the reason, and is listed
        in `Results.incomplete`.

    Raises:
        InputError: no map was found, two sets have the same name, a ground truth is unreadable,
            colour images that a metric needs are missing, or a file cannot be written.
    """
    sets = [GtSet.of_folder(Path(gt))] if isinstance(gt, str | Path) else gt
    if isinstance(maps, str | Path):
        maps = find_map_folders(Path(maps), list_methods(Path(maps)), sets)
    names = [item.name for item in sets]
    if len(set(names)) < len(names):
        raise InputError(f"`gt`: set names are not unique: {name_list(names)}. Fix: rename one.")
    for item in sets:
        if needs_rgb() and not item.files.keys() <= item.rgb.keys():
            raise InputError(
                f"`gt` {item.name}: colour images are missing for the metrics "
                f"{name_list(needs_rgb())}. Fix: add the folder RGB, or omit these metrics."
            )
    results = Results(scoring_protocol(mutualformer_sod.__version__, normalize))
    cells: list[Cell] = []
    with ExitStack() as stack:
        pool = stack.enter_context(worker_pool(workers)) if workers > 1 else None
        store = stack.enter_context(closing(ScoreCache(cache, writable=True))) if cache else None
        file = stack.enter_context(per_image_file(per_image)) if per_image else None

        def book(name: str, outcome: Outcome) -> None:
            for method, image in outcome.scores.items() if file else ():
                file.write(name, outcome.stem, method, image.scores, image.flags)
            if each:
                each(name, outcome)

        for item in sets:
            # Incomplete cells are scored, too, so that all problems are reported at once, and the
            # scores are in the cache when the cells are complete.
            scored, gt_notes = score_set(
                [folder for folder in maps if folder.set_name == item.name],
                item.files,
                rgb=item.rgb if needs_rgb() else None,
                normalize=normalize,
                cache=store,
                pool=pool,
                each=partial(book, item.name),
            )
            cells += scored
            results.notes += [
                f"{item.name}: {counted(len(stems), 'ground truth')}, e.g. {stems[0]}: {note}"
                for note, stems in gt_notes.items()
            ]
    _collect(results, cells, {item.name: item for item in sets}, allow_missing)
    return results


def _collect(
    results: Results, cells: Sequence[Cell], sets: dict[str, GtSet], allow_missing: bool
) -> None:
    """Add the scores, curves, marks, notes and protocol of the cells to the results."""
    results.notes += complaints(cells)
    for cell in cells:
        folder, item = cell.folder, sets[cell.folder.set_name]
        name = f"{folder.method}/{folder.set_name}"
        results.protocol["resized"][name] = len(cell.stems[RESIZED])
        if folder.training is not None:
            results.protocol["training"][folder.method] = folder.training
        if cell.problems:
            results.incomplete.append(name)
        scores = {}
        if cell.images and (allow_missing or not cell.problems):
            scores = cell.evaluator.results()
            curves = results.curves.setdefault(folder.set_name, {})
            curves[folder.method] = cell.evaluator.curves()
        count = len(item.whole or item.files)
        marks = row_marks(cell, count, item.usual_count, item.other_version)
        results.add(folder.method, folder.set_name, scores, marks)
