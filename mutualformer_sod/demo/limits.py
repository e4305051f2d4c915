"""How large an uploaded file is, told from its header: nothing is decoded that is too large."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

from numpy.lib import format as npy
from PIL import Image, UnidentifiedImageError

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import image_size


def check_pixels(path: Path, most: int) -> None:
    """Refuse an image or ``.npy`` array of too many pixels without decoding it.

    A file whose header cannot be understood passes unless it may be large all the same: its reader
    tells what is wrong with it.

    Args:
        path: of the file.
        most: pixels that are allowed.

    Raises:
        InputError: it has more, or hides how many it has.
    """
    size = _npy_size(path) if path.suffix.lower() == ".npy" else _image_size(path)
    if size is None:
        return
    height, width = size
    if height * width > most:
        raise InputError(
            f"{path}: {width} x {height} pixels, and this page takes {most / 1e6:g} megapixels; "
            "save a smaller copy"
        )


def _npy_size(path: Path) -> tuple[int, int] | None:
    """(H, W), where W counts all axes but the first; None if it is no array."""
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
            warnings.simplefilter("ignore")  # Pillow's own limit, and odd metadata
            with Image.open(path) as image:
                return image.height, image.width
    except Image.DecompressionBombError:
        raise InputError(f"{path}: far too many pixels; save a smaller copy") from None
    except UnidentifiedImageError:
        # Other decoders read some TIFFs that Pillow does not, and have no limit of their own.
        if _starts_as_tiff(path):
            raise InputError(f"{path}: a TIFF of a rare kind; save it as PNG or .npy") from None
    except Exception:  # a damaged header, or notes beside it
        pass
    try:
        return image_size(path)
    except InputError:
        return None


def _starts_as_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
