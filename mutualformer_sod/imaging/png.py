"""Write PNG files strip by strip, so that maps of any size need little memory.

Pillow and cv2 are not used, because they need the complete picture in memory. A text chunk of a
file can store a note. The file format is that of the PNG specification, third edition (W3C, 2025).
"""

import contextlib
import json
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer_sod.files import replacing
from mutualformer_sod.imaging.containers import PNG

_KEYWORD = b"mutualformer_sod"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_SUB = 1  # filter: each byte minus the byte of the pixel to its left
_LEVEL = 3  # zlib's level: a third of the default's time; files are a few per cent larger


def write_png(
    path: Path,
    size: tuple[int, int],
    strips: Iterable[np.ndarray],
    note: dict[str, Any] | None = None,
) -> None:
    """Write an 8-bit PNG of size (H, W), and replace an existing file when the PNG is complete.

    ``strips`` are (h, W), (h, W, 3) or (h, W, 4) uint8 from the top down, H rows in all. ``note``
    is JSON data for `read_note`. Missing folders are created.

    Raises:
        ValueError: the number of rows of the strips differs from that of ``size``.
        OSError: the file cannot be written.
    """
    packer = zlib.compressobj(_LEVEL)
    rows = 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        for strip in strips:
            strip = strip.reshape(*strip.shape[:2], -1)  # (h, W, C)
            if rows == 0:
                colour = _COLOUR_TYPES[strip.shape[2]]
                header = struct.pack(">IIBBBBB", size[1], size[0], 8, colour, 0, 0, 0)
                file.write(PNG + _chunk(b"IHDR", header))
                if note is not None:
                    file.write(_chunk(b"tEXt", _KEYWORD + b"\0" + json.dumps(note).encode()))
            rows += len(strip)
            if packed := packer.compress(_filtered(strip)):
                file.write(_chunk(b"IDAT", packed))
        if rows != size[0]:
            raise ValueError(f"{path}: the strips have {rows} rows. Fix: pass {size[0]} rows")
        file.write(_chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b""))


def read_note(path: Path) -> dict[str, Any] | None:
    """Return the note that `write_png` stored in a file, or None."""
    with path.open("rb") as file:
        start = file.read(len(PNG) + 25 + 8)  # signature, header chunk, head of the next chunk
        if len(start) < 41 or not start.startswith(PNG) or start[-4:] != b"tEXt":
            return None
        (length,) = struct.unpack(">I", start[-8:-4])
        body = file.read(min(length, 1 << 20))
    keyword, _, text = body.partition(b"\0")
    if keyword == _KEYWORD:
        with contextlib.suppress(ValueError):
            note = json.loads(text)
            return note if isinstance(note, dict) else None
    return None


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(body, zlib.crc32(kind))
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def _filtered(strip: np.ndarray) -> bytes:
    differences = np.diff(strip, axis=1, prepend=np.uint8(0))  # modulo 256
    return np.insert(differences.reshape(len(strip), -1), 0, _SUB, axis=1).tobytes()
