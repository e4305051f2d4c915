"""Random input of the evaluator: every case is scored or refused."""

import math
import zlib

import cv2
import numpy as np
import pytest

from mutualformer_sod.errors import InputError
from mutualformer_sod.imaging.io import read_saliency
from mutualformer_sod.imaging.masks import read_mask
from mutualformer_sod.metrics.evaluator import Evaluator, score_image

DTYPES = (np.uint8, np.bool_, np.uint16, np.int32, np.float32, np.float64, np.float16, np.complex64)
STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"BM", b"II*\x00", b"MM\x00*", b"GIF89a")
FORMATS = (".png", ".jpg", ".bmp", ".tif")


def random_array(rng: np.random.Generator) -> np.ndarray:
    """Return an array of random rank, shape, type and range, often an image."""
    rank = int(rng.choice([2, 2, 2, 2, 2, 0, 1, 3]))
    shape = tuple(int(n) for n in rng.choice([0, 1, 2, 3, 7, 20, 33], rank))
    dtype = DTYPES[rng.choice(len(DTYPES), p=[0.5, 0.15, 0.05, 0.05, 0.1, 0.05, 0.05, 0.05])]
    values = rng.integers(0, int(rng.choice([1, 2, 3, 200, 256])), shape)
    if np.issubdtype(dtype, np.floating):
        with np.errstate(over="ignore"):
            values = values / rng.choice([255.0, 1.0, 1e-300, 0.5])
        if values.size and rng.random() < 0.2:
            values.flat[rng.integers(values.size)] = rng.choice([np.nan, np.inf, -0.1])
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def test_score_image_random_arrays_are_scored_or_refused():
    rng = np.random.default_rng(0)
    evaluator, scored = Evaluator(), 0
    for _ in range(5000):
        pred, gt = random_array(rng), random_array(rng)
        try:
            image = score_image(pred, gt, normalize=bool(rng.integers(2)))
        except InputError:
            continue
        evaluator.add(image)
        scored += 1
        # E divides by N - 1, as in the reference: at most 2 for an image of two pixels.
        assert all(-1e-9 <= value <= 2.0 + 1e-9 for value in image.scores.values()), image.scores
    assert scored > 300
    assert all(math.isfinite(value) for value in evaluator.results().values())


def random_file(rng: np.random.Generator) -> bytes:
    """Return random bytes, with or without the start of a known format, or a damaged image."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.bytes(int(rng.integers(0, 200)))
    if kind == 1:
        starts = (
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe0",
            b"BM",
            b"II*\x00",
            b"MM\x00*",
            b"GIF89a",
        )
        return starts[rng.integers(len(starts))] + rng.bytes(int(rng.integers(0, 200)))
    image = rng.integers(0, 256, (int(rng.integers(1, 24)), int(rng.integers(1, 24)))).astype("u1")
    if rng.random() < 0.5:
        image = np.where(image > 128, 255, 0).astype(np.uint8)
    content = bytearray(cv2.imencode(FORMATS[rng.integers(len(FORMATS))], image)[1].tobytes())
    if kind == 2:
        for _ in range(int(rng.integers(0, 4))):
            content[rng.integers(len(content))] = rng.integers(256)
        return bytes(content)
    return bytes(content[: rng.integers(len(content) + 1)])


@pytest.mark.parametrize("read", [read_saliency, read_mask])
def test_decode_random_files_are_read_or_refused(read):
    rng = np.random.default_rng(1)
    was_read = 0
    for _ in range(3500):
        try:
            image = read("file", random_file(rng))
        except InputError as error:
            assert str(error).startswith("file: ")
            continue
        image = image[0] if isinstance(image, tuple) else image
        assert image.ndim == 2 and image.dtype in (np.uint8, np.bool_)
        was_read += 1
    assert was_read > 100


def test_decode_png_with_huge_header_is_refused():
    def chunk(name: bytes, body: bytes) -> bytes:
        check = zlib.crc32(name + body)
        return len(body).to_bytes(4, "big") + name + body + check.to_bytes(4, "big")

    size = (60000).to_bytes(4, "big")
    header = chunk(b"IHDR", size + size + bytes([8, 0, 0, 0, 0]))
    content = (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    with pytest.raises(InputError, match="file"):
        read_saliency("file", content)
