"""Read users' pictures as a viewer shows them, in the formats of cameras and the web.

Unlike benchmark images (`io`), users' pictures are rotated by their orientation tag, blended with
white if transparent, and reduced if huge. Opaque 8-bit RGB and grey pictures of the types JPEG, PNG
and BMP are decoded by `io.read_rgb`, as in the tools for benchmarks, so that all tools decode
them equally.
"""

import contextlib
import io
import math
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.containers import PNG, without_notes
from mutualformer_sod.imaging.decoding import check_file, read_bytes
from mutualformer_sod.imaging.io import read_rgb
from mutualformer_sod.imaging.refused import refuse_by_content

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".apng", ".bmp", ".tif", ".tiff"}
    | {".webp", ".gif", ".ppm", ".pgm"}
)

# Pictures with more pixels are reduced to this number (0.2 GB; twice as much while decoding).
FULL_PIXELS = 64 * 10**6
# Maximum number of pixels of a picture that is not a baseline JPEG; decoding takes 1.3 GB.
WHOLE_PIXELS = 320 * 10**6
# Maximum number of pixels of a baseline JPEG, which is decoded at a fraction of its size.
STREAMED_PIXELS = 1000 * 10**6

_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
_JPEG = ("JPEG", "MPO")  # MPO is a JPEG with previews after it; Pillow's JPEG reader opens it
_CHECKED = (*_JPEG, "PNG", "BMP")  # by containers.check_whole
BAND_PIXELS = 10**6
_PIXEL_LIMIT_LOCK = threading.Lock()


@dataclass(frozen=True)
class Photo:
    """A picture as a viewer shows it."""

    rgb: np.ndarray  # (h, w, 3) uint8, blended with white
    colours: np.ndarray  # (h, w, 3) uint8, not blended; ``rgb`` itself if the picture is opaque
    opacity: np.ndarray | None  # (h, w) uint8, 255 = opaque; None if the picture is opaque
    native_size: tuple[int, int]  # (H, W) after rotation; (h, w) is smaller if the picture is huge
    orientation: int  # EXIF orientation tag, 1 to 8; 1 means no rotation or flip
    notes: tuple[str, ...]  # conversions of the picture, for the user


def read_photo(path: Path | str) -> Photo:
    """Read the first frame of a JPEG (also CMYK), PNG, BMP, TIFF, WebP, GIF or PPM picture.

    16-bit colours are reduced to 8 bits, grey and palettes become RGB, and colour profiles are
    ignored.

    Raises:
        InputError: the file is missing, empty, damaged, too large, or of an unsupported format.
    """
    data = read_bytes(path)
    refuse_by_content(path, data)
    with _opened(path, data) as image:
        shrink = _shrink_factor(path, image)
        orientation = 1 if image.format == "TIFF" else _orientation_of(image)  # Pillow turns TIFFs
        native_size = image.size[::-1] if orientation < 5 else image.size
        notes = []
        # The further frames of an MPO are previews.
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            notes.append(f"the first of {image.n_frames} frames")
        reduced = image.format in _JPEG and shrink in (2, 4, 8)  # the reductions of the decoder
        if not notes and _is_plain(image, data) and (shrink == 1 or reduced):
            rgb, opacity = read_rgb(path, data, shrink), None
        else:
            if image.format in _CHECKED:
                check_file(path, data)
            with _opened(path, without_notes(data)) as pixels:
                rgb, opacity = _decode(path, pixels, shrink, notes)
        if shrink > 1:
            read, whole = (f"{w} x {h}" for w, h in (rgb.shape[1::-1], image.size))
            notes.append(f"huge: read at {read}, the map is {whole}")
    if orientation != 1:
        notes.append("turned by its orientation tag")
    rgb = turn(rgb, orientation)
    if opacity is None or opacity.min() == 255:
        return Photo(rgb, rgb, None, native_size, orientation, tuple(notes))
    notes.append("transparent: blended with white")
    opacity = turn(opacity, orientation)
    return Photo(_on_white(rgb, opacity), rgb, opacity, native_size, orientation, tuple(notes))


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate and flip a stored (H, W, ...) image by its EXIF orientation tag (1 to 8)."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def averaged(image: np.ndarray, pixels: int) -> np.ndarray:
    """Return an image (H, W, ...), averaged to about ``pixels`` pixels if it has more pixels."""
    height, width = image.shape[:2]
    scale = (pixels / (height * width)) ** 0.5
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


