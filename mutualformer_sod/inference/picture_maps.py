"""Pictures in, maps, overlays and cut-outs out: one after the other, resumable."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor
from tqdm import tqdm

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.photos import Photo, read_photo
from mutualformer_sod.imaging.png import read_note, write_png
from mutualformer_sod.inference.overlays import cutout, overlay
from mutualformer_sod.inference.picture_depth import DepthPlan, fit_depth, read_user_depth
from mutualformer_sod.inference.picture_pairs import Picture
from mutualformer_sod.inference.predictor import Predictor, saliency_strips
from mutualformer_sod.inference.progress import ticking
from mutualformer_sod.models.weights import file_sha256

KINDS = ("maps", "overlays", "cutouts")
"""Folders in the output, one a kind of picture."""

SEEN_PIXELS = 16 * 10**6
"""Of larger pictures the network gets an averaged copy: it sees far fewer pixels anyway."""

_AVERAGED_PIXELS = 4 * 10**6  # of that copy, or more
_BAND_PIXELS = 10**6  # painted at once: floating-point colours take many times a picture's memory


@dataclass
class Outcome:
    """What became of the pictures.

    Attributes:
        made: outputs were written now.
        kept: they were there already, from the same picture, weights and settings.
        failed: what was wrong with the others, one line each.
    """

    made: int = 0
    kept: int = 0
    failed: list[str] = field(default_factory=list)


def predict_pictures(
    predictor: Predictor,
    pictures: Sequence[Picture],
    plan: DepthPlan,
    output: Path,
    settings: dict[str, Any],
    *,
    kinds: Sequence[str] = ("maps",),
    overwrite: bool = False,
) -> Outcome:
    """Write ``output/KIND/STEM.png`` for every picture and kind.

    Every file carries what it was made from and with (`png.read_note`); what is there already from
    the same is kept. Remarks are printed, on standard error if a picture failed; the others are
    done all the same. Ctrl-C leaves whole files.

    Args:
        predictor: the network.
        pictures: the pictures.
        plan: how their depth is stored, see `depths.plan_depths`.
        output: the folder.
        settings: plain JSON data that the outputs depend on, such as the weights' checksum.
        kinds: of `KINDS`.
        overwrite: replace files made otherwise.

    Raises:
        InputError: files are there that were made otherwise, or a picture would be replaced.
        OSError: an output cannot be written.
    """
    settings = settings | {
        "size": predictor.size,
        "amp": predictor.amp,
        "modality": predictor.modality,
    }
    outcome = Outcome()
    todo = _without_done(pictures, plan, output, settings, kinds, overwrite)
    outcome.kept = len(pictures) - len(todo)
    with ticking(tqdm(todo, unit="picture", leave=False, disable=None)) as bar:
        for picture in bar:
            bar.set_postfix_str(_one_line(picture.rgb.name), refresh=False)
            ready = None  # two huge pictures at once would take twice the memory
            try:
                ready = _prepare(predictor, picture, plan)
            except (InputError, MemoryError) as error:
                line = str(error) or f"{picture.rgb}: out of memory; save a smaller copy"
                outcome.failed.append(_one_line(line))
                tqdm.write(f"failed: {outcome.failed[-1]}", file=sys.stderr)
                continue
            note = _note(picture, plan, settings)
            for kind in kinds:
                _write(ready, _path(output, kind, picture), kind, note)
            outcome.made += 1
            if ready.notes:
                tqdm.write(
                    _one_line(f"{picture.rgb.name}: {'; '.join(ready.notes)}"), file=sys.stdout
                )
    return outcome


@dataclass(frozen=True)
class _Ready:
    photo: Photo
    logits: Tensor
    notes: list[str]


def _prepare(predictor: Predictor, picture: Picture, plan: DepthPlan) -> _Ready:
    """Read a picture and its depth and run the network."""
    if picture.depth in plan.failed:
        raise InputError(plan.failed[picture.depth])
    photo = read_photo(picture.rgb)
    notes = list(photo.notes)
    seen = _averaged(photo.rgb, predictor.size)
    depth = encoding = None
    if picture.depth is None:
        if plan.encodings:
            notes.append("no depth of that name: colour alone")
    else:
        encoding = plan.encodings[picture.depth]
        raw = read_user_depth(picture.depth)
        depth, remarks = fit_depth(raw, encoding, photo, seen.shape[:2], plan.orientation)
        notes += remarks
    logits = predictor.image_logits(seen, depth, encoding if depth is not None else None)
    if not logits.isfinite().all():
        raise InputError(
            f"{picture.rgb}: the network's output is not finite in --amp {predictor.amp}: give "
            "--amp off, or other weights"
        )
    return _Ready(photo, logits, notes)


def _averaged(rgb: np.ndarray, size: int) -> np.ndarray:
    """The picture, or an averaged copy of a large one: its planes in floating point take memory."""
    height, width = rgb.shape[:2]
    wanted = max(_AVERAGED_PIXELS, (2 * size) ** 2)
    if height * width <= max(SEEN_PIXELS, wanted):
        return rgb
    scale = (wanted / (height * width)) ** 0.5
    smaller = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(rgb, smaller, interpolation=cv2.INTER_AREA)


def _write(ready: _Ready, path: Path, kind: str, note: dict[str, Any]) -> None:
    photo = ready.photo
    if kind == "maps":
        size = photo.native_size
        strips: Iterable[np.ndarray] = map(_as_8_bit, _bands(saliency_strips(ready.logits, size)))
    else:
        size = photo.rgb.shape[:2]
        paint = _cutout_strip if kind == "cutouts" else _overlay_strip
        strips = _painted(photo, _bands(saliency_strips(ready.logits, size)), paint)
    write_png(path, size, strips, note | {"kind": kind})


def _bands(strips: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for strip in strips:
        rows = max(1, _BAND_PIXELS // strip.shape[1])
        for top in range(0, len(strip), rows):
            yield strip[top : top + rows]


def _painted(
    photo: Photo,
    strips: Iterable[np.ndarray],
    paint: Callable[[Photo, slice, np.ndarray], np.ndarray],
) -> Iterator[np.ndarray]:
    top = 0
    for saliency in strips:
        rows = slice(top, top + len(saliency))
        yield paint(photo, rows, saliency)
        top = rows.stop


def _overlay_strip(photo: Photo, rows: slice, saliency: np.ndarray) -> np.ndarray:
    return overlay(photo.rgb[rows], saliency)


def _cutout_strip(photo: Photo, rows: slice, saliency: np.ndarray) -> np.ndarray:
    opacity = None if photo.opacity is None else photo.opacity[rows]
    return cutout(photo.colours[rows], saliency, opacity)


def _as_8_bit(saliency: np.ndarray) -> np.ndarray:
    return np.rint(saliency.astype(np.float64) * 255).astype(np.uint8)  # as io.write_map


def _path(output: Path, kind: str, picture: Picture) -> Path:
    return output / kind / f"{picture.stem}.png"


def _note(picture: Picture, plan: DepthPlan, settings: dict[str, Any]) -> dict[str, Any]:
    """What a picture's outputs depend on."""
    encoding = plan.encodings.get(picture.depth) if picture.depth is not None else None
    if plan.orientation != "auto" and picture.depth is not None:
        settings = settings | {"depth_orientation": plan.orientation}
    return settings | {
        "picture": file_sha256(picture.rgb),
        "depth": file_sha256(picture.depth) if picture.depth is not None else "none",
        "near": encoding.near if encoding is not None else "no depth",
        "depth_kind": encoding.kind if encoding is not None else "no depth",
    }


