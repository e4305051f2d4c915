"""Check whether an image file is complete, and find its size, without decoding.

Decoders fill the missing part of a truncated JPEG with grey, and report no error. Older decoders
do the same with a truncated PNG. This module checks the last chunk and the checksums of a PNG, and
the end marker of a JPEG.
"""

import struct
import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3  # colour type of a PNG whose pixels are indices of colours
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NO_FRAME = {0xC4, 0xC8, 0xCC}  # tables that share the number range of the frame headers


def check_whole(data: bytes) -> tuple[int, int] | None:
    """Check that an image file is complete, and return the size (H, W) of the stored image.

    The size is None for a TIFF and an old BMP, which must be decoded.

    Raises:
        ValueError: the file is incomplete, damaged or not an image. The error text is a predicate,
            such as "is cut short".
    """
    if not data:
        raise ValueError("is empty (0 bytes)")
    try:
        if data.startswith(PNG):
            return _check_png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _parse_jpeg(data)[0]
        if data.startswith(b"BM"):
            return _check_bmp(data)
    except (struct.error, IndexError):
        raise ValueError("is cut short") from None
    if data.startswith(TIFF):
        return None
    raise ValueError("is not a PNG, JPEG, BMP or TIFF image")


def without_notes(data: bytes, *, keep: bytes = b"") -> bytes:
    """Remove the metadata of a complete PNG, such as profiles, times and texts.

    The metadata are not used, and libpng would print warnings about them without the file name.
    Images in other formats than PNG are returned unchanged.

    Args:
        data: the bytes of an image that has passed `check_whole`.
        keep: name of an optional chunk that is not removed if its checksum is correct.
    """
    if not data.startswith(PNG):
        return data
    transparency = {0: (2,), 2: (6,), 3: range(1, 257)}.get(data[25], ())  # lengths by colour type
    kept = [
        chunk
        for kind, chunk in _chunks(data)
        if kind[:1].isupper()
        or (kind == b"tRNS" and len(chunk) - 12 in transparency and _is_undamaged(chunk))
        or (kind == keep and _is_undamaged(chunk))
    ]
    return b"".join([PNG, *kept])


def without_padding(data: bytes) -> bytes:
    """Remove the zeros before the end marker of a complete JPEG, and all data after the marker."""
    _, end = _parse_jpeg(data)
    scan = data[:end].rstrip(b"\0")
    stuffing = b"\0" if scan.endswith(b"\xff") else b""
    return scan + stuffing + data[end : end + 2]


def _is_undamaged(chunk: memoryview) -> bool:
    (stored,) = struct.unpack(">I", chunk[-4:])
    return zlib.crc32(chunk[4:-4]) == stored


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the name and the bytes of each PNG chunk."""
    position, kind = len(PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise ValueError("is cut short")
        yield kind, memoryview(data)[position:end]
        position = end


def _check_png(data: bytes) -> tuple[int, int]:
    kinds = set()
    for kind, chunk in _chunks(data):
        kinds.add(kind)
        # cv2 skips damaged optional chunks (lower-case names), too.
        if kind[:1].isupper() and not _is_undamaged(chunk):
            raise ValueError("is damaged (wrong checksum)")
    if data[12:16] != b"IHDR":
        raise ValueError("is damaged (no header)")
    if data[25] == _PALETTE and b"PLTE" not in kinds:  # decoders show black
        raise ValueError("is damaged (no palette)")
    return struct.unpack_from(">II", data, 16)[::-1]


def _parse_jpeg(data: bytes) -> tuple[tuple[int, int], int]:
    """Return the size (H, W), and the byte position of the end marker."""
    position, size = 2, None
    while True:
        if data[position] != 0xFF:
            raise ValueError("is damaged (a marker is missing)")
        marker = data[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            size = struct.unpack_from(">HH", data, position + 5)
        if marker == 0xDA:
            # Inside a scan 0xFF is followed by 0, so that the end marker cannot occur by chance.
            # Data after the end marker (a second picture, zeros) are ignored.
            end = data.find(b"\xff\xd9", position)
            if end < 0:
                raise ValueError("is cut short (no end marker)")
            if size is None:
                raise ValueError("is damaged (no frame header)")
            return size, end
        position += 2 + length


def _check_bmp(data: bytes) -> tuple[int, int] | None:
    offset, header = struct.unpack_from("<II", data, 10)
    if header < 40:  # the short header of OS/2
        return None
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if header > len(data) or compression > 3:  # cv2 would print a message
        raise ValueError("is damaged, or an unsupported kind of BMP")
    stride = (abs(width) * bits + 31) // 32 * 4
    if compression in (0, 3) and len(data) < offset + stride * abs(height):
        raise ValueError("is cut short")
    return abs(height), abs(width)
