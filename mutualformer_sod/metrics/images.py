"""Files of an evaluation: saliency maps and ground truths, read strictly or refused by name.

A reader that shrugs at a broken file changes a table without a word: cv2 fills the rest of a
truncated image, and a mask stored as 0/1 is empty under the field's rule "foreground > 128".
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_TAIL = 4096  # bytes at the end in which a JPEG's end marker is looked for
# Difference of colour channels that JPEG's chroma coding leaves in a grey image.
_CHROMA_NOISE = 16
# 8-bit values that are neither clearly background nor clearly foreground, and the share of them
# that JPEG noise explains: of all pixels, or where there are more, away from resampled edges.
_MIDDLE = (64, 192)
_MIDDLE_SHARE = 0.05
_EDGE_SHARE, _INNER_SHARE = 0.25, 0.005


def read_saliency(path: Path) -> np.ndarray:
    """Read a saliency map as (H, W) uint8.

    Equal colour channels become one and transparency is dropped; 16-bit maps lose their lower byte,
    as in a greyscale read by cv2.

    Raises:
        InputError: missing, unreadable or incomplete file, colour image, other depth than 8 or 16.
    """
    return saliency_from_bytes(read_bytes(path), path)


def read_ground_truth(path: Path) -> tuple[np.ndarray, str]:
    """Read a ground truth as (H, W) bool and a note on how it was understood, "" if 0/255.

    Raises:
        InputError: missing, unreadable or incomplete file, or an image that is not clearly a mask.
    """
    return ground_truth_from_bytes(read_bytes(path), path)


def saliency_from_bytes(content: bytes, path: Path) -> np.ndarray:
    """As `read_saliency`, from the file's content; the path serves the messages."""
    levels = _one_channel(decode(content, path), content, path)
    if levels is None:
        raise InputError(f"{path}: a colour image, not a saliency map; save it as greyscale")
    if levels.dtype == np.uint16:
        return (levels >> 8).astype(np.uint8)
    if levels.dtype != np.uint8:
        raise InputError(f"{path}: {levels.dtype} saliency map; save it as 8-bit PNG")
    return levels


def ground_truth_from_bytes(content: bytes, path: Path) -> tuple[np.ndarray, str]:
    """As `read_ground_truth`, from the file's content; the path serves the messages."""
    image = decode(content, path)
    alpha = _varying_alpha(image)
    if alpha is not None and (image[..., :3] == image[0, 0, :3]).all():
        return _binarise(alpha, path)[0], "mask taken from the alpha channel"
    levels = _one_channel(image, content, path)
    if levels is None:
        mask, note = _painted(image, path), "one colour on black, foreground = colour"
    else:
        mask, note = _binarise(levels, path)
    if alpha is not None and ((alpha > 0) != mask).any():
        raise InputError(
            f"{path}: ground truth with another mask in its transparency; save foreground as 255, "
            "the rest as 0, without transparency"
        )
    return mask, note