def _without_done(
    pictures: Sequence[Picture],
    plan: DepthPlan,
    output: Path,
    settings: dict[str, Any],
    kinds: Sequence[str],
    overwrite: bool,
) -> list[Picture]:
    """The pictures whose outputs are not all there.

    Raises:
        InputError: outputs are there that were made otherwise, unless ``overwrite``; or an output
            is one of the pictures or depth maps.
    """
    inputs = [path for item in pictures for path in (item.rgb, item.depth) if path is not None]
    sources = {os.path.realpath(path) for path in inputs}  # pathlib stops at a link to itself
    todo, others = [], []
    for picture in pictures:
        paths = {kind: _path(output, kind, picture) for kind in kinds}
        if replaced := [path for path in paths.values() if os.path.realpath(path) in sources]:
            raise InputError(
                f"{replaced[0]}: would be replaced by an output; give another --output"
            )
        there = {kind: path for kind, path in paths.items() if path.exists()}
        differing = []
        if there:
            note = _note(picture, plan, settings)
            differing = [
                (path, found)
                for kind, path in there.items()
                if (found := _differing(read_note(path), note | {"kind": kind}))
            ]
        if there.keys() != paths.keys() or differing:
            todo.append(picture)
        others += differing
    if others and not overwrite:
        path, found = others[0]
        more = f" (and {len(others) - 1} more files)" if len(others) > 1 else ""
        raise InputError(
            f"{path}{more}: exists, {found}; give another --output, or --overwrite to replace it"
        )
    return todo


def _differing(before: dict[str, Any] | None, now: dict[str, Any]) -> str:
    """In words, what an existing file was made with otherwise; empty if nothing."""
    if before is None:
        return "of unknown origin"
    names = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return f"made with another {', '.join(names)}" if names else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
