"""Refuse too large images before they are decoded; describe errors for the client."""

import logging
import math
import warnings
from collections.abc import Mapping
from pathlib import Path

from numpy.lib import format as npy
from PIL import Image, UnidentifiedImageError

from mutualformer_sod.errors import InputError, one_line
from mutualformer_sod.imaging.containers import TIFF
from mutualformer_sod.imaging.decoding import read_bytes
from mutualformer_sod.imaging.io import image_size

_log = logging.getLogger(__name__)


class TooLarge(InputError):
    """A file has more bytes or pixels than allowed."""


def check_pixels(path: Path, most: int) -> None:
    """Raise InputError for an image or ``.npy`` array with too many pixels, without decoding it.

    A file with an unknown header is accepted, because its reader reports the problem. Only a TIFF
    with an unknown header is refused, because other decoders may read the file without a limit.
    """
    size = _npy_size(path) if path.suffix.lower() == ".npy" else _image_size(path)
    height, width = size or (0, 0)
    if height * width > most:
        raise TooLarge(
            f"{path}: has {width} x {height} pixels, more than {most / 1e6:g} megapixels. "
            "Fix: save a smaller copy."
        )


def _npy_size(path: Path) -> tuple[int, int] | None:
    """Return (H, W), where W is the product of all other axes; None without such an array."""
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
        # Other decoders read more kinds of TIFF and have no limit of their own.
        if read_bytes(path).startswith(TIFF):
            raise InputError(f"{path}: unsupported TIFF. Fix: save PNG or .npy.") from None
    except Exception:  # a damaged header or metadata
        pass
    try:
        return image_size(path)
    except InputError:
        return None


def problem_of(error: Exception, names: Mapping[Path, str]) -> tuple[str, int]:
    """Return a message for the client and the HTTP status; log errors of the server.

    ``names`` replace paths in the message: a client must not see the folders of the server.
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
