"""Write WebM files that browsers can play, with any size in pixels and any frame times.

Each frame is a VP8 key frame, extracted from a WebP image (RFC 6386, RFC 9649). The container is
Matroska (RFC 9559). `cv2.VideoWriter` supports neither odd sizes nor uneven frame times.
"""

import contextlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from mutualformer_sod.files import replacing

MOST_SIDE = 16383  # largest side in pixels of a VP8 frame
_QUALITY = 90  # WebP quality, 0 to 100
_EFFORT = 1  # WebP effort, 0 to 6: less than half the time of the default, files 3 % larger
_CLUSTER_MS = 2000  # players seek to the start of a cluster; times in a cluster have 15 bits
_ROUNDING_MS = 1  # intervals that differ by at most this rounding error count as equal
_DURATION_SLOT = 12  # bytes of the element DefaultDuration, or of padding instead
_SRGB = {0x55B1: 6, 0x55B9: 1, 0x55BA: 13, 0x55BB: 1}  # BT.601 luma as in WebP, limited range

_SEEK_HEAD, _INFO, _TRACKS = 0x114D9B74, 0x1549A966, 0x1654AE6B
_CUES, _CLUSTER = 0x1C53BB6B, 0x1F43B675


class WebmWriter:
    """Writer that `open_webm` yields for a WebM file with one video track and no sound."""

    def __init__(self, file: BinaryIO, pixel_aspect: float) -> None:
        self._file = file
        self._pixel_aspect = pixel_aspect
        self._times: list[float] = []  # ms
        self._last = -1  # time of the last frame in ms
        self._cluster: list[tuple[int, bytes]] = []
        self._cues: list[tuple[int, int]] = []  # ms, position of the cluster in the segment

    def write(self, rgb: np.ndarray, time: float) -> None:
        """Append a frame (H, W, 3) uint8, or (H, W) uint8 for grey; sides up to `MOST_SIDE`.

        The ``time`` in ms from the start is rounded to whole ms. The rounded time is at least 1 ms
        after the previous time.
        """
        if not self._times:
            self._begin(*rgb.shape[:2])
        now = max(round(time), self._last + 1)
        if self._cluster and now - self._cluster[0][0] >= _CLUSTER_MS:
            self._write_cluster()
        self._cluster.append((now, _key_frame(rgb)))
        self._times.append(time)
        self._last = now

    def finish(self) -> None:
        """Write the last frames, the index, the duration and the sizes."""
        self._write_cluster()
        cues = self._here()
        points = (
            _element(0xBB, _number(0xB3, time), _element(0xB7, _number(0xF7, 1), _number(0xF1, at)))
            for time, at in self._cues
        )
        self._file.write(_element(_CUES, *points))
        intervals = np.diff(self._times)
        interval = float(intervals.mean()) if len(intervals) else 40.0
        even = np.all(np.abs(intervals - interval) <= _ROUNDING_MS)
        default = _number(0x23E383, round(interval * 1e6), 8) if even else None
        size = self._here()
        self._fill(self._at["duration"], struct.pack(">d", self._last + interval))
        self._fill(self._at["interval"], default or _element(0xEC, bytes(_DURATION_SLOT - 2)))
        self._fill(self._at["cues"], cues.to_bytes(8, "big"))
        self._fill(self._start - 8, _size(size, 8))

    def _begin(self, height: int, width: int) -> None:
        head = [_number(0x4286, 1), _number(0x42F7, 1), _number(0x42F2, 4), _number(0x42F3, 8)]
        head += [_element(0x4282, b"webm"), _number(0x4287, 4), _number(0x4285, 2)]
        self._file.write(_element(0x1A45DFA3, *head) + _identifier(0x18538067) + bytes(8))
        self._start = self._file.tell()
        name = _element(0x4D80, b"mutualformer_sod"), _element(0x5741, b"mutualformer_sod")
        info = _element(_INFO, _number(0x2AD7B1, 10**6), *name, _element(0x4489, bytes(8)))
        sides = _number(0xB0, width), _number(0xBA, height)
        shown = _number(0x54B0, max(1, round(width * self._pixel_aspect))), _number(0x54BA, height)
        colours = _element(0x55B0, *(_number(key, value) for key, value in _SRGB.items()))
        track = [_number(0xD7, 1), _number(0x73C5, 1), _number(0x9C, 0), _number(0x83, 1)]
        track += [_element(0x86, b"V_VP8"), _element(0xE0, *sides, *shown, colours)]
        tracks = _element(_TRACKS, _element(0xAE, *track, bytes(_DURATION_SLOT)))
        seeks = len(_seek_head(0, 0, 0))
        self._file.write(_seek_head(seeks, seeks + len(info), 0) + info + tracks)
        self._at = {
            "cues": self._start + seeks - 8,
            "duration": self._start + seeks + len(info) - 8,
            "interval": self._file.tell() - _DURATION_SLOT,
        }

    def _write_cluster(self) -> None:
        first = self._cluster[0][0]
        self._cues.append((first, self._here()))
        blocks = (
            # track 1, time within the cluster, a key frame
            _element(0xA3, b"\x81" + struct.pack(">h", time - first) + b"\x80" + data)
            for time, data in self._cluster
        )
        self._file.write(_element(_CLUSTER, _number(0xE7, first), *blocks))
        self._cluster = []

    def _here(self) -> int:
        return self._file.tell() - self._start  # position in the segment

    def _fill(self, position: int, data: bytes) -> None:
        self._file.seek(position)
        self._file.write(data)


@contextlib.contextmanager
def open_webm(path: Path, pixel_aspect: float = 1.0) -> Iterator[WebmWriter]:
    """Yield a writer of a WebM file that appears at ``path`` when the block succeeds.

    An existing file is replaced. ``pixel_aspect`` is the width of a pixel divided by its height.

    Raises:
        OSError: the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        writer = WebmWriter(file, pixel_aspect)
        yield writer
        writer.finish()


def _key_frame(rgb: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).convert("RGB").save(buffer, "WEBP", quality=_QUALITY, method=_EFFORT)
    webp = buffer.getvalue()
    at = webp.index(b"VP8 ")
    (length,) = struct.unpack("<I", webp[at + 4 : at + 8])
    return webp[at + 8 : at + 8 + length]


def _seek_head(info: int, tracks: int, cues: int) -> bytes:
    """Encode the positions of the parts in the segment, with ``cues`` as the last 8 bytes."""
    seeks = (
        _element(0x4DBB, _element(0x53AB, _identifier(part)), _number(0x53AC, at, 8))
        for part, at in ((_INFO, info), (_TRACKS, tracks), (_CUES, cues))
    )
    return _element(_SEEK_HEAD, *seeks)


def _element(identifier: int, *content: bytes) -> bytes:
    data = b"".join(content)
    return _identifier(identifier) + _size(len(data)) + data


def _number(identifier: int, value: int, length: int = 0) -> bytes:
    return _element(identifier, value.to_bytes(length or (value.bit_length() + 7) // 8 or 1, "big"))


def _identifier(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def _size(value: int, length: int = 0) -> bytes:
    """Encode a length as in EBML, where n leading zero bits announce n further bytes."""
    length = length or next(n for n in range(1, 9) if value < (1 << 7 * n) - 1)
    return (value | 1 << 7 * length).to_bytes(length, "big")
