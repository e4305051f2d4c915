"""Write transparent videos and copy sound with FFmpeg through PyAV, the extra `video`."""

import contextlib
import heapq
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mutualformer_sod.files import naming, replacing

try:
    import av
except ImportError:
    av = None

INSTALL = "pip install -e '.[video]'"

_IN_WEBM = ("opus", "vorbis")  # audio codecs that are copied; other codecs are converted to Opus
_OPUS_RATE, _OPUS_SAMPLES = 48000, 960  # samples/s, samples per packet (20 ms)
_BT601, _LIMITED = 6, 1  # colour space and range of the video: AVCOL_SPC_SMPTE170M, MPEG
_VP9 = {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"}
_VP9 |= {"auto-alt-ref": "0", "lag-in-frames": "0"}  # colours and alpha are coded frame by frame


class AlphaWriter:
    """Writer that `open_alpha` yields for a transparent WebM file (VP9, yuva420p)."""

    def __init__(self, container: "av.container.OutputContainer", pixel_aspect: float) -> None:
        self._container = container
        self._aspect = Fraction(pixel_aspect).limit_denominator(1000)
        self.stream: Any = None
        self._last = -1

    def write(self, rgba: np.ndarray, time: float) -> None:
        """Append a frame (H, W, 4) uint8, not premultiplied, at a time in ms."""
        if self.stream is None:
            self.stream = self._container.add_stream("libvpx-vp9", options=_VP9)
            self.stream.height, self.stream.width = rgba.shape[:2]
            self.stream.pix_fmt = "yuva420p"
            codec = self.stream.codec_context
            self.stream.time_base = codec.time_base = Fraction(1, 1000)
            codec.sample_aspect_ratio = self._aspect
            codec.colorspace, codec.color_range = _BT601, _LIMITED
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgba), format="rgba")
        self._last = frame.pts = max(round(time), self._last + 1)
        frame.time_base = Fraction(1, 1000)
        self._container.mux(self.stream.encode(frame))


@contextlib.contextmanager
def open_alpha(path: Path, pixel_aspect: float = 1.0) -> Iterator[AlphaWriter]:
    """Yield a writer of a video at ``path``, a temporary file; see `webm.open_webm`."""
    with naming(path), av.open(f"file:{path}", "w", format="webm") as container:
        writer = AlphaWriter(container, pixel_aspect)
        yield writer
        container.mux(writer.stream.encode(None))  # the frames that the encoder still holds


def count_sound(video: Path) -> tuple[int, int]:
    """Return the number of audio tracks, and the number of audio tracks with a known codec."""
    with contextlib.suppress(av.FFmpegError), av.open(f"file:{video}") as container:
        return len(container.streams.audio), len(_known(container))
    return 0, 0


def count_frames(video: Path, rate: float) -> int | None:
    """Return the frame count in the header; without a count, the video's length times ``rate``.

    Return None if the file is unreadable, or if the header has only the length of the longest
    track, which may be sound.
    """
    with contextlib.suppress(av.FFmpegError), av.open(f"file:{video}") as container:
        stream = container.streams.video[0]
        if stream.frames:
            return stream.frames
        length = _length_of(container, stream)
        return None if length is None else round(length * rate)
    return None


def add_sound(silent: Path, source: Path) -> None:
    """Add the audio tracks of ``source`` to the WebM file ``silent``, in place.

    Opus and Vorbis are copied, and other codecs are converted to Opus. Tracks with an unknown codec
    are omitted. The sound keeps its time relative to the first frame.

    Raises:
        av.FFmpegError, ValueError: the sound cannot be read, converted or written.
    """
    with (
        replacing(silent) as target,
        av.open(f"file:{silent}") as picture,
        av.open(f"file:{source}") as given,
        av.open(f"file:{target}", "w", format="webm") as output,
    ):
        stream = picture.streams.video[0]
        copy = output.add_stream_from_template(stream, opaque=True)
        copy.metadata.update(stream.metadata)
        tracks = {track.index: _Track(track, output) for track in _known(given)}
        start = _start_of(given)
        parts = [_packets_of(picture, stream, copy), _sound(given, tracks, start)]
        for _, packet in heapq.merge(*parts, key=lambda item: item[0]):
            output.mux(packet)


class _Track:
    """Converter that copies or encodes the packets of one audio track."""

    def __init__(self, track: Any, output: Any) -> None:
        self._copied = track.codec_context.name in _IN_WEBM
        self._next = 0  # time for a frame without a time, in samples
        if self._copied:
            self._stream = output.add_stream_from_template(track, opaque=True)
            return
        layout = "mono" if track.codec_context.layout.nb_channels == 1 else "stereo"
        self._stream = output.add_stream("libopus", rate=_OPUS_RATE, layout=layout)
        self._resampler = av.AudioResampler("s16", layout, _OPUS_RATE, _OPUS_SAMPLES)

    def convert(self, packet: Any, start: Fraction) -> Iterator[Any]:
        """Yield the packets from time ``start`` (s) on, with times relative to ``start``."""
        if self._copied:
            if packet.dts is not None:
                shift = round(start / packet.time_base)
                time = packet.dts if packet.pts is None else packet.pts
                packet.pts, packet.dts = time - shift, packet.dts - shift
                packet.stream = self._stream
                if packet.pts >= 0:
                    yield packet
            return
        frames = []
        with contextlib.suppress(av.FFmpegError):  # a damaged packet is omitted
            for frame in packet.decode():
                frames += self._resampler.resample(frame)
        if packet.dts is None:  # the end of the track
            frames += self._resampler.resample(None)
        for frame in frames:
            time = self._next if frame.pts is None else frame.pts
            self._next = time + frame.samples
            frame.pts = time - round(start / frame.time_base)
            if frame.pts >= 0:
                yield from self._stream.encode(frame)
        if packet.dts is None:
            yield from self._stream.encode(None)


def _length_of(container: Any, stream: Any) -> float | None:
    """Return the length of a video track in s, or None if the length is unknown."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if found := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = map(float, found.groups())  # Matroska
        end = 3600 * hours + 60 * minutes + seconds
    elif container.duration and len(container.streams) == 1:
        end = container.duration / av.time_base
    else:
        return None
    return end - float(_start_of(container))


def _known(container: Any) -> list[Any]:
    return [track for track in container.streams.audio if track.codec_context is not None]


def _packets_of(container: Any, stream: Any, copy: Any) -> Iterator[tuple[float, Any]]:
    for packet in container.demux(stream):
        if packet.dts is not None:
            packet.stream = copy
            time = packet.dts if packet.pts is None else packet.pts
            yield float(time * packet.time_base), packet


def _sound(
    container: Any, tracks: dict[int, _Track], start: Fraction
) -> Iterator[tuple[float, Any]]:
    """Yield the packets of all tracks with their times in s."""
    time = 0.0
    for packet in container.demux(*(container.streams[index] for index in tracks)):
        for converted in tracks[packet.stream.index].convert(packet, start):
            if converted.pts is not None:
                time = max(time, float(converted.pts * converted.time_base))
            yield time, converted


def _start_of(container: Any) -> Fraction:
    """Return the time in s of the first frame, from which OpenCV counts the frame times."""
    videos = container.streams.video
    times = (track.start_time * track.time_base for track in videos if track.start_time is not None)
    return next(times, Fraction(0))
