"""Read colour images, depth maps, masks and saliency maps as stored; write saliency maps."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing
from mutualformer_sod.imaging.decoding import (
    channel_spread,
    check_file,
    decode,
    one_channel,
    read_bytes,
    varying_alpha,
)
from mutualformer_sod.imaging.masks import read_mask
from mutualformer_sod.imaging.refused import refuse_depth_container

_NPY = b"\x93NUMPY"  # the first bytes of a .npy file
_ROUNDING = 1e-6  # rounding error of float32 sums and products near 0 and 1
_DECODERS = {  # flags of cv2 by divisor of the sides
    1: cv2.IMREAD_UNCHANGED,
    2: cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_IGNORE_ORIENTATION,
    4: cv2.IMREAD_REDUCED_COLOR_4 | cv2.IMREAD_IGNORE_ORIENTATION,
    8: cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION,
}


def read_rgb(path: Path | str, data: bytes | None = None, shrink: int = 1) -> np.ndarray:
    """Read a PNG, JPEG, BMP or TIFF of 8 bits per channel as (H, W, 3) uint8, RGB.

    Grey images are repeated over the channels and palettes are applied. An alpha channel is
    removed, not blended: other methods of the field read the stored colour, too.

    Args:
        data: the content of the file, if it has been read.
        shrink: divisor of the sides of a decoded JPEG: 1, 2, 4 or 8. Quotients are rounded up.

    Raises:
        InputError: the file is missing, empty, damaged or not an 8-bit image.
    """
    image = decode(path, read_bytes(path) if data is None else data, _DECODERS[shrink])
    if image.dtype != np.uint8:
        raise InputError(f"{path}: {image.dtype} colour is unsupported. Fix: convert it to 8 bits")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    code = cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(image, code)


def read_depth(path: Path | str) -> np.ndarray:
    """Read a depth map as stored, from an image file or ``.npy`` (never unpickled).

    A channel axis is removed if it has one channel (as first or last axis), equal channels, or
    channels that differ only by JPEG noise. A constant alpha channel is removed.

    Returns:
        (H, W) uint8, uint16 or float32, with NaN and infinity as stored.
        `depth.encoding.depth_to_unit` converts depth to [0, 1].

    Raises:
        InputError: the file is missing, empty, damaged or colour-coded; or the type, shape, range
            or transparency of the map is unsupported.
    """
    return read_map(path, "depth", _refuse_coloured_depth)


def read_map(
    path: Path | str, noun: str, levels_of: Callable[[Path | str, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Read the map of a second modality, called ``noun`` in messages, as `read_depth` does.

    ``levels_of`` returns the levels (H, W) of a colour image from its path and its channels
    (H, W, 3) in cv2's order, or raises InputError.
    """
    if Path(path).suffix.lower() == ".npy":
        return _as_map(path, _load_npy(path, noun=noun), noun)
    refuse_depth_container(path, noun)
    data = read_bytes(path)
    image = decode(path, data)
    if varying_alpha(image) is not None:
        raise InputError(
            f"{path}: its transparency varies, so the values are ambiguous."
            " Fix: save it without transparency"
        )
    if (levels := one_channel(path, data, image)) is None:
        levels = levels_of(path, image[..., :3])
    return _as_map(path, levels, noun)


def _refuse_coloured_depth(path: Path | str, image: np.ndarray) -> np.ndarray:
    spread = channel_spread(image)
    raise InputError(
        f"{path}: colour-coded depth and HHA are unsupported (channels differ by {spread:g})."
        " Fix: store the depth itself, or the disparity channel of HHA, as one grey channel"
    )


def read_gt(path: Path | str) -> np.ndarray:
    """Read the foreground of a mask, (H, W) bool, with `masks.read_mask`."""
    return read_mask(path).foreground


def check_size(
    gt: Path | str, gt_size: tuple[int, int], rgb: Path | str, rgb_size: tuple[int, int]
) -> None:
    """Raise InputError if the sizes (H, W) of a ground truth and its image differ.

    If the ground truth were resized, scores would depend on the method of resizing.
    """
    if gt_size != rgb_size:
        one, other = (f"{width} x {height}" for height, width in (gt_size, rgb_size))
        raise InputError(f"{gt}: {one} pixels, but {rgb} has {other}. Fix: bring both to one size")


def image_size(path: Path | str) -> tuple[int, int]:
    """Return the size (H, W) in pixels of an image or ``.npy``, and decode the file only if needed.

    Raises:
        InputError: the file is missing, empty, damaged or not an image.
    """
    if Path(path).suffix.lower() == ".npy":
        return without_channels(_load_npy(path)).shape[:2]
    data = read_bytes(path)
    return check_file(path, data) or decode(path, data).shape[:2]


def without_channels(depth: np.ndarray) -> np.ndarray:
    """Convert (H, W, 1), (1, H, W), or (H, W, 3) of equal channels to (H, W)."""
    if depth.ndim == 3 and depth.shape[2] in (1, 3) and channel_spread(depth) == 0:
        return depth[..., 0]
    return depth[0] if depth.ndim == 3 and len(depth) == 1 else depth


def to_stored_type(name: object, depth: np.ndarray, noun: str = "depth") -> np.ndarray:
    """Convert numbers to uint8, uint16 or float32, the types of `read_depth`.

    Raises:
        InputError: integers are outside 0 to 65535. The message begins with ``name``.
    """
    if depth.dtype.kind == "f":
        with np.errstate(over="ignore"):  # values beyond float32 become infinite: holes
            return depth.astype(np.float32)
    if depth.dtype == np.uint8:
        return depth
    low, high = int(depth.min()), int(depth.max())
    if low < 0 or high > 65535:
        raise InputError(
            f"{name}: integer {noun} from {low} to {high} exceeds the range of 16 bits."
            f" Fix: use {'float metres or 16-bit millimetres' if noun == 'depth' else 'float32'}"
        )
    return depth.astype(np.uint16)


