"""Encode the files of a packed image.

Colour images are shrunk by area average and stored as JPEG. Ground truth is shrunk by area average;
a pixel is foreground if its average is at least one half. If no average of a mask reaches one half,
the pixels with the largest average are foreground. Depth and other maps are resized by nearest
neighbour, so that type, units, holes and polarity do not change.
"""

import io
from collections.abc import Sequence

import cv2
import numpy as np

from mutualformer_sod.data.packing.shards import File
from mutualformer_sod.data.sample import Sample, read_sample, shrink

_SMALLEST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 9]


def encode_sample(path: str, sample: Sample, side: int, quality: int) -> list[File]:
    """Return the files of a packed sample.

    ``path`` is the path of the set in the pack. Folders keep their names, which may name the split.
    ``side`` and ``quality`` are options of `pack.PackOptions`.

    Raises:
        InputError: an error of `read_sample`.
    """
    rgb, depth, gt = read_sample(sample)
    scale = min(1.0, side / max(rgb.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in rgb.shape[:2])
    small = shrink(rgb, height, width)
    jpeg = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    files = {"RGB": (sample.rgb, ".jpg", _image(".jpg", small[..., ::-1], jpeg))}
    if depth is not None:
        picked = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        if depth.dtype == np.float32:
            buffer = io.BytesIO()
            np.save(buffer, picked, allow_pickle=False)
            suffix, data = ".npy", buffer.getvalue()
        else:
            suffix, data = ".png", _image(".png", picked, _SMALLEST_PNG)
        files[sample.modality.folder] = sample.depth, suffix, data
    if gt is not None:
        files["GT"] = sample.gt, ".png", _mask(gt, height, width)
    separate = len({source.parent for source, _, _ in files.values()}) == len(files)
    return [
        (f"{path}/{source.parent.name if separate else role}/{sample.stem}{suffix}", data)
        for role, (source, suffix, data) in files.items()
    ]


def _mask(gt: np.ndarray, height: int, width: int) -> bytes:
    """Encode a shrunk mask as a PNG with one bit per pixel."""
    ratio = shrink(gt.astype(np.float32), height, width)
    # A thin object may cover less than half of every pixel, but must not disappear.
    least = min(0.5, float(ratio.max()))
    binary = (ratio >= least) & (ratio > 0)
    flags = [cv2.IMWRITE_PNG_BILEVEL, 1, *_SMALLEST_PNG]
    return _image(".png", binary.astype(np.uint8) * 255, flags)


def _image(suffix: str, pixels: np.ndarray, flags: Sequence[int]) -> bytes:
    return cv2.imencode(suffix, np.ascontiguousarray(pixels), flags)[1].tobytes()
