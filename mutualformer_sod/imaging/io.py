"""Read colour images, depth maps and ground truths.

Files are read as stored, see `imaging.decoding`; masks by the rule of `imaging.masks`.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.decoding import (
    AS_STORED,
    channel_spread,
    check_file,
    decode,
    one_channel,
    read_bytes,
    varying_alpha,
)
from mutualformer_sod.imaging.masks import read_mask
from mutualformer_sod.imaging.refused import refuse_depth_container

_REDUCED = {
    factor: flag | cv2.IMREAD_IGNORE_ORIENTATION
    for factor, flag in (
        (2, cv2.IMREAD_REDUCED_COLOR_2),
        (4, cv2.IMREAD_REDUCED_COLOR_4),
        (8, cv2.IMREAD_REDUCED_COLOR_8),
    )
}


def read_rgb(path: Path | str) -> np.ndarray:
    """Read a colour image.

    Grey images are repeated over the channels and palettes are applied. An alpha channel is
    removed, not blended: other methods of the field read the stored colour, too.

    Args:
        path: a PNG, JPEG, BMP or TIFF file of 8 bits a channel.

    Returns:
        (H, W, 3) uint8, in RGB order.

    Raises:
        InputError: missing, empty, damaged or not an 8-bit image.
    """
    return decode_rgb(path, read_bytes(path))


def decode_rgb(path: Path | str, data: bytes, shrink: int = 1) -> np.ndarray:
    """Read a colour image from the bytes of a file, see `read_rgb`.

    Args:
        path: for messages.
        data: the whole file.
        shrink: 2, 4 or 8 divides the sides of a JPEG, rounded up, while it is decoded.
    """
    image = decode(path, data, AS_STORED if shrink == 1 else _REDUCED[shrink])
    if image.dtype != np.uint8:
        raise InputError(
            f"{path}: {_depth_of(image)} colour is not read. Fix: convert it to 8 bits"
        )
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    code = cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(image, code)


def read_depth(path: Path | str, thermal: bool = False) -> np.ndarray:
    """Read a depth map as stored; `depth.encoding.depth_to_unit` converts it to [0, 1].

    A third axis of one channel, first or last, or of equal channels is removed. So are differences
    between channels that are JPEG noise, and constant alpha.

    Args:
        path: an image file, or ``.npy`` (never unpickled).
        thermal: convert colours to luminance, for coloured thermal images as in VT5000.

    Returns:
        (H, W) uint8, uint16 or float32. NaN and infinity are kept.

    Raises:
        InputError: missing, empty, damaged, colour-coded, or of an unsupported type.
    """
    if Path(path).suffix.lower() == ".npy":
        return _as_depth(path, _load_npy(path))
    refuse_depth_container(path)
    data = read_bytes(path)
    image = decode(path, data)
    if varying_alpha(image) is not None:
        raise InputError(
            f"{path}: its transparency varies, so that the values are ambiguous."
            " Fix: save it without transparency"
        )
    levels = one_channel(path, data, image)
    if levels is None and thermal:
        levels = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY)
    if levels is None:
        spread = channel_spread(image[..., :3])
        raise InputError(
            f"{path}: colour-coded depth is not read (channels differ by {spread:g})."
            " Fix: store the depth itself as one grey channel"
        )
    return _as_depth(path, levels)


def read_gt(path: Path | str) -> np.ndarray:
    """Read a ground-truth mask by the rule of `imaging.masks.read_mask`.

    Returns:
        (H, W) bool, True for foreground.

    Raises:
        InputError: missing, empty, damaged, or an ambiguous mask.
    """
    return read_mask(path).foreground


def check_size(
    gt: Path | str, gt_size: tuple[int, int], rgb: Path | str, rgb_size: tuple[int, int]
) -> None:
    """Refuse a ground truth of another size than its image; scores would depend on resizing.

    Args:
        gt, rgb: the files, for the message.
        gt_size, rgb_size: (H, W) in pixels.

    Raises:
        InputError: the sizes differ.
    """
    if gt_size != rgb_size:
        one, other = (f"{width} x {height}" for height, width in (gt_size, rgb_size))
        raise InputError(f"{gt}: {one} pixels, but {rgb} has {other}. Fix: bring both to one size")


def image_size(path: Path | str) -> tuple[int, int]:
    """Return the size (H, W) in pixels of an image file or ``.npy``; decode only if needed.

    Raises:
        InputError: missing, empty, damaged or not an image.
    """
    if Path(path).suffix.lower() == ".npy":
        return without_channels(_load_npy(path)).shape[:2]
    data = read_bytes(path)
    return check_file(path, data) or decode(path, data).shape[:2]


def _load_npy(path: Path | str) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception:  # the header is parsed as Python and may raise any error
        raise InputError(
            f"{path}: not a whole .npy array of numbers. Fix: save it with numpy.save"
        ) from None
    if not isinstance(array, np.ndarray) or array.ndim < 2:
        raise InputError(f"{path}: depth must be an (H, W) array. Fix: save it with numpy.save")
    return array


def without_channels(depth: np.ndarray) -> np.ndarray:
    """Convert (H, W, 1), (1, H, W), or (H, W, 3) of equal channels to (H, W)."""
    if depth.ndim == 3 and depth.shape[2] in (1, 3) and channel_spread(depth) == 0:
        return depth[..., 0]
    return depth[0] if depth.ndim == 3 and len(depth) == 1 else depth


def _as_depth(path: Path | str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: {array.dtype} is no depth. Fix: save float32 or uint16")
    array = without_channels(array)
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{path}: depth must be (H, W), (H, W, 1) or (1, H, W), not {array.shape}")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # values beyond float32 become infinite: holes
            array = array.astype(np.float32)
    elif array.dtype != np.uint8:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 65535:
            raise InputError(
                f"{path}: integer depth from {low} to {high} does not fit 16 bits."
                " Fix: save it as float metres or 16-bit millimetres"
            )
        array = array.astype(np.uint16)
    return np.ascontiguousarray(array)


def _depth_of(image: np.ndarray) -> str:
    return {"uint16": "16-bit", "float32": "floating-point"}.get(str(image.dtype), str(image.dtype))
