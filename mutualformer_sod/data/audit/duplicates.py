"""Find copies of images in other encodings by a perceptual hash."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

HASH_BITS = 128
"""64 bits of a difference hash (dHash) and 64 of a cosine hash (pHash)."""

MOST_BITS = 20
"""Largest number of different bits in the hashes of copies."""

LEAST_LIKENESS = 0.97
"""Least correlation of the thumbnails of copies with similar hashes."""

_THUMBNAIL = 16
_ROWS = 2048  # rows of the table of distances computed at once
_PLAIN = 4.0  # standard deviation in grey levels below which a picture is uniform


def look_of(rgb: np.ndarray) -> np.ndarray:
    """Compute a descriptor of a picture, independent of its size and encoding.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (272,) uint8: 16 bytes of hash, then a grey thumbnail of 16 x 16 pixels.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    steps = cv2.resize(small, (9, 8), interpolation=cv2.INTER_AREA)
    waves = cv2.dct(cv2.resize(small, (32, 32), interpolation=cv2.INTER_AREA))[:8, :8].ravel()
    bits = np.concatenate([(steps[:, 1:] > steps[:, :-1]).ravel(), waves > np.median(waves[1:])])
    side = (_THUMBNAIL, _THUMBNAIL)
    thumbnail = np.rint(cv2.resize(small, side, interpolation=cv2.INTER_AREA)).astype(np.uint8)
    return np.concatenate([np.packbits(bits), thumbnail.ravel()])


def similar_pairs(looks: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Find all pairs of copies, each as two increasing indices.

    The hashes select the candidates among all pairs by a matrix product (10 000 pictures in
    seconds); the thumbnails decide. Uniform pictures are in no pair.

    Args:
        looks: of `look_of`, one per picture.
    """
    if len(looks) < 2:
        return
    table = np.stack(looks)
    signs = np.unpackbits(table[:, : HASH_BITS // 8], axis=1).astype(np.float32) * 2 - 1
    thumbnails = table[:, HASH_BITS // 8 :].astype(np.float32)
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    deviation = np.sqrt((thumbnails**2).mean(axis=1, keepdims=True))
    seen = (deviation > _PLAIN).ravel()
    unit = thumbnails / np.maximum(deviation, 1e-6) / _THUMBNAIL
    least = HASH_BITS - 2 * MOST_BITS  # the product of hashes that differ in MOST_BITS
    for start in range(0, len(table), _ROWS):
        products = signs[start : start + _ROWS] @ signs[start:].T
        for row, column in zip(*np.nonzero(products >= least), strict=True):
            one, other = start + int(row), start + int(column)
            like = one < other and seen[one] and seen[other]
            if like and unit[one] @ unit[other] >= LEAST_LIKENESS:
                yield one, other