@contextlib.contextmanager
def _opened(path: Path | str, data: bytes) -> Iterator[Image.Image]:
    """Open a picture and read its header, without the metadata of a PNG if Pillow refuses them."""
    if data.startswith(PNG):
        check_file(path, data)
    try:
        with warnings.catch_warnings(), _without_pixel_limit():
            warnings.simplefilter("ignore")  # warnings about unusual metadata
            Image.init()  # otherwise open() recognises only some formats
            try:
                image = Image.open(io.BytesIO(data), formats=_FORMATS)
            except Exception:
                plain = without_notes(data, keep=b"eXIf")
                image = Image.open(io.BytesIO(plain), formats=_FORMATS)
            getattr(image, "n_frames", 1)  # reads the headers of all pages of a TIFF, once
    except UnidentifiedImageError:
        raise InputError(
            f"{path}: the file is not a picture of a known format. Fix: convert it to PNG or JPEG"
        ) from None
    except Exception:  # decoders raise errors of any type on damaged files
        raise InputError(f"{path}: the header is damaged. Fix: replace the file") from None
    with image:
        yield image


@contextlib.contextmanager
def _without_pixel_limit() -> Iterator[None]:
    """Disable Pillow's limit on pixels; `_shrink_factor` checks the limit of this package."""
    with _PIXEL_LIMIT_LOCK:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _shrink_factor(path: Path | str, image: Image.Image) -> int:
    """Return the divisor of the sides of a picture; raise InputError if it has too many pixels."""
    pixels = image.width * image.height
    streamed = image.format in _JPEG and not image.info.get("progressive")
    most = STREAMED_PIXELS if streamed else WHOLE_PIXELS
    if pixels > most:
        raise InputError(
            f"{path}: {image.width} x {image.height} pixels are {pixels / 1e6:.0f} megapixels, "
            f"more than {most // 10**6}, the limit of this format. Fix: save a smaller copy"
        )
    factor = math.ceil(math.sqrt(pixels / FULL_PIXELS))
    return 1 << (factor - 1).bit_length() if streamed else factor


def _orientation_of(image: Image.Image) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual metadata
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata must not prevent reading
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Return whether `io.read_rgb` and `_decode` return the same colours."""
    wide = image.format == "PNG" and data[24] == 16
    transparent = "transparency" in image.info
    return image.format in _CHECKED and image.mode in ("RGB", "L") and not (wide or transparent)


def _decode(
    path: Path | str, image: Image.Image, shrink: int, notes: list[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return colours (h, w, 3) and opacity (h, w) or None, as stored, and extend ``notes``."""
    if image.mode == "F":
        raise InputError(f"{path}: floating-point colour is unsupported. Fix: save it in 8 bits")
    width, height = image.size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if shrink > 1:  # only the JPEG decoder reduces while it reads
                image.draft(image.mode, (width // shrink, height // shrink))
            image.load()
            if image.mode.startswith("I"):
                values = np.asarray(image)
                if values.min() < 0 or values.max() > 65535:
                    raise ValueError("values outside 0 to 65535")
                notes.append("16-bit grey: its upper 8 bits are used")
                image = Image.fromarray((values >> 8).astype(np.uint8))
            drafted = image.size != (width, height)
            return _converted(image, 1 if drafted else shrink)
    except MemoryError:
        raise
    except Exception:
        raise InputError(
            f"{path}: the picture cannot be decoded completely. "
            "Fix: replace it, or save it again as PNG"
        ) from None


def _converted(image: Image.Image, factor: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return colours and opacity of a picture, averaged over ``factor`` x ``factor`` pixels."""
    width, height = image.size
    size = -(-height // factor), -(-width // factor)
    rgb = np.empty((*size, 3), np.uint8)
    transparent = "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa")
    opacity = np.empty(size, np.uint8) if transparent else None
    # Bands of rows limit the memory: Pillow copies the picture in each step, at 4 bytes a pixel.
    rows = max(1, BAND_PIXELS // (factor * width))
    for top in range(0, size[0], rows):
        box = 0, factor * top, width, min(factor * (top + rows), height)
        band = image.crop(box).convert("RGBA" if transparent else "RGB")
        pixels = np.asarray(band.reduce(factor) if factor > 1 else band)
        rgb[top : top + rows] = pixels[..., :3]
        if opacity is not None:
            opacity[top : top + rows] = pixels[..., 3]
    return rgb, opacity


def _on_white(rgb: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    blended = np.empty_like(rgb)
    for row in range(len(rgb)):  # 16-bit products of one row at a time
        alpha = opacity[row, :, None].astype(np.uint16)
        blended[row] = (rgb[row] * alpha + 255 * (255 - alpha) + 127) // 255
    return blended
