"""Check the size of uploaded images by their headers, before the images are decoded."""

import math
import warnings
from pathlib import Path

from numpy.lib import format as npy
from PIL import Image, UnidentifiedImageError

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.containers import TIFF
from mutualformer_sod.imaging.decoding import read_bytes
from mutualformer_sod.imaging.io import image_size


class TooLarge(InputError):
    """A file has more bytes or pixels than allowed."""


def check_pixels(path: Path, most: int) -> None:
    """Raise InputError for an image or ``.npy`` array with too many pixels, without decoding it.

    A file with an unknown header is accepted, because its reader reports the problem. But a TIFF
    that Pillow cannot identify is refused: other decoders may read it, and have no limit.
    """
    size = _npy_size(path) if path.suffix.lower() == ".npy" else _image_size(path)
    height, width = size or (0, 0)
    if height * width > most:
        raise TooLarge(
            f"{path}: has {width} x {height} pixels, more than {most / 1e6:g} megapixels. "
            "Fix: save a smaller copy."
        )


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
