"""Write maps, overlays and cut-outs of a user's pictures in a run that can be resumed."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mutualformer_sod.errors import InputError, OutputExists, counted, one_line
from mutualformer_sod.files import file_sha256
from mutualformer_sod.imaging.photos import averaged, read_photo
from mutualformer_sod.imaging.png import read_note, write_png
from mutualformer_sod.inference import picture_depth
from mutualformer_sod.inference.overlays import CUTOUTS, TRANSPARENT, CutoutStyle, cut_out, paint
from mutualformer_sod.inference.picture_depth import DepthPlan
from mutualformer_sod.inference.picture_pairs import Picture
from mutualformer_sod.inference.predictor import Predictor, saliency_strips
from mutualformer_sod.inference.progress import ticking
from mutualformer_sod.output_folder import changed

# Pictures above this number of pixels are averaged to a smaller copy, enough for the network.
_SEEN_PIXELS = 16 * 10**6
_AVERAGED_PIXELS = 4 * 10**6  # minimum number of pixels of the smaller copy of a picture


@dataclass
class Outcome:
    """Results of `predict_pictures`."""

    made: int = 0  # pictures whose outputs were written in this run
    kept: int = 0  # pictures whose outputs already existed
    failed: list[str] = field(default_factory=list)  # one line for each failed picture
    depths: int = 0  # depth maps that were used
    doubts: dict[str, list[str]] = field(default_factory=dict)  # doubt -> names of depth files


@dataclass(frozen=True)
class PictureOutputs:
    """The output files of a run, ``folder/KIND/STEM.png``."""

    folder: Path
    settings: dict[str, Any]  # JSON data that the files depend on, see `settings_of`
    kinds: Sequence[str] = ("maps",)  # of `overlays.KINDS` and `overlays.CUTOUTS`
    style: CutoutStyle = TRANSPARENT

    def path(self, picture: Picture, kind: str) -> Path:
        """Return the path of the output of one kind for a picture."""
        return self.folder / kind / f"{picture.stem}.png"


def settings_of(weights: Path, estimator: Path | None = None) -> dict[str, str]:
    """Return the checksums of the weights of a network, and of a depth estimator if any."""
    settings = {"weights": file_sha256(weights)}
    return settings if estimator is None else settings | {"depth_estimator": file_sha256(estimator)}


def predict_pictures(
    predictor: Predictor,
    pictures: Sequence[Picture],
    plan: DepthPlan,
    outputs: PictureOutputs,
    *,
    overwrite: bool = False,
) -> Outcome:
    """Write the outputs of every picture, and print remarks.

    Each output file records its inputs and settings, see `png.read_note`. Existing outputs with the
    same record stay unchanged; other outputs are replaced only with ``overwrite``. A picture that
    fails is reported on standard error, and does not stop the run. Ctrl-C leaves no partial file.

    Raises:
        OutputExists: existing outputs have another record, or an output would replace an input.
        OSError: an output cannot be written.
    """
    todo = _without_done(predictor, pictures, plan, outputs, overwrite)
    outcome = Outcome(kept=len(pictures) - len(todo))
    with ticking(tqdm(todo, unit="picture", leave=False, disable=None)) as bar:
        for picture in bar:
            bar.set_postfix_str(one_line(picture.rgb.name), refresh=False)
            try:
                notes, doubts = map_picture(predictor, picture, plan, outputs)
            except (InputError, MemoryError) as error:
                line = str(error) or f"{picture.rgb}: out of memory. Fix: save a smaller copy."
                outcome.failed.append(one_line(line))
                tqdm.write(f"failed: {outcome.failed[-1]}", file=sys.stderr)
                continue
            outcome.made += 1
            outcome.depths += doubts is not None
            for doubt in doubts or ():
                outcome.doubts.setdefault(doubt, []).append(picture.depth.name)
            if notes:
                tqdm.write(one_line(f"{picture.rgb.name}: {'; '.join(notes)}"), file=sys.stdout)
    return outcome


def map_picture(
    predictor: Predictor, picture: Picture, plan: DepthPlan, outputs: PictureOutputs
) -> tuple[list[str], list[str] | None]:
    """Write the outputs of one picture, and replace existing outputs of the picture.

    Returns:
        Remarks for the user; and the doubts about the depth map, or None if no depth map was used.

    Raises:
        InputError: the picture or its depth map is unusable.
        OSError: an output cannot be written.
    """
    if picture.depth in plan.failed:
        raise InputError(plan.failed[picture.depth])
    photo = read_photo(picture.rgb)
    notes, seen = list(photo.notes), photo.rgb
    if seen.size > 3 * _SEEN_PIXELS:
        seen = averaged(seen, max(_AVERAGED_PIXELS, (2 * predictor.size) ** 2))
    depth = encoding = doubts = None
    if picture.depth is not None:
        raw = picture_depth.read_user_depth(picture.depth, plan.modality)
        encoding = plan.encodings[picture.depth]
        how = plan.orientation, plan.modality
        depth, remarks = picture_depth.fit_depth(raw, encoding, photo, seen.shape[:2], *how)
        notes += remarks
        doubts = None if depth is None else picture_depth.doubts_about(depth, encoding, seen)
    elif plan.encodings:
        notes.append(f"has no matching {plan.modality.name}: RGB only")
    logits = predictor.image_logits(seen, depth, encoding if depth is not None else None)
    predictor.check_finite(logits, str(picture.rgb))
    for kind, record in _records(predictor, picture, plan, outputs).items():
        size = photo.native_size if kind == "maps" else photo.rgb.shape[:2]
        strips = saliency_strips(logits, size)
        if kind == CUTOUTS:
            image = cut_out(photo, strips, outputs.style)
            size, strips = image.shape[:2], [image]
        else:
            strips = paint(kind, photo, strips)
        write_png(outputs.path(picture, kind), size, strips, record)
    return notes, doubts


def _records(
    predictor: Predictor, picture: Picture, plan: DepthPlan, outputs: PictureOutputs
) -> dict[str, dict[str, Any]]:
    """Return the record in the output file of each kind."""
    settings = outputs.settings | predictor.settings
    encoding = plan.encodings.get(picture.depth)
    if plan.orientation != "auto" and picture.depth is not None:
        settings["depth_orientation"] = plan.orientation
    noun = plan.modality.name
    settings |= {
        "picture": file_sha256(picture.rgb),
        noun: file_sha256(picture.depth) if picture.depth is not None else "none",
        "near": encoding.near if encoding is not None else f"no {noun}",
        f"{noun}_kind": encoding.kind if encoding is not None else f"no {noun}",
    }
    records = {kind: settings | {"kind": kind} for kind in outputs.kinds}
    if CUTOUTS in records:
        style = {"background": outputs.style.background, "crop": outputs.style.crop}
        records[CUTOUTS] |= {"colours": "estimated"} | style
    return records


def _without_done(
    predictor: Predictor,
    pictures: Sequence[Picture],
    plan: DepthPlan,
    outputs: PictureOutputs,
    overwrite: bool,
) -> list[Picture]:
    """Return the pictures with a missing output, or one of other settings or unknown origin."""
    # Path.resolve raises for a link to itself.
    sources = {os.path.realpath(p) for item in pictures for p in (item.rgb, item.depth) if p}
    todo: list[Picture] = []
    others: dict[Path, str] = {}
    for picture in pictures:
        kinds = {outputs.path(picture, kind): kind for kind in outputs.kinds}
        for path in kinds:
            if os.path.realpath(path) in sources:
                raise OutputExists(f"{path}: would replace an input. Fix: pass another `output`.")
        there = [path for path in kinds if path.exists()]
        records = _records(predictor, picture, plan, outputs) if there else {}
        found = {path: _differing(path, records[kinds[path]]) for path in there}
        differing = {path: problem for path, problem in found.items() if problem}
        if len(there) < len(kinds) or differing:
            todo.append(picture)
        others |= differing
    if others and not overwrite:
        path, problem = next(iter(others.items()))
        more = f" (and {counted(len(others) - 1, 'more file')})" if len(others) > 1 else ""
        remedy = "pass another `output`, or `overwrite` to replace the files"
        raise OutputExists(f"{path}{more}: exists, {problem}. Fix: {remedy}.")
    return todo


def _differing(path: Path, now: dict[str, Any]) -> str:
    """Describe how a file's record differs from ``now``; return "" if both agree."""
    before = read_note(path)
    if before is None:
        return "of unknown origin"
    names = changed(before, dict.fromkeys(before) | now)
    return f"made with other values of {', '.join(names)}" if names else ""
