"""Reads colour images, depth maps and ground truths; writes saliency maps.

Files are read as they are stored: a JPEG's orientation tag is ignored, because the depth maps and
ground truths of the benchmarks carry none and lie in the stored orientation. The kind of a file is
told by its content, since the sets are full of JPEGs named ``.png``.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mutualformer_sod.data.containers import check_whole
from mutualformer_sod.data.masks import foreground_of_colours, foreground_of_grey
from mutualformer_sod.data.pairing import Triplet
from mutualformer_sod.data.refused import refuse_depth_container
from mutualformer_sod.errors import InputError
from mutualformer_sod.files import replacing

_AS_STORED = cv2.IMREAD_UNCHANGED
_GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
_REDUCED = {
    factor: flag | cv2.IMREAD_IGNORE_ORIENTATION
    for factor, flag in (
        (2, cv2.IMREAD_REDUCED_COLOR_2),
        (4, cv2.IMREAD_REDUCED_COLOR_4),
        (8, cv2.IMREAD_REDUCED_COLOR_8),
    )
}
_CHROMA_NOISE = 16  # grey levels between the channels that JPEG compression of a grey image leaves
_LOG_LEVEL_LOCK = threading.Lock()
_AMBIGUOUS_ALPHA = (
    "its transparency varies, so that the values can be understood in two ways; save it without"
)


def read_rgb(path: Path | str) -> np.ndarray:
    """Read a colour image.

    Grey images are repeated over the channels and palettes are applied. An alpha channel is
    dropped, not blended: the stored colour is what every other method of the field sees.

    Args:
        path: a PNG, JPEG, BMP or TIFF file of 8 bits a channel.

    Returns:
        (H, W, 3) uint8, in RGB order.

    Raises:
        InputError: missing, empty, damaged or not an 8-bit image.
    """
    return decode_rgb(path, read_bytes(path))


def decode_rgb(path: Path | str, data: bytes, shrink: int = 1) -> np.ndarray:
    """As `read_rgb`, of a file's bytes.

    Args:
        path: for messages.
        data: the whole file.
        shrink: 2, 4 or 8 to divide the sides of a JPEG by it, rounded up, while it is decoded.
    """
    image = _decode(path, data, _AS_STORED if shrink == 1 else _REDUCED[shrink])
    if image.dtype != np.uint8:
        raise InputError(f"{path}: {_depth_of(image)} colour is not read; convert it to 8 bits")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    code = cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(image, code)


def read_depth(path: Path | str) -> np.ndarray:
    """Read a depth map as it is stored; `depth.depth_to_unit` gives the values a meaning.

    A third axis of one channel, first or last, or of equal channels, is removed; so are
    differences between channels that JPEG compression explains. Constant alpha is dropped.

    Args:
        path: an image file, or ``.npy`` (never unpickled).

    Returns:
        (H, W) uint8, uint16 or float32. NaN and infinity are kept.

    Raises:
        InputError: missing, empty, damaged, colour-coded, or of a type that is no depth.
    """
    if Path(path).suffix.lower() == ".npy":
        return _as_depth(path, _load_npy(path))
    refuse_depth_container(path)
    data = read_bytes(path)
    image = _decode(path, data, _AS_STORED)
    if image.ndim == 3:
        if _varies(image[..., 3:]):
            raise InputError(f"{path}: {_AMBIGUOUS_ALPHA}")
        spread = _channel_spread(image[..., :3])
        if spread > (_CHROMA_NOISE if image.dtype == np.uint8 else 0):
            raise InputError(
                f"{path}: colour-coded depth is not read (channels differ by {spread:g});"
                " store the depth itself as one grey channel"
            )
        image = image[..., 0] if spread == 0 else _decode(path, data, _GREY)
    return _as_depth(path, image)


def read_gt(path: Path | str) -> np.ndarray:
    """Read a ground-truth mask, in any coding that leaves no doubt what is foreground.

    - two values, the lower one 0 (0/1, 0/2, 0/128, 0/255): the upper one is foreground;
    - two colours, one of them black: the other one is foreground;
    - a transparency channel must be constant, or agree with the colours;
    - all else (JPEG noise, smoothed edges): above 128 is foreground, as in the reference
      evaluation code, provided that at most 5 % of the pixels lie between 64 and 192.

    Args:
        path: a PNG, JPEG, BMP or TIFF file.

    Returns:
        (H, W) bool, True for foreground.

    Raises:
        InputError: missing, empty, damaged, or a mask that can be understood in several ways.
    """
    data = read_bytes(path)
    image = _decode(path, data, _AS_STORED)
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: {_depth_of(image)} is no mask; store it as 0 and 255, 8 bits")
    if image.ndim == 2:
        return foreground_of_grey(path, image)
    colour, alpha = image[..., :3], image[..., 3:]
    spread = _channel_spread(colour)
    if spread == 0:
        mask = foreground_of_grey(path, colour[..., 0])
    elif spread <= _CHROMA_NOISE and image.dtype == np.uint8:
        # The reference reads masks with this flag; on noisy edges another grey could differ.
        mask = foreground_of_grey(path, _decode(path, data, _GREY))
    else:
        mask = foreground_of_colours(path, colour)
    if _varies(alpha) and ((alpha[..., 0] > 0) != mask).any():
        raise InputError(f"{path}: {_AMBIGUOUS_ALPHA}")
    return mask


def read_triplet(
    triplet: Triplet,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Read the files of one image.

    Depth of another size than the colour image is resized to it by nearest neighbour: any
    interpolation would invent depths between an object and what lies behind it, and across holes.
    A ground truth of another size is refused, since scores would depend on how it is resized.

    Returns:
        rgb (H, W, 3) uint8, depth (H, W) as stored, gt (H, W) bool; None for what is not there.

    Raises:
        InputError: as the readers of the parts; ground truth and colour image differ in size.
    """
    rgb = read_rgb(triplet.rgb) if triplet.rgb is not None else None
    depth = read_depth(triplet.depth) if triplet.depth is not None else None
    gt = read_gt(triplet.gt) if triplet.gt is not None else None
    size = next((part.shape[:2] for part in (rgb, gt) if part is not None), None)
    if rgb is not None and gt is not None and gt.shape != size:
        raise InputError(
            f"{triplet.gt}: {_by(gt.shape)} pixels, but {triplet.rgb} has {_by(size)};"
            " bring both to one size"
        )
    if depth is not None and size is not None and depth.shape != size:
        depth = cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return rgb, depth, gt