def read_saliency(path: Path | str, data: bytes | None = None) -> np.ndarray:
    """Read a saliency map as (H, W) uint8.

    The evaluation protocol is for 8-bit maps, so other types are converted:

    - Floating-point values in [0, 1] become 255 times the value, rounded half to even, as in
      `write_map`. Values up to 1e-6 outside [0, 1] are clipped. Integral values from 0 to 255 are
      8-bit levels in floating-point maps with a value above 1, and in integer maps except uint16.
    - uint16 values lose their lower byte, as in cv2's greyscale reading. True becomes 255.
    - Equal colour channels become one channel. Transparency and axes of length 1 are removed.

    ``path`` is an image file or ``.npy`` (never unpickled); ``data`` is its content, if read.

    Raises:
        InputError: the file is missing, unreadable, incomplete or a colour image; or the type,
            shape or range of values is unsupported.
    """
    data = read_bytes(path) if data is None else data
    if data.startswith(_NPY) or Path(path).suffix.lower() == ".npy":
        levels = _load_npy(path, data, "saliency")
        while levels.ndim > 3 and len(levels) == 1:
            levels = levels[0]
        levels = without_channels(levels.astype(levels.dtype.newbyteorder("=")))
        if levels.ndim != 2 or levels.size == 0:
            raise InputError(
                f"{path}: shape {levels.shape} is not a saliency map. Fix: save one map (H, W)."
            )
    elif (levels := one_channel(path, data, decode(path, data))) is None:
        raise InputError(f"{path}: a saliency map must not have colours. Fix: save it as greyscale")
    return _eight_bits(path, levels)


def _eight_bits(path: Path | str, values: np.ndarray) -> np.ndarray:
    """Convert a saliency map (H, W) of any type to uint8 by the rules of `read_saliency`."""
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype == np.uint16:
        return (values >> 8).astype(np.uint8)
    if values.dtype == bool:
        return values * np.uint8(255)
    if values.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: a saliency map of type {values.dtype} is unsupported. "
            "Fix: save it as 8-bit PNG."
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(
            f"{path}: the saliency map contains NaN or infinity. Fix: save values in [0, 1]."
        )
    low, high = values.min(), values.max()
    if values.dtype.kind == "f" and low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return to_levels(values.clip(0, 1))
    if low >= 0 and high <= 255 and (values == np.rint(values)).all():
        return values.astype(np.uint8)
    raise InputError(
        f"{path}: {values.dtype} saliency from {low} to {high} is neither in [0, 1] nor in 8-bit "
        "levels. Fix: save values in [0, 1] (divide by 255, or apply the sigmoid), or an 8-bit PNG."
    )


def write_map(path: Path | str, saliency: np.ndarray) -> None:
    """Write a saliency map, (H, W) float in [0, 1], as 8-bit PNG.

    A level is 255 times the value, rounded half to even. The path ends in ``.png``. Missing folders
    are created; an existing file is replaced.

    Raises:
        ValueError: the map has a wrong shape, or values outside [0, 1].
    """
    if saliency.ndim != 2 or not (saliency.min() >= 0 and saliency.max() <= 1):
        extent = f"{saliency.shape} from {saliency.min()} to {saliency.max()}"
        raise ValueError(f"{path}: the map is {extent}. Fix: pass (H, W) in [0, 1].")
    write_image(Path(path), to_levels(saliency))


def to_levels(values: np.ndarray, most: int | np.ndarray = 255) -> np.ndarray:
    """Convert values in [0, 1] to uint8 levels, ``most`` times the value, rounded half to even."""
    # In float64 the product is exact for a float32 map, so that only rint rounds.
    return np.rint(values.astype(np.float64) * most).astype(np.uint8)


def write_image(path: Path, pixels: np.ndarray, flags: Sequence[int] = ()) -> None:
    """Write an image, in cv2's channel order, in the format of the path's suffix.

    ``flags`` are those of ``cv2.imencode``.
    """
    _, encoded = cv2.imencode(path.suffix, pixels, flags)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _load_npy(path: Path | str, data: bytes | None = None, noun: str = "depth") -> np.ndarray:
    """Read an array with two or more axes, from ``data`` if the file has been read."""
    data = read_bytes(path) if data is None else data
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception:  # the header is parsed as Python and may raise any error
        raise InputError(
            f"{path}: not a complete .npy array of numbers. Fix: save it with numpy.save"
        ) from None
    if not isinstance(array, np.ndarray) or array.ndim < 2:
        raise InputError(f"{path}: {noun} must be an (H, W) array. Fix: save it with numpy.save")
    return array


def _as_map(path: Path | str, array: np.ndarray, noun: str) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: type {array.dtype} is unsupported for {noun}. Fix: save float32 or uint16"
        )
    array = without_channels(array)
    if noun == "depth" and array.ndim == 3 and array.shape[2] == 3:
        raise InputError(
            f"{path}: three different channels (HHA?) are unsupported as depth. Fix: store the"
            " depth itself, or the disparity channel of HHA, as (H, W)"
        )
    if array.ndim != 2 or array.size == 0:
        raise InputError(
            f"{path}: {noun} has shape {array.shape}. Fix: save (H, W), (H, W, 1) or (1, H, W)"
        )
    return np.ascontiguousarray(to_stored_type(path, array, noun))
