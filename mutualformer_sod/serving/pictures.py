"""Check uploaded pictures, predict their maps as `predict` does for files, and describe errors."""

import copy
import logging
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from PIL import Image, UnidentifiedImageError

from mutualformer_sod.errors import InputError, one_line, with_flags
from mutualformer_sod.imaging.containers import TIFF
from mutualformer_sod.imaging.decoding import read_bytes
from mutualformer_sod.imaging.io import image_size
from mutualformer_sod.inference.overlays import CutoutStyle
from mutualformer_sod.inference.picture_depth import plan_depths
from mutualformer_sod.inference.picture_maps import PictureOutputs, map_picture
from mutualformer_sod.inference.picture_pairs import Picture
from mutualformer_sod.inference.predictor import Predictor

_log = logging.getLogger(__name__)


class TooLarge(InputError):
    """A file has more bytes or pixels than allowed."""


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
        most_pixels: maximum number of pixels of an uploaded file.
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
            problem = "`depth`: the weights were trained without depth"
            raise InputError(f"{problem}. Fix: leave `depth` out.")
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


def problem_of(error: Exception, names: Mapping[Path, str]) -> tuple[str, int]:
    """Return a message for the client and the HTTP status; log errors of the server.

    ``names`` maps paths to names that replace them in the message, because a client must not see
    the folders of the server.
    """
    if isinstance(error, InputError):
        line = str(error)
        for path, name in names.items():
            line = line.replace(str(path), name)
        return one_line(line), 413 if isinstance(error, TooLarge) else 422
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "out of memory. Fix: save a smaller copy of the picture.", 413
    if isinstance(error, OSError):
        _log.error("%s", error)
        return "a file cannot be read or written. Fix: see the terminal of the server.", 500
    _log.error("a request failed", exc_info=error)
    return "a defect of this server. Fix: see the terminal of this server.", 500


def check_pixels(path: Path, most: int) -> None:
    """Raise InputError for an image or ``.npy`` array with too many pixels, without decoding it.

    A file with an unknown header is accepted, because its reader reports the problem. But a TIFF
    that Pillow cannot identify is refused: other decoders may read it, and have no limit.
    """
    size = _npy_size(path) if path.suffix.lower() == ".npy" else _image_size(path)
    height, width = size or (0, 0)
    if height * width > most:
        problem = f"has {width} x {height} pixels, more than {most / 1e6:g} megapixels"
        raise TooLarge(f"{path}: {problem}. Fix: save a smaller copy.")


def _npy_size(path: Path) -> tuple[int, int] | None:
    """Return (H, W) with W as the product of the other axes; None for a bad header or one axis."""
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape = read(file)[0]
    except Exception:  # the header is parsed as Python, which may end in any error
        return None
    return (shape[0], math.prod(shape[1:])) if len(shape) >= 2 else None


def _image_size(path: Path) -> tuple[int, int] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit, and unusual metadata
            with Image.open(path) as image:
                return image.height, image.width
    except Image.DecompressionBombError:
        raise TooLarge(f"{path}: has too many pixels. Fix: save a smaller copy.") from None
    except UnidentifiedImageError:
        if read_bytes(path).startswith(TIFF):
            raise InputError(f"{path}: unsupported TIFF. Fix: save PNG or .npy.") from None
    except Exception:  # a damaged header or metadata
        pass
    try:
        return image_size(path)
    except InputError:
        return None
