"""Write and open the cache file of one set: an index, then all images as one block.

The file begins with a magic number, the CRC of the index, the CRC of the block and the length of
the index, all little-endian. The index follows as JSON. The block extends from the next multiple of
64 bytes to the end of the file.
"""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer_sod.files import replacing

_MAGIC = b"SODcach1"  # change the digit when the layout changes
_HEAD = struct.Struct("<8sIIQ")
_ALIGNMENT = 64
_CHUNK = 1 << 24


def write_cache_file(path: Path, index: dict[str, Any], fill: Callable[[np.ndarray], None]) -> None:
    """Write a cache file under a temporary name, and rename the complete file.

    ``index`` has JSON values. ``fill`` writes the block, (``index["bytes"]``,) uint8.
    """
    text = json.dumps(index).encode()
    start = _start(len(text))
    with replacing(path, sync=True) as temporary:
        whole = np.memmap(temporary, np.uint8, "w+", shape=(start + index["bytes"],))
        fill(whole[start:])
        head = _HEAD.pack(_MAGIC, zlib.crc32(text), _checksum(whole[start:]), len(text)) + text
        whole[: len(head)] = np.frombuffer(head, np.uint8)
        whole.flush()


def open_cache_file(
    path: Path, key: str, check: bool = True
) -> tuple[dict[str, Any], np.ndarray] | None:
    """Open a cache file as a read-only memory map if its index has this key.

    With ``check``, the checksum of the images is compared, too.

    Returns:
        The index and the block, (bytes,) uint8; None if the file is missing or damaged, or has
        another key.
    """
    try:
        whole = np.memmap(path, np.uint8, "r")
        magic, index_crc, block_crc, length = _HEAD.unpack(whole[: _HEAD.size].tobytes())
        text = whole[_HEAD.size : _HEAD.size + length].tobytes()
        if magic != _MAGIC or zlib.crc32(text) != index_crc:
            return None
        index = json.loads(text)
        block = np.asarray(whole[_start(length) :])
        if index["key"] != key or len(block) != index["bytes"]:
            return None
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    return None if check and _checksum(block) != block_crc else (index, block)


def _start(length: int) -> int:
    """Return the start of the block after an index of ``length`` bytes."""
    return -(-(_HEAD.size + length) // _ALIGNMENT) * _ALIGNMENT


def _checksum(block: np.ndarray) -> int:
    crc = 0
    for begin in range(0, len(block), _CHUNK):
        crc = zlib.crc32(block[begin : begin + _CHUNK], crc)
    return crc