def read_bytes(path: Path) -> bytes:
    """Read a file; a missing or empty one is an `InputError`."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; restore the file") from error
    if not content:
        raise InputError(f"{path}: empty file (0 bytes); restore the file")
    return content


def decode(content: bytes, path: Path) -> np.ndarray:
    """Decode a complete image as stored: (H, W) or (H, W, channels), any depth, EXIF ignored.

    Raises:
        InputError: not an image, or an incomplete or damaged one.
    """
    _check_complete(content, path)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or image.size == 0:
        raise InputError(f"{path}: not a readable image; write it again")
    return image


def _check_complete(content: bytes, path: Path) -> None:
    """Refuse truncated and damaged PNG and truncated JPEG: cv2 would fill in what is missing."""
    if content.startswith(_PNG_SIGNATURE):
        complete = _png_is_complete(content)
    elif content.startswith(_JPEG_SIGNATURE):
        complete = _JPEG_END in content[-_TAIL:]
    else:
        return
    if not complete:
        raise InputError(f"{path}: truncated or damaged image; write it again")


def _png_is_complete(content: bytes) -> bool:
    """Whether every chunk up to the end chunk is there and has its checksum."""
    view, position = memoryview(content), len(_PNG_SIGNATURE)
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 8 + length
        if end + 4 > len(content):
            return False
        (checksum,) = struct.unpack_from(">I", content, end)
        if zlib.crc32(view[position + 4 : end]) != checksum:
            return False
        if content[position + 4 : position + 8] == b"IEND":
            return True
        position = end + 4
    return False


def _one_channel(image: np.ndarray, content: bytes, path: Path) -> np.ndarray | None:
    """The grey values of an image without colour, or None; transparency is dropped."""
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return image[..., 0]
    if image.shape[2] not in (3, 4):
        raise InputError(f"{path}: image of {image.shape[2]} channels; save it as greyscale")
    first, second, third = cv2.split(image)[:3]
    if np.array_equal(first, second) and np.array_equal(second, third):
        return first
    spread = image[..., :3].max(axis=2) - image[..., :3].min(axis=2)
    if image.dtype == np.uint8 and spread.max() <= _CHROMA_NOISE:
        # As everyone reads it: the decoders weigh the channels otherwise than cvtColor.
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    return None


def _varying_alpha(image: np.ndarray) -> np.ndarray | None:
    """The alpha channel where it is not the same everywhere."""
    if image.ndim != 3 or image.shape[2] != 4:
        return None
    alpha = np.ascontiguousarray(image[..., 3])
    return alpha if alpha.min() != alpha.max() else None


def _painted(image: np.ndarray, path: Path) -> np.ndarray:
    """Foreground of a mask painted on black in one colour; several could be anything."""
    painted = image[..., :3].any(axis=2)
    colours = image[..., :3][painted]
    if painted.all() or (colours != colours[0]).any():
        raise InputError(
            f"{path}: ground truth with several colours; save foreground as 255, the rest as 0"
        )
    return painted


def _binarise(levels: np.ndarray, path: Path) -> tuple[np.ndarray, str]:
    """Foreground of a grey image that is clearly a mask."""
    low, high = levels.min(), levels.max()
    full = np.iinfo(levels.dtype).max if levels.dtype.kind == "u" else None
    remedy = "save foreground as 255, the rest as 0"
    if low == high:
        bright = full == 255 and low >= _MIDDLE[1]  # what JPEG makes of a full mask
        if low not in (0, full) and not bright:
            raise InputError(f"{path}: ground truth has the value {low} everywhere; {remedy}")
        return levels > 0, ""
    if low == 0 and np.isfinite(high) and bool(((levels == 0) | (levels == high)).all()):
        note = "" if high == full else f"values 0 and {high}, foreground = {high}"
        return levels == high, note
    if full is None:
        raise InputError(f"{path}: {levels.dtype} ground truth is not two-valued; {remedy}")
    if levels.dtype == np.uint16:
        levels, low, high = levels >> 8, low >> 8, high >> 8
    if low >= _MIDDLE[0] or high < _MIDDLE[1] or not _is_mask_with_noise(levels):
        raise InputError(f"{path}: ground truth is not two-valued ({_values(levels)}); {remedy}")
    return levels > 128, "more than two values, foreground = above 128"


def _is_mask_with_noise(levels: np.ndarray) -> bool:
    """Whether an 8-bit image is a mask but for JPEG noise and soft edges."""
    middle = (levels >= _MIDDLE[0]) & (levels < _MIDDLE[1])
    share = np.count_nonzero(middle) / levels.size
    if share <= _MIDDLE_SHARE:
        return True
    mask, around = (levels > 128).view(np.uint8), np.ones((5, 5), np.uint8)
    inner = middle & (cv2.dilate(mask, around) == cv2.erode(mask, around))
    return share <= _EDGE_SHARE and np.count_nonzero(inner) / levels.size <= _INNER_SHARE


def _values(levels: np.ndarray) -> str:
    values = np.unique(levels)
    listed = ", ".join(str(value) for value in values[:4])
    return f"values {listed}" + (f", ... {values[-1]}" if values.size > 4 else "")
