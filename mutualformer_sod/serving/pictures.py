"""Predict the map of an uploaded picture as `mutualformer-sod predict` does for a file."""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer_sod.errors import InputError, with_flags
from mutualformer_sod.inference.overlays import CutoutStyle
from mutualformer_sod.inference.picture_depth import plan_depths
from mutualformer_sod.inference.picture_maps import PictureOutputs, map_picture
from mutualformer_sod.inference.picture_pairs import Picture
from mutualformer_sod.inference.predictor import Predictor
from mutualformer_sod.serving.limits import check_pixels


@dataclass(frozen=True)
class Asked:
    """Inputs of one request, including the arguments of `CutoutStyle` for a cut-out."""

    kind: str  # one of `overlays.KINDS` or `overlays.CUTOUTS`
    rgb: Path
    depth: Path | None = None  # None for RGB alone
    near: str = "auto"  # as in `picture_depth.plan_depths`
    orientation: str = "auto"  # as in `picture_depth.fit_depth`
    background: str | None = None  # plain background, or the client's name of the file
    background_file: Path | None = None
    crop: bool = False


@dataclass(frozen=True)
class Mapped:
    """Result of a request: the bytes of a PNG file, and remarks for the user."""

    png: bytes
    notes: tuple[str, ...]


class PictureService:
    """Predict maps of pictures one after another.

    Args:
        predictor, settings: the network, and the result of `picture_maps.settings_of`.
        most_pixels: maximum number of pixels of a picture, a depth map or a background.
        estimate: `Predictor.estimator` for pictures without depth, and the settings of the maps
            with estimated depth; None to use RGB alone.
    """

    def __init__(
        self,
        predictor: Predictor,
        settings: dict[str, Any],
        most_pixels: int,
        estimate: tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]] | None = None,
    ) -> None:
        self._most_pixels = most_pixels
        self._with_depth = self._without_depth = predictor, settings
        if estimate is not None:
            alone = copy.copy(predictor)  # with the same network
            alone.estimator, own_settings = estimate
            self._without_depth = alone, own_settings

    def answer(self, asked: Asked, folder: Path) -> Mapped:
        """Write the output of a picture to ``folder``, as ``predict`` does, and return the output.

        Raises:
            InputError: a file is unusable, or the polarity of the depth is uncertain.
            OSError: the output cannot be written.
        """
        for path in filter(None, (asked.rgb, asked.depth, asked.background_file)):
            check_pixels(path, self._most_pixels)
        predictor, settings = self._without_depth if asked.depth is None else self._with_depth
        if asked.depth is not None and predictor.modality == "rgb":
            raise InputError(
                "`depth`: the weights were trained without depth. Fix: leave `depth` out."
            )
        style = CutoutStyle(asked.background, asked.crop, asked.background_file)
        picture = Picture("picture", asked.rgb, asked.depth)
        plan = plan_depths([picture], asked.near, asked.orientation)
        notes = [f"depth: {found.describe()}" for found in plan.encodings.values()]
        outputs = PictureOutputs(folder, settings, (asked.kind,), style)
        remarks, doubts = map_picture(predictor, picture, plan, outputs)
        notes += remarks + [f"depth: {doubt}" for doubt in doubts or ()]
        png = outputs.path(picture, asked.kind).read_bytes()
        return Mapped(png, tuple(map(with_fields, notes)))


def with_fields(message: str) -> str:
    """Replace arguments and flags in a message by form fields: --near black becomes near=black."""
    message = re.sub(r"--([a-z-]+) (white|black|disparity)\b", r"\1=\2", with_flags(message))
    message = message.replace("pass it as --video", "pass it to the command predict")
    return re.sub(r"(?<![\w-])--([a-z][a-z-]*)", r"\1", message)