def image_size(path: Path | str) -> tuple[int, int]:
    """Size (H, W) in pixels of an image file or ``.npy``, decoding it only where it must.

    Raises:
        InputError: missing, empty, damaged or not an image.
    """
    if Path(path).suffix.lower() == ".npy":
        return without_channels(_load_npy(path)).shape[:2]
    data = read_bytes(path)
    size = _checked(path, data)
    return size if size is not None else _decode(path, data, _AS_STORED).shape[:2]


def write_map(path: Path | str, saliency: np.ndarray) -> None:
    """Write a saliency map as 8-bit PNG: 255 times the value, rounded half to even.

    The file appears whole or not at all, and replaces one that is there.

    Args:
        path: ends in ``.png``; missing folders are made.
        saliency: (H, W) float in [0, 1].

    Raises:
        ValueError: another shape, or values outside [0, 1].
    """
    if saliency.ndim != 2 or not (saliency.min() >= 0 and saliency.max() <= 1):
        raise ValueError(f"{path}: a map must be (H, W) in [0, 1], got {saliency.shape}")
    # In float64 the product is exact for a float32 map, so that only rint rounds.
    values = np.rint(saliency.astype(np.float64) * 255).astype(np.uint8)
    _, encoded = cv2.imencode(".png", values)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def read_bytes(path: Path | str) -> bytes:
    """The content of a file; an `InputError` if there is none, or if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file") from None


def _checked(path: Path | str, data: bytes) -> tuple[int, int] | None:
    try:
        return check_whole(data)
    except ValueError as error:
        raise InputError(f"{path}: the file {error}; replace it by a whole copy") from None


def _decode(path: Path | str, data: bytes, flags: int) -> np.ndarray:
    whole = _checked(path, data) is not None
    try:
        with contextlib.nullcontext() if whole else quiet_decoder():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # too many pixels, for one
        image = None
    if image is None or image.size == 0:
        raise InputError(f"{path}: the image cannot be decoded; replace it or save it anew")
    return image


@contextlib.contextmanager
def quiet_decoder() -> Iterator[None]:
    """Keep cv2 from printing what is wrong with a file: our line is enough."""
    with _LOG_LEVEL_LOCK:  # the level is one for all threads
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(level)


def _load_npy(path: Path | str) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception:  # the header is parsed as Python, which may end in any error
        raise InputError(
            f"{path}: not a whole .npy array of numbers; replace it, or save it with numpy.save"
        ) from None
    if not isinstance(array, np.ndarray) or array.ndim < 2:
        raise InputError(f"{path}: depth must be an (H, W) array; save it with numpy.save")
    return array


def without_channels(depth: np.ndarray) -> np.ndarray:
    """Depth (H, W, 1), (H, W, 3) of equal channels or (1, H, W) as (H, W); all else as it is."""
    if depth.ndim == 3 and depth.shape[2] in (1, 3) and _channel_spread(depth) == 0:
        return depth[..., 0]
    return depth[0] if depth.ndim == 3 and len(depth) == 1 else depth


def _as_depth(path: Path | str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: {array.dtype} is no depth; save numbers (float32 or uint16)")
    array = without_channels(array)
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{path}: depth must be (H, W), (H, W, 1) or (1, H, W), not {array.shape}")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite: a hole
            array = array.astype(np.float32)
    elif array.dtype != np.uint8:
        low, high = int(array.min()), int(array.max())
        if low < 0 or high > 65535:
            raise InputError(
                f"{path}: integer depth from {low} to {high} does not fit 16 bits; save it as"
                " float metres or 16-bit millimetres"
            )
        array = array.astype(np.uint16)
    return np.ascontiguousarray(array)


def _varies(alpha: np.ndarray) -> bool:
    return alpha.size > 0 and bool((alpha != alpha[0, 0]).any())


def _channel_spread(image: np.ndarray) -> float:
    """Largest difference between the channels of a pixel; infinity if float channels differ."""
    first, *others = (np.ascontiguousarray(image[..., k]) for k in range(image.shape[2]))
    if image.dtype in (np.uint8, np.uint16):
        return max((cv2.norm(first, other, cv2.NORM_INF) for other in others), default=0.0)
    same = all(np.array_equal(first, other, equal_nan=True) for other in others)
    return 0.0 if same else float("inf")


def _depth_of(image: np.ndarray) -> str:
    return {"uint16": "16-bit", "float32": "floating-point"}.get(str(image.dtype), str(image.dtype))


def _by(size: tuple[int, int]) -> str:
    """A size in the order that image viewers print."""
    return f"{size[1]} x {size[0]}"
