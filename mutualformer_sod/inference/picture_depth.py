"""Depth of a user's pictures: how it is stored, and brought to the picture it belongs to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from mutualformer_sod.data.depth.holes import find_holes
from mutualformer_sod.data.depth.kind import DepthSample
from mutualformer_sod.data.depth.notes import (
    MOSTLY_ZERO,
    STRETCHED,
    TWO_VALUES,
    doubt_of,
    same_proportions,
)
from mutualformer_sod.data.depth.units import SAMPLE_SIDE, DepthEncoding, encoding_of
from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import image_size, read_depth
from mutualformer_sod.imaging.photos import WHOLE_PIXELS, Photo, turn
from mutualformer_sod.imaging.refused import refuse_depth_container
from mutualformer_sod.inference.picture_pairs import Picture

ORIENTATIONS = ("auto", "stored", "shown")
"""How depth may lie beside a picture with an orientation tag, see `fit_depth`."""

_FEW = 5  # maps from which on their agreement says something


@dataclass
class DepthPlan:
    """What is known of all depth maps before the first picture is mapped.

    Attributes:
        encodings: how each depth file is stored.
        failed: what is wrong with the files that cannot be read.
        remarks: for the user.
        orientation: how the maps lie, see `fit_depth`.
    """

    encodings: dict[Path, DepthEncoding] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    orientation: str = "auto"


def plan_depths(pictures: Sequence[Picture], near: str, orientation: str = "auto") -> DepthPlan:
    """Decide how the depth maps are stored: together for those of one type (8-bit, 16-bit, float).

    Maps of one value, or of none, have no say.

    Args:
        pictures: the pictures.
        near: "auto", "white", "black" or "strict".
        orientation: of `ORIENTATIONS`.

    Raises:
        InputError: maps that contradict their type, or "strict" and weak evidence.
    """
    plan = DepthPlan(orientation=orientation)
    groups: dict[str, dict[Path, DepthSample]] = defaultdict(dict)
    paths = [picture.depth for picture in pictures if picture.depth is not None]
    quiet = True if len(paths) < 50 else None  # None: no bar where nobody looks on
    for path in tqdm(paths, "depth", unit="map", leave=False, disable=quiet):
        try:
            depth = read_user_depth(path)
        except InputError as error:
            plan.failed[path] = str(error)
            continue
        groups[str(depth.dtype)][path] = DepthSample.of(depth, SAMPLE_SIDE)
    for samples in groups.values():
        telling = [sample for sample in samples.values() if _varies(sample.pixels)]
        strict = near == "strict"
        side = "auto" if strict else near
        encoding = encoding_of(telling or list(samples.values()), side, strict=strict)
        plan.encodings |= dict.fromkeys(samples, encoding)
        told = side == "auto" and encoding.kind == "map"
        if telling and not (told and encoding.is_weak):  # that has been logged, with the remedy
            remark = f"depth: near = {encoding.near}: {encoding.reason}"
            if told and len(telling) < _FEW:
                other = "white" if encoding.near == "black" else "black"
                remark += (
                    f"; told from {len(telling)} map{'s' * (len(telling) > 1)} alone: if near "
                    f"things are the other way round, give --near {other}"
                )
            plan.remarks.append(remark)
    return plan


def read_user_depth(path: Path) -> np.ndarray:
    """As `io.read_depth`, with a limit on the pixels.

    Raises:
        InputError: also above ``photos.WHOLE_PIXELS`` pixels.
    """
    refuse_depth_container(path)
    if path.suffix.lower() != ".npy":
        height, width = image_size(path)
        if height * width > WHOLE_PIXELS:
            raise InputError(f"{path}: {width} x {height} pixels are too many; save it smaller")
    return read_depth(path)


def fit_depth(
    depth: np.ndarray,
    encoding: DepthEncoding,
    photo: Photo,
    size: tuple[int, int],
    orientation: str = "auto",
) -> tuple[np.ndarray | None, list[str]]:
    """Turn and resize depth as stored to its picture.

    Sizes are matched by nearest neighbour, which invents no depth.

    Args:
        depth: (H, W) as stored.
        encoding: how it is stored.
        photo: the picture.
        size: (h, w) that is needed.
        orientation: "stored" if the depth lies like the picture's file, so that the picture's
            orientation tag holds for it too; "shown" if it lies like the turned picture; "auto"
            takes it for stored unless its sides fit the turned picture only.

    Returns:
        (h, w) as stored, or None where it says nothing (one value, or none); and remarks.
    """
    valid = depth[~encoding.find_holes(depth)]
    if not valid.any():  # no value, or a camera's 0 everywhere
        return None, ["empty depth: colour alone"]
    if valid.min() == valid.max():
        return None, ["depth of one value: colour alone"]
    doubt = doubt_of(DepthSample.of(depth, SAMPLE_SIDE), encoding)
    notes = [f"depth: {doubt}"] if doubt in (TWO_VALUES, MOSTLY_ZERO) else []
    if orientation == "auto":
        orientation = "shown" if _fits_turned_only(depth, photo) else "stored"
    if photo.orientation != 1 and orientation == "stored":
        depth = turn(depth, photo.orientation)
        notes.append("depth turned with its picture")
    height, width = depth.shape
    if not same_proportions(depth.shape, photo.native_size) and (height, width) != size:
        notes.append(f"depth: {STRETCHED}")
    if depth.shape != photo.native_size:
        notes.append(f"depth {width} x {height} resized")
    if depth.shape != tuple(size):
        depth = cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return depth, notes


def _varies(depth: np.ndarray) -> bool:
    valid = depth[~find_holes(depth, metric=False)]
    return valid.size > 0 and bool(valid.min() < valid.max())


def _fits_turned_only(depth: np.ndarray, photo: Photo) -> bool:
    """Whether only the picture as shown, not as stored, has the depth's proportions."""
    if photo.orientation < 5:
        return False
    height, width = photo.native_size
    shown = abs(np.log((depth.shape[1] * height) / (depth.shape[0] * width)))
    stored = abs(np.log((depth.shape[1] * width) / (depth.shape[0] * height)))
    return bool(shown < stored)
