"""Compute the skeleton of a mask by Zhang-Suen thinning, with the result of scikit-image."""

import numpy as np

# The neighbours clockwise from the top left, (row, column). Neighbour i is bit i of a code.
_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
# Codes in which scikit-image differs from Zhang and Suen (Communications of the ACM, 1984): the
# pixel is removed in no sub-iteration, in the first one, in the second one, or in both.
_OTHER_CODES = (
    (48, 129),
    (3, 6, 11, 12, 14, 131, 134, 161, 194, 198),
    (24, 26, 56, 96, 104, 108, 176, 192, 224),
    (10, 40, 130, 160),
)


def _removal_table() -> np.ndarray:
    """Return whether each sub-iteration removes a pixel with each code, (2, 256) bool."""
    table = np.zeros((2, 256), np.bool_)
    for code in range(256):
        _, north, _, east, _, south, _, west = bits = [code >> i & 1 for i in range(8)]
        turns = sum(bits[i] < bits[(i + 1) % 8] for i in range(8))
        if turns == 1 and 2 <= sum(bits) <= 6:
            table[0, code] = not (east and south and (north or west))
            table[1, code] = not (north and west and (east or south))
    for removed, codes in enumerate(_OTHER_CODES):
        table[:, codes] = [[removed & 1], [removed >> 1]]
    return table


_REMOVED = _removal_table()


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) bool thinned to lines that are one pixel wide, (H, W) bool.

    The first two sub-iterations test all border pixels. A later sub-iteration tests only pixels
    next to a pixel that one of the last two sub-iterations removed.
    """
    height, width = mask.shape
    stride = width + 2
    left = np.zeros((height + 2, stride), np.bool_)
    left[1:-1, 1:-1] = mask
    codes = np.zeros(left.shape, np.uint8)
    for bit, (row, column) in enumerate(_AROUND):
        shifted = left[1 + row : 1 + row + height, 1 + column : 1 + column + width]
        codes[1:-1, 1:-1] |= shifted.view(np.uint8) << np.uint8(bit)
    offsets = np.array(_AROUND) @ (stride, 1)
    flat, codes, order = left.ravel(), codes.ravel(), np.zeros(left.size, np.int64)
    older = newer = np.flatnonzero(flat & (codes < 255))
    part = 0
    while older.size or newer.size:
        tested = _distinct(np.concatenate((older, newer)), order)
        gone = tested[flat[tested] & _REMOVED[part, codes[tested]]]
        flat[gone] = False
        for bit, offset in enumerate(offsets):
            codes[gone - offset] &= np.uint8(255 ^ 1 << bit)
        around = (gone[:, None] + offsets).ravel()
        older, newer = newer, _distinct(around[flat[around]], order)
        part = 1 - part
    return left[1:-1, 1:-1].copy()


def _distinct(indices: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return ``indices`` without repetitions; ``order`` is a scratch array of the image size."""
    number = np.arange(indices.size)
    order[indices] = number
    return indices[order[indices] == number]
