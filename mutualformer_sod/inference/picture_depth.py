"""Decide the encoding of depth or other maps, and rotate and resize the maps."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mutualformer_sod.data.depth import notes as depth_notes
from mutualformer_sod.data.depth.encoding import DepthEncoding, GreyEncoding
from mutualformer_sod.data.depth.holes import find_holes
from mutualformer_sod.data.depth.kind import DepthSample
from mutualformer_sod.data.depth.polarity import encoding_of
from mutualformer_sod.data.depth.structure import is_unrelated
from mutualformer_sod.data.modality import DEPTH, Encoding, Modality
from mutualformer_sod.errors import InputError, counted
from mutualformer_sod.imaging.io import image_size
from mutualformer_sod.imaging.photos import WHOLE_PIXELS, Photo, turn
from mutualformer_sod.imaging.refused import refuse_depth_container
from mutualformer_sod.inference.picture_pairs import Picture

_FEW = 5  # fewer maps are weak evidence of the polarity


@dataclass
class DepthPlan:
    """Decisions about all input maps, made before the first saliency map is predicted."""

    orientation: str  # see `fit_depth`
    modality: Modality = DEPTH
    encodings: dict[Path, Encoding] = field(default_factory=dict)  # of each readable map
    failed: dict[Path, str] = field(default_factory=dict)  # error message of each unreadable map
    remarks: list[str] = field(default_factory=list)  # lines for the user


def plan_depths(
    pictures: Sequence[Picture], near: str, orientation: str = "auto", modality: Modality = DEPTH
) -> DepthPlan:
    """Decide the encoding of the maps of each number type (8 bits, 16 bits, float).

    Args:
        pictures: files of the pictures and of their maps; only the maps are read.
        near: "auto", "white", "black", "disparity" or "strict"; unused for maps without polarity.
        orientation, modality: those of the maps, as in `fit_depth`.

    Raises:
        InputError: the evidence of the maps contradicts their units, maps may be disparity, or the
            evidence is weak and ``near`` is "strict".
    """
    plan = DepthPlan(orientation, modality)
    groups: dict[str, dict[Path, DepthSample]] = defaultdict(dict)
    paths = [picture.depth for picture in pictures if picture.depth is not None]
    disable = len(paths) < 50 or None  # None shows a bar on a terminal only
    for path in tqdm(paths, modality.name, unit="map", leave=False, disable=disable):
        try:
            depth = read_user_depth(path, modality)
        except InputError as error:
            plan.failed[path] = str(error)
            continue
        groups[str(depth.dtype)][path] = DepthSample.of(depth)
    for samples in groups.values():
        varying = [sample for sample in samples.values() if _is_evidence(sample.pixels)]
        evidence = varying or list(samples.values())
        if not modality.has_polarity:
            plan.encodings |= dict.fromkeys(samples, GreyEncoding.of(evidence, modality.name))
            continue
        encoding = encoding_from(evidence, near)
        plan.encodings |= dict.fromkeys(samples, encoding)
        is_guess = near in ("auto", "strict") and encoding.kind == "map"
        if not varying or (is_guess and encoding.is_weak):  # `encoding_of` has logged a warning
            continue
        remark = f"{modality.name}: near = {encoding.near}: {encoding.reason}"
        if is_guess and len(varying) < _FEW:
            other = "white" if encoding.near == "black" else "black"
            maps = counted(len(varying), "map")
            remark += f"; decided from {maps} alone: pass `near` {other} if wrong"
        plan.remarks.append(remark)
    return plan


def encoding_from(samples: Sequence[DepthSample], near: str) -> DepthEncoding:
    """Decide the encoding as `encoding_of` does; ``near`` may also be "strict"."""
    if near == "strict":
        return encoding_of(samples, strict=True)
    return encoding_of(samples, near)


def read_user_depth(path: Path, modality: Modality = DEPTH) -> np.ndarray:
    """Read a raw map, but refuse an image of more than `photos.WHOLE_PIXELS` pixels."""
    refuse_depth_container(path, modality.name)
    if path.suffix.lower() != ".npy":
        height, width = image_size(path)
        if height * width > WHOLE_PIXELS:
            problem = f"{path}: {width} x {height} pixels are too many"
            raise InputError(f"{problem}. Fix: save a smaller copy.")
    return modality.read(path)


def fit_depth(
    depth: np.ndarray,
    encoding: Encoding,
    photo: Photo,
    size: tuple[int, int],
    orientation: str = "auto",
    modality: Modality = DEPTH,
) -> tuple[np.ndarray | None, list[str]]:
    """Rotate a raw map like its picture, and resize the map by the rule of its modality.

    Args:
        depth, encoding, photo: the raw map, (H, W), its encoding, and its picture.
        size: size (h, w) of the result.
        orientation: "stored": the picture's orientation tag applies to the map, too; "shown": the
            map has the orientation of the picture as shown; "auto": "shown" if the proportions of
            the map match the picture as shown better than as stored, else "stored".

    Returns:
        The raw map (h, w), or None if the map is constant or empty; and remarks for the user.
    """
    noun = modality.name
    valid = depth[~encoding.find_holes(depth)]
    if not valid.any() or valid.min() == valid.max():
        problem = "constant" if valid.any() else "empty"  # no value at all, or 0 everywhere
        return None, [f"{problem} {noun}: RGB only"]
    doubts = depth_notes.doubts_of(DepthSample.of(depth), encoding)
    remarks = (depth_notes.TWO_VALUES, depth_notes.MOSTLY_ZERO)
    notes = [f"{noun}: {doubt}" for doubt in doubts if doubt in remarks]
    if orientation == "auto":
        orientation = "shown" if _fits_turned_only(depth, photo) else "stored"
    if photo.orientation != 1 and orientation == "stored":
        depth = turn(depth, photo.orientation)
        notes.append(f"{noun} rotated with its picture")
    height, width = depth.shape
    if not depth_notes.same_proportions(depth.shape, photo.native_size) and depth.shape != size:
        notes.append(f"{noun}: {depth_notes.STRETCHED}")
    if depth.shape != photo.native_size:
        notes.append(f"{noun} {width} x {height} resized")
    if depth.shape != size:
        depth = cv2.resize(depth, size[::-1], interpolation=modality.interpolation)
    return depth, notes


def doubts_about(depth: np.ndarray, encoding: Encoding, rgb: np.ndarray) -> list[str]:
    """Return the reasons to doubt a map of `fit_depth`, such as `notes.FEW_LEVELS`."""
    doubts = depth_notes.doubts_of(DepthSample.of(depth), encoding)
    little = (depth_notes.FEW_LEVELS, depth_notes.MOSTLY_HOLES)
    doubts = [doubt for doubt in doubts if doubt in little]
    if not isinstance(encoding, GreyEncoding) and is_unrelated(rgb, depth):
        doubts.append(depth_notes.UNRELATED)
    return doubts


def _is_evidence(depth: np.ndarray) -> bool:
    """Return whether a map has two or more values apart from holes."""
    return np.unique(depth[~find_holes(depth, metric=False)]).size > 1


def _fits_turned_only(depth: np.ndarray, photo: Photo) -> bool:
    if photo.orientation < 5:
        return False
    height, width = photo.native_size
    shown = abs(np.log((depth.shape[1] * height) / (depth.shape[0] * width)))
    stored = abs(np.log((depth.shape[1] * width) / (depth.shape[0] * height)))
    return shown < stored
